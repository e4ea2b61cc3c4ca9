"""The report page: one HTML file that needs nothing but itself.

Scripts, styles, figures and images are inside the file; a content security policy forbids it to fetch anything and to
run any script but the two that were put there, so that no text of a search (a class name, an architecture, an error)
can do harm.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from archscout.core import options
from archscout.core.errors import ArchscoutError, DataError, UsageError
from archscout.core.files import read_json, well_formed, write_text
from archscout.report import sections
from archscout.report.candidates import TrialLike
from archscout.report.drawing import draw
from archscout.report.headline import headline
from archscout.report.style import DARK, LIGHT, Figure
from archscout.report.template import fill
from archscout.report.view import View

_AGAIN = "run the search again to write it anew."
_FILES = (
    ("network.onnx", "the network for any ONNX runtime"),
    ("network.safetensors", "its weights"),
    ("network-int8.onnx", "the network in integers"),
    ("architecture.json", "its architecture"),
    ("metrics.json", "all figures as JSON"),
)


def write(folder: Path, *, trials: Sequence[TrialLike] | None = None) -> Path:
    """Write `report.html` into the folder of a finished search, from its `report.json` and its trials.

    Args:
        folder: of the run.
        trials: of the run; by default those in `search.sqlite` in that folder, or none where there is no such file.

    Returns the file, which is either the old one or the new one at any moment.

    Raises:
        UsageError: no finished search lies in the folder, or the trials are none.
        DataError: its `report.json` cannot be read.
        ArchscoutError: the page cannot be written.
    """
    folder = options.run(folder)
    if (folder / "trials.csv").is_file():
        raise UsageError(
            f"'{folder}' is a simulated search, which has no page: read metrics.json and trials.csv in it."
        )
    report = _read(folder / "report.json")
    page = folder / "report.html"
    if not os.access(folder, os.W_OK):
        raise ArchscoutError(f"cannot write the report '{page}': the folder cannot be written; copy the run elsewhere.")
    trials = _stored(folder / "search.sqlite", str(report.get("run"))) if trials is None else _checked(trials)
    with well_formed(folder / "report.json", _AGAIN):
        text = render(report, trials, folder=folder)
    try:
        write_text(page, text)
    except OSError as error:
        raise ArchscoutError(
            f"cannot write the report '{page}': {error.strerror or error}; free some space or make the folder writable."
        ) from error
    return page


def render(report: dict[str, Any], trials: Sequence[TrialLike], *, folder: Path) -> str:
    """The text of the page; `folder` names the run in the examples of use, and its files that exist are linked."""
    view = View.of(report, trials)
    return fill(
        "page.html.jinja",
        run=report.get("run") or folder.name,
        place=f"{folder.resolve().parent.name}/{folder.resolve().name}",
        files=[(name, what) for name, what in _FILES if (folder / name).is_file()],
        missing=sorted((report.get("missing") or {}).items()),
        own_module=(report.get("space") or "Net") if report.get("own_module") else "",
        architecture=view.winner.get("architecture"),
        headline=headline(view),
        search=sections.search(view),
        tradeoff=sections.tradeoff(view),
        drawing=draw(view.winner.get("graph")),
        answers=sections.answers(view),
        method_panels=sections.method_panels(view),
        training=sections.training(view),
        rungs=sections.rungs(view),
        untrained=sections.untrained(view),
        sharing=sections.weight_sharing(view),
        time=sections.time_spent(view),
        finalists=sections.finalists(view),
        devices=sections.devices(view),
        limits=sections.limits(view),
        failures=sections.failures(view),
        conditions=sections.conditions(view),
        metric=view.metric.title,
        version=report.get("version") or "",
        light=LIGHT,
        dark=DARK,
        colours=inert(json.dumps({LIGHT[name]: DARK[name] for name in LIGHT})),
        as_json=as_json,
    )


def as_json(figure: Figure) -> Markup:
    """A figure as JSON that may stand inside a script element; NaN becomes null."""
    return inert(figure.figure.to_json(engine="json"))


def inert(text: str) -> Markup:
    """JSON without a character that could end the element in which it stands."""
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))  # noqa: S704


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise UsageError(
            f"'{file.parent}' holds no finished search: there is no {file.name} in it; let the search end first."
        )
    report = read_json(file, _AGAIN)
    if not isinstance(report, dict):
        raise DataError(f"'{file}' is not the report of a search; run the search again to write it anew.")
    return report


def _checked(trials: Any) -> Sequence[TrialLike]:
    """The trials that somebody gives, in a list. Raises `UsageError` for what are none."""
    if not options.listed(trials):
        raise UsageError(f"trials must be those of a store (store.trials(run)), not {options.shown(trials)}.")
    rows = list(trials)
    for each in rows:
        if not isinstance(each, TrialLike) or not isinstance(each.architecture, str):
            raise UsageError(f"{options.shown(each)} is no trial of a store: give those of store.trials(run).")
    return rows


def _stored(file: Path, run: str) -> Sequence[TrialLike]:
    """The trials of a run, where its store lies beside the report (it may be a database elsewhere)."""
    if not file.is_file():
        return ()
    from archscout.store.store import Store

    with Store.open(file, create=False) as store:
        return store.trials(run)

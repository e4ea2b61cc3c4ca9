"""The figures of the README, from the files that they were measured into.

    python -m benchmarks.front_door.readme_figures             writes them into README.md
    python -m benchmarks.front_door.readme_figures --check     says which differ, and changes nothing

In the README a figure stands between `<!--NAME-->` and `<!--/-->`, which no page shows.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

from archscout.core.files import write_text
from benchmarks.common import RESULTS, ROOT, arguments

_FIGURE = re.compile(r"<!--([\w.]+)-->(.*?)<!--/-->", re.DOTALL)


@cache
def _read(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def predictor(estimator: str, size: int) -> str:
    """Mean Kendall tau on NAS-Bench-201, CIFAR-10."""
    entries = _read("predictors")["parts"]["clean c10_test_200"]["entries"]
    (value,) = (e["kendall"] for e in entries if e["estimator"] == estimator and e["train"] == size)
    return two(value)


def within_10(device: str | None = None) -> str:
    """Share of the cells whose latency is predicted within 10 % from ten measurements of a device never seen."""
    row = _read("latency")["leave_nasbench201"]["device/10"]["within_10"]
    return percent(row["mean"] if device is None else row["devices"][device])


def score(name: str) -> str:
    """Spearman correlation of a score with CIFAR-10 accuracy over all cells of NAS-Bench-201."""
    return two(_read("training-free")["whole space"][name]["CIFAR-10"]["spearman"])


def blend(form: str) -> str:
    """The same of the blend of scores, over all cells or those that it was not tuned on."""
    return two(_read("training-free")["ensembles"]["all"][form]["CIFAR-10"])


def value(cell: str, contender: str) -> str:
    """Mean test accuracy of a contender of the benchmark of value."""
    rows = [r for r in _read("value")["rows"] if (r["cell"], r["contender"]) == (cell, contender)]
    accuracies = [row["test_accuracy"] for row in rows if "test_accuracy" in row]
    return f"{100 * sum(accuracies) / len(accuracies):.1f} %"


def one_pass(cell: str, contender: str) -> str:
    """The same where the networks answer for the image alone, without its mirror image."""
    rows = [r for r in _read("single_pass")["rows"] if (r["cell"], r["contender"]) == (cell, contender)]
    return f"{100 * sum(row['one_pass'] for row in rows) / len(rows):.1f} %"


def transfer(seconds: float) -> str:
    """Mean test accuracy from 3,000 CIFAR-10 images with a trained backbone that breaks no limit."""
    rows = [r for r in _read("shrink") if r["kind"] == "transfer" and not r["original"]["cuts"]]
    accuracies = [r["test"] for r in rows if (r["data"], r["seconds"]) == ("cifar10.npz", seconds)]
    return f"{100 * sum(accuracies) / len(accuracies):.1f} %"


def two(value: float) -> str:
    """Two digits, as correlations are written: .83."""
    return f"{value:.2f}".removeprefix("0")


def percent(value: float) -> str:
    """A share in whole percent."""
    return f"{100 * value:.0f} %"


FIGURES: dict[str, Callable[[], str]] = {
    "value.cifar10.search": lambda: value("cifar10-3000@4m", "search<5ms"),
    "value.cifar10.one_pass": lambda: one_pass("cifar10-3000@4m", "search<5ms"),
    "value.cifar10.auto": lambda: value("cifar10-3000@4m", "auto<5ms"),
    "value.photos.auto": lambda: value("photos800@4m", "auto<5ms"),
    "value.photos.search": lambda: value("photos800@4m", "search<5ms"),
    "value.cifar10.plain": lambda: value("cifar10-3000@4m", "plain"),
    "value.fashion.search": lambda: value("fashion@1m", "search<5ms"),
    "value.fashion.plain": lambda: value("fashion@1m", "plain"),
    "value.fashion.svm": lambda: value("fashion@1m", "svm"),
    "value.digits.search": lambda: value("digits@1m", "search<5ms"),
    "value.digits.plain": lambda: value("digits@1m", "plain"),
    "shrink.cifar10.4m": lambda: transfer(240),
    "predictor.scout": lambda: predictor("scout", 100),
    "predictor.gaussian_process": lambda: predictor("gaussian_process", 100),
    "predictor.forest": lambda: predictor("random_forest:encoding=live", 100),
    "predictor.forest_plain": lambda: predictor("random_forest:encoding=plain", 100),
    "latency.mean": within_10,
    "latency.pixel2": lambda: within_10("pixel2"),
    "latency.raspi4": lambda: within_10("raspi4"),
    "latency.eyeriss": lambda: within_10("eyeriss"),
    "score.blend": lambda: blend("tuned, all"),
    "score.blend_untuned": lambda: blend("tuned, not tuned on"),
    "score.params": lambda: score("params"),
}


def current(text: str) -> str:
    """The text with every figure as the results have it. Raises `SystemExit` for a name that is none."""

    def replaced(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in FIGURES:
            sys.exit(f"README.md names a figure '{name}' that this script does not know: add it to FIGURES.")
        return f"<!--{name}-->{FIGURES[name]()}<!--/-->"

    return _FIGURE.sub(replaced, text)


def stale(text: str) -> list[str]:
    """The figures of the text that are not those of the results, each with both."""
    pairs = zip(_FIGURE.finditer(text), _FIGURE.finditer(current(text)), strict=True)
    return [f"{old[1]}: {old[2]} in README.md, {new[2]} in the results" for old, new in pairs if old[2] != new[2]]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    if options.check:
        sys.exit("\n".join(stale(text)) or 0)
    write_text(readme, current(text))


if __name__ == "__main__":
    main()

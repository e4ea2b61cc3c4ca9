"""The page as a file: what is in it, what can never be in it, and what happens when something is missing."""

import base64
import hashlib
import json
import math
import subprocess
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from archscout.core.errors import ArchscoutError, DataError, UsageError
from archscout.report.page import inert, render, write
from archscout.store.store import Store

SECTIONS = {"use", "search", "tradeoff", "network", "answers", "rungs", "sharing", "time", "details"}


class Page(HTMLParser):
    """Elements with their attributes, the texts of scripts, and all other text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.text = ""
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        self._open = tag
        if tag == "script":
            self.scripts.append((dict(attributes), ""))

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open == "script":
            attributes, text = self.scripts[-1]
            self.scripts[-1] = (attributes, text + data)
        elif self._open != "style":
            self.text += data

    @property
    def sections(self) -> set[str]:
        return {str(a["id"]) for tag, a in self.elements if tag == "section"}


def made(folder: Path, report: Any, trials: Any = ()) -> Page:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    return Page(write(folder, trials=trials).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("details", "said"),
    [
        ({"trusted": False, "slowed": 1.6}, "not to be trusted: the machine was slowed down 1.6 times by other work"),
        ({"trusted": False, "slowed": 1.0}, "not to be trusted: repeated measurements did not agree"),
        ({"trusted": True, "slowed": 1.0}, ""),
    ],
)
def test_a_latency_that_is_not_to_be_trusted_is_said_beside_it(
    tmp_path: Path, samples: ModuleType, details: dict[str, Any], said: str
) -> None:
    report, trials = samples.sample()
    report["winner"]["cost_details"] = {"latency_ms": details}
    text = made(tmp_path, report, trials).text
    assert said in text
    assert ("not to be trusted" in text) == bool(said)


def test_the_page_says_what_was_scored_before_training(tmp_path: Path, samples: ModuleType) -> None:
    report, trials = samples.sample()
    report["notes"]["training_free"] = {
        "scores": ["a<b>", "macs"],
        "architectures": 1200,
        "undefined": {"a<b>": 7, "macs": 0},
    }
    page = made(tmp_path, report, trials)
    assert page.sections == SECTIONS | {"untrained"}
    assert "1,200 architectures were scored untrained, by a<b>, macs. Undefined: a<b> for 7." in page.text
    for broken in ({}, {"scores": 3}, {"scores": ["a"], "architectures": "many", "undefined": 4}, 5):
        report["notes"]["training_free"] = broken
        assert "<b>" not in made(tmp_path, report, trials).text


def test_the_page_has_every_section_and_says_what_was_found(tmp_path: Path, samples: ModuleType) -> None:
    page = made(tmp_path / "runs" / "demo", *samples.sample())
    assert page.sections == SECTIONS
    for words in ("98.9\u202f% right", "0.45\u202fms", "runs/demo", "31 keep it", "38 candidates", "356 of 360"):
        assert words in page.text
    assert sum(tag == "img" for tag, _ in page.elements) == 4


@pytest.mark.parametrize("panels", [[], None])
def test_a_task_that_says_nothing_of_its_answers_has_a_page(
    tmp_path: Path, samples: ModuleType, panels: list[object] | None
) -> None:
    report, trials = samples.sample()
    made(tmp_path, report | {"panels": panels, "confusion": None, "mistakes": []}, trials)
    assert "This task says nothing of single answers" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_page_is_strict_json_inside_and_runs_only_the_scripts_it_names(tmp_path: Path, samples: ModuleType) -> None:
    report, trials = samples.sample()
    report["winner"]["curve"][3]["valid_loss"] = math.nan
    page = made(tmp_path, report, trials)
    policy = next(str(a["content"]) for tag, a in page.elements if tag == "meta" and a.get("http-equiv"))
    running = [text for attributes, text in page.scripts if attributes.get("type") != "application/json"]
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in running]
    assert len(running) == 2
    assert f"script-src 'sha256-{hashes[0]}' 'sha256-{hashes[1]}';" in policy
    for attributes, text in page.scripts:
        if attributes.get("type") == "application/json":
            json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_no_text_of_a_search_becomes_markup(tmp_path: Path, samples: ModuleType) -> None:
    harmless = made(tmp_path / "a", *samples.sample())
    page = made(tmp_path / "b", *samples.hostile())
    assert len(page.scripts) == len(harmless.scripts)
    assert page.sections == SECTIONS
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    for tag, attributes in page.elements:
        for name in ("src", "href"):
            place = attributes.get(name)
            assert place is None or place.startswith(("#", "data:")), f"{tag} {place}"
    assert "{{ 7 * 7 }}" in page.text


def test_json_cannot_end_the_element_in_which_it_stands() -> None:
    text = "</script><!-- & \u2028"
    written = inert(json.dumps(text))
    assert not set("<>&") & set(written)
    assert json.loads(written) == text


def test_trials_come_from_the_store_beside_the_report(tmp_path: Path, samples: ModuleType) -> None:
    report, trials = samples.sample()
    with Store.open(tmp_path / "search.sqlite") as store:
        store.begin("demo", {})
        store.add("demo", trials)
    stored = made(tmp_path, report, None)
    assert stored.text == made(tmp_path, report, trials).text


def test_only_files_that_exist_are_linked(tmp_path: Path, samples: ModuleType) -> None:
    (tmp_path / "network.onnx").touch()
    page = made(tmp_path, *samples.sample())
    links = [a["href"] for tag, a in page.elements if tag == "a" and not str(a["href"]).startswith("#")]
    assert links == ["network.onnx"]


PARTS = """
confusion mistakes notes seconds feasibility constraints finalists pareto failures conditions class_names epochs winner
winner.costs winner.curve winner.graph winner.spread winner.test_accuracy winner.valid_accuracy
"""


@pytest.mark.parametrize("missing", PARTS.split())
def test_a_report_may_lack_any_part(tmp_path: Path, samples: ModuleType, missing: str) -> None:
    report, trials = samples.sample()
    owner, _, part = missing.rpartition(".")
    (report[owner] if owner else report)[part] = None
    text = render(report, trials, folder=tmp_path)
    assert 'id="details"' in text
    assert ('id="network"' in text) == (missing != "winner")
    assert ">None<" not in text and ">nan" not in text


def test_a_report_without_trials_says_so(tmp_path: Path, samples: ModuleType) -> None:
    report, _ = samples.sample()
    page = made(tmp_path, report, None)
    assert "The trials of this search are not at hand" in page.text
    assert {"tradeoff", "network", "time"} <= page.sections  # finalists are known from the report


def test_almost_nothing_is_enough_for_a_page(tmp_path: Path) -> None:
    page = made(tmp_path, {"run": "x"})
    assert "No network was found" in page.text
    assert page.sections == {"search", "details"}


def test_numbers_that_are_none_are_left_out(tmp_path: Path, samples: ModuleType) -> None:
    report, trials = samples.sample()
    report["winner"]["costs"]["latency_ms"] = math.nan
    report["finalists"][0]["value"] = None
    report["notes"]["rungs"][0] |= {"spearman": None, "low": None, "high": None}
    report["seconds"]["costs"] = None
    page = made(tmp_path, report, trials)
    assert "too few to say" in page.text
    assert "Whether it keeps the limit on latency was not measured." in page.text


def test_other_metrics_are_no_percentages(tmp_path: Path, samples: ModuleType) -> None:
    report, trials = samples.sample()
    report["metric"] = "dice"
    report["winner"] |= {"valid_dice": 0.8123, "test_dice": 0.8}
    assert "A dice of 0.8 on data it had never seen" in made(tmp_path, report, trials).text


def test_thinning_is_said(tmp_path: Path, samples: ModuleType) -> None:
    report, _ = samples.sample()
    page = made(tmp_path, report, samples.many(5000))
    assert "Shown are 1,500 of 5,000 values: every new best, and others drawn at random." in page.text
    assert "of 5,003 networks: all on the front, and others drawn at random." in page.text


def test_a_folder_without_a_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no finished search: there is no report\.json in it"):
        write(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "\udcff"])
def test_a_broken_report_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "report.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=r"report\.json"):
        write(tmp_path)


def test_a_page_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, samples: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, *samples.sample())
    before = (tmp_path / "report.html").read_bytes()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ArchscoutError, match=r"cannot write the report .*No space left on device; free some space"):
        write(tmp_path, trials=())
    assert (tmp_path / "report.html").read_bytes() == before
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".report")]


@pytest.mark.parametrize("given", ["trials", 3, [3], [None], {"number": 1}, b"x"])
def test_what_are_no_trials_is_refused(tmp_path: Path, samples: ModuleType, given: object) -> None:
    report, trials = samples.sample()
    (tmp_path / "report.json").write_text(json.dumps(report))
    with pytest.raises(UsageError, match=r"trials must be those of a store|is no trial of a store"):
        write(tmp_path, trials=given)  # type: ignore[arg-type]
    assert not (tmp_path / "report.html").exists()
    assert write(tmp_path, trials=iter(trials)).is_file(), "any iterable will do"


READ_ONLY = """
import os, sys
from pathlib import Path
from archscout.core.errors import ArchscoutError
from archscout.report.page import write
folder = Path(sys.argv[1])
write(folder)  # all that is imported on the way has been, and may lie in root's home
(folder / "search.sqlite").write_bytes(b"")
os.chmod(folder, 0o555)
if os.getuid() == 0:  # who may write anywhere
    os.setuid(65534)
try:
    write(folder)
except ArchscoutError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no modes there")
def test_in_a_read_only_folder_it_is_the_page_that_is_named(samples: ModuleType) -> None:
    with tempfile.TemporaryDirectory() as folder:  # tmp_path is closed to others
        (Path(folder) / "report.json").write_text(json.dumps(samples.sample()[0]))
        ran = subprocess.run([sys.executable, "-c", READ_ONLY, folder], capture_output=True, text=True)
        assert ran.stderr == ""
        assert ran.stdout == (
            f"cannot write the report '{folder}/report.html': the folder cannot be written; copy the run elsewhere.\n"
        )

import csv
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from archscout.core import registry
from archscout.core.architecture import Architecture
from archscout.core.errors import DataError, UsageError
from archscout.core.estimator import Estimator, Setting
from archscout.core.listed import read_architectures
from archscout.core.task import Task
from archscout.core.trial import Estimate
from archscout.networks.pick import build
from archscout.spaces.nasbench201 import NASBench201
from archscout.study import scoring
from archscout.testing.tasks import tiny_task
from archscout.workers.engines import InlineEngine, engine

SPACE = NASBench201(width=2, cells=1)
EQUAL = (
    "|nor_conv_1x1~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|",
    "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|",
)
"""Two texts of one network: the first convolution leads nowhere."""


class Convolutions(Estimator):
    """Counts, remembers whom it was asked about, is undefined for pooling, and fails on what is in `breaks`."""

    name = "convolutions"
    asked: ClassVar[list[str]] = []
    breaks: ClassVar[set[str]] = set()

    def estimate(
        self, architectures: Sequence[Architecture], setting: Setting, *, fidelity: int | None = None
    ) -> list[Estimate]:
        for architecture in architectures:
            self.asked.append(architecture.text)
            if architecture.text in self.breaks:
                raise RuntimeError("a crash")
        return [
            Estimate(math.nan, reason="it pools") if "pool" in a.text else Estimate(float(a.text.count("conv")), 0.5)
            for a in architectures
        ]


class Learned(Convolutions):
    needs = frozenset({"history"})


@pytest.fixture(autouse=True)
def convolutions(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(Convolutions, "asked", [])
    monkeypatch.setattr(Convolutions, "breaks", set())
    monkeypatch.setitem(registry._registered, ("estimator", "convolutions"), Convolutions)
    monkeypatch.setitem(registry._registered, ("estimator", "learned"), Learned)
    yield


@pytest.fixture
def task() -> Task:
    return tiny_task().sealed()


def score(
    task: Task,
    file: Path,
    architectures: Sequence[Architecture],
    names: Sequence[str] = ("convolutions",),
    **options: int,
) -> scoring.Scores:
    return scoring.score(
        SPACE, task, names, architectures, file=file, engine=InlineEngine((SPACE, task, "cpu")), **options
    )


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_a_sample_is_different_architectures_and_begins_with_the_smaller_one() -> None:
    sample = scoring.sample(SPACE, 300, seed=1)
    assert len({architecture.text for architecture in sample}) == 300
    assert scoring.sample(SPACE, 100, seed=1) == sample[:100]
    assert scoring.sample(SPACE, 100, seed=2) != sample[:100]


def test_a_sample_larger_than_the_space_is_refused() -> None:
    with pytest.raises(UsageError, match=r"15,625 architectures, not 15626"):
        scoring.sample(SPACE, 15626, seed=0)


def test_the_file_has_a_row_an_architecture_and_two_columns_an_estimator(task: Task, tmp_path: Path) -> None:
    file = tmp_path / "deep" / "scores.csv"
    sample = scoring.sample(SPACE, 12, seed=0)
    scores = score(task, file, sample, ["convolutions", "params"])
    found = rows(file)
    assert list(found[0]) == ["architecture", "convolutions", "convolutions_seconds", "params", "params_seconds"]
    assert [row["architecture"] for row in found] == [architecture.text for architecture in sample]
    for row, architecture in zip(found, sample, strict=True):
        network = build(SPACE, architecture, task)
        assert float(row["params"]) == sum(parameter.numel() for parameter in network.parameters())
        assert float(row["params_seconds"]) >= 0
        pools = "pool" in architecture.text
        assert row["convolutions"] == ("NaN" if pools else repr(float(architecture.text.count("conv"))))
    pooling = sum("pool" in architecture.text for architecture in sample)
    assert 0 < pooling < 12
    assert scores.undefined == {"convolutions": pooling, "params": 0}
    assert scores.reasons == {"convolutions": "it pools"}
    assert (scores.rows, scores.added) == (12, 12)
    assert sorted(path.name for path in file.parent.iterdir()) == ["scores.csv", "scores.csv.json"]


def test_equal_networks_are_scored_once(task: Task, tmp_path: Path) -> None:
    pair = [SPACE.parse(text) for text in EQUAL]
    other = SPACE.parse(
        "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|".replace("none~1|+", "nor_conv_3x3~1|+")
    )
    score(task, tmp_path / "s.csv", [*pair, other, pair[0]])
    assert len(Convolutions.asked) == len({SPACE.canonical(a) for a in (*pair, other)})
    found = rows(tmp_path / "s.csv")
    assert [row["architecture"] for row in found] == [a.text for a in (*pair, other, pair[0])]
    assert found[0]["convolutions"] == found[1]["convolutions"] == found[3]["convolutions"]


@pytest.mark.parametrize("cut", [0, 1, 7])
def test_an_interrupted_scoring_goes_on_to_the_same_file(task: Task, tmp_path: Path, cut: int) -> None:
    """Cut off after some rows and in the middle of the next: what is there is kept, and nothing of it paid again."""
    sample = scoring.sample(SPACE, 10, seed=0)
    score(task, tmp_path / "whole.csv", sample)
    whole = (tmp_path / "whole.csv").read_text(encoding="utf-8")
    lines = whole.splitlines(keepends=True)
    file = tmp_path / "cut.csv"
    file.write_text("".join(lines[: 1 + cut]) + lines[1 + cut][:9], encoding="utf-8")
    (tmp_path / "cut.csv.json").write_bytes((tmp_path / "whole.csv.json").read_bytes())
    Convolutions.asked.clear()
    scores = score(task, file, sample)
    assert file.read_text(encoding="utf-8") == whole
    assert (scores.rows, scores.added) == (10, 10 - cut)
    assert scores.undefined["convolutions"] == sum("pool" in architecture.text for architecture in sample)
    assert set(Convolutions.asked) == {architecture.text for architecture in sample[cut:]}


def test_scores_without_their_settings_are_never_gone_on_with(task: Task, tmp_path: Path) -> None:
    """They may be of another seed or other data, and nothing tells."""
    sample, file = scoring.sample(SPACE, 4, seed=0), tmp_path / "s.csv"
    score(task, file, sample)
    before = file.read_bytes()
    settings = tmp_path / "s.csv.json"
    for damage, words in ((None, "is gone"), (b"[1, 2", "is damaged"), (b"[1]", "is damaged")):
        settings.unlink(missing_ok=True)
        if damage is not None:
            settings.write_bytes(damage)
        with pytest.raises(UsageError, match=words):
            score(task, file, sample)
        assert file.read_bytes() == before
    file.write_bytes(before.splitlines(keepends=True)[0])  # a file without a score may be of anything
    settings.unlink()
    score(task, file, sample)
    assert settings.is_file()


def test_afresh_sets_the_file_and_its_settings_aside(task: Task, tmp_path: Path) -> None:
    sample, file = scoring.sample(SPACE, 3, seed=0), tmp_path / "s.csv"
    score(task, file, sample)
    before = file.read_bytes()
    with pytest.raises(UsageError, match="another list"):
        score(task, file, sample[::-1])
    assert score(task, file, sample[::-1], fresh=True).added == 3
    assert (tmp_path / "s.csv.old1").read_bytes() == before
    assert (tmp_path / "s.csv.old1.json").read_bytes() == (tmp_path / "s.csv.json").read_bytes()
    assert file.read_bytes() != before


def test_a_finished_file_is_left_alone(task: Task, tmp_path: Path) -> None:
    sample = scoring.sample(SPACE, 5, seed=0)
    score(task, tmp_path / "s.csv", sample)
    before = (tmp_path / "s.csv").read_bytes()
    Convolutions.asked.clear()
    assert score(task, tmp_path / "s.csv", sample).added == 0
    assert score(task, tmp_path / "s.csv", sample[:3]).rows == 3
    assert Convolutions.asked == []
    assert (tmp_path / "s.csv").read_bytes() == before


def test_an_error_leaves_the_rows_before_it(task: Task, tmp_path: Path) -> None:
    """A crash of one architecture is an undefined score with its reason; the others of its chunk keep theirs."""
    sample = [a for a in scoring.sample(SPACE, 40, seed=0) if "pool" not in a.text][:6]
    Convolutions.breaks.add(sample[2].text)
    scores = score(task, tmp_path / "s.csv", sample)
    values = [row["convolutions"] for row in rows(tmp_path / "s.csv")]
    assert [value == "NaN" for value in values] == [False, False, True, False, False, False]
    assert "a crash" in scores.reasons["convolutions"]


def test_other_columns_are_refused(task: Task, tmp_path: Path) -> None:
    sample = scoring.sample(SPACE, 2, seed=0)
    score(task, tmp_path / "s.csv", sample)
    with pytest.raises(UsageError, match=r"s\.csv' has the columns architecture, convolutions, .* not .*params"):
        score(task, tmp_path / "s.csv", sample, ["params"])


def test_other_architectures_are_refused(task: Task, tmp_path: Path) -> None:
    score(task, tmp_path / "s.csv", scoring.sample(SPACE, 3, seed=0))
    with pytest.raises(UsageError, match=r"line 2 of .* another list"):
        score(task, tmp_path / "s.csv", scoring.sample(SPACE, 3, seed=1))


def test_another_setting_is_refused(task: Task, tmp_path: Path) -> None:
    sample = scoring.sample(SPACE, 2, seed=0)
    score(task, tmp_path / "s.csv", sample)
    with pytest.raises(UsageError, match="made with seed 0, not 1"):
        score(task, tmp_path / "s.csv", sample, seed=1)
    assert json.loads((tmp_path / "s.csv.json").read_text())["data"] == task.digest


@pytest.mark.parametrize(
    "content", ["a,b\n1,2\n", "architecture,convolutions,convolutions_seconds\nx,1\n", "\n", "no line"]
)
def test_a_file_of_another_kind_is_refused_and_left_alone(task: Task, tmp_path: Path, content: str) -> None:
    file = tmp_path / "s.csv"
    file.write_text(content)
    with pytest.raises(UsageError, match=r"s\.csv"):
        score(task, file, scoring.sample(SPACE, 2, seed=0))
    assert file.read_text() == content


def test_two_at_a_time_are_refused(task: Task, tmp_path: Path) -> None:
    with (
        scoring.ScoreFile.open(tmp_path / "s.csv", ["convolutions"], {}),
        pytest.raises(UsageError, match="another process is writing"),
    ):
        score(task, tmp_path / "s.csv", scoring.sample(SPACE, 2, seed=0))


def test_unknown_and_learned_estimators_are_refused(task: Task, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'convolutions'"):
        score(task, tmp_path / "s.csv", [], ["convolution"])
    with pytest.raises(UsageError, match="learns from finished trials"):
        score(task, tmp_path / "s.csv", [], ["learned"])
    assert not (tmp_path / "s.csv").exists()


def test_the_values_do_not_depend_on_the_workers(task: Task, tmp_path: Path) -> None:
    sample = scoring.sample(SPACE, 20, seed=3)
    values = []
    for workers in (0, 2):
        file = tmp_path / f"{workers}.csv"
        with engine("local", workers, (SPACE, task, "cpu")) as pool:
            scoring.score(SPACE, task, ["naswot", "synflow"], sample, file=file, engine=pool, batch=8)
        values.append([(row["architecture"], row["naswot"], row["synflow"]) for row in rows(file)])
    assert values[0] == values[1]
    assert len({value for _, value, _ in values[0]}) > 5


def test_batch_reaches_the_scores(task: Task, tmp_path: Path) -> None:
    sample = scoring.sample(SPACE, 6, seed=3)
    for batch in (4, 16):
        score(task, tmp_path / f"{batch}.csv", sample, ["naswot"], batch=batch)
    first, second = ([row["naswot"] for row in rows(tmp_path / f"{batch}.csv")] for batch in (4, 16))
    assert first != second


# -- lists of architectures -------------------------------------------------------------------------------------------


def test_architectures_are_read_from_text_csv_and_parquet(tmp_path: Path) -> None:
    texts = [architecture.text for architecture in scoring.sample(SPACE, 4, seed=0)]
    (tmp_path / "a.txt").write_text("\n".join([texts[0], "", f"  {texts[1]}", *texts[2:]]) + "\n")
    with (tmp_path / "a.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("accuracy", "architecture"), *((0.5, text) for text in texts)])
    for name in ("a.txt", "a.csv"):
        assert [a.text for a in read_architectures(tmp_path / name, SPACE)] == texts
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"x": [1, 2, 3, 4], "architecture": texts}), tmp_path / "a.parquet")
    assert [a.text for a in read_architectures(tmp_path / "a.parquet", SPACE)] == texts


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "no architecture"),
        ("a.txt", f"{EQUAL[0]}\n|nor_conv_9x9~0|\n".encode(), "row 2 of .*nodes"),
        ("a.txt", b"\xff\xfe\x00", "UTF-8"),
        ("a.csv", b"arch\nx\n", "no column 'architecture'"),
        ("a.csv", b"architecture\nx\n", "row 2 of "),
        ("a.parquet", b"PAR1", "Parquet"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_architectures(tmp_path / name, SPACE)


def test_a_missing_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file .*missing\.txt"):
        read_architectures(tmp_path / "missing.txt", SPACE)


def test_rows_are_handed_to_the_system_one_by_one(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever kills the process after a row, the row is in the file."""
    file = tmp_path / "s.csv"
    with scoring.ScoreFile.open(file, ["convolutions"], {}) as kept:
        kept.append("a", (Estimate(1.0),))
        assert file.read_text().splitlines()[1] == "a,1.0,0.000000"
        size = file.stat().st_size
        kept.append("b", (Estimate(-0.25),))
        assert file.stat().st_size > size


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"architectures": None}, "architectures must be several"),
        ({"architectures": 3}, "architectures must be several"),
        ({"architectures": [3]}, "place 1 of the architectures is no architecture"),
        ({"architectures": ["x"]}, "place 1 of the architectures: "),
        ({"fresh": "no"}, "fresh must be True or False"),
        ({"progress": print}, "the progress must be an object with say, update and close"),
        ({"file": None}, "the file of scores must be a path"),
        ({"file": Path()}, "is a folder: name a file for the scores"),
    ],
)
def test_odd_options_are_refused_in_a_sentence(tmp_path, given, said):
    space, task = SPACE, tiny_task().sealed()
    asked = {"architectures": ["|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"], "file": tmp_path / "s.csv"} | given
    with InlineEngine((space, task, "cpu")) as engine, pytest.raises(UsageError, match=said):
        scoring.score(space, task, ["params"], engine=engine, **asked)
    assert not (tmp_path / "s.csv").exists()


def test_architectures_may_be_texts_and_come_from_anywhere(tmp_path):
    space, task = SPACE, tiny_task().sealed()
    drawn = scoring.sample(space, 3, 0)
    with InlineEngine((space, task, "cpu")) as engine:
        for name, given in (("a", drawn), ("b", [each.text for each in drawn]), ("c", iter(drawn))):
            scoring.score(space, task, ["params"], given, file=str(tmp_path / name), engine=engine)
    columns = [[row.split(",")[:2] for row in (tmp_path / n).read_text().splitlines()] for n in "abc"]
    assert columns[0] == columns[1] == columns[2]

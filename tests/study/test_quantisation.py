"""The grid of quantisations: cells, rows that are there, and what is refused."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.report.study import write_quantisation
from archscout.study import quantisation as study
from archscout.testing import tiny_task
from archscout.training.reconstruction import RECONSTRUCTIONS

SPACE = create("space", "classic")
SMALL = "stem8k3s1_residual16x1k3_inverted16x1k3e2"
GRID = study.Grid(
    (SMALL,), ("microcontroller", "papers"), ("nearest", "adaround", "lsq"), ("w8a8", "w2a8"), repeats=2, epochs=2,
    aware_epochs=1, examples=16,
)  # fmt: skip


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("grid")
    plans = {name: replace(plan, steps=2) for name, plan in RECONSTRUCTIONS.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("archscout.finished.algorithms.RECONSTRUCTIONS", plans)
        return folder, study.compare(SPACE, tiny_task(), GRID, folder)


def test_a_row_for_every_cell_and_repeat(rows: tuple[Path, list[dict[str, Any]]]) -> None:
    _, found = rows
    cells = {(row["scheme"], row["bits"], row["algorithm"], row["repeat"]) for row in found}
    assert len(cells) == len(found) == 2 * 2 * (1 + 3)
    assert ("papers", "w8a8", "nearest", 1) in cells
    assert not any(bits == "w8a8" and algorithm != "nearest" for _, bits, algorithm, _ in cells)
    for row in found:
        assert row["lost"] == pytest.approx(100 * (row["float"] - row["value"]))
        if row["bits"] == "w8a8":
            assert abs(row["lost"]) <= 5
    assert len({row["float"] for row in found if row["repeat"] == 0}) == 1, "one network a repeat"


def test_the_mean_of_a_cell(rows: tuple[Path, list[dict[str, Any]]]) -> None:
    _, found = rows
    entries = study.summary(found)
    cell = {"scheme": "microcontroller", "bits": "w2a8", "algorithm": "nearest"}
    one = next(entry for entry in entries if cell.items() <= entry.items())
    own = [row["lost"] for row in found if cell.items() <= row.items()]
    assert one["lost"] == pytest.approx(math.fsum(own) / 2)
    assert one["lost_low"] <= one["lost"] <= one["lost_high"]


def test_it_goes_on_and_refuses_another_setting(
    rows: tuple[Path, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, found = rows
    for name in ("measure", "train_one"):
        monkeypatch.setattr(study, name, None)
    assert study.compare(SPACE, tiny_task(), GRID, folder) == found
    with pytest.raises(UsageError, match="begun with "):
        study.compare(SPACE, tiny_task(), replace(GRID, epochs=3), folder)


def test_the_page_has_a_picture_for_each_network(rows: tuple[Path, list[dict[str, Any]]], tmp_path: Path) -> None:
    about = {"data": "tiny", "metric": "accuracy", "repeats": 2}
    page = write_quantisation(tmp_path, about=about, entries=study.summary(rows[1]), version="0")
    text = page.read_text()
    assert f"What {SMALL} loses" in text
    assert "8 ways to quantise one network" in text
    assert "Wilcoxon" not in text, "nothing is tested here"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"bits": ("w4",)}, "'w4' are no bits of weights and activations: write w4a8"),
        ({"schemes": ("paper",)}, "no quantisation scheme 'paper'"),
        ({"algorithms": ("adaroun",)}, "did you mean 'adaround'"),
        ({"architectures": ()}, "name architectures"),
        ({"repeats": 0}, "repeats"),
    ],
)
def test_wrong_choices_are_named(wrong: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        study.compare(SPACE, tiny_task(), replace(GRID, **wrong), tmp_path)

"""`archscout data check`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Call = Callable[..., Any]


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 6)):
        for name in ("cat", "dog"):
            folder = tmp_path / "pets" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return tmp_path / "pets"


def test_what_is_read_is_shown(archscout: Call, pets: Path, tmp_path: Path) -> None:
    done = archscout("data", "check", pets, "--sheet", "sheet.png")
    assert done.code == 0
    assert "pets: image classification, inputs of 3 x 8 x 8 (uint8, values from 0 to 255), 2 classes" in done.out
    rows = [line.split() for line in done.out.splitlines()]
    assert ["cat", "9", "3", "6"] in rows or ["cat", "10", "2", "6"] in rows
    assert ["all", "19", "5", "12"] in rows
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (20, 120, 3)
    assert (sheet[8:10] == 255).all()


def test_every_oddity_is_told(archscout: Call, pets: Path) -> None:
    (pets / "train" / "cat" / "bad.png").write_text("no picture")
    (pets / "train" / "dog" / "notes.doc").write_text("left alone")
    (pets / "test" / "dog" / "same.png").write_bytes((pets / "train" / "cat" / "3.png").read_bytes())
    (pets / "train" / "cat" / "twice.png").write_bytes((pets / "train" / "cat" / "4.png").read_bytes())
    done = archscout("data", "check", f"{pets}:train=8", "--json")
    assert done.code == 0, done.err
    answer = json.loads(done.out)
    assert (answer["kind"], answer["classes"], answer["splits"]["test"]) == (
        "image classification", ["cat", "dog"], {"cat": 6, "dog": 7},
    )  # fmt: skip
    assert done.err == ""
    whole = json.loads(archscout("data", "check", pets, "--json").out)
    told = " ".join(whole["oddities"])
    for part in (
        "1 of 39 images are left out, for they cannot be read: ", "bad.png' is not a readable image", "(.doc: 1)",
        "1 image is in more than one split", "1 image is given with different labels", "the valid split has 5 examples",
    ):  # fmt: skip
        assert part in told, told


def test_a_task_by_name_and_arrays_are_looked_over(archscout: Call, tmp_path: Path) -> None:
    assert "digits: image classification, inputs of 1 x 8 x 8" in archscout("data", "check", "digits").out
    rng = np.random.default_rng(0)
    y = (np.arange(400) % 25 == 0).astype(int)
    np.savez(tmp_path / "own.npz", x_train=rng.random((400, 8, 8)), y_train=y)
    answer = json.loads(archscout("data", "check", "own.npz", "--json", "--sheet", "sheet.png").out)
    assert any("classes are of very different sizes" in oddity for oddity in answer["oddities"])
    assert (tmp_path / "sheet.png").is_file()


def test_what_cannot_be_read_ends_in_a_sentence(archscout: Call, tmp_path: Path) -> None:
    for arguments, expected in (
        (("gone.npz",), "there is no file 'gone.npz'"),
        (("digits", "--sheet", "no/where.png"), "there is no folder 'no'"),
        (("own.npz:skip_bad=true",), "'own.npz' is not a readable .npz archive"),
        (("own.npz:siez=3",), "did you mean 'size'?"),
    ):
        (tmp_path / "own.npz").write_bytes(b"")
        done = archscout("data", "check", *arguments)
        assert (done.code, done.out) == (2, "")
        assert expected in done.sentence


def test_the_cache_is_shown_and_removed(archscout: Call, pets: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("ARCHSCOUT_CACHE", str(tmp_path / "cache"))
    archscout("data", "check", f"{pets}:cache=true")
    before = json.loads(archscout("data", "cache", "--json").out)
    assert (before["folder"], before["removed_bytes"]) == (str(tmp_path / "cache"), 0)
    assert before["bytes"] > 36 * 8 * 8 * 3
    assert archscout("data", "cache", "--clear").out.startswith(f"{tmp_path / 'cache'}: 0.0 MB, after ")
    assert list((tmp_path / "cache").iterdir()) == []

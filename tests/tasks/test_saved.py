"""Data sets that `datasets` saved, in the form that it writes; recordings and lines in tar shards."""

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from scipy.io import wavfile

import archscout
from archscout.core.errors import DataError, DataNotice

COUNT = 24


def png(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def pixels(number: int) -> bytes:
    return np.asarray(Image.open(io.BytesIO(png(number)))).tobytes()


def wav(number: int) -> bytes:
    buffer = io.BytesIO()
    sound = np.sin(np.arange(2000) * (0.1, 0.3)[number % 2]) * (0.3 + 0.01 * number)
    wavfile.write(buffer, 4000, (sound * 32767).astype(np.int16))
    return buffer.getvalue()


def save(folder: Path, rows: Sequence[int], *, files: int = 2, stream: bool = True) -> Path:
    """As `Dataset.save_to_disk` lays it out."""
    folder.mkdir(parents=True)
    names = [f"data-{part:05d}-of-{files:05d}.arrow" for part in range(files)]
    for part, name in enumerate(names):
        some = rows[part::files]
        image = [{"bytes": png(n), "path": None} for n in some]
        table = pa.table({"image": image, "label": [n % 2 for n in some], "note": ["x"] * len(some)})
        make = pa.ipc.new_stream if stream else pa.ipc.new_file
        with make(str(folder / name), table.schema) as writer:
            writer.write_table(table)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": n} for n in names], "_split": None}))
    features = {"image": {"_type": "Image"}, "label": {"names": ["zebra", "ape"], "_type": "ClassLabel"}}
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
    return folder


def content(task: Any) -> dict[bytes, str]:
    return {
        x.tobytes(): task.class_names[int(y)]
        for split in (task.train, task.valid, task.test)
        for x, y in zip(split.x, split.y, strict=True)
    }


EXPECTED = {pixels(n): ("zebra", "ape")[n % 2] for n in range(COUNT)}


@pytest.mark.parametrize("stream", [True, False])
def test_a_saved_data_set_is_read_without_its_library(tmp_path: Path, stream: bool) -> None:
    folder = save(tmp_path / "set", range(COUNT), stream=stream)
    with pytest.warns(DataNotice, match="has columns that are not used: note"):
        task = archscout.task(folder)
    assert content(task) == EXPECTED


@pytest.mark.filterwarnings("ignore:.*columns that are not used")
def test_its_splits_are_kept(tmp_path: Path) -> None:
    for split, rows in (("train", range(12)), ("validation", range(12, 18)), ("test", range(18, COUNT))):
        save(tmp_path / split, rows, files=1)
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "validation", "test"]}))
    task = archscout.task(tmp_path)
    assert [len(split) for split in (task.train, task.valid, task.test)] == [12, 6, 6]
    assert task.drawn == ()
    assert content(task) == EXPECTED


def test_what_is_damaged_is_named(tmp_path: Path) -> None:
    folder = save(tmp_path / "set", range(COUNT))
    (folder / "data-00001-of-00002.arrow").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"data-00001-of-00002.arrow' is no readable Arrow file"):
        archscout.task(folder)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "../../etc/passwd"}]}))
    with pytest.raises(DataError, match=r"set/passwd' "):  # no file beside the folder is looked at
        archscout.task(folder)
    (folder / "state.json").write_text(json.dumps({"_indices_files": [{"filename": "i"}], "_data_files": []}))
    with pytest.raises(DataError, match="call flatten_indices"):
        archscout.task(folder)
    (folder / "state.json").write_text("[1")
    with pytest.raises(DataError, match=r"state.json' cannot be read as a description"):
        archscout.task(folder)


def tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as opened:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            opened.addfile(info, io.BytesIO(data))
    return path


def test_recordings_in_shards(tmp_path: Path) -> None:
    members = {}
    for n in range(COUNT):
        members |= {f"{n:03d}.wav": wav(n), f"{n:03d}.cls": str(n % 2).encode()}
    task = archscout.task(tar(tmp_path / "train-0.tar", members))
    assert task.kind == "audio classification"
    loud = {
        round(float(x.max()) * 100): int(y)
        for s in (task.train, task.valid, task.test)
        for x, y in zip(s.x, s.y, strict=True)
    }
    assert loud == {30 + n: n % 2 for n in range(COUNT)}
    with pytest.warns(DataNotice, match="1 members of .* are neither pictures nor labels"):
        mixed = {f"{n}.png": png(n) for n in range(COUNT)} | {f"{n}.cls": b"%d" % (n % 2) for n in range(COUNT)}
        archscout.task(tar(tmp_path / "mixed.tar", mixed | {"z.wav": wav(0), "z.cls": b"0"}))


def test_lines_in_shards(tmp_path: Path) -> None:
    members = {}
    for n in range(COUNT):
        members |= {f"{n}.png": png(n), f"{n}.gt.txt": f"a{n}".encode()}
    with pytest.warns(DataNotice, match="the lines are 32 to 32 pixels wide at 32 of height"):
        task = archscout.task(tar(tmp_path / "l.tar", members), kind="lines")
    assert task.kind == "text lines"
    assert len(task.class_names) == 11

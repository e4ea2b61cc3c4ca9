"""A thousand damaged files of every form: each is read, or refused in one sentence; none raises anything else."""

import io
import json
import shutil
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import archscout
from archscout.core.errors import ArchscoutError

COUNT = 20
FORMS = ("own.npz", "own.csv", "own.jsonl", "own.parquet", "own.tar", "photos", "arrays")


def make(root: Path) -> None:
    """One sound data set in every form."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (COUNT, 6, 6, 3), dtype=np.uint8)
    y = np.arange(COUNT) % 2
    np.savez_compressed(root / "own.npz", x_train=x, y_train=y, class_names=np.array(["cat", "dog"]))
    (root / "arrays").mkdir()
    np.save(root / "arrays" / "x_train.npy", x)
    np.save(root / "arrays" / "y_train.npy", y)
    rows = []
    with tarfile.open(root / "own.tar", "w") as shard:
        for number, image in enumerate(x):
            kind = ("png", "jpg", "gif", "bmp", "tiff", "webp")[number % 6]
            file = root / "photos" / "cd"[y[number]] / f"{number:02d}.{kind}"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(file)
            rows.append({"path": str(file.relative_to(root)), "label": "cd"[y[number]], "group": number // 2})
            for name, data in ((f"{number}.{kind}", file.read_bytes()), (f"{number}.cls", b"%d" % y[number])):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                shard.addfile(info, io.BytesIO(data))
    (root / "own.csv").write_text("path,label,group\n" + "".join(",".join(map(str, r.values())) + "\n" for r in rows))
    (root / "own.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), root / "own.parquet")


def spoil(file: Path, rng: np.random.Generator) -> None:
    """Cut it short, change bytes, double or insert a stretch, or write nonsense."""
    data = bytearray(file.read_bytes())
    how = rng.integers(6)
    place = int(rng.integers(len(data)))
    if how == 0:
        data = data[:place]
    elif how == 1:
        for _ in range(int(rng.integers(1, 9))):
            data[int(rng.integers(len(data)))] = int(rng.integers(256))
    elif how == 2:
        data[place : place + 1] = rng.integers(0, 256, int(rng.integers(1, 40)), dtype=np.uint8).tobytes()
    elif how == 3:
        data += data[place:]
    elif how == 4:
        del data[place : place + int(rng.integers(1, 60))]
    else:
        words = [b"\0", b"\xff\xfe", b"\n\n", b'"', b",", b";", b"[" * 3000, b"nan", b"-1", b"1e999", b"../", b"="]
        data[place:place] = words[int(rng.integers(len(words)))]
    file.write_bytes(bytes(data))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_damaged_data_are_read_or_refused(tmp_path: Path, seed: int) -> None:
    (tmp_path / "sound").mkdir()
    make(tmp_path / "sound")
    rng = np.random.default_rng(seed)
    read = refused = 0
    for number in range(100):
        form = FORMS[number % len(FORMS)]
        spoiled = tmp_path / "spoiled"
        shutil.copytree(tmp_path / "sound", spoiled)
        files = sorted(file for file in spoiled.joinpath(form).rglob("*") if file.is_file()) or [spoiled / form]
        spoil(files[int(rng.integers(len(files)))], rng)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                task = archscout.task(spoiled / form, skip_bad=bool(rng.integers(2)))
            assert np.isfinite(task.mean).all()
            assert len(task.train) > 0
            read += 1
        except ArchscoutError as error:
            assert "\n" not in str(error)
            assert len(str(error)) < 5000
            str(error).encode("utf-8")
            refused += 1
        shutil.rmtree(spoiled)
    assert read > 5
    assert refused > 20

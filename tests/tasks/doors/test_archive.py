"""Files of NumPy's, read without trust: pictures in archives, and archives that are not what they seem."""

import io
import pickle
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from archscout.core.errors import DataError, DataNotice
from archscout.tasks.load import load
from archscout.tasks.mapped import Mapped
from tests.tasks.image_files import arrays, jpeg_layout, npz


def test_the_jpeg_layout_gives_what_pillow_decodes(tmp_path: Path) -> None:
    images = arrays(40)["x_train"]
    contents = jpeg_layout(images) | jpeg_layout(images[:10], "test")
    labels = {"y_train": np.arange(40) % 2, "y_test": np.arange(10) % 2}
    task = load(npz(tmp_path / "own.npz", contents | labels))
    data, offsets = contents["jpeg_test"].tobytes(), contents["offsets_test"]
    assert task.test is not None
    for image, start, end in zip(task.test.x, offsets[:-1], offsets[1:], strict=True):
        np.testing.assert_array_equal(image, np.asarray(Image.open(io.BytesIO(data[start:end]))))
    assert (len(task.train), len(task.valid)) == (32, 8)


def test_damaged_archives_are_named(tmp_path: Path) -> None:
    whole = npz(tmp_path / "whole.npz", arrays()).read_bytes()
    truncated = tmp_path / "truncated.npz"
    for share in (0.0, 0.01, 0.5, 0.99):
        truncated.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(DataError, match=r"'.*truncated.npz' is not a readable .npz archive"):
            load(truncated)
    other = tmp_path / "text.npz"
    other.write_text("x_train, y_train\n")
    with pytest.raises(DataError, match=r"'.*text.npz' is not a readable .npz archive"):
        load(other)
    rotten = bytearray(whole)
    rotten[len(whole) // 4] ^= 0xFF
    (tmp_path / "rotten.npz").write_bytes(rotten)
    with pytest.raises(DataError, match=r"the array x_train of '.*rotten.npz' is damaged"):
        load(tmp_path / "rotten.npz")
    np.save(tmp_path / "single.npy", arrays()["x_train"])
    (tmp_path / "single.npy").rename(tmp_path / "single.npz")
    with pytest.raises(DataError, match=r"'.*single.npz' holds a single array"):
        load(tmp_path / "single.npz")


class Trap:
    """Unpickling this writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["x_train", "y_train", "class_names"])
def test_pickled_objects_are_refused_and_never_loaded(tmp_path: Path, name: str) -> None:
    sprung = tmp_path / "sprung"
    objects = np.array([Trap(sprung)] * 30, dtype=object)
    pickle.loads(pickle.dumps(objects))
    assert sprung.exists()
    sprung.unlink()
    np.savez(tmp_path / "own.npz", **arrays() | {name: objects})
    with pytest.raises(DataError, match=rf"the array {name} of '.*own.npz' holds pickled Python objects"):
        load(tmp_path / "own.npz")
    assert not sprung.exists()


def test_a_whole_file_that_is_a_pickle_is_refused(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    (tmp_path / "own.npz").write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(DataError, match="not a readable"):
        load(tmp_path / "own.npz")
    assert not sprung.exists()


def test_damaged_jpegs_are_named_by_row(tmp_path: Path) -> None:
    contents = jpeg_layout(arrays()["x_train"]) | {"y_train": np.arange(30) % 2}
    start, end = contents["offsets_train"][12:14]
    damaged = contents["jpeg_train"].copy()
    damaged[start : start + 10] = 0
    with pytest.raises(DataError, match=r"image 12 of jpeg_train in '.*own.npz' is not a readable image"):
        load(npz(tmp_path / "own.npz", contents | {"jpeg_train": damaged}))
    truncated = np.delete(contents["jpeg_train"], slice(start + (end - start) // 2, end))
    offsets = contents["offsets_train"] - (np.arange(31) > 12) * (end - start - (end - start) // 2)
    with pytest.raises(DataError, match=r"image 12 of jpeg_train in '.*own.npz' is not a readable image"):
        load(npz(tmp_path / "own.npz", contents | {"jpeg_train": truncated, "offsets_train": offsets}))


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        (lambda o: o + 5, "leads outside"),
        (lambda o: o - 5, "leads outside"),
        (lambda o: o[::-1], "leads outside"),
        (lambda o: o[:1], "names no image"),
        (lambda o: o.astype(float), "whole numbers"),
        (lambda o: o[:-1], "30 labels for 29 images"),
    ],
)
def test_bad_offsets_are_refused(tmp_path: Path, offsets: Callable[[np.ndarray], np.ndarray], message: str) -> None:
    contents = jpeg_layout(arrays()["x_train"]) | {"y_train": np.arange(30) % 2}
    with pytest.raises(DataError, match=message):
        load(npz(tmp_path / "own.npz", contents | {"offsets_train": offsets(contents["offsets_train"])}))


def test_jpegs_of_different_sizes_are_named_or_resized(tmp_path: Path) -> None:
    images = list(arrays()["x_train"])
    images[4] = np.zeros((5, 7, 3), np.uint8)
    file = npz(tmp_path / "own.npz", jpeg_layout(images) | {"y_train": np.arange(30) % 2})  # type: ignore[arg-type]
    with pytest.warns(DataNotice, match=r"the images differ in size \(5 x 7 to 8 x 8 pixels\): all are stretched to 8"):
        assert load(file).input_shape == (3, 8, 8)
    assert load(file, size=5).input_shape == (3, 5, 5)


def header_of(shape: tuple[int, ...], dtype: str = "|u1") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def zipped(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return path


def as_npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def test_arrays_that_declare_more_than_they_hold_are_refused_unread(tmp_path: Path) -> None:
    y = as_npy(np.arange(30) % 2)
    tall = zipped(tmp_path / "tall.npz", {"x_train": header_of((2**21, 1024, 1024, 2)), "y_train": y})
    with pytest.raises(DataError, match=r"the array x_train of '.*tall.npz' is damaged"):
        load(tall)
    longer = zipped(tmp_path / "longer.npz", {"x_train": header_of((30, 8, 8, 3)) + bytes(10**6), "y_train": y})
    with pytest.raises(DataError, match=r"the array x_train of '.*longer.npz' is damaged"):
        load(longer)
    no_array = zipped(tmp_path / "text.npz", {"x_train": b"hello", "y_train": y})
    with pytest.raises(DataError, match=r"x_train of '.*text.npz' is no array of NumPy's"):
        load(no_array)


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.npz"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("x_train.npy", "w", force_zip64=True) as stream:
            stream.write(header_of((2**22, 8, 8, 3)))
            for _ in range(48):
                stream.write(bytes(2**24))
        archive.writestr("y_train.npy", as_npy(np.arange(2**22) % 2))
    tracemalloc.start()
    with pytest.raises(DataError, match=r"x_train of '.*bomb.npz' unpacks to 768 MB out of \d+\.\d MB"):
        load(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**27


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_odd_compression_is_refused(tmp_path: Path, method: int) -> None:
    members = {name: as_npy(array) for name, array in arrays().items()}
    with pytest.raises(DataError, match=r"is packed as numpy.savez does not pack"):
        load(zipped(tmp_path / "odd.npz", members, method))


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    data = bytearray(zipped(tmp_path / "own.npz", {n: as_npy(a) for n, a in arrays().items()}).read_bytes())
    place = 0
    while (place := data.find(b"PK\x01\x02", place)) >= 0:
        data[place + 8] |= 1
        place += 4
    (tmp_path / "own.npz").write_bytes(data)
    with pytest.raises(DataError, match=r"of '.*own.npz' is encrypted"):
        load(tmp_path / "own.npz")


def test_a_label_of_billions_costs_no_memory(tmp_path: Path) -> None:
    contents = arrays()
    contents["y_train"] = np.where(np.arange(30) == 3, 2**31 - 1, contents["y_train"])
    with pytest.raises(DataError, match=r"the label 2.14748e\+09 in row 3: number the classes from 0 without gaps"):
        load(npz(tmp_path / "own.npz", contents))


def test_a_folder_of_npy_files(tmp_path: Path) -> None:
    contents = arrays()
    x_test = 255 - contents["x_train"]
    for name, array in (contents | {"x_test": x_test, "y_test": contents["y_train"]}).items():
        np.save(tmp_path / f"{name}.npy", array)
    np.save(tmp_path / "class_names.npy", np.array(["cat", "dog"]))
    task = load(tmp_path)
    assert (task.class_names, len(task.train), len(task.valid)) == (("cat", "dog"), 24, 6)
    assert task.test is not None
    assert isinstance(task.test.x, Mapped)  # it stays on the disk
    np.testing.assert_array_equal(task.test.x, x_test)
    sent = pickle.dumps(task.test.x)
    assert len(sent) < 1000
    np.testing.assert_array_equal(pickle.loads(sent), x_test)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(task.test.x[3:5])), x_test[3:5])


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.doc").write_text("1,2\n")
    with pytest.raises(DataError, match=r"data.doc' is neither an .npz archive, a list of pictures"):
        load(tmp_path / "data.doc")
    np.save(tmp_path / "x_train.npy", np.zeros(3))
    with pytest.raises(DataError, match=r"x_train.npy' is a single array: put x_train.npy and y_train.npy into"):
        load(tmp_path / "x_train.npy")

"""Data as people have them: lists of files, folders of the Hub, shards, and objects of Python."""

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, SubsetRandomSampler, TensorDataset, WeightedRandomSampler, random_split

import archscout
from archscout.core.errors import DataError, DataNotice, UsageError
from archscout.core.task import Task

CLASSES = ("cat", "dog")
COUNT = 30


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8, 3), dtype=np.uint8)


@pytest.fixture
def files(tmp_path: Path, images: np.ndarray) -> list[str]:
    """Pictures of two classes in turns, by their paths below `tmp_path`."""
    (tmp_path / "shots").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "shots" / f"{number:02d}.png")
    return [f"shots/{number:02d}.png" for number in range(COUNT)]


def label(number: int) -> str:
    return CLASSES[number % 2]


def content(task: Task) -> dict[bytes, str]:
    """The class of each picture, by its bytes."""
    assert task.test is not None
    return {
        np.asarray(image).tobytes(): task.class_names[int(y)]
        for split in (task.train, task.valid, task.test)
        for image, y in zip(split.x, split.y, strict=True)
    }


def expected(images: np.ndarray) -> dict[bytes, str]:
    return {image.tobytes(): label(number) for number, image in enumerate(images)}


def csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    lines = [",".join(rows[0]), *(",".join(str(value) for value in row.values()) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


# -- lists ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_list_of_pictures_in_any_form(tmp_path: Path, files: list[str], images: np.ndarray, form: str) -> None:
    rows = [{"file_name": file, "label": label(number)} for number, file in enumerate(files)]
    path = tmp_path / f"list.{form}"
    if form == "csv":
        csv(path, rows)
    elif form == "jsonl":
        path.write_text("\n\n".join(json.dumps(row) for row in rows))
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    task = archscout.task(path)
    assert (task.name, task.class_names) == (path.name, CLASSES)
    assert content(task) == expected(images)


def test_columns_of_other_names_are_named_and_unused_ones_told(
    tmp_path: Path, files: list[str], images: np.ndarray
) -> None:
    path = csv(tmp_path / "l.csv", [{"photo": f, "kind": label(n), "note": "x"} for n, f in enumerate(files)])
    with pytest.raises(DataError, match=r"has no column of pictures \(it has: photo, kind, note\): name it 'path'"):
        archscout.task(path)
    with pytest.raises(UsageError, match="has no column 'foto': did you mean 'photo'"):
        archscout.task(path, path="foto", label="kind")
    with pytest.warns(DataNotice, match="has columns that are not used: note"):
        task = archscout.task(f"{path}:path=photo,label=kind")
    assert content(task) == expected(images)


def test_classes_keep_their_numbers_as_names(tmp_path: Path, files: list[str]) -> None:
    path = csv(tmp_path / "l.csv", [{"path": file, "class": (3, 20, 7)[n % 3]} for n, file in enumerate(files)])
    assert archscout.task(path).class_names == ("3", "7", "20")


def test_splits_and_groups_of_a_list(tmp_path: Path, files: list[str], images: np.ndarray) -> None:
    names = ["Train"] * 16 + ["val"] * 6 + ["TEST"] * 8
    rows = [{"path": f, "label": label(n), "split": names[n]} for n, f in enumerate(files)]
    task = archscout.task(csv(tmp_path / "splits.csv", rows))
    np.testing.assert_array_equal(task.train.x, images[:16])
    np.testing.assert_array_equal(task.valid.x, images[16:22])
    assert task.test is not None
    np.testing.assert_array_equal(task.test.x, images[22:])
    rows[9]["split"] = "tran"
    with pytest.raises(DataError, match=r"line 11 of '.*splits.csv' has the split 'tran': write train, valid or test"):
        archscout.task(csv(tmp_path / "splits.csv", rows))

    owners = [n // 2 for n in range(COUNT)]
    rows = [{"path": f, "label": label(n), "patient": owners[n]} for n, f in enumerate(files)]
    grouped = archscout.task(csv(tmp_path / "groups.csv", rows))
    assert grouped.test is not None
    assert grouped.drawn == ("test",), "nobody learns from a part of the validation examples: that would part groups"
    place = {image.tobytes(): owners[n] for n, image in enumerate(images)}
    parts = [{place[image.tobytes()] for image in split.x} for split in (grouped.train, grouped.valid, grouped.test)]
    assert sum(map(len, parts)) == COUNT // 2
    rows = [row | {"split": names[n]} for n, row in enumerate(rows)]
    archscout.task(csv(tmp_path / "both.csv", rows))
    rows[15]["patient"] = owners[16]
    with pytest.raises(DataError, match=r"group '8' of '.*both.csv' has examples in the train and the valid split"):
        archscout.task(csv(tmp_path / "both.csv", rows))


def test_all_that_is_wrong_with_a_list_is_said_at_once(tmp_path: Path, files: list[str], images: np.ndarray) -> None:
    rows = [{"path": file, "label": label(n)} for n, file in enumerate(files)]
    rows[3]["path"], rows[4]["path"], rows[5]["label"], rows[6]["path"] = "gone.png", "http://a/b.png", "", "shots"
    path = csv(tmp_path / "l.csv", rows)
    with pytest.raises(DataError, match="4 of 30 images cannot be read") as caught:
        archscout.task(path)
    for part in (
        "gone.png' (line 5 of", "cannot be read: No such file", "is no file on this machine", "line 7 of",
        "has no label", "is no plain file", "skip_bad=true",
    ):  # fmt: skip
        assert part in str(caught.value)
    with pytest.warns(DataNotice, match="4 of 30 images are left out"):
        assert len(content(archscout.task(path, skip_bad=True))) == COUNT - 4


def test_a_file_that_is_listed_twice(tmp_path: Path, files: list[str]) -> None:
    rows = [{"path": file, "label": label(n)} for n, file in enumerate(files)]
    with pytest.warns(DataNotice, match="lists 1 files more than once; each is read once"):
        assert len(content(archscout.task(csv(tmp_path / "l.csv", [*rows, rows[0]])))) == COUNT
    with pytest.raises(DataError, match=r"00.png' is listed twice in .* \(line 2, line 32\), with the labels 'cat'"):
        archscout.task(csv(tmp_path / "l.csv", [*rows, rows[0] | {"label": "dog"}]))


@pytest.mark.parametrize("text", ['{"path": "a.png"', "[1, 2]", "[" * 50_000, '{"path": ' + '"x" ' * 10])
def test_lines_that_are_no_objects_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "l.jsonl").write_text('{"path": "a.png", "label": 1}\n' + text + "\n")
    with pytest.raises(DataError, match=r"l.jsonl', line 2: this is no JSON object"):
        archscout.task(tmp_path / "l.jsonl")


def test_pictures_within_a_parquet_file(tmp_path: Path, files: list[str], images: np.ndarray) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {"image": {"bytes": (tmp_path / f).read_bytes(), "path": None}, "label": n % 2} for n, f in enumerate(files)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "own.parquet")
    task = archscout.task(tmp_path / "own.parquet")
    assert {image: CLASSES[int(name)] for image, name in content(task).items()} == expected(images)


def test_a_folder_with_metadata(tmp_path: Path, files: list[str], images: np.ndarray) -> None:
    csv(tmp_path / "metadata.csv", [{"file_name": f, "label": label(n)} for n, f in enumerate(files)])
    assert content(archscout.task(tmp_path)) == expected(images)
    (tmp_path / "metadata.csv").unlink()
    for split, start, end in (("train", 0, 20), ("validation", 20, 30)):
        (tmp_path / split).mkdir()
        rows = [{"file_name": f"../{files[n]}", "label": label(n)} for n in range(start, end)]
        (tmp_path / split / "metadata.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    task = archscout.task(tmp_path)
    np.testing.assert_array_equal(task.valid.x, images[20:])
    assert content(task) == expected(images)


# -- shards -----------------------------------------------------------------------------------------------------------


def shard(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as opened:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            opened.addfile(info, io.BytesIO(data))
    return path


def samples(tmp_path: Path, files: list[str], rows: range, kind: str = "cls") -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    for n in rows:
        members[f"{n:04d}.png"] = (tmp_path / files[n]).read_bytes()
        text = label(n) if kind == "cls" else json.dumps({"label": label(n)})
        members[f"{n:04d}.{kind}"] = text.encode()
    return members


@pytest.mark.parametrize("kind", ["cls", "json"])
def test_shards_with_labels_beside_pictures(tmp_path: Path, files: list[str], images: np.ndarray, kind: str) -> None:
    for name, rows in (("train-000", range(10)), ("train-001", range(10, 20)), ("val-000", range(20, 30))):
        shard(tmp_path / "shards" / f"{name}.tar", samples(tmp_path, files, rows, kind))
    task = archscout.task(tmp_path / "shards")
    np.testing.assert_array_equal(task.valid.x, images[20:])
    assert (content(task), task.class_names) == (expected(images), CLASSES)


def test_a_shard_of_class_folders(tmp_path: Path, files: list[str], images: np.ndarray) -> None:
    members = {f"all/{label(n)}/{n}.png": (tmp_path / file).read_bytes() for n, file in enumerate(files)}
    path = shard(tmp_path / "own.tar", members | {"all/README": b"hello"})
    with pytest.warns(DataNotice, match="1 members of .* are neither pictures nor labels"):
        assert content(archscout.task(path)) == expected(images)


def test_splits_within_a_shard_and_pictures_of_one_name(tmp_path: Path, files: list[str], images: np.ndarray) -> None:
    def folder(n: int) -> str:
        return f"all/{'train' if n < 20 else 'Test'}/{label(n)}"

    members = {f"{folder(n)}/{n}.png": (tmp_path / file).read_bytes() for n, file in enumerate(files)}
    task = archscout.task(shard(tmp_path / "own.tar", members))
    np.testing.assert_array_equal(sorted(map(bytes, task.test.x)), sorted(map(bytes, images[20:])))
    assert task.class_names == CLASSES
    twins = {f"{folder(n)}/{n // 2}.{'png' if n % 2 else 'PNG'}": data for n, data in enumerate(members.values())}
    assert len(content(archscout.task(shard(tmp_path / "twins.tar", twins)))) == 30
    labelled = samples(tmp_path, files, range(30))
    with pytest.raises(DataError, match=r"'0003.png' and '0003.jpg' of '.*' are two examples with one label"):
        archscout.task(shard(tmp_path / "two.tar", labelled | {"0003.jpg": labelled["0004.png"]}))
    objects = {n: b'{"label": {"id": 3}}' if n.endswith("cls") else d for n, d in labelled.items()}
    objects = {n.replace("cls", "json"): d for n, d in objects.items()}
    with pytest.raises(DataError, match=r"has no pictures with labels"):
        archscout.task(shard(tmp_path / "objects.tar", objects))
    assert content(archscout.task(shard(tmp_path / "more.tar", members | {"all/README.txt": b"hello"})))
    with tarfile.open(tmp_path / "two.tar", "w") as opened:
        for _ in range(2):
            opened.add(tmp_path / files[0], "0001.png")
    with pytest.raises(DataError, match=r"has two members '0001.png'"):
        archscout.task(tmp_path / "two.tar")


def test_bad_shards_are_named(tmp_path: Path, files: list[str]) -> None:
    path = shard(tmp_path / "own.tar", samples(tmp_path, files, range(30)))
    whole = path.read_bytes()
    members = samples(tmp_path, files, range(30))
    del members["0007.cls"]
    with pytest.raises(DataError, match=r"'0007.png' of '.*own.tar' has no label"):
        archscout.task(shard(path, members))
    for damaged in (b"", b"x" * 2000, whole[:1100], whole[: 20 * 1024 + 600]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"own.tar' (is no whole tar file|has no pictures)"):
            archscout.task(path)


# -- Python -----------------------------------------------------------------------------------------------------------


def digest_of(task: Task) -> str:
    parts = [np.ascontiguousarray(a).tobytes() for s in (task.train, task.valid) for a in (s.x, s.y)]
    return hashlib.sha256(b"".join(parts)).hexdigest()


class Pairs:
    """A data set as PyTorch wants one, without being of its class."""

    classes = CLASSES

    def __init__(self, images: np.ndarray, form: str) -> None:
        self.images, self.form = images, form

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> Any:
        image: Any = self.images[row]
        if self.form == "pillow":
            image = Image.fromarray(image)
        if self.form == "tensor":
            image = torch.from_numpy(image).permute(2, 0, 1)
        return {"image": image, "label": row % 2} if self.form == "dict" else (image, row % 2)


@pytest.mark.parametrize("form", ["array", "pillow", "tensor", "dict"])
def test_a_data_set(images: np.ndarray, form: str) -> None:
    assert content(archscout.task(Pairs(images, form))) == expected(images)


def test_arrays_and_tensors_and_dictionaries(images: np.ndarray) -> None:
    y = np.arange(COUNT) % 2
    reference = archscout.task((images, y), name="mine", train=10)
    assert (reference.name, len(reference.train)) == ("mine:train=10", 10)
    names = np.array(CLASSES)[y]
    first = torch.from_numpy(images).permute(0, 3, 1, 2)
    forms = [
        (images, names), (first, torch.from_numpy(y)), {"x": images, "y": y}, {"x_train": first, "y_train": y.tolist()},
        TensorDataset(first, torch.from_numpy(y)), DataLoader(TensorDataset(first, torch.from_numpy(y)), shuffle=True),
    ]  # fmt: skip
    digests = {digest_of(archscout.task(form, train=10)) for form in forms}
    assert digests == {digest_of(reference)}
    assert archscout.task(forms[0]).class_names == CLASSES
    splits = {"train": (images[:20], names[:20]), "test": (images[20:], names[20:])}
    task = archscout.task(splits)
    assert task.test is not None
    np.testing.assert_array_equal(task.test.x, images[20:])
    assert archscout.task(reference) is reference


def test_columns_and_tensors_of_any_kind(images: np.ndarray) -> None:
    pandas = pytest.importorskip("pandas")
    names = np.array(CLASSES)[np.arange(COUNT) % 2]
    reference = archscout.task((images, names))
    for labels in (pandas.Series(names, index=range(5, 5 + COUNT)), pandas.Categorical(names)):
        task = archscout.task((images, labels))
        assert (digest_of(task), task.class_names) == (digest_of(reference), CLASSES)
    floats = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 256
    halves = archscout.task((floats.bfloat16(), torch.from_numpy(np.arange(COUNT) % 2)))
    np.testing.assert_array_equal(halves.train.x, archscout.task((floats, np.arange(COUNT) % 2)).train.x)
    for tensor in (floats[:, 0].to_sparse(), floats.to("meta")):
        with pytest.raises(DataError, match=r"a tensor cannot be read as an array .*give a dense one"):
            archscout.task((tensor, np.arange(COUNT) % 2))
    with pytest.raises(DataError, match="example 0 of the data set is a Subset"):
        archscout.task(random_split(TensorDataset(floats, torch.arange(COUNT)), [COUNT - 4, 4]))


def test_loaders_that_choose(images: np.ndarray) -> None:
    data = TensorDataset(torch.from_numpy(images).permute(0, 3, 1, 2), torch.arange(COUNT) % 2)
    chosen = archscout.task(DataLoader(data, sampler=SubsetRandomSampler(range(5, 25))))
    assert set(content(chosen)) == {image.tobytes() for image in images[5:25]}
    with pytest.raises(UsageError, match="a loader with a WeightedRandomSampler cannot be read as data"):
        archscout.task(DataLoader(data, sampler=WeightedRandomSampler([1.0] * COUNT, COUNT)))


def test_random_transforms_are_held_still_and_told(images: np.ndarray) -> None:
    class Noisy(Pairs):
        def __getitem__(self, row: int) -> Any:
            return torch.from_numpy(self.images[row]).permute(2, 0, 1) + torch.rand(1), row % 2

    state = torch.get_rng_state()
    with pytest.warns(DataNotice, match="gives an example differently each time"):
        first, second = archscout.task(Noisy(images, "")), archscout.task(Noisy(images, ""))
    assert digest_of(first) == digest_of(second)
    assert torch.equal(state, torch.get_rng_state())


def test_tables(tmp_path: Path, files: list[str], images: np.ndarray) -> None:
    pandas = pytest.importorskip("pandas")
    import pyarrow as pa

    columns = {"path": [str(tmp_path / file) for file in files], "label": [label(n) for n in range(COUNT)]}
    assert content(archscout.task(pandas.DataFrame(columns))) == expected(images)
    assert content(archscout.task(pa.table(columns))) == expected(images)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (7, "data cannot be of type int: give a task, a name, a path"),
        ([], "the data set has no examples"),
        ([1, 2, 3], "example 0 of the data set is a int: give a pair"),
        ([{"picture": 1, "kind": 2}], "has the keys picture, kind: give its image as 'image'"),
        ([(np.zeros((8, 8)), 0), (np.zeros((8, 9)), 1)], r"example 1 of the data set is float64 of shape \(8, 9, 1\)"),
        ({"a": 1}, "the dictionary has no array x_train"),
        ((np.zeros((4, 8, 8)), np.zeros(3)), "y has 3 labels for 4 images"),
        (
            (torch.zeros(4, 8, 8, 3), np.zeros(4)),
            r"shape \(4, 8, 8, 3\), with the channels last: .*permute\(0, 3, 1, 2",
        ),
        ([(torch.zeros(8, 8, 1), 0)], r"shape \(8, 8, 1\), with the channels last: .*permute\(2, 0, 1"),
    ],
)
def test_what_is_no_data_is_refused(data: Any, message: str) -> None:
    with pytest.raises((DataError, UsageError), match=message):
        archscout.task(data)


def test_options_are_checked_before_data_are_read(tmp_path: Path) -> None:
    (tmp_path / "broken.npz").write_bytes(b"nothing")
    with pytest.raises(UsageError, match="size of a task must be a whole number"):
        archscout.task(tmp_path / "broken.npz", size=-1)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"flip": np.array([1, 2])}, "flip of a task must be true or false"),
        ({"balance": "yes"}, "balance of a task must be true or false"),
        ({"medium": []}, r"medium of a task cannot be \[\]"),
        ({"size": 10**6}, "size of a task may be 4,096 at most, not 1,000,000"),
        ({"group": np.arange(60)}, "group of a task must be the name of a column, not a ndarray"),
        ({"group": "speaker"}, "group='speaker' names a column, and the data have no names"),
        ({"split": "part"}, "split='part' names a column"),
        ({"name": "a\nb"}, "name of the data must be one line"),
        ({"name": ""}, "name of the data must be a text"),
    ],
)
def test_odd_options_of_data_at_hand(images: np.ndarray, option: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        archscout.task((images, np.arange(COUNT) % 2), **option)


def test_pictures_in_a_table_of_pandas(images: np.ndarray) -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"image": list(images), "label": np.arange(COUNT) % 2})
    assert digest_of(archscout.task(table)) == digest_of(archscout.task((images, np.arange(COUNT) % 2)))


# -- what others gave --------------------------------------------------------------------------------------------------


def test_lists_in_cells_are_several_labels(tmp_path: Path, files: list[str]) -> None:
    marks = [["red"], ["red", "a|b"], [], ["a|b"]]
    rows = [{"path": f, "label": marks[n % 4]} for n, f in enumerate(files)]
    (tmp_path / "l.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.warns(DataNotice, match="has several labels in one cell"):
        task = archscout.task(tmp_path / "l.jsonl")
    assert task.kind == "multi-label images"
    assert task.class_names == ("a|b", "red")
    rows[4]["label"] = {"name": "red"}  # type: ignore[assignment]
    (tmp_path / "l.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(DataError, match=r"line 5 of .* has an object in column 'label'"):
        archscout.task(tmp_path / "l.jsonl")


def test_paths_that_were_written_on_windows(tmp_path: Path, files: list[str], images: np.ndarray) -> None:
    rows = [{"path": f.replace("/", "\\"), "label": label(n)} for n, f in enumerate(files)]
    assert any("\\" in row["path"] for row in rows)
    assert content(archscout.task(csv(tmp_path / "l.csv", rows))) == expected(images)


def test_lists_of_several_lengths_masked_values_and_empty_masks(images: np.ndarray) -> None:
    with pytest.raises(DataError, match="elements of several lengths"):
        archscout.task(([[1, 2], [3], [4]], [0, 1, 0]))
    with pytest.raises(DataError, match="has masked values"):
        archscout.task((np.ma.masked_array(images, images > 250), np.arange(COUNT) % 2))
    with pytest.raises(DataError, match="no pixel of the train masks of the data has a class"):
        archscout.task((images, np.full(images.shape[:3], 255)))

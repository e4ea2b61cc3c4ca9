"""What could be read as something else without a word: it is refused, or told, in one sentence."""

import io
import json
import re
import tarfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import archscout
from archscout.core.errors import DataError, DataNotice
from archscout.tasks import table
from archscout.tasks.contents import Raw
from archscout.tasks.doors import unread
from archscout.tasks.doors.manifest import by_splits
from archscout.tasks.doors.path import open_path
from archscout.tasks.doors.tables import read_columns
from archscout.tasks.mask_classes import read_masks
from archscout.tasks.targets import read

COUNT = 30


def pixels(number: int, side: int = 8) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)


def png(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels(number)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures 00.png to 29.png."""
    path = tmp_path_factory.mktemp("pictures")
    for number in range(COUNT):
        (path / f"{number:02d}.png").write_bytes(png(number))
    return path


def told(action: Any) -> tuple[Any, str]:
    """What an action gives, and all that it tells."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = action()
    assert all(issubclass(one.category, DataNotice) for one in caught)
    return result, " ".join(str(one.message) for one in caught)


# -- masks ------------------------------------------------------------------------------------------------------------


def masks(*values: int, split: str = "train", **others: Any) -> dict[str, Raw]:
    """Masks of 4 x 4 pixels, each value in one of them, and any others as splits of their own."""
    y = np.stack([np.full((4, 4), value) for value in values]).astype(np.int16)
    parts = {split: Raw(np.zeros((len(y), 4, 4, 3), np.uint8), y, "x", "y")}
    return parts | {name: masks(*some)["train"] for name, some in others.items()}


@pytest.mark.parametrize(
    ("values", "options", "names", "numbers"),
    [
        ((0, 255), {}, ("0", "255"), [0, 1]),  # people write binary masks so
        ((1, 255), {}, ("1", "255"), [0, 1]),
        ((0, 1, 255), {}, ("0", "1"), [0, 1, -1]),
        ((0, 255), {"unlabelled": 128}, ("0", "255"), [0, 1]),
        ((0, 255, -1), {}, ("0", "255"), [0, 1, -1]),  # -1 is where a picture was padded
        ((0, 128, 254), {}, ("0", "128", "254"), [0, 1, 2]),
        ((0, 1, 2, 4), {}, ("0", "1", "2", "3", "4"), [0, 1, 2, 4]),
        ((0, 2, 1), {"unlabelled": 2, "names": ("a", "b", "none")}, ("a", "b"), [0, -1, 1]),
    ],
)
def test_values_of_masks_are_classes(
    values: tuple[int, ...], options: dict[str, Any], names: tuple[str, ...], numbers: list[int]
) -> None:
    found = read_masks(masks(*values), options.get("names"), "it", options.get("unlabelled"))
    assert found.names == names
    assert found.y["train"][:, 0, 0].tolist() == numbers
    assert (found.y["train"] == found.y["train"][:, :1, :1]).all()


def test_masks_of_one_class_are_refused_and_strange_classes_told() -> None:
    with pytest.raises(DataError, match="every pixel of the masks of it that has a class has class 0"):
        read_masks(masks(0, 0), None, "it")
    with pytest.raises(DataError, match="has class 0, and 255 is none"):
        read_masks(masks(0, 255), None, "it", 255)
    found = read_masks(masks(0, 1, test=(0, 1, 2)), None, "it")
    assert "the test masks of it have a class that no training mask has" in found.notices[0]
    assert not read_masks(masks(0, 1, 2, test=(0, 1)), None, "it").notices


def mask_folder(path: Path, **changes: Any) -> Path:
    """Twelve pictures, and masks of whose pixels the upper ones are of class 1."""
    for name in ("images", "masks"):
        (path / name).mkdir(parents=True)
    for number in range(12):
        image = Image.fromarray(pixels(number))
        exif = image.getexif()
        exif[0x0112] = changes.get("turned", 1)
        image.save(path / "images" / f"{number:02d}.png", exif=exif)
        mask = np.zeros((8, 8), np.uint8)
        mask[: 2 + number % 3] = changes.get("value", 1)
        Image.fromarray(mask).save(path / "masks" / f"{number:02d}.{changes.get('ending', 'png')}")
    return path


def test_black_and_white_masks_in_files(tmp_path: Path) -> None:
    task, notices = told(lambda: archscout.task(mask_folder(tmp_path, value=255)))
    assert task.outputs == 2
    assert set(np.unique(task.train.y)) == {0, 1}
    assert "the values 0 and 255 alone, and are read as two classes" in notices


def test_padding_is_no_class(tmp_path: Path) -> None:
    mask_folder(tmp_path, value=255)
    for file in (tmp_path / "images").iterdir():
        Image.open(file).crop((0, 0, 8, 4)).save(file)
        mask = tmp_path / "masks" / file.name
        Image.open(mask).crop((0, 0, 8, 4)).save(mask)
    task, _ = told(lambda: archscout.task(tmp_path, size=16, fit="pad"))
    assert (task.train.y[:, :4] == -1).all()
    assert (task.train.y[:, 4:12] >= 0).all()
    assert (task.train.y[:, 12:] == -1).all()


def test_pictures_that_are_stored_turned_are_told_where_there_are_masks(tmp_path: Path) -> None:
    _, notices = told(lambda: archscout.task(mask_folder(tmp_path, turned=3)))
    assert "12 of the pictures" in notices
    assert "taken to be upright already" in notices


def test_masks_that_are_no_masks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a JPEG, which blurs the values"):
        archscout.task(mask_folder(tmp_path / "blurred", ending="jpg"))
    twice = mask_folder(tmp_path / "twice")
    Image.new("L", (8, 8)).save(twice / "masks" / "03.bmp")
    with pytest.raises(DataError, match=r"'.*03\.bmp' and '.*03\.png' are two masks of one name"):
        archscout.task(twice)


def test_outlines_for_pictures_of_another_size_are_refused(tmp_path: Path) -> None:
    images = []
    for number in range(12):
        Image.fromarray(pixels(number, 16)).save(tmp_path / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 16, "height": 16})
    images[3]["width"] = 32
    outlines = [
        {"id": n, "image_id": n, "category_id": 1, "segmentation": [[2, 2, 9, 2, 9, 9, 2, 9]]} for n in range(12)
    ]
    about = {"images": images, "annotations": outlines, "categories": [{"id": 1, "name": "thing"}]}
    (tmp_path / "list.json").write_text(json.dumps(about))
    with pytest.raises(DataError, match=r"3\.png' is 16 x 16 pixels .* says 16 x 32: its outlines would not fit"):
        archscout.task(tmp_path / "list.json")
    (tmp_path / "records.json").write_text(json.dumps([{"path": "0.png", "label": "a"}]))
    with pytest.raises(DataError, match=r"write other lists as \.jsonl"):
        archscout.task(tmp_path / "records.json")


# -- shards -----------------------------------------------------------------------------------------------------------


def shard(path: Path, labels: Any = lambda n: {"cls": str(n % 2)}) -> Path:
    with tarfile.open(path, "w") as file:
        for number in range(COUNT):
            members = {"png": png(number)} | {e: text.encode() for e, text in labels(number).items()}
            for ending, content in members.items():
                member = tarfile.TarInfo(f"{number:03d}.{ending}")
                member.size = len(content)
                file.addfile(member, io.BytesIO(content))
    return path


def test_a_shard_that_was_cut_short_between_members(tmp_path: Path) -> None:
    whole = shard(tmp_path / "a.tar")
    with tarfile.open(whole) as file:
        places = [member.offset for member in file]
    content = whole.read_bytes()
    whole.write_bytes(content[: places[40]])
    contents = open_path(whole)
    assert len(contents.splits["train"].y) == 20
    assert any("no mark at its end, and may be cut short: 40 members" in notice for notice in contents.notices)
    whole.write_bytes(content[: places[40] + 100])  # within a header
    with pytest.raises(DataError, match="cut short"):
        open_path(whole)
    whole.write_bytes(content + content)
    with pytest.raises(DataError, match="goes on after its end"):
        open_path(whole)
    whole.write_bytes(content)
    assert not open_path(whole).notices


def test_labels_of_a_sample_that_differ(tmp_path: Path) -> None:
    def differing(number: int) -> dict[str, str]:
        return {"cls": str(number % 2), "json": json.dumps({"label": 1})}

    with pytest.raises(DataError, match=r"sample '000' of .* has the label '0' in its \.cls file and '1' in its \.js"):
        open_path(shard(tmp_path / "a.tar", differing))

    def captioned(number: int) -> dict[str, str]:
        return {"txt": f"picture {number}", "json": json.dumps({"label": "ab"[number % 2]})}

    path = shard(tmp_path / "b.tar", captioned)
    assert open_path(path).class_names == ["a", "b"]  # a text beside a label is a caption
    assert open_path(path, columns={"kind": "lines"}).splits["train"].y[3] == "picture 3"


# -- series -----------------------------------------------------------------------------------------------------------


def series(path: Path, header: str, label: Any, channels: int = 1) -> Path:
    rng = np.random.default_rng(0)
    lines = [":".join([*(",".join(f"{v:.2f}" for v in rng.normal(size=12)) for _ in range(channels)), label(n)])
             for n in range(COUNT)]  # fmt: skip
    path.write_text(f"{header}\n@data\n" + "\n".join(lines))
    return path


def test_names_of_classes_may_have_spaces(tmp_path: Path) -> None:
    file = series(tmp_path / "a.ts", "@classLabel true Ill at ease Well", lambda n: ("Ill at ease", "Well")[n % 2])
    assert open_path(file).class_names == ["Ill at ease", "Well"]


@pytest.mark.parametrize(
    ("header", "label", "said"),
    [
        ("@classLabel true", lambda n: f"1.0,{n}.5", "has values where its label should be"),
        ("@classLabel true A B", lambda n: "ab"[n % 2], "the first: line 3 of .* has the class 'a'"),
        ("@classLabel true a b", lambda n: "", "has no label behind its last colon"),
    ],
)
def test_series_without_labels_are_refused(tmp_path: Path, header: str, label: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        open_path(series(tmp_path / "a.ts", header, label))


def test_channels_that_the_header_does_not_have_are_told(tmp_path: Path) -> None:
    file = series(tmp_path / "a.ts", "@univariate true\n@classLabel true a b", lambda n: "ab"[n % 2], 2)
    assert any("says 1 channel where its series have 2" in notice for notice in open_path(file).notices)
    file.write_text(file.read_text().replace("@univariate true", "@dimensions 2"))
    assert not open_path(file).notices
    file.write_text(file.read_text().replace("@data\n", "@data\n1_0"))
    assert "has a value that is no number" in open_path(file).bad[0][1]


# -- lists and tables -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["./00.png", "../{folder}/00.png", "link.png"])
def test_one_file_by_two_names_is_one_file(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / "link.png").unlink(missing_ok=True)
    (folder / "link.png").symlink_to("00.png")
    lines = [f"{n:02d}.png,{'ab'[n % 2]},{'train' if n < 20 else 'test'}" for n in range(COUNT)]
    path = folder / f"{tmp_path.name}.csv"
    path.write_text("\n".join(["path,label,split", *lines, f"{name.format(folder=folder.name)},a,test"]))
    with pytest.raises(DataError, match=r"is listed twice in .* with the splits 'train' and 'test'"):
        open_path(path)


def test_a_name_that_is_given_twice_in_an_object(folder: Path) -> None:
    (folder / "l.jsonl").write_text('{"path": "00.png", "label": "a", "label": "b"}\n')
    with pytest.raises(DataError, match="line 1: the name 'label' is given twice"):
        open_path(folder / "l.jsonl")
    (folder / "l.jsonl").write_text('{"path": "00.png", "label": "a", "Label": "b"}\n')
    with pytest.raises(DataError, match=r"has the columns '[Ll]abel' and '[Ll]abel'"):
        open_path(folder / "l.jsonl")


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ((1, "1"), r"column 'label' of .* has texts and numbers \('1', 1\)"),
        ((0.5, 1.5), "has numbers with fractions, of which 2 are different: each is a class"),
        (("0.5", "1.5"), "has numbers with fractions"),
        (("cat", "0.5"), ""),
        ((1, 2), ""),
    ],
)
def test_labels_of_mixed_types_are_told(folder: Path, labels: tuple[Any, Any], said: str) -> None:
    rows = [json.dumps({"path": f"{n:02d}.png", "label": labels[n % 2]}) for n in range(COUNT)]
    (folder / "mixed.jsonl").write_text("\n".join(rows))
    notices = " ".join(open_path(folder / "mixed.jsonl").notices)
    assert re.search(said, notices) if said else not notices


def test_a_folder_with_more_files_than_its_metadata_name(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        for number in range(12):
            (tmp_path / split / f"{number}.png").write_bytes(png(number + (100 if split == "test" else 0)))
        lines = [f"{number}.png,{'ab'[number % 2]}" for number in range(10)]
        (tmp_path / split / "metadata.csv").write_text("\n".join(["file_name,label", *lines]))
    notices = open_path(tmp_path).notices
    assert sum("has 2 files that its metadata do not name" in notice for notice in notices) == 2
    assert any("10.png, 11.png" in notice for notice in notices)
    (tmp_path / "metadata.csv").write_text("file_name,label\ntrain/0.png,a\n")
    with pytest.raises(DataError, match="both say what there is: leave one"):
        open_path(tmp_path)


def test_commas_in_numbers() -> None:
    def numbers(*cells: str) -> list[float]:
        return list(table.read({"a": cells}, "it").values[:, 0])

    assert numbers("0,5", "1,250") == [0.5, 1.25]
    assert numbers("1,250,000", "1,250", "7") == [1250000, 1250, 7]
    assert numbers("1,250.5", "1,250") == [1250.5, 1250]
    with pytest.raises(DataError, match=r"'1,250' in column 'a' of it may be 1250 or 1\.250"):
        numbers("1,250", "850")
    assert table.read({"a": ["1,250", *"bcdefgh"]}, "it").columns[0].categories  # a text among texts


def test_texts_that_hardly_repeat_are_told() -> None:
    days = [f"2020-01-{day:02d}" for day in range(1, 21)]
    assert "has 20 different texts in 20 rows, each a category" in table.read({"day": days}, "it").notices[0]
    assert not table.read({"day": days[:4] * 5}, "it").notices
    assert "different texts" in table.read({"a": [f"{n}_0" for n in range(9)]}, "it").notices[0]  # no number here


def test_each_file_that_is_not_read_says_what_to_do(tmp_path: Path) -> None:
    for name, said in {
        "a.csv.gz": "unpack it", "a.zip": "unpack it", "a.tgz": "unpack it", "a.xlsx": "save its table as CSV",
        "a.pkl": "could run code", "a.h5": "numpy.savez", "a.txt": "text:file=PATH", "a.PNG": "is a single picture",
        "a.mp3": "is a single recording", "a.what": "is neither an .npz",
    }.items():  # fmt: skip
        assert said in unread.advice(Path(name)), name
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(DataError, match=r"^'"):
            open_path(tmp_path / name)


def test_columns_have_the_order_of_the_file(tmp_path: Path) -> None:
    names = [f"column{number}" for number in range(12)]
    (tmp_path / "a.jsonl").write_text(json.dumps(dict.fromkeys(names, 1)) + '\n{"late": 2}\n')
    assert list(read_columns(tmp_path / "a.jsonl")[0]) == [*names, "late"]
    tables = {"train": {n: [1] for n in names}, "test": {"late": [2], **{n: [3] for n in names[::-1]}}}
    assert list(by_splits(tables)) == [*names, "split", "late"]


def test_numbers_that_are_all_different_are_hardly_classes(folder: Path) -> None:
    (folder / "n.csv").write_text("\n".join(["path,label", *(f"{n:02d}.png,{n}" for n in range(COUNT))]))
    with pytest.raises(DataError, match="or say kind=regression if they are numbers"):
        archscout.task(folder / "n.csv")


# -- arrays -----------------------------------------------------------------------------------------------------------

IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8, 3), dtype=np.uint8)
CLASSES = np.arange(COUNT) % 3


@pytest.mark.parametrize(
    ("arrays", "options", "said"),
    [
        ({"groups": np.arange(COUNT - 1)}, {}, r"the groups of x of .* have shape \(29,\) for 30 examples"),
        ({"groups": np.where(CLASSES, np.nan, 1)}, {}, r"the groups of x of .* have nan in row 1"),
        ({"x": np.zeros((COUNT, 200, 3))}, {}, r"series are N x channels x length \(numpy.moveaxis\(x, 1, 2\)\)"),
        ({"y": np.ones(COUNT)}, {"kind": "regression"}, "all training targets of .* are the same"),
        ({"y": CLASSES + 0.5}, {}, r"labels are whole numbers from 0 \(kind=regression for other numbers\)"),
    ],
)
def test_arrays_that_are_refused(arrays: dict[str, np.ndarray], options: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        archscout.task({"x": IMAGES, "y": CLASSES, **arrays}, **options)


def test_targets_of_several_columns_that_are_nearly_of_another_kind_are_told() -> None:
    marks = np.eye(3)[CLASSES]
    _, notices = told(lambda: archscout.task({"x": IMAGES, "y": 0.8 * marks + 0.2 / 3}))
    assert "add up to 1, as shares of classes do" in notices
    marks[4] = 0
    parts = {"train": Raw(IMAGES, marks, "x", "y")}
    assert "mark one class at most, and row 4 none" in read(parts, None, "it").notices[0]
    assert not read(parts, None, "it", kind="multilabel").notices


def test_splits_without_groups_beside_one_with_are_told() -> None:
    rng = np.random.default_rng(1)
    arrays = {"x_train": IMAGES, "y_train": CLASSES, "groups_train": np.arange(COUNT) // 3, "y_test": CLASSES}
    _, notices = told(lambda: archscout.task({**arrays, "x_test": rng.integers(0, 256, IMAGES.shape, dtype=np.uint8)}))
    assert "the test split of the data has no groups" in notices


def test_masks_may_have_an_axis_of_one_channel() -> None:
    y = np.random.default_rng(2).integers(0, 2, (COUNT, 8, 8, 1), dtype=np.uint8)
    task = archscout.task({"x": IMAGES, "y": y})
    assert task.train.y.shape[1:] == (8, 8)
    assert task.kind == "image segmentation"


def test_samples_of_16_bits_in_larger_numbers_are_refused() -> None:
    samples = np.random.default_rng(3).normal(0, 3000, (COUNT, 4000)).astype(np.int16)
    arrays = {"audio": samples, "y": CLASSES, "sample_rate": np.int64(8000)}
    assert archscout.task(arrays).input_shape[0] == 1
    with pytest.raises(DataError, match=r"is int32 with samples up to .* as 16 bits have them: store it as int16"):
        archscout.task({**arrays, "audio": samples.astype(np.int32)})

"""Folders of pictures: what is a class, what is a split, and what lies beside them."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from archscout.core.errors import DataError, DataNotice
from archscout.tasks.load import load
from tests.tasks.image_files import arrays, class_folders, everything, npz, png


def test_a_folder_of_class_folders(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets")
    (root / "cat" / "notes.txt").write_text("left alone")
    (root / ".cache").mkdir()
    deeper = png(root / "dog" / "more" / "deep.png", np.full((8, 8, 3), 7, np.uint8))
    with pytest.warns(DataNotice, match=r"1 file was left alone below '.*pets', .* \(.txt: 1\)"):
        task = load(root)
    assert (task.name, task.class_names, task.input_shape) == ("pets", ("cat", "dog"), (3, 8, 8))
    found = everything(task)
    by_pixels = {image.tobytes(): task.class_names[label] for image, label in zip(found.x, found.y, strict=True)}
    files = [*root.glob("*/*.png"), deeper]
    assert by_pixels == {np.asarray(Image.open(file)).tobytes(): file.relative_to(root).parts[0] for file in files}


def test_a_folder_with_splits_on_top(tmp_path: Path) -> None:
    for split, count in (("train", 6), ("val", 3), ("test", 2)):
        class_folders(tmp_path / split, count=count)
    task = load(tmp_path)
    assert [len(split) for split in (task.train, task.valid, task.test)] == [12, 6, 4]


def test_folders_without_classes_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="empty' has no folders"):
        load(empty)
    png(tmp_path / "flat" / "one.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(DataError, match="flat' has no folders"):
        load(tmp_path / "flat")
    with pytest.raises(DataError, match=r"one' has examples of one class only \('cat'\)"):
        load(class_folders(tmp_path / "one", ("cat",)))
    partly = class_folders(tmp_path / "partly")
    (partly / "emu").mkdir()
    with pytest.raises(DataError, match=r"class folder '.*emu' has no images"):
        load(partly)
    class_folders(tmp_path / "split" / "train")
    class_folders(tmp_path / "split" / "test", ("cat", "emu"))
    with pytest.raises(DataError, match=r"class folder '.*test/emu' has no counterpart in '.*train'"):
        load(tmp_path / "split")
    class_folders(tmp_path / "lacking" / "train")
    class_folders(tmp_path / "lacking" / "test", ("cat",))
    with pytest.raises(DataError, match=r"the test split of '.*lacking' has no example of class 1 \('dog'\)"):
        load(tmp_path / "lacking")


def test_all_bad_files_are_listed_together_or_left_out(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets")
    (root / "cat" / "empty.png").write_bytes(b"")
    (root / "dog" / "text.jpg").write_text("no picture")
    (root / "dog" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(DataError, match=r"3 of 23 images cannot be read: ") as caught:
        load(root)
    for name in ("empty.png' is not a readable", "text.jpg' is not a readable", "gone.png' is a broken link"):
        assert name in str(caught.value)
    with pytest.warns(DataNotice, match=r"3 of 23 images are left out, for they cannot be read: .*gone.png"):
        task = load(root, skip_bad=True)
    assert len(everything(task)) == 20
    assert task.name == "pets:skip_bad=true"


def test_a_pipe_among_pictures_is_named_and_not_waited_for(tmp_path: Path) -> None:
    root = class_folders(tmp_path)
    os.mkfifo(root / "cat" / "pipe.png")
    with pytest.raises(DataError, match=r"pipe.png' is no plain file"):
        load(root)
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(DataError, match=r"pipe.npz' is no plain file"):
        load(tmp_path / "pipe.npz")


@pytest.mark.parametrize(
    "names", [("Train", "Test"), ("TRAIN", "VALID", "TEST"), ("training", "validation", "testing"), ("train", "dev")]
)
def test_splits_by_other_names_are_splits(tmp_path: Path, names: tuple[str, ...]) -> None:
    for number, name in enumerate(names):
        class_folders(tmp_path / name, count=7 + number)  # of so few, pictures in two splits are not told
    task = load(tmp_path)
    assert task.class_names == ("cat", "dog")
    whole = sum(len(split) for split in (task.train, task.valid, task.test) if split is not None)
    assert whole == sum(2 * (7 + number) for number in range(len(names)))


def test_splits_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    for name in ("train", "val", "valid"):
        class_folders(tmp_path / "two" / name)
    with pytest.raises(DataError, match="two' has the folders 'val' and 'valid', which both name the valid split"):
        load(tmp_path / "two")
    class_folders(tmp_path / "untrained" / "test")
    with pytest.raises(DataError, match="untrained' has test, but no folder 'train'"):
        load(tmp_path / "untrained")
    contents = arrays() | {f"{kind}_{name}": arrays()[f"{kind}_train"] for name in ("val", "valid") for kind in "xy"}
    with pytest.raises(DataError, match="has the arrays x_val and x_valid, which both mean x of the valid split"):
        load(npz(tmp_path / "own.npz", contents))


def test_classes_may_be_named_as_splits_are(tmp_path: Path) -> None:
    assert load(class_folders(tmp_path, ("bus", "test", "train"))).class_names == ("bus", "test", "train")


def test_folders_beside_splits_are_told(tmp_path: Path) -> None:
    class_folders(tmp_path / "train")
    class_folders(tmp_path / "unlabelled", ("all",))
    with pytest.warns(DataNotice, match="has folders beside its splits that are not used: unlabelled"):
        load(tmp_path)


def test_links_are_followed_within_the_folder_and_refused_out_of_it(tmp_path: Path) -> None:
    root, store = class_folders(tmp_path / "data"), class_folders(tmp_path / "store", side=8)
    png(store / "cat" / "other.png", np.full((8, 8, 3), 5, np.uint8))
    (root / "cat" / "more").symlink_to(store / "cat")
    with pytest.raises(DataError, match=r"more' is a link that leads out of '.*data': add links=true"):
        load(root)
    assert len(everything(load(root, links=True))) == 31
    (root / "cat" / "more").unlink()
    (root / "cat" / "round").symlink_to(root)
    with pytest.raises(DataError, match="round' is a link that leads back to a folder around it"):
        load(root)
    (root / "cat" / "round").unlink()
    (root / "cat" / "again.png").symlink_to(root / "cat" / "00.png")
    assert len(everything(load(root))) == 21


def test_class_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    root = class_folders(tmp_path, ("cat", os.fsdecode(b"caf\xe9")))
    with pytest.raises(DataError, match=r"has a name that is no plain text \('caf") as caught:
        load(root)
    str(caught.value).encode()
    for names in (["a", "a"], ["a", " "], ["a", "b\x00c"], ["a", "b\nc"]):
        with pytest.raises(DataError, match=r"named 'a'|has no name|no plain text"):
            load(npz(tmp_path / "own.npz", arrays() | {"class_names": np.array(names)}))
    as_bytes = {"class_names": np.array(["café".encode(), b"dog"])}
    assert load(npz(tmp_path / "bytes.npz", arrays() | as_bytes)).class_names == ("café", "dog")


def test_what_systems_leave_behind_is_no_class(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "photos")
    class_folders(folder / "__MACOSX", count=5)
    png(folder / "@eaDir" / "cat.png", np.zeros((8, 8, 3), np.uint8))
    assert load(str(folder)).class_names == ("cat", "dog")


def test_splits_by_other_names_are_no_classes(tmp_path: Path) -> None:
    for name in ("train_set", "test_set"):
        class_folders(tmp_path / "photos" / name)
    with pytest.raises(
        DataError, match="the folders test_set and others, each with the folders cat, dog, and may mean"
    ):
        load(str(tmp_path / "photos"))


def test_folders_within_class_folders_are_told(tmp_path: Path) -> None:
    class_folders(tmp_path / "photos" / "animal")
    class_folders(tmp_path / "photos", ("car",))
    with pytest.warns(DataNotice, match=r"its outer folders; what lies in those below them \(animal/cat, animal/dog\)"):
        assert load(str(tmp_path / "photos")).class_names == ("animal", "car")

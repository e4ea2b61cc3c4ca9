"""Pictures of every mode and size become arrays of one."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from archscout.core.errors import DataError, DataNotice
from archscout.tasks.decode import read_image
from archscout.tasks.load import load
from tests.tasks.image_files import arrays, class_folders, everything, npz, png


def test_grey_images_stay_grey(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        for number in range(5):
            png(tmp_path / name / f"{number}.png", rng.integers(0, 256, (8, 8), dtype=np.uint8))
    Image.new("1", (8, 8), 1).save(tmp_path / "a" / "ink.png")
    assert load(tmp_path).input_shape == (1, 8, 8)
    assert load(tmp_path, channels=3).input_shape == (3, 8, 8)


def test_grey_and_palette_and_printed_images_become_colour_where_others_are(tmp_path: Path) -> None:
    root = class_folders(tmp_path)
    Image.new("P", (8, 8)).save(root / "cat" / "palette.png")
    Image.new("CMYK", (8, 8)).save(root / "cat" / "print.jpg")
    assert load(root).input_shape == (3, 8, 8)
    grey = np.random.default_rng(1).integers(0, 256, (8, 8), dtype=np.uint8)
    png(root / "cat" / "000.png", grey)  # the first of all files, so that it is read before any colour is
    with pytest.warns(DataNotice, match=r"1 image has grey values, which are read as colour, as the others are"):
        task = load(root)
    assert task.input_shape == (3, 8, 8)
    assert any((image == grey[..., None]).all() for image in everything(task).x)
    assert load(root, channels=1).input_shape == (1, 8, 8)


def test_transparent_places_are_laid_on_a_background_and_told(tmp_path: Path) -> None:
    root = class_folders(tmp_path)
    rng = np.random.default_rng(0)
    layers = rng.integers(0, 256, (8, 8, 4), dtype=np.uint8)
    png(root / "cat" / "glass.png", layers)
    alpha = layers[..., 3:] / 255
    for background, value in (("white", 255), ("black", 0)):
        with pytest.warns(DataNotice, match=f"1 image has transparent pixels, which were laid on {background}"):
            task = load(root, background=background)
        expected = layers[..., :3] * alpha + value * (1 - alpha)
        assert min(np.abs(image - expected).max() for image in everything(task).x.astype(float)) <= 1
    png(root / "cat" / "glass.png", np.full((8, 8, 4), 255, np.uint8))  # opaque: there is nothing to tell
    assert load(root).input_shape == (3, 8, 8)
    png(root / "cat" / "glass.png", np.dstack([np.full((8, 8, 3), 255, np.uint8), layers[..., 3]]))
    with pytest.raises(DataError, match=r"glass.png' is nothing but white where its transparency is laid on white"):
        load(root)
    with pytest.warns(DataNotice, match="laid on black"):
        load(root, background="black")


def test_photographs_are_turned_as_their_camera_says(tmp_path: Path) -> None:
    root = class_folders(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6  # the right-hand side of the stored picture is its top
    stored = np.zeros((8, 8, 3), np.uint8)
    stored[:4] = 200
    Image.fromarray(stored).save(root / "cat" / "turned.png", exif=exif)
    seen = next(image for image in everything(load(root)).x if (image[:, 0] == image[0, 0]).all())
    np.testing.assert_array_equal(seen, stored.transpose(1, 0, 2)[:, ::-1])


def test_images_of_different_sizes_get_one_that_is_chosen_and_told(tmp_path: Path) -> None:
    root = class_folders(tmp_path)
    odd = png(root / "dog" / "odd.png", np.random.default_rng(0).integers(0, 256, (8, 16, 3), dtype=np.uint8))
    with pytest.warns(DataNotice, match=r"differ in size \(8 x 8 to 8 x 16 pixels\): all are stretched to 8 x 8"):
        stretched = load(root)
    pixels = np.asarray(Image.open(odd))
    small = np.asarray(Image.fromarray(pixels).resize((8, 8), Image.Resampling.BILINEAR))
    assert any((image == small).all() for image in everything(stretched).x)
    with pytest.warns(DataNotice, match="all are cropped to 8 x 8"):
        cropped = load(root, fit="crop")
    assert any((image == pixels[:, 4:12]).all() for image in everything(cropped).x)
    with pytest.warns(DataNotice, match="all are padded to 8 x 8"):
        padded = load(root, fit="pad", background="black")
    assert any((image[[0, 1, 6, 7]] == 0).all() and image[2:6].any() for image in everything(padded).x)


def test_large_photographs_are_read_small(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        for number in range(6):
            (tmp_path / name).mkdir(exist_ok=True)
            image = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((400, 300))
            image.save(tmp_path / name / f"{number}.jpg", quality=95)
    with pytest.warns(DataNotice, match=r"the images are 300 x 400 pixels: all are stretched to 64 x 64 \(size=N"):
        task = load(tmp_path)
    decoded = [Image.open(file).convert("RGB").resize((64, 64), Image.Resampling.BILINEAR)
               for file in sorted(tmp_path.rglob("*.jpg"))]  # fmt: skip
    whole = np.stack([np.asarray(image) for image in decoded]).astype(int)
    for image in task.train.x:  # what the decoder skips is not seen
        assert np.abs(whole - image).mean((1, 2, 3)).min() < 1.5


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_arrays_and_files_are_fitted_alike(tmp_path: Path, fit: str) -> None:
    contents = arrays(shape=(8, 12, 3))
    for number, (image, label) in enumerate(zip(contents["x_train"], contents["y_train"], strict=True)):
        png(tmp_path / "files" / f"class{label}" / f"{number:02d}.png", image)
    options = {"size": 6, "fit": fit, "background": "black"}
    first = everything(load(npz(tmp_path / "own.npz", contents), **options)).x.astype(int)
    second = everything(load(tmp_path / "files", **options)).x.astype(int)
    assert first.shape == second.shape == (30, 6, 6, 3)
    assert max(np.abs(second - image).max((1, 2, 3)).min() for image in first) <= 2


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".bmp", ".tiff"])
def test_damaged_image_files_are_named(tmp_path: Path, suffix: str) -> None:
    root = class_folders(tmp_path)
    file = root / "cat" / f"bad{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(file)
    whole = file.read_bytes()
    for damaged in (b"", b"nonsense", whole[: len(whole) // 2]):
        file.write_bytes(damaged)
        with pytest.raises(DataError, match=rf"cat/bad\{suffix}' is not a readable image"):
            load(root)


def test_images_of_sixteen_bits_are_refused(tmp_path: Path) -> None:
    root = class_folders(tmp_path)
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(root / "cat" / "deep.png")
    with pytest.raises(DataError, match=r"deep.png' has more than 8 bits a channel"):
        load(root)


def test_several_frames_and_deep_colours_are_told(tmp_path: Path) -> None:
    root = class_folders(tmp_path)
    frames = [Image.new("RGB", (8, 8), (value, 0, 9)) for value in (10, 200)]
    frames[0].save(root / "cat" / "film.gif", save_all=True, append_images=frames[1:])
    deep = np.random.default_rng(0).integers(0, 2**16, (8, 8, 3), dtype=np.uint16)
    (root / "dog" / "deep.png").write_bytes(deep_png(deep))
    with pytest.warns(DataNotice) as told:
        task = load(root)
    assert sorted(str(notice.message) for notice in told) == [
        "1 image has 16 bits a channel, of which the upper 8 are used.",
        "1 image has several frames or pages, of which the first is used.",
    ]
    assert any((image == deep >> 8).all() for image in everything(task).x)


def deep_png(pixels: np.ndarray) -> bytes:
    """A PNG file of 16 bits a channel (ISO 15948), which Pillow does not write."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def test_a_single_image_is_read_as_a_network_takes_it(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    file = png(tmp_path / "one.png", pixels)
    np.testing.assert_array_equal(read_image(file, (3, 8, 8))[0], pixels)
    grey = np.asarray(Image.fromarray(pixels).convert("L"))
    np.testing.assert_array_equal(read_image(file, (1, 8, 8))[0, ..., 0], grey)
    assert read_image(file, (3, 5, 4)).shape == (1, 5, 4, 3)
    file.write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"one.png' is not a readable image"):
        read_image(file, (3, 8, 8))
    with pytest.raises(DataError, match=r"one.png' cannot be read: No such file"):
        read_image(tmp_path / "missing" / "one.png", (3, 8, 8))

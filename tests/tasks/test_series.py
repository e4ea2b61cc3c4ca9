"""Series as people have them: files of the UCR and UEA archives, and arrays; what is wrong with them is said."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import archscout
from archscout.cli.main import run
from archscout.core.errors import DataError, DataNotice, UsageError
from archscout.core.files import write_json
from archscout.networks.pick import build
from archscout.tasks.series import SeriesClassification, SeriesRegression
from archscout.testing import tiny_series
from archscout.training import checkpoint

HEADER = "#About\n@problemName Waves\n@timeStamps false\n@univariate {one}\n@classLabel true up down\n@data\n"


def values(number: int, channels: int = 2, length: int = 12) -> np.ndarray:
    return np.random.default_rng(number).normal((number % 2) * 3, 1, (channels, length)).round(3)


def line(series: np.ndarray, label: object) -> str:
    return ":".join([*(",".join(map(str, channel.tolist())) for channel in series), str(label)])


def label(number: int) -> str:
    return ("up", "down")[number % 2]


def write(file: Path, lines: list[str], header: str = HEADER) -> Path:
    file.parent.mkdir(exist_ok=True)
    file.write_text(header.format(one="false") + "\n".join(lines) + "\n")
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "Waves" / "Waves_TRAIN.ts", [line(values(n), label(n)) for n in range(20)])
    write(tmp_path / "Waves" / "Waves_TEST.ts", [line(values(n), label(n)) for n in range(100, 106)])
    return tmp_path / "Waves"


def change(folder: Path, number: int, text: str) -> None:
    file = folder / "Waves_TRAIN.ts"
    lines = file.read_text().splitlines()
    lines[6 + number] = text
    file.write_text("\n".join(lines))


def splits(task: Any) -> list[np.ndarray]:
    return [split.x for split in (task.train, task.valid, task.test)]


def test_a_folder_of_the_archive_is_a_task(folder: Path) -> None:
    task = archscout.task(folder)
    assert isinstance(task, SeriesClassification)
    assert task.input_shape == (2, 12)
    assert task.drawn == ("valid",)
    assert task.test is not None
    np.testing.assert_allclose(task.test.x, [values(n) for n in range(100, 106)], rtol=1e-6)
    assert [task.class_names[y] for y in task.test.y] == [label(n) for n in range(6)]
    found = {x.tobytes() for split in (task.train, task.valid) for x in split.x}
    assert found == {values(n).astype(np.float32).tobytes() for n in range(20)}


@pytest.mark.parametrize(("ending", "part", "form"), [(".tsv", "\t", "{:.0f}"), (".txt", "  ", "{:.7e}")])
@pytest.mark.filterwarnings("ignore:the series have")
def test_files_without_a_header_are_those_with_one(tmp_path: Path, ending: str, part: str, form: str) -> None:
    (plain := tmp_path / "plain").mkdir()
    for split, numbers in (("TRAIN", range(20)), ("TEST", range(100, 106))):
        some = {n: values(n, 1, 12 - n % 3) for n in numbers}
        write(tmp_path / "ts" / f"Waves_{split}.ts", [line(series, label(n)) for n, series in some.items()])
        rows = [[form.format(-(n % 2)), *map(str, series[0]), *["NaN"] * (n % 3)] for n, series in some.items()]
        (plain / f"Waves_{split}{ending}").write_text("\n".join(map(part.join, rows)) + "\n")
    expected = archscout.task(tmp_path / "ts")
    with pytest.warns(DataNotice, match="first number of each line of .* is read as a class"):
        task = archscout.task(plain)
    names = {"-1": "down", "0": "up"}
    for split in ("train", "valid", "test"):
        one, other = getattr(task, split), getattr(expected, split)
        np.testing.assert_array_equal(one.x, other.x)
        assert [names[task.class_names[y]] for y in one.y] == [expected.class_names[y] for y in other.y]


@pytest.mark.parametrize("first", ["a b label", "2.57e-1 -0.02 -0.1", "5"])
def test_a_table_without_classes_in_front_is_no_file_of_series(tmp_path: Path, first: str) -> None:
    for name in ("X_train.txt", "X_test.txt"):
        (tmp_path / name).write_text(f"{first}\n1 2 3\n")
    with pytest.raises(DataError, match="no folders"):
        archscout.task(tmp_path)


def test_one_file_has_its_test_split_beside_it(folder: Path) -> None:
    with pytest.warns(DataNotice, match=r"Waves_TEST\.ts' beside it is the test split"):
        one = archscout.task(folder / "Waves_TRAIN.ts")
    for split, other in zip((one.train, one.valid, one.test), splits(archscout.task(folder)), strict=True):
        assert split is not None
        np.testing.assert_array_equal(split.x, other)
    (folder / "Other_TRAIN.ts").write_text("nothing")
    with pytest.warns(DataNotice, match=r"files that are not used: Other_TRAIN\.ts"):
        archscout.task(folder)
    with pytest.raises(DataError, match=r"Other_TRAIN\.ts' and 'Waves_TRAIN\.ts', both for the train split"):
        archscout.task(folder.rename(folder.parent / "Renamed"))


def test_different_lengths_are_brought_to_one(folder: Path) -> None:
    change(folder, 0, line(values(0, length=9), "up"))
    change(folder, 1, line(values(1, length=30), "down"))
    with pytest.warns(DataNotice, match=r"9 to 30 values: all are brought to 12, 1 by cutting .* and 1 by repeating"):
        task = archscout.task(folder)
    every = np.concatenate([task.train.x, task.valid.x])
    padded = np.concatenate([values(0, length=9), np.repeat(values(0, length=9)[:, -1:], 3, 1)], 1)
    for expected in (padded, values(1, length=30)[:, :12]):
        assert any(np.allclose(x, expected) for x in every)
    with pytest.warns(DataNotice, match="brought to 10"):
        assert archscout.task(folder, length=10).input_shape == (2, 10)


def test_numbers_are_targets_where_the_header_says_so(tmp_path: Path) -> None:
    header = "@timeStamps false\n@targetLabel true\n@data\n"
    write(tmp_path / "w_TRAIN.ts", [line(values(n), n / 4) for n in range(20)], header)
    task = archscout.task(tmp_path / "w_TRAIN.ts")
    assert isinstance(task, SeriesRegression)
    assert task.test is not None
    every = [(x, y) for split in (task.train, task.valid, task.test) for x, y in zip(split.x, split.y, strict=True)]
    assert {float(y[0]) for _, y in every} == {n / 4 for n in range(20)}
    assert all(np.allclose(x, values(round(4 * float(y[0])))) for x, y in every)


BAD = [
    (line(values(3), "sideways"), "has the class 'sideways', which the header does not name"),
    ("1,2,3", "has no label behind a colon"),
    ("1,x,3:1,2,3:up", "has a value that is no number"),
    ("1,2,3:1,2:up", "has channels of different lengths"),
    (line(values(3), "up").replace(",", ",?,", 1), "has channels of different lengths"),
    (line(np.full((2, 12), np.nan), "up"), "has no finite number at place 0 of channel 0"),
    (line(values(3, channels=1), "down"), "has 1 channels where the first has 2"),
    ("?" + line(values(3), "down")[line(values(3), "down").index(",") :], "has no finite number at place 0"),
]


@pytest.mark.parametrize(("text", "said"), BAD)
def test_a_bad_series_is_named_by_its_line_or_left_out(folder: Path, text: str, said: str) -> None:
    change(folder, 3, text)
    with pytest.raises(DataError, match=rf"line 10 of '.*Waves_TRAIN\.ts' {said}.*skip_bad=true"):
        archscout.task(folder)
    with pytest.warns(DataNotice, match=rf"1 of \d+ series are left out.*line 10 of '.*' {said}"):
        task = archscout.task(folder, skip_bad=True)
    assert len(task.train) + len(task.valid) == 19


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no line @data"),
        ("@problemName x\n1,2,3:up\n", "line 2: this is no header"),
        ("@timeStamps true\n@data\n", "line 1: series with time stamps are not read"),
        ("@data\n1,2,3\n", "has series without labels"),
        ("@classLabel true up down\n@data\n", "has no series that can be read"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.ts").write_text(text)
    with pytest.raises(DataError, match=said):
        archscout.task(tmp_path / "a.ts")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.ts").write_bytes(b"@data\n\xff\xfe")
    with pytest.raises(DataError, match="no text in UTF-8"):
        archscout.task(tmp_path)


@pytest.mark.parametrize("shape", [(30, 16), (30, 3, 16)])
def test_arrays_that_cannot_be_images_are_series(tmp_path: Path, shape: tuple[int, ...]) -> None:
    x, y = np.random.default_rng(0).normal(size=shape), np.arange(30) % 2
    np.savez(tmp_path / "a.npz", x=x, y=y)
    with pytest.warns(DataNotice, match=r"is read as series of \d channels? and 16 values \(medium=images"):
        task = archscout.task(tmp_path / "a.npz")
    assert isinstance(task, SeriesClassification)
    again = archscout.task((x, y), medium="series")
    np.testing.assert_array_equal(again.train.x, task.train.x)
    assert again.input_shape == (1 if len(shape) == 2 else 3, 16)
    x[4, ..., 5] = np.inf
    with pytest.raises(DataError, match=r"row 4 of x has no finite number at place 5"):
        archscout.task((x, y), medium="series")


def test_grey_images_stay_images_unless_asked() -> None:
    x, y = np.random.default_rng(0).normal(size=(30, 12, 12)), np.arange(30) % 2
    assert archscout.task((x, y)).input_shape == (1, 12, 12)
    assert archscout.task((x, y), medium="series").input_shape == (12, 12)
    with pytest.raises(UsageError, match="holds series, and the parameter size is about images"):
        archscout.task((x, y), medium="series", size=8)
    with pytest.raises(UsageError, match="series with targets of kind multilabel, for which there is no task"):
        archscout.task((x, np.stack([y, 1 - y, y], 1)), medium="series", kind="multilabel")


def test_regression_of_series_answers_in_the_unit_of_its_targets() -> None:
    x, y = np.random.default_rng(0).normal(size=(40, 1, 16)), np.linspace(100, 300, 40)
    task = archscout.task((x, y), medium="series", kind="regression")
    space = archscout.space("series:width=16")
    network = build(space, space.parse("in1_plain16x1k3d1"), task).eval()
    stored = torch.from_numpy(task.valid.x)
    with torch.no_grad():
        mean, std = task.target_scale  # type: ignore[attr-defined]
        expected = network(task.tensors(task.valid)[0]) * std[0] + mean[0]
        torch.testing.assert_close(task.deploy(network)(stored), expected)


def test_predict_takes_arrays_of_series(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task, space, text = tiny_series(), archscout.space("series:width=16"), "in1_plain16x1k3d1"
    folder = tmp_path / "run"
    folder.mkdir()
    network = task.deploy(build(space, space.parse(text), task)).eval()
    checkpoint.write(folder / "network.safetensors", network.state_dict(), {})
    written = {"format": 1, "space": space.name, "architecture": text, "task": task.describe()}
    write_json(folder / "architecture.json", written)
    np.save(tmp_path / "some.npy", task.valid.x[:3])
    assert run(["predict", str(folder), str(tmp_path / "some.npy"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    with torch.no_grad():
        expected = network(torch.from_numpy(task.valid.x[:3])).argmax(1)
    assert [row["label"] for row in said] == [task.class_names[int(y)] for y in expected]
    assert said[0]["series"].endswith("some.npy[0]")
    np.save(tmp_path / "other.npy", np.zeros((2, 5)))
    assert run(["predict", str(folder), str(tmp_path / "other.npy")]) == 2
    assert "takes numbers of shape N x 2 x 32" in capsys.readouterr().err


def test_check_tells_what_is_read(folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["data", "check", str(folder), "--json", "--sheet", str(tmp_path / "sheet.png")]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["kind"] == "series classification"
    assert (tmp_path / "sheet.png").read_bytes()[:4] == b"\x89PNG"

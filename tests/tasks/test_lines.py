"""Lines of text: how they are read, and that they are read by networks."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

import archscout
from archscout.cli.main import run
from archscout.core.errors import DataError, DataNotice, UsageError
from archscout.core.files import write_json
from archscout.networks.pick import build
from archscout.spaces.load import automatic_space
from archscout.tasks.digit_lines import digit_lines
from archscout.tasks.load import undescribe
from archscout.tasks.transcripts import greedy, texts
from archscout.testing import tiny_lines
from archscout.training import checkpoint
from archscout.training.export import to_onnx

COUNT = 20


def text(number: int) -> str:
    return "".join("ab "[(number + place) % 2] for place in range(1 + number % 4)) + "c"


def picture(number: int) -> np.ndarray:
    """Grey, 24 high, wider with the text; its own brightness in the middle, dark paper around."""
    pixels = np.full((24, 20 + 10 * len(text(number))), 40, np.uint8)
    pixels[8:16, 4:-4] = 100 + number
    return pixels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(COUNT):
        Image.fromarray(picture(number)).save(tmp_path / f"{number:02d}.png")
        (tmp_path / f"{number:02d}.gt.txt").write_text(text(number) + "\n", encoding="utf-8")
    return tmp_path


def found(task: Any) -> set[tuple[int, str]]:
    """The brightness of each line, and its text."""
    return {
        (int(x[16, 10, 0]), texts([[int(n) for n in y if n >= 0]], task.class_names)[0])
        for split in (task.train, task.valid, task.test)
        for x, y in zip(split.x, split.y, strict=True)
    }


EXPECTED = {(100 + number, text(number)) for number in range(COUNT)}


def test_a_folder_of_lines_with_transcripts_beside_them(folder: Path) -> None:
    with pytest.warns(DataNotice, match=r"the lines are 53 to 93 pixels wide at 32 of height: .* to 96 of width"):
        task = archscout.task(folder)
    assert task.kind == "text lines"
    assert task.input_shape == (1, 32, 96)
    assert task.class_names == ("a", "b", "c")
    assert task.outputs == 4
    assert found(task) == EXPECTED
    shortest = next(x for x, y in zip(task.train.x, task.train.y, strict=True) if (y >= 0).sum() == 2)
    assert (shortest[:, 60:] == 40).all(), "paper goes on where a line ends"


def test_lists_and_tables_with_a_column_of_transcripts(folder: Path) -> None:
    rows = [{"path": f"{number:02d}.png", "transcript": text(number)} for number in range(COUNT)]
    lists = {
        "a.jsonl": "\n".join(map(json.dumps, rows)),
        "b.csv": "image,text\n" + "\n".join(f"{row['path']},{row['transcript']}" for row in rows),
        "c.csv": "image,label\n" + "\n".join(f"{row['path']},{row['transcript']}" for row in rows),
    }
    for name, content in lists.items():
        (folder / name).write_text(content)
        with pytest.warns(DataNotice, match="wide at 32"):
            assert found(archscout.task(folder / name, kind="lines" if name == "c.csv" else None)) == EXPECTED
    (folder / "d.csv").write_text("path,transcript\n00.png,\n" + "\n".join(f"{n:02d}.png,abc" for n in range(1, 12)))
    with pytest.raises(DataError, match=r"line 2 of '.*d.csv' has no transcript"):
        archscout.task(folder / "d.csv")


def test_arrays_of_python_of_several_widths(folder: Path) -> None:
    images = [picture(number) for number in range(COUNT)]
    with pytest.warns(DataNotice, match="wide at 48"):
        task = archscout.task((images, [text(number) for number in range(COUNT)]), kind="lines", size=48)
    assert task.input_shape == (1, 48, 144)
    assert {line for _, line in found(task)} == {line for _, line in EXPECTED}
    with pytest.raises(DataError, match=r"line 0 of x is float64 of shape \(4, 5, 1\): give bytes"):
        archscout.task(([np.zeros((4, 5))] * 3, ["a"] * 3), kind="lines")


def test_an_archive_of_one_width(tmp_path: Path) -> None:
    lines = np.stack([np.resize(picture(number), (24, 40)) for number in range(COUNT)])
    np.savez(tmp_path / "l.npz", x_train=lines, y_train=np.asarray([text(n) for n in range(COUNT)]))
    task = archscout.task(tmp_path / "l.npz", kind="lines")
    assert task.input_shape == (1, 24, 40)
    assert task.outputs == 4
    assert archscout.task(tmp_path / "l.npz").kind == "image classification", "texts are names unless it is said"
    with pytest.raises(UsageError, match="holds lines, and the parameter flip is about images"):
        archscout.task(tmp_path / "l.npz", kind="lines", flip=True)


@pytest.mark.filterwarnings("ignore:the lines are:archscout.core.errors.DataNotice")
def test_what_is_wrong_with_lines_is_said_at_once(folder: Path) -> None:
    (folder / "03.gt.txt").unlink()
    (folder / "04.gt.txt").write_bytes(b"\xff\xfe")
    (folder / "05.gt.txt").write_text(" \n")
    (folder / "06.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="4 of 20 images cannot be read") as caught:
        archscout.task(folder)
    for part in ("03.png' has no transcript", "04.gt.txt' is no text in UTF-8", "05.gt.txt' is empty", "06.png'"):
        assert part in str(caught.value)
    with pytest.warns(DataNotice, match="4 of 20 images are left out"):
        assert len(found(archscout.task(folder, skip_bad=True))) == COUNT - 4


def test_a_network_is_deployed_with_what_it_reads() -> None:
    task = tiny_lines()
    space = automatic_space(task)
    assert space.name == "lines"
    network = build(space, space.references()["crnn_small"], task).eval()
    session = onnxruntime.InferenceSession(to_onnx(task.deploy(network), task.deployed_shape, quick=True))
    stored = task.test.x[:5].astype(np.float32).transpose(0, 3, 1, 2)
    answered = session.run(None, {session.get_inputs()[0].name: stored})[0]
    with torch.no_grad():
        outputs = network(task.tensors(task.test)[0][:5])
    np.testing.assert_allclose(answered, outputs, atol=1e-4)
    again = undescribe(json.loads(json.dumps(task.describe())))
    assert again.tell(torch.from_numpy(answered)) == [
        {"text": "".join("-_|"[n] for n in row)} for row in greedy(outputs)
    ]


@pytest.mark.filterwarnings("ignore::archscout.core.errors.DataNotice")
def test_predict_reads_lines(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By an untrained network, what it says of a file is what it says of the array."""
    task = archscout.task(folder)
    space = archscout.space("lines:width=32")
    architecture = space.parse("plain16x1k3s22_plain16x1k3s21_none")
    network = task.deploy(build(space, architecture, task)).eval()
    run_folder = tmp_path / "runs" / "r"
    run_folder.mkdir(parents=True)
    checkpoint.write(run_folder / "network.safetensors", network.state_dict(), {})
    described = {"format": 1, "space": space.name, "architecture": architecture.text, "task": task.describe()}
    write_json(run_folder / "architecture.json", described)
    assert run(["predict", str(run_folder), str(folder / "00.png"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    row = next(x for split in (task.train, task.valid, task.test) for x in split.x if int(x[16, 10, 0]) == 100)
    with torch.no_grad():
        outputs = network(torch.from_numpy(row.astype(np.float32).transpose(2, 0, 1))[None])
    assert said == [{"image": str(folder / "00.png"), **task.tell(outputs)[0]}]
    assert run(["data", "check", str(folder), "--json", "--sheet", str(tmp_path / "sheet.png")]) == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size[0] == 12 * (96 + 2)
        assert sheet.size[1] == -(-len(task.train) // 12) * (32 + 2)
    assert json.loads(capsys.readouterr().out)["kind"] == "text lines"


def test_lines_of_digits_are_made_of_those_of_their_split() -> None:
    task = digit_lines(train=40, valid=10, test=10)
    assert task.input_shape == (1, 32, 160)
    assert task.class_names == tuple("0123456789")
    lengths = (task.train.y >= 0).sum(1)
    assert lengths.min() >= 4
    assert lengths.max() <= 8
    np.testing.assert_array_equal(task.train.x, digit_lines(train=40, valid=10, test=10).train.x)
    with pytest.raises(UsageError, match="must be digits or mnist5k, not 'mnist'"):
        digit_lines(digits="mnist")

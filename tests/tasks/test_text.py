"""Characters that follow each other."""

import gzip

import numpy as np
import pytest
import torch

from archscout.core.errors import DataError, DataNotice, UsageError
from archscout.tasks.load import load, undescribe
from archscout.tasks.text import UNKNOWN, text


def written(task, numbers):
    return "".join(task.class_names[number] for number in numbers)


def test_the_text_at_hand_is_english():
    task = load("text")
    assert task.input_shape == (32,)
    assert len(task.train) > 700
    begin = written(task, task.train.x[:20].ravel())
    assert " the " in begin
    assert all(written(task, x)[1:] == written(task, y)[:-1] for x, y in zip(task.valid.x, task.valid.y, strict=True))
    assert load("text").digest == task.digest


def test_a_file_is_cut_in_order(tmp_path):
    content = "".join(chr(ord("a") + (k * k) % 23) for k in range(1000))[:-100] + "\u00e9" * 100
    plain, packed = tmp_path / "some.txt", tmp_path / "some.txt.gz"
    plain.write_text(content, encoding="utf-8")
    packed.write_bytes(gzip.compress(content.encode()))
    with pytest.warns(DataNotice, match="100% of the test characters .* are in no training text"):
        task = load(f"text:file={plain},length=10")
    assert written(task, task.train.x.ravel()) == content[:790]
    assert written(task, task.train.y.ravel()) == content[1:791]
    assert written(task, task.valid.x.ravel()) == content[800:890]
    assert set(written(task, task.test.x.ravel())) == {UNKNOWN}
    assert task.outputs == len(set(content[:800])) + 1
    with pytest.warns(DataNotice):
        assert np.array_equal(text(file=str(packed), length=10).train.y, task.train.y)
    with pytest.warns(DataNotice):
        assert len(text(file=str(plain), length=10, train=7).train) == 7


def test_marks_of_systems_are_no_text(tmp_path):
    lines = "one two\nthree four\n" * 40
    files = [tmp_path / name for name in ("plain.txt", "dos.txt", "mac.txt")]
    for file, written_as in zip(files, (lines, "\ufeff" + lines.replace("\n", "\r\n"), lines.replace("\n", "\r")),
                                strict=True):  # fmt: skip
        file.write_bytes(written_as.encode("utf-8"))
    tasks = [text(file=str(file), length=10) for file in files]
    assert {task.class_names for task in tasks} == {tasks[0].class_names}
    assert all(np.array_equal(task.train.x, tasks[0].train.x) for task in tasks)


@pytest.mark.parametrize(("content", "said"), [("a" * 900, "nothing to foresee"), ("ab\0" * 300, "number zero")])
def test_what_has_nothing_to_foresee_is_refused(tmp_path, content, said):
    (tmp_path / "odd.txt").write_text(content)
    with pytest.raises(DataError, match=said):
        text(file=str(tmp_path / "odd.txt"), length=10)


def test_loss_and_metric_are_over_all_places():
    task = text(train=4)
    _, y = task.tensors(task.train)
    outputs = 5 * torch.nn.functional.one_hot(y, task.outputs).float().transpose(1, 2)
    assert task.measure(outputs, y) == 1.0
    outputs[:, :, 0] = 0
    assert task.measure(outputs, y) == pytest.approx(31 / 32, abs=1 / 64)
    even = torch.zeros_like(outputs)
    assert float(task.loss(even, y)) == pytest.approx(np.log(task.outputs), rel=1e-5)
    assert task.head(3)(torch.zeros(2, 3, 32)).shape == (2, task.outputs, 32)


def test_a_description_makes_the_task_again():
    task = text()
    again = undescribe(task.describe())
    assert (again.class_names, again.input_shape, again.outputs) == (task.class_names, (32,), task.outputs)
    with pytest.raises(DataError, match="damaged"):
        undescribe({"kind": "next character"})


def test_what_is_no_text_is_refused(tmp_path):
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00" * 500)
    (tmp_path / "broken.gz").write_bytes(b"no archive")
    (tmp_path / "short").write_text("to be or not to be")
    for name in ("bytes", "broken.gz", "missing"):
        with pytest.raises(DataError, match="cannot be read as text"):
            text(file=str(tmp_path / name))
    with pytest.raises(DataError, match="has 18 characters, too few"):
        text(file=str(tmp_path / "short"))
    for parameters in ({"length": 0}, {"train": 10**6}, {"train": 0}):
        with pytest.raises(UsageError, match=r"length|train"):
            text(**parameters)

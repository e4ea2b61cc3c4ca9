"""What is asked of examples, as files say it: several labels in a cell, several columns, heads by name, the metric."""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
import torch
from PIL import Image

import archscout
from archscout.cli.main import run
from archscout.core.errors import DataError, DataNotice, UsageError
from archscout.core.metric import Metric
from archscout.core.task import Split, Task
from archscout.tasks.audio import AudioRegression
from archscout.tasks.heads import SeveralHeads
from archscout.tasks.load import load, undescribe
from archscout.tasks.meters import meter_of
from archscout.tasks.multilabel import MultiLabel
from archscout.tasks.regression import ImageRegression
from archscout.testing import (
    TaskConformance,
    tiny_audio,
    tiny_multilabel,
    tiny_regression,
    tiny_segmentation,
    tiny_task,
)

COUNT = 30
KINDS_OF_MARKS = ("red", "red|round", "round; small")


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8, 3), dtype=np.uint8)


@pytest.fixture
def shots(tmp_path: Path, images: np.ndarray) -> Path:
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    return tmp_path


def listed(folder: Path, heading: str, row: Any) -> Path:
    lines = [f"path,{heading}", *(f"{number}.png,{row(number)}" for number in range(COUNT))]
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    return folder / "list.csv"


def answers(task: Task, images: np.ndarray) -> dict[int, np.ndarray]:
    """The targets of each picture, by its number."""
    place = {image.tobytes(): number for number, image in enumerate(images)}
    assert task.test is not None
    return {
        place[np.asarray(x).tobytes()]: y
        for split in (task.train, task.valid, task.test)
        for x, y in zip(split.x, split.y, strict=True)
    }


# -- lists ------------------------------------------------------------------------------------------------------------


def test_several_labels_in_a_cell(shots: Path, images: np.ndarray) -> None:
    file = listed(shots, "label", lambda n: KINDS_OF_MARKS[n % 3])
    with pytest.warns(DataNotice, match=r"column 'label' .* several labels in one cell, parted by \| or ;"):
        task = archscout.task(file)
    assert isinstance(task, MultiLabel)
    assert task.class_names == ("red", "round", "small")
    expected = ([1, 0, 0], [1, 1, 0], [0, 1, 1])
    assert {n: y.tolist() for n, y in answers(task, images).items()} == {n: expected[n % 3] for n in range(COUNT)}


def test_a_class_may_have_such_a_sign_in_its_name(shots: Path) -> None:
    task = archscout.task(listed(shots, "label", lambda n: ("this|that", "other")[n % 2]), kind="classification")
    assert task.class_names == ("other", "this|that")


def test_several_columns_of_numbers(shots: Path, images: np.ndarray) -> None:
    file = listed(shots, "width,height,note", lambda n: f"{n},{n / 2},x")
    with pytest.warns(DataNotice, match="columns that are not used: note"):
        task = archscout.task(file, target="width+height")
    assert isinstance(task, ImageRegression)
    assert task.class_names == ("width", "height")
    assert {n: y.tolist() for n, y in answers(task, images).items()} == {n: [n, n / 2] for n in range(COUNT)}
    file = listed(shots, "target_width,target_height", lambda n: f"{n},{n / 2}")
    assert archscout.task(file).class_names == ("width", "height")
    with pytest.raises(UsageError, match=r"has no column 'depth'"):
        archscout.task(file, target="target_width+depth")


def test_columns_by_name_are_heads(shots: Path, images: np.ndarray) -> None:
    file = listed(
        shots, "label_colour,label_marks,target_size", lambda n: f"{('r', 'g')[n % 2]},{'a|b' if n % 3 else 'a'},{n}"
    )
    with pytest.warns(DataNotice, match="several labels"):
        task = archscout.task(file)
    assert isinstance(task, SeveralHeads)
    assert [(head.name, head.asks, head.names) for head in task.heads] == [
        ("colour", "class", ("g", "r")),
        ("marks", "labels", ("a", "b")),
        ("size", "numbers", ("size",)),
    ]
    assert task.outputs == 5
    assert {n: y.tolist() for n, y in answers(task, images).items()} == {
        n: [1 - n % 2, 1, float(n % 3 > 0), n] for n in range(COUNT)
    }


@pytest.mark.parametrize(
    ("heading", "row", "said"),
    [
        ("label_a,label_b", lambda n: ("x,y", "x,")[n == 4], r"line 6 of .* has no label in column 'label_b'"),
        ("label_a,target_b", lambda n: ("x,1", "x,z")[n == 4], r"line 6 of .* no number \('z'\) in column 'target_b'"),
        ("target_a,target_b", lambda n: (f"{n},{n}", "1,")[n == 4], r"line 6 of .* has no target in column 'target_b'"),
    ],
)
def test_a_bad_answer_is_named_with_its_column(shots: Path, heading: str, row: Any, said: str) -> None:
    file = listed(shots, heading, row)
    with pytest.raises(DataError, match=said):
        archscout.task(file)
    with pytest.warns(DataNotice, match=f"1 of {COUNT} images are left out"):
        archscout.task(file, skip_bad=True)


# -- arrays -----------------------------------------------------------------------------------------------------------


def heads(images: np.ndarray) -> dict[str, Any]:
    number = np.arange(COUNT)
    return {
        "x_train": images[:20],
        "x_test": images[20:],
        "y_side_train": number[:20] % 3,
        "y_side_test": number[20:] % 3,
        "y_test_marks": np.stack([number[20:] % 2, number[20:] > 25], 1),
        "y_train_marks": np.stack([number[:20] % 2, number[:20] > 9], 1),
        "y_size_train": number[:20] / 4,
        "y_size_test": number[20:] / 4,
        "y_colour_train": np.asarray(["red", "blue"] * 10),
        "y_colour_test": np.asarray(["red", "blue"] * 5),
    }


def test_arrays_by_name_are_heads(tmp_path: Path, images: np.ndarray) -> None:
    np.savez(tmp_path / "a.npz", **heads(images))
    task = archscout.task(tmp_path / "a.npz")
    assert isinstance(task, SeveralHeads)
    assert {head.name: (head.asks, head.names) for head in task.heads} == {
        "side": ("class", ("0", "1", "2")),
        "marks": ("labels", ("0", "1")),
        "size": ("numbers", ("size",)),
        "colour": ("class", ("blue", "red")),
    }
    found = answers(task, images)
    columns = {head.name: place for head, place in task._parts()}
    for n in range(COUNT):
        assert found[n][columns["side"]] == n % 3
        assert found[n][columns["size"]] == n / 4
        assert found[n][columns["colour"]] == 1 - n % 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"y_side_test": None}, r"no array y_side of the test split"),
        ({"y_size_train": np.full(20, np.nan)}, r"y_size_train of .* has no finite number in row 0"),
        ({"y_size_train": np.zeros(7)}, r"arrays y_NAME of the train split .* differ in length"),
        ({"y_test_marks": np.zeros((10, 5))}, r"arrays y_marks of .* differ in their columns"),
        ({"y_size_train": np.zeros((20, 2, 2))}, r"y_size_train of .* is float64 of shape \(20, 2, 2\)"),
    ],
)
def test_heads_that_do_not_fit_are_refused(tmp_path: Path, images: np.ndarray, change: Any, said: str) -> None:
    np.savez(tmp_path / "a.npz", **{k: v for k, v in (heads(images) | change).items() if v is not None})
    with pytest.raises(DataError, match=said):
        archscout.task(tmp_path / "a.npz")


def test_one_question_has_no_heads(images: np.ndarray) -> None:
    with pytest.raises(DataError, match="asks one question: name arrays y_NAME, or columns"):
        archscout.task((images, np.arange(COUNT) % 2), kind="heads")


# -- the metric -------------------------------------------------------------------------------------------------------


def said(task: Task) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    _, y = task.tensors(task.valid)
    return torch.randn(len(y), task.outputs, generator=generator), y


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("balanced_accuracy", sklearn.metrics.balanced_accuracy_score),
        ("f1", lambda y, p: sklearn.metrics.f1_score(y, p, average="macro")),
        ("quadratic_kappa", lambda y, p: sklearn.metrics.cohen_kappa_score(y, p, weights="quadratic")),
    ],
)
def test_metrics_of_classes_are_those_of_scikit_learn(name: str, function: Any) -> None:
    task = load(tiny_task(classes=4), metric=name)
    outputs, y = said(task)
    expected = function(y.numpy(), outputs.argmax(1).numpy())
    assert task.measure(outputs, y) == pytest.approx(expected)
    meter = meter_of(task)
    for start in range(0, len(y), 7):
        meter.update(outputs[start : start + 7], y[start : start + 7])
    assert meter.value() == pytest.approx(expected)


def test_metrics_of_labels_and_numbers_are_those_of_scikit_learn() -> None:
    task = load(tiny_multilabel(), metric="f1")
    outputs, y = said(task)
    assert task.measure(outputs, y) == pytest.approx(sklearn.metrics.f1_score(y, outputs >= 0, average="macro"))
    for name, function in (
        ("mean_absolute_error", sklearn.metrics.mean_absolute_error),
        ("variance_explained", sklearn.metrics.r2_score),
        ("root_mean_squared_error", sklearn.metrics.root_mean_squared_error),
    ):
        numbers = load(tiny_regression(), metric=name)
        outputs, y = said(numbers)
        mean, std = (torch.tensor(values) for values in numbers.target_scale)  # type: ignore[attr-defined]
        assert numbers.measure(outputs, y) == pytest.approx(function(y * std + mean, outputs * std + mean), rel=1e-4)
        assert numbers.metric.direction == ("lower" if name.endswith("error") else "higher")
    masks = load(tiny_segmentation(), metric="pixel_accuracy")
    _, y = masks.tensors(masks.valid)
    outputs = torch.randn(len(y), 2, 8, 8, generator=torch.Generator().manual_seed(0))
    assert masks.measure(outputs, y) == pytest.approx(float((outputs.argmax(1) == y)[y >= 0].float().mean()))


def worst_class(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    right = outputs.argmax(1) == targets
    return min(float(right[targets == label].float().mean()) for label in targets.unique())


def test_a_function_of_ones_own_is_the_metric() -> None:
    task = load(tiny_task(), metric=worst_class)
    assert task.metric == Metric("worst_class")
    outputs, y = said(task)
    assert task.measure(outputs, y) == worst_class(outputs, y)
    assert task.digest != tiny_task().digest
    # Whoever loads the network has its name alone.
    again = undescribe(json.loads(json.dumps(task.describe())))
    assert again.metric == task.metric
    with pytest.raises(UsageError, match="'worst_class' is a function that is not at hand"):
        again.measure(outputs, y)


def test_functions_of_scikit_learn_are_called_as_they_are() -> None:
    outputs, y = said(tiny_task())
    kappa = load("digits:metric=sklearn.metrics.cohen_kappa_score,train=500")
    assert kappa.name == "digits:train=500,metric=cohen_kappa_score"
    assert kappa.measure(outputs, y) == pytest.approx(sklearn.metrics.cohen_kappa_score(y, outputs.argmax(1)))
    lower = load(tiny_task(), metric=sklearn.metrics.zero_one_loss)
    assert lower.metric.direction == "lower"
    assert lower.merit(outputs, y) == pytest.approx(-sklearn.metrics.zero_one_loss(y, outputs.argmax(1)))


@pytest.mark.parametrize(
    ("name", "direction"),
    [("CrossEntropyLoss", "lower"), ("NLLLoss", "lower"), ("my_mse", "lower"), ("rmse", "lower"),
     ("MeanError", "lower"),
     ("perplexity", "lower"), ("neg_mean_squared_error", "higher"), ("d2_log_loss_score", "higher"),
     ("lossless", "higher"), ("top5", "higher"), ("R2", "higher")],
)  # fmt: skip
def test_whether_lower_is_better_is_seen_by_the_name(name: str, direction: str) -> None:
    def function(outputs: torch.Tensor, targets: torch.Tensor) -> float:
        return 0.0

    function.__name__ = name
    for given in (function, functools.partial(function), functools.partial(functools.partial(function))):
        assert load(tiny_task(), metric=given).metric == Metric(name, direction)


def test_a_loss_of_torch_is_a_metric_of_which_lower_is_better() -> None:
    outputs, y = said(tiny_task())
    task = load(tiny_task(), metric=torch.nn.CrossEntropyLoss())
    assert task.metric == Metric("CrossEntropyLoss", "lower")
    assert task.merit(outputs, y) == pytest.approx(-float(torch.nn.functional.cross_entropy(outputs, y)))


def test_arguments_go_by_their_names_whatever_their_order() -> None:
    outputs, y = said(tiny_task())
    said_classes = outputs.argmax(1)

    def swapped(y_pred: Any, y_true: Any) -> float:
        return float((y_pred == said_classes.numpy()).all() and (y_true == y.numpy()).all())

    def tensors(targets: Any, outputs_: Any) -> float:
        return 0.0

    def named(targets: Any, logits: Any) -> float:
        return float(torch.nn.functional.cross_entropy(logits, targets))

    def shares(y_true: Any, y_prob: Any) -> float:
        return float(np.abs(y_prob.sum(1) - 1).max() < 1e-5 and (y_true == y.numpy()).all())

    assert load(tiny_task(), metric=swapped).measure(outputs, y) == 1
    assert load(tiny_task(), metric=shares).measure(outputs, y) == 1
    assert load(tiny_task(), metric=named).measure(outputs, y) == pytest.approx(named(y, outputs))
    assert load(tiny_task(), metric=sklearn.metrics.log_loss).measure(outputs, y) == pytest.approx(
        float(torch.nn.functional.cross_entropy(outputs, y)), rel=1e-4
    )
    for function in (tensors, sklearn.metrics.hinge_loss):
        with pytest.raises(UsageError, match="of which the second may be anything: call them y_true and y_pred"):
            load(tiny_task(), metric=function)


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        ("f2", r"has no metric 'f2': did you mean 'f1'"),
        ("sklearn.metrics.nothing", r"the metric 'sklearn.metrics.nothing' cannot be imported"),
        ("no_package_of_this_name:f", "cannot be imported"),
        ("sklearn.metrics.__name__", "is no function"),
        (3, "a metric is a name or a function, not 3"),
    ],
)
def test_what_is_no_metric_is_refused(metric: Any, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        load(tiny_task(), metric=metric)


def test_a_kind_with_one_metric_has_no_choice() -> None:
    with pytest.raises(UsageError, match="measured by accuracy alone"):
        load("text:metric=f1,length=8")
    assert load("text:length=8").metric == Metric.of("accuracy")


def test_the_command_line_takes_a_metric(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cell = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
    assert run(["train", "nasbench201:width=4", cell, "--data", "digits", "--metric", "nothing"]) == 2
    assert "has no metric 'nothing'" in capsys.readouterr().err


# -- rare classes -----------------------------------------------------------------------------------------------------


def test_classes_weigh_alike_where_asked() -> None:
    x = np.random.default_rng(0).integers(0, 256, (80, 8, 8, 1), dtype=np.uint8)
    y = (np.arange(80) % 8 == 0).astype(int)
    task = archscout.task((x, y), balance=True)
    outputs, targets = said(task)
    each = torch.nn.functional.cross_entropy(outputs, targets, reduction="none")
    of_class = [float(each[targets == label].mean()) for label in (0, 1)]
    counts = np.bincount(task.train.y)
    weights = [len(task.train) / (2 * count) for count in counts]
    shares = [weight * float((targets == label).sum()) for label, weight in enumerate(weights)]
    expected = sum(s * loss for s, loss in zip(shares, of_class, strict=True)) / sum(shares)
    assert float(task.loss(outputs, targets)) == pytest.approx(expected, rel=1e-5)
    again = undescribe(json.loads(json.dumps(task.describe())))
    assert float(again.loss(outputs, targets)) == float(task.loss(outputs, targets))
    with pytest.raises(UsageError, match="balance=true weighs classes"):
        archscout.task((x, y / 3), kind="regression", balance=True)


def weighted(images: np.ndarray) -> dict[str, Any]:
    y = np.arange(COUNT) % 2
    return {"x": images, "y": y, "weights": np.where(np.arange(COUNT) % 5, 1.0, 3.0)}


def test_examples_weigh_as_is_said(images: np.ndarray, shots: Path) -> None:
    task = archscout.task(weighted(images))
    of = {n: y.tolist() for n, y in answers(task, images).items()}
    assert of == {n: [n % 2, 1 if n % 5 else 3] for n in range(COUNT)}
    _, y = task.tensors(task.train)
    outputs = torch.randn(len(y), 2, generator=torch.Generator().manual_seed(0))
    each = torch.nn.functional.cross_entropy(outputs, y[:, 0].long(), reduction="none")
    assert float(task.loss(outputs, y)) == pytest.approx(float((each * y[:, 1]).sum() / y[:, 1].sum()))
    # They do not count in what is measured.
    assert task.measure(outputs, y) == pytest.approx(float((outputs.argmax(1) == y[:, 0]).float().mean()))
    assert load(task, metric=worst_class).measure(outputs, y) == worst_class(outputs, y[:, 0])
    file = listed(shots, "label,weight", lambda n: f"{n % 2},{1 if n % 5 else 3}")
    assert {n: y.tolist() for n, y in answers(archscout.task(file), images).items()} == of
    assert run(["data", "check", str(file), "--json"]) == 0


def test_weights_that_are_none_are_refused(images: np.ndarray, shots: Path) -> None:
    for change, text in (
        (np.full(COUNT, -1.0), "have -1.0 in row 0: write 0 or more"),
        (np.ones(3), r"have shape \(3,\) for 30 examples"),
        (np.zeros(COUNT), "are all 0"),
    ):
        with pytest.raises(DataError, match=text):
            archscout.task(weighted(images) | {"weights": change})
    with pytest.raises(UsageError, match="weights of examples are for classes"):
        archscout.task(weighted(images), kind="regression")
    with pytest.raises(DataError, match=r"line 6 of .* has a weight that is no number of 0 or more \('x'\)"):
        archscout.task(listed(shots, "label,weight", lambda n: f"{n % 2},{'x' if n == 4 else 1}"))


class TestWeighted(TaskConformance):
    def task(self) -> Task:
        tiny = tiny_task()
        splits = {name: Split(split.x, np.column_stack([split.y, 1.0 + split.y % 2])) for name, split in
                  (("train", tiny.train), ("valid", tiny.valid), ("test", tiny.test)) if split is not None}  # fmt: skip
        return dataclasses.replace(tiny, weighted=True, **splits)


class TestNumbersOfRecordings(TaskConformance):
    def task(self) -> Task:
        tiny = tiny_audio()
        splits = {name: Split(split.x, 10 + 5 * split.y[:, None].astype(np.float32)) for name, split in
                  (("train", tiny.train), ("valid", tiny.valid), ("test", tiny.test)) if split is not None}  # fmt: skip
        fields = {name: getattr(tiny, name) for name in ("rate", "samples", "window", "hop")}
        return AudioRegression("tones", tiny.input_shape, 1, class_names=("pitch",), **splits, **fields)

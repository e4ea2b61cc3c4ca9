"""Classes in order: measures against scikit-learn's, the loss against its definition, orders that people give."""

import json
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics
import torch
from PIL import Image

import archscout
from archscout.core.errors import DataError, UsageError
from archscout.networks.ordinal import Thresholds
from archscout.networks.pick import build
from archscout.tasks.load import undescribe
from archscout.tasks.ordinal import OrdinalImages, OrdinalSeries, chances, ranks
from archscout.testing import tiny_ordinal
from archscout.training.recipe import Recipe
from archscout.training.trainer import train


def test_measures_are_those_of_scikit_learn() -> None:
    task = tiny_ordinal()
    generator = torch.Generator().manual_seed(0)
    outputs, y = torch.randn(60, 3, generator=generator), torch.randint(0, 4, (60,), generator=generator)
    above = np.minimum.accumulate(1 / (1 + np.exp(-outputs.double().numpy())), 1)
    said = (above > 0.5).sum(1)
    assert ranks(outputs).tolist() == said.tolist()
    assert task.measure(outputs, y) == pytest.approx(np.abs(said - y.numpy()).mean())
    assert str(task.metric) == "mean_absolute_error"
    assert task.metric.direction == "lower"
    kappa = sklearn.metrics.cohen_kappa_score(y, said, weights="quadratic")
    assert archscout.task(task, metric="quadratic_kappa").measure(outputs, y) == pytest.approx(kappa)
    assert archscout.task(task, metric="accuracy").measure(outputs, y) == pytest.approx((said == y.numpy()).mean())
    own = archscout.task(task, metric=sklearn.metrics.balanced_accuracy_score)
    assert own.measure(outputs, y) == pytest.approx(sklearn.metrics.balanced_accuracy_score(y, said))
    shares = chances(outputs).double()
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-6)
    assert (shares >= 0).all()
    np.testing.assert_allclose(shares.flip(1).cumsum(1).flip(1)[:, 1:], above, atol=1e-6)


def test_the_loss_sums_the_cross_entropies_of_all_thresholds() -> None:
    outputs, y = torch.tensor([[1.0, -1.0, -3.0], [2.0, 0.5, -0.5]]), torch.tensor([0, 2])
    p = 1 / (1 + np.exp(-outputs.double().numpy()))
    expected = -(np.log(1 - p[0]).sum() + np.log(p[1, 0] * p[1, 1] * (1 - p[1, 2]))) / 2
    assert float(tiny_ordinal().loss(outputs, y)) == pytest.approx(expected)


def test_thresholds_rise_whatever_they_learn() -> None:
    head = Thresholds(torch.nn.Identity(), 5)
    with torch.no_grad():
        logits = head(torch.zeros(1, 1))[0]
        assert (-logits).tolist() == pytest.approx([-1.5, -0.5, 0.5, 1.5], abs=1e-3)
        head.steps.normal_(0, 5)
        assert (head(torch.randn(8, 1)).diff(dim=1) < 0).all()


def test_a_network_learns_an_order() -> None:
    task = tiny_ordinal()
    space = archscout.space("nasbench201:width=4,cells=1")
    network = build(space, space.parse("|avg_pool_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"), task)
    outcome = train(network, task, Recipe.default(task, 8), seed=0)
    assert outcome.curve[-1]["valid_mean_absolute_error"] < 0.6  # 1.0 by the middle class alone
    x, y = task.tensors(task.test)
    with torch.no_grad():
        outputs = network.eval()(x)
    panels = task.review([(outputs, y, task.test.x)])
    assert panels[0].title == "Which classes it confuses"
    counts = np.asarray(panels[0].counts)
    assert counts.shape == (4, 4)
    place = np.arange(4)
    assert (np.abs(place[:, None] - place) * counts).sum() / counts.sum() == pytest.approx(task.measure(outputs, y))
    told = task.tell(outputs[:2])
    assert told[0]["label"] == task.class_names[int(ranks(outputs[:1]))]
    assert sum(told[0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    again = undescribe(json.loads(json.dumps(task.describe())))
    assert isinstance(again, OrdinalImages)
    assert again.tell(outputs) == task.tell(outputs)


def listed(folder: Path, heading: str, grades: list[str]) -> Path:
    rng = np.random.default_rng(0)
    for number in range(60):
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(folder / f"{number}.png")
    rows = [f"{number}.png,{grades[number % len(grades)]}" for number in range(60)]
    (folder / "list.csv").write_text("\n".join([f"path,{heading}", *rows]) + "\n")
    return folder / "list.csv"


def test_the_order_is_that_of_numbers_or_is_said(tmp_path: Path) -> None:
    file = listed(tmp_path, "score", ["1", "2.5", "10"])
    task = archscout.task(file, kind="ordinal")
    assert (task.kind, task.class_names, task.outputs) == ("ordinal images", ("1", "2.5", "10"), 2)
    file = listed(tmp_path, "label", ["mild", "none", "severe"])
    with pytest.raises(UsageError, match=r"have no order of their own \(mild, none, severe\): say it with order="):
        archscout.task(file, kind="ordinal")
    task = archscout.task(f"{file}:kind=ordinal,order=none|mild|severe")
    assert task.class_names == ("none", "mild", "severe")
    plain = archscout.task(file)
    named = lambda each: {x.tobytes(): each.class_names[y] for x, y in zip(each.train.x, each.train.y, strict=True)}  # noqa: E731
    assert named(task).items() >= {k: v for k, v in named(plain).items() if k in named(task)}.items()
    for order, message in (("none|mild", "differ in 'severe'"), ("none|mild|severe|mild", "differ in 'mild'")):
        with pytest.raises(UsageError, match=message):
            archscout.task(file, kind="ordinal", order=order)
    with pytest.raises(UsageError, match="order is of classes in order: say kind=ordinal"):
        archscout.task(file, order="none|mild|severe")
    with pytest.raises(UsageError, match="between them, or a list, not 5"):
        archscout.task(file, kind="ordinal", order=5)
    with pytest.raises(DataError, match="two classes, which have no order to learn"):
        archscout.task((np.random.default_rng(0).random((40, 8, 8, 1)), np.arange(40) % 2), kind="ordinal")


def test_series_in_order() -> None:
    x = np.random.default_rng(0).normal(0, 1, (60, 1, 32)) + (np.arange(60) % 3)[:, None, None]
    task = archscout.task((x, np.arange(60) % 3), kind="ordinal", medium="series")
    assert isinstance(task, OrdinalSeries)
    space = archscout.space("series")
    network = build(space, space.references()["fcn_small"], task)
    assert network(task.tensors(task.train)[0][:4]).shape == (4, 2)

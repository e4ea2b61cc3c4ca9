"""Objectives: the terms against their formulas, what stays zero, and that a training goes on with its terms."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archscout.core.errors import UsageError
from archscout.tasks.images import ImageClassification
from archscout.testing import tiny_task
from archscout.training.objective import Distillation, FeatureAlignment, Masks, Objective, Penalty, Step, Teacher
from archscout.training.trainer import Recipe, train

RECIPE = Recipe(epochs=3, batch_size=12, augment=False, label_smoothing=0.0)


@pytest.fixture
def task() -> ImageClassification:
    return tiny_task()


@pytest.fixture(autouse=True)
def isolated() -> Iterator[None]:
    with torch.random.fork_rng():
        yield


def network(width: int = 6, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.AvgPool2d(4), nn.Flatten(),
        nn.Linear(4 * width, 3),
    )  # fmt: skip


def weights(net: nn.Module) -> list[Tensor]:
    return [tensor.clone() for tensor in net.state_dict().values()]


def test_without_terms_it_is_the_loss_of_the_task(task: ImageClassification) -> None:
    first, second = network(), network()
    train(first, task, RECIPE, seed=0)
    train(second, task, RECIPE, seed=0, objective=Objective())
    assert all(torch.equal(a, b) for a, b in zip(weights(first), weights(second), strict=True))


def test_distillation_is_the_divergence_from_the_softened_teacher(task: ImageClassification) -> None:
    x, y = task.tensors(task.train.head(10))
    student, teacher = network(), network(9, seed=1).eval()
    with torch.no_grad():
        outputs = student(x)
        p = (teacher(x) / 2).softmax(1)
    q = (outputs / 2).softmax(1)
    expected = 4 * float((p * (p.log() - q.log())).sum(1).mean())
    term = Distillation(Teacher(teacher), temperature=2.0, weight=0.7)
    step = Step(student, x, y, outputs)
    assert float(term(step)) == pytest.approx(expected, rel=1e-5)
    both = Objective(term, task_weight=0.3).loss(task, 0.0, step)
    assert float(both) == pytest.approx(0.3 * float(F.cross_entropy(outputs, y)) + 0.7 * expected, rel=1e-5)
    values = Distillation(Teacher(teacher), temperature=None)(step)
    with torch.no_grad():
        assert float(values) == pytest.approx(float((outputs - teacher(x)).square().mean()), rel=1e-5)


def test_a_student_comes_to_answer_as_its_teacher_does_without_labels(task: ImageClassification) -> None:
    teacher = network(9, seed=1)
    train(teacher, task, dataclasses.replace(RECIPE, epochs=8), seed=0)
    before = weights(teacher)
    student = network(seed=2)
    train(student, task, dataclasses.replace(RECIPE, epochs=8), seed=0,
          objective=Objective(Distillation(Teacher(teacher)), task_weight=0.0))  # fmt: skip
    x, _ = task.tensors(task.valid)
    agree = student.eval()(x).argmax(1) == teacher.eval()(x).argmax(1)
    assert float(agree.float().mean()) > 0.9
    assert all(torch.equal(a, b) for a, b in zip(before, weights(teacher), strict=True))


def test_a_teacher_answers_a_batch_once(task: ImageClassification) -> None:
    calls = []
    teacher = network(9)
    teacher.register_forward_hook(lambda *_: calls.append(1))
    shared = Teacher(teacher)
    terms = (Distillation(shared), FeatureAlignment(shared, {"2": "2"}))
    train(network(), task, dataclasses.replace(RECIPE, epochs=1), seed=0, objective=Objective(*terms))
    assert len(calls) == 1 + 4  # to learn the shapes, and in each of four steps


def test_features_are_aligned_through_a_projection_that_learns(task: ImageClassification) -> None:
    teacher = Teacher(network(9, seed=1))
    term = FeatureAlignment(teacher, {"2": "3"}, weight=2.0)  # the map of the student is four times as high and wide
    student = network()
    recipe = dataclasses.replace(RECIPE, epochs=20)
    gaps = []

    def look(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if module.training:
            with torch.no_grad():
                maps = F.adaptive_avg_pool2d(term.projections[0](output), 2)
                gaps.append(float((maps - teacher.network[:4](inputs_of[-1])).square().mean()))

    inputs_of: list[Tensor] = []
    student[0].register_forward_hook(lambda m, i, o: inputs_of.append(i[0].detach()))
    student[2].register_forward_hook(look)
    train(student, task, recipe, seed=0, objective=Objective(term, task_weight=0.0))
    assert gaps[-1] < 0.2 * gaps[0]
    assert not student[2]._forward_hooks or len(student[2]._forward_hooks) == 1  # ours alone is left


def test_a_layer_that_is_none_is_named(task: ImageClassification) -> None:
    term = FeatureAlignment(Teacher(network()), {"layer9": "2"})
    with pytest.raises(UsageError, match=r"no module 'layer9'.*use one of 0, 1, 2"):
        train(network(), task, RECIPE, seed=0, objective=Objective(term))


def test_masked_weights_stay_zero_and_others_move(task: ImageClassification) -> None:
    net = network()
    mask = torch.rand(net[0].weight.shape) < 0.5
    before = net[0].weight.detach().clone()
    train(net, task, RECIPE, seed=0, objective=Objective(Masks({"0.weight": mask})))
    after = net[0].weight.detach()
    assert bool((after[~mask] == 0).all())
    assert bool((after[mask] != before[mask]).all())
    with pytest.raises(UsageError, match=r"no parameter '9\.weight' of shape \(2,\)"):
        train(network(), task, RECIPE, seed=0, objective=Objective(Masks({"9.weight": torch.ones(2)})))


def test_a_penalty_pulls(task: ImageClassification) -> None:
    scales = []
    for weight in (0.0, 0.5):
        net = network()
        term = Penalty("scales", lambda n: n[1].weight.abs().sum(), weight=weight)
        train(net, task, RECIPE, seed=0, objective=Objective(term))
        scales.append(float(net[1].weight.detach().abs().sum()))
    assert scales[1] < 0.8 * scales[0]


def test_an_interrupted_training_goes_on_with_its_terms_and_no_others(
    task: ImageClassification, tmp_path: Path
) -> None:
    def objective(weight: float = 1.0) -> Objective:
        return Objective(FeatureAlignment(Teacher(network(9, seed=1)), {"2": "2"}, weight=weight))

    whole, part = network(), network()
    train(whole, task, RECIPE, seed=0, objective=objective())
    train(part, task, RECIPE, seed=0, objective=objective(), folder=tmp_path, on_epoch=lambda row: row["epoch"] == 1)
    train(part, task, RECIPE, seed=0, objective=objective(), folder=tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(part), strict=True))
    for other in (None, objective(2.0)):
        with pytest.raises(UsageError, match="is of another training"):
            train(network(), task, RECIPE, seed=0, objective=other, folder=tmp_path)

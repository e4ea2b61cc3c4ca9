"""The trainer, against a plain loop written here and against its own promise to continue exactly."""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from archscout.core.errors import UsageError
from archscout.core.seeds import derive
from archscout.core.task import Split
from archscout.tasks.images import ImageClassification
from archscout.testing import tiny_task
from archscout.training import checkpoint, course, trainer
from archscout.training.trainer import CHECKPOINT, Outcome, Recipe, predict, train

RECIPES = {
    "sgd": Recipe(epochs=5, batch_size=10, learning_rate=0.1, weight_decay=0.01, gradient_clip=0.5),
    "adamw": Recipe(epochs=5, batch_size=10, optimizer="adamw", learning_rate=0.01, weight_decay=0.1),
    "muon": Recipe(epochs=5, batch_size=10, optimizer="muon", learning_rate=0.02, schedule="linear"),
    "bfloat16": Recipe(epochs=5, batch_size=10, precision="bfloat16", layout="contiguous"),
    "bare": Recipe(
        epochs=5, batch_size=16, momentum=0, label_smoothing=0, gradient_clip=0, weight_decay=0, warmup_epochs=0,
        augment=False,
    ),
}  # fmt: skip


def make_network(dropout: float = 0.0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(dropout),
            nn.Conv2d(6, 5, 3, padding=1), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(80, 3),
        )  # fmt: skip


def state(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def without_seconds(outcome: Outcome) -> list[dict[str, float]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in outcome.curve]


@pytest.fixture
def task() -> ImageClassification:
    return tiny_task()


@pytest.fixture(autouse=True)
def isolated() -> Iterator[None]:
    with torch.random.fork_rng():
        yield


# -- what it computes ---------------------------------------------------------------------------------------------


def plain_training(network: nn.Module, task: ImageClassification, recipe: Recipe, seed: int) -> list[float]:
    """The same training as plain arithmetic; the mean loss of each epoch. The updates are written out."""
    x, y = task.tensors(task.train)
    parameters = dict(network.named_parameters())
    memory = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in parameters.items()}
    batches = math.ceil(len(x) / recipe.batch_size)
    steps, losses = 0, []
    generator = torch.Generator()
    for epoch in range(recipe.epochs):
        generator.manual_seed(derive(seed, "batches", epoch))
        order = torch.randperm(len(x), generator=generator)
        total = 0.0
        network.train()
        for rows in np.array_split(order.numpy(), batches):
            inputs = task.augment(x[rows], generator) if recipe.augment else x[rows]
            logs = network(inputs).log_softmax(1)
            smooth = recipe.label_smoothing
            loss = -((1 - smooth) * logs[range(len(rows)), y[rows]] + smooth * logs.mean(1)).mean()
            network.zero_grad()
            loss.backward()
            total += float(loss.detach()) * len(rows)
            gradients = {name: parameter.grad.clone() for name, parameter in parameters.items()}
            length = math.sqrt(sum(float((gradient**2).sum()) for gradient in gradients.values()))
            if recipe.gradient_clip and length > recipe.gradient_clip:
                gradients = {name: g * (recipe.gradient_clip / length) for name, g in gradients.items()}
            steps += 1
            warmup = min(recipe.warmup_epochs * batches, recipe.epochs * batches / 2)
            if steps < warmup:
                rate = recipe.learning_rate * steps / warmup
            else:
                along = (steps - warmup) / (recipe.epochs * batches + 1 - warmup)
                rate = recipe.learning_rate * (1 + math.cos(math.pi * along)) / 2
            with torch.no_grad():
                for name, parameter in parameters.items():
                    decay = recipe.weight_decay if parameter.ndim > 1 else 0.0
                    first, second = memory[name]
                    gradient = gradients[name]
                    if recipe.optimizer == "sgd":
                        gradient = gradient + decay * parameter
                        first.mul_(recipe.momentum).add_(gradient)
                        parameter -= rate * (gradient + recipe.momentum * first)
                    else:
                        parameter *= 1 - rate * decay
                        first.mul_(0.9).add_(0.1 * gradient)
                        second.mul_(0.999).add_(0.001 * gradient**2)
                        corrected = first / (1 - 0.9**steps), second / (1 - 0.999**steps)
                        parameter -= rate * corrected[0] / (corrected[1].sqrt() + 1e-8)
        losses.append(total / len(x))
    return losses


@pytest.mark.parametrize("name", [name for name in RECIPES if name not in ("bfloat16", "muon")])
def test_it_computes_what_a_plain_loop_computes(task: ImageClassification, name: str) -> None:
    plain, ours = make_network(), make_network()
    losses = plain_training(plain, task, RECIPES[name], seed=3)
    last: dict[str, Tensor] = {}

    def keep(row: dict[str, float]) -> None:
        last.update(state(ours))

    outcome = train(ours, task, RECIPES[name], seed=3, on_epoch=keep)
    assert [row["train_loss"] for row in outcome.curve] == pytest.approx(losses, rel=1e-4)
    for key, expected in plain.named_parameters():
        torch.testing.assert_close(last[key], expected.detach(), rtol=1e-3, atol=1e-4)


def test_a_tiny_task_is_learned_and_the_curve_says_so(task: ImageClassification) -> None:
    network = make_network()
    outcome = train(network, task, Recipe(epochs=8, batch_size=8), seed=0)
    assert outcome.valid_metric == 1.0
    assert not outcome.diverged
    assert [row["epoch"] for row in outcome.curve] == list(range(1, 9))
    assert set(outcome.curve[0]) == {
        "epoch", "train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "learning_rate", "seconds"
    }  # fmt: skip
    seconds = [row["seconds"] for row in outcome.curve]
    assert seconds == sorted(seconds)
    assert 0 < seconds[-1] <= outcome.seconds
    x, y = task.tensors(task.test)
    assert task.measure(network.eval()(x), y) == 1.0


def test_the_seed_decides_everything(task: ImageClassification) -> None:
    runs = []
    for seed in (1, 1, 2):
        network = make_network(dropout=0.5)
        outcome = train(network, task, RECIPES["sgd"], seed=seed)
        runs.append((state(network), without_seconds(outcome)))
        torch.rand(3)  # what the world does meanwhile changes nothing
    assert same(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]
    assert runs[0][1] != runs[2][1]


def test_the_global_generators_are_left_alone(task: ImageClassification, tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    train(make_network(dropout=0.5), task, RECIPES["sgd"], seed=0, folder=tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_every_example_is_seen_once_an_epoch_in_batches_of_almost_one_size(task: ImageClassification) -> None:
    sizes: list[int] = []
    seen: list[Tensor] = []

    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = make_network()

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                sizes.append(len(x))
                seen.append(x.flatten(1).sum(1))
            return self.inner(x)

    train(Spy(), task, Recipe(epochs=2, batch_size=20, augment=False), seed=0)
    assert sizes == [16] * 6  # 48 examples in three batches an epoch, not 20 + 20 + 8
    x, _ = task.tensors(task.train)
    everything = x.flatten(1).sum(1).sort().values
    first, second = torch.cat(seen[:3]), torch.cat(seen[3:])
    torch.testing.assert_close(first.sort().values, everything)
    torch.testing.assert_close(second.sort().values, everything)
    assert not torch.equal(first, second)


def test_running_statistics_follow_with_the_momentum_of_the_recipe(task: ImageClassification) -> None:
    network = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 3))
    recipe = Recipe(epochs=1, batch_size=100, augment=False, norm_momentum=0.25)
    train(network, task, recipe, seed=0)
    x, _ = task.tensors(task.train)
    assert network[0].running_mean.item() == pytest.approx(0.25 * float(x.mean()), abs=1e-6)
    assert network[0].running_var.item() == pytest.approx(0.75 + 0.25 * float(x.var()), rel=1e-5)
    assert network[0].momentum == 0.1


def test_frozen_parameters_stay_as_they_are(task: ImageClassification) -> None:
    network = make_network()
    network[0].weight.requires_grad_(False)
    before = state(network)
    train(network, task, RECIPES["sgd"], seed=0)
    assert torch.equal(network[0].weight, before["0.weight"])
    assert not torch.equal(network[7].weight, before["7.weight"])


def test_bfloat16_is_close_to_single_precision_and_measured_in_that_at_the_end(task: ImageClassification) -> None:
    losses = {}
    for precision in ("float32", "bfloat16"):
        network = make_network()
        outcome = train(network, task, dataclasses.replace(RECIPES["sgd"], precision=precision), seed=0)
        losses[precision] = [row["train_loss"] for row in outcome.curve]
        assert outcome.mode is not None
        assert outcome.mode.precision == precision
        assert all(tensor.dtype != torch.bfloat16 for tensor in network.state_dict().values())
        outputs = predict(network, task, task.valid)
        assert outputs.dtype == torch.float32
        assert task.measure(outputs, torch.from_numpy(task.valid.y)) == outcome.valid_metric
    assert losses["float32"] != losses["bfloat16"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.05)


class Viewing(nn.Module):
    """Calls `view` on a feature map, as many a tutorial does; only one memory layout allows that."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU())
        self.last = nn.Linear(216, 3)
        self.layouts: set[bool] = set()

    def forward(self, x: Tensor) -> Tensor:
        features = self.layers(x)
        self.layouts.add(features.is_contiguous())
        return self.last(features.view(len(x), -1))  # type: ignore[no-any-return]


def test_a_module_that_needs_one_memory_layout_is_given_it(task: ImageClassification) -> None:
    network = Viewing()
    outcome = train(network, task, Recipe(epochs=3, batch_size=8), seed=0)
    assert outcome.curve[2]["train_loss"] < outcome.curve[0]["train_loss"]
    assert network.layouts == {False, True}  # the fast layout was tried
    assert network.training
    assert predict(network, task, task.valid).shape == (48, 3)


def test_the_memory_layout_of_the_weights_is_put_back(task: ImageClassification) -> None:
    network = make_network()
    train(network, task, RECIPES["sgd"], seed=0)
    predict(network, task, task.valid)
    assert all(tensor.is_contiguous() for tensor in network.state_dict().values())


# -- which epoch is kept ------------------------------------------------------------------------------------------


class Listening(nn.Module):
    """Takes sequences (N x channels x time), for which there is one memory layout only."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(8, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)  # type: ignore[no-any-return]


class Sounds(ImageClassification):
    def tensors(self, split: Split, device: Any = "cpu") -> tuple[Tensor, Tensor]:
        x, y = super().tensors(split, device)
        return x[:, 0], y


def test_inputs_need_not_be_images(task: ImageClassification) -> None:
    fields = {field.name: getattr(task, field.name) for field in dataclasses.fields(task)}
    sounds = Sounds(**fields)
    outcome = train(Listening(), sounds, Recipe(epochs=2, augment=False), seed=0)
    assert len(outcome.curve) == 2


class Scripted(nn.Module):
    """A network of one weight that counts epochs, and says whatever was written for each of them."""

    def __init__(self, script: list[tuple[int, float]], examples: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.register_buffer("epoch", torch.tensor(0))
        self.script, self.examples = script, examples

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.epoch += 1
            return self.weight * torch.zeros(len(x), 3)
        right, confidence = self.script[int(self.epoch) - 1]
        targets = torch.arange(len(x)) % 3
        guesses = torch.where(torch.arange(len(x)) < right, targets, (targets + 1) % 3)
        return confidence * torch.nn.functional.one_hot(guesses, 3).float()


@pytest.mark.parametrize(
    ("script", "best"),
    [
        ([(10, 1.0), (30, 1.0), (20, 1.0)], 2),
        ([(30, 1.0), (30, 0.5), (30, 0.1)], 1),  # equal metrics: the lower loss
        ([(30, 0.1), (30, 1.0), (30, 0.5)], 2),
        ([(30, 1.0), (30, 1.0)], 1),
    ],
)
def test_the_network_ends_with_its_best_epoch(
    task: ImageClassification, script: list[tuple[int, float]], best: int
) -> None:
    network = Scripted(script, len(task.valid))
    outcome = train(network, task, Recipe(epochs=len(script), batch_size=100), seed=0)
    assert (outcome.best_epoch, int(network.epoch)) == (best, best)
    assert outcome.valid_metric == script[best - 1][0] / len(task.valid)
    assert len(outcome.curve) == len(script)


def test_predict_gives_what_the_training_evaluated(task: ImageClassification) -> None:
    network = make_network()
    outcome = train(network, task, RECIPES["sgd"], seed=0)
    network.train()
    network[1].eval()
    outputs = predict(network, task, task.valid)
    assert [module.training for module in network.modules()] == [True, True, False] + [True] * 6
    assert task.measure(outputs, torch.from_numpy(task.valid.y)) == outcome.valid_metric
    row = outcome.curve[outcome.best_epoch - 1]
    assert float(task.loss(outputs, torch.from_numpy(task.valid.y))) == row["valid_loss"]
    torch.testing.assert_close(predict(network, task, task.valid, batch_size=7), outputs)


# -- stopping and continuing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("stops", [(1,), (3,), (1, 2, 4)])
def test_an_interrupted_training_continues_bit_for_bit(
    task: ImageClassification, tmp_path: Path, name: str, stops: tuple[int, ...]
) -> None:
    whole = make_network(dropout=0.3)
    uninterrupted = train(whole, task, RECIPES[name], seed=7)
    for stop in stops:
        part = make_network(dropout=0.3)
        stopped = train(
            part, task, RECIPES[name], seed=7, folder=tmp_path, on_epoch=lambda row, stop=stop: row["epoch"] == stop
        )
        assert len(stopped.curve) == stop
        torch.rand(stop)
    ours = make_network(dropout=0.3)
    for parameter in ours.parameters():
        parameter.data.zero_()  # nothing comes from what the network was before
    continued = train(ours, task, RECIPES[name], seed=7, folder=tmp_path)
    assert same(state(ours), state(whole))
    assert without_seconds(continued) == without_seconds(uninterrupted)
    assert continued.best_epoch == uninterrupted.best_epoch
    seconds = [row["seconds"] for row in continued.curve]
    assert seconds == sorted(seconds)


def test_a_finished_training_is_not_repeated(task: ImageClassification, tmp_path: Path) -> None:
    first, second = make_network(), make_network()
    outcome = train(first, task, RECIPES["sgd"], seed=0, folder=tmp_path)

    def never(row: dict[str, float]) -> None:
        raise AssertionError("an epoch was trained again")

    again = train(second, task, RECIPES["sgd"], seed=0, folder=tmp_path, on_epoch=never)
    assert again.curve == outcome.curve
    assert same(state(first), state(second))


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"recipe": RECIPES["adamw"]}, {"task": tiny_task(seed=1)}, {"network": 1}]
)
def test_a_checkpoint_of_another_training_is_refused(
    task: ImageClassification, tmp_path: Path, change: dict[str, Any]
) -> None:
    train(make_network(), task, RECIPES["sgd"], seed=0, folder=tmp_path)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)) if change.pop("network", None) else make_network()
    arguments: dict[str, Any] = {"task": task, "recipe": RECIPES["sgd"], "seed": 0} | change
    with pytest.raises(
        UsageError, match=r"checkpoint '.*' is of another training: delete it, or choose another folder"
    ):
        train(network, arguments["task"], arguments["recipe"], seed=arguments["seed"], folder=tmp_path)


@pytest.mark.parametrize("damage", ["truncated", "nonsense", "empty"])
def test_a_damaged_checkpoint_counts_as_none(task: ImageClassification, tmp_path: Path, damage: str) -> None:
    whole = make_network()
    train(whole, task, RECIPES["sgd"], seed=0, folder=tmp_path)
    file = tmp_path / CHECKPOINT
    content = file.read_bytes()
    file.write_bytes({"truncated": content[: len(content) // 2], "nonsense": b"nonsense" * 99, "empty": b""}[damage])
    ours = make_network()
    outcome = train(ours, task, RECIPES["sgd"], seed=0, folder=tmp_path)
    assert len(outcome.curve) == RECIPES["sgd"].epochs
    assert same(state(ours), state(whole))


def test_checkpoints_that_take_long_are_fewer(
    task: ImageClassification, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Epochs take a second; what takes more than twice as long to write as is written each time, is every third."""
    now, written = [0.0], []
    for module in (course, trainer):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def write(self: course.Course, path: Path, seconds: float) -> None:
        written.append(self.epoch)
        now[0] += 2.5 * course.QUICKLY_WRITTEN

    def epoch(row: dict[str, float]) -> None:
        now[0] += 1.0

    monkeypatch.setattr(course.Course, "write", write)
    train(make_network(), task, dataclasses.replace(RECIPES["sgd"], epochs=8), seed=0, folder=tmp_path, on_epoch=epoch)
    assert written == [1, 4, 7, 8]


def test_a_crash_while_writing_leaves_the_checkpoint_before(
    task: ImageClassification, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make_network()
    train(whole, task, RECIPES["sgd"], seed=0)
    replace = Path.replace
    calls = 0

    def crash(self: Path, target: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise OSError("no space left on device")
        return replace(self, target)

    monkeypatch.setattr(course, "CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(OSError, match="no space"):
        train(make_network(), task, RECIPES["sgd"], seed=0, folder=tmp_path)
    monkeypatch.undo()
    assert [file.name for file in tmp_path.iterdir()] == [CHECKPOINT]
    epochs: list[float] = []
    ours = make_network()
    train(ours, task, RECIPES["sgd"], seed=0, folder=tmp_path, on_epoch=lambda row: epochs.append(row["epoch"]))
    assert epochs == [3, 4, 5]
    assert same(state(ours), state(whole))


def test_weights_that_are_shared_can_be_kept(task: ImageClassification, tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(64, 64)
            self.second = nn.Linear(64, 64)
            self.second.weight = self.first.weight
            self.last = nn.Linear(64, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.second(self.first(x.flatten(1)).relu()).relu())

    def tied() -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return Tied()

    recipe = dataclasses.replace(RECIPES["sgd"], learning_rate=0.01)
    whole, ours = tied(), tied()
    train(whole, task, recipe, seed=0)
    train(tied(), task, recipe, seed=0, folder=tmp_path, on_epoch=lambda row: row["epoch"] == 2)
    train(ours, task, recipe, seed=0, folder=tmp_path)
    assert same(state(ours), state(whole))


# -- divergence ---------------------------------------------------------------------------------------------------


class Failing(nn.Module):
    """Gives `value` after so many steps, in training or in evaluation."""

    def __init__(self, value: float, steps: int, training: bool) -> None:
        super().__init__()
        self.inner = make_network()
        self.value, self.left, self.when = value, steps, training

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.inner(x)
        fails = self.left <= 0 and self.training == self.when
        self.left -= self.training
        return outputs * self.value if fails else outputs


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(("training", "where", "steps"), [(True, "training", 10), (False, "validation", 15)])
def test_a_training_that_diverges_ends_with_its_best_epoch(
    task: ImageClassification, value: float, training: bool, where: str, steps: int
) -> None:
    network = Failing(value, steps, training)
    outcome = train(network, task, RECIPES["sgd"], seed=0)
    assert outcome.diverged
    assert f"the {where} loss was" in outcome.reason
    assert outcome.reason.endswith("in epoch 3")
    assert len(outcome.curve) == 2
    assert outcome.valid_metric == outcome.curve[outcome.best_epoch - 1]["valid_accuracy"]
    assert all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values())


def test_a_training_that_diverges_does_not_go_on_to_the_end_of_the_epoch(task: ImageClassification) -> None:
    network = Failing(math.nan, 0, training=True)
    outcome = train(network, task, Recipe(epochs=1, batch_size=1), seed=0)
    assert outcome.reason == "the training loss was nan in epoch 1"
    assert network.left == -1


def test_a_training_that_diverges_at_once_has_no_metric(task: ImageClassification) -> None:
    recipe = Recipe(epochs=3, batch_size=4, learning_rate=1e30, warmup_epochs=0, gradient_clip=0)
    outcome = train(make_network(), task, recipe, seed=0)
    assert outcome.diverged
    assert (outcome.curve, outcome.best_epoch) == ((), 0)
    assert math.isnan(outcome.valid_metric)


# -- checkpoints as files -----------------------------------------------------------------------------------------


def test_a_checkpoint_gives_back_tensors_and_notes(tmp_path: Path) -> None:
    tensors = {"a.x": torch.randn(3, 2).t(), "a.y": torch.tensor(4), "b.x": torch.zeros(0)}
    file = tmp_path / "deep" / "file.safetensors"
    checkpoint.write(file, tensors, {"curve": [{"epoch": 1, "loss": 0.1}]})
    kept = checkpoint.read(file)
    assert kept is not None
    assert same(kept[0], tensors)
    assert kept[1]["curve"] == [{"epoch": 1, "loss": 0.1}]
    assert same(checkpoint.part(kept[0], "a"), {"x": tensors["a.x"], "y": tensors["a.y"]})
    assert checkpoint.read(tmp_path / "missing") is None
    checkpoint.write(file, {}, {"format": 99})
    assert checkpoint.read(file) is None


# -- starts, smaller images, and what is fitted -------------------------------------------------------------------


def test_a_training_starts_from_given_weights(task: ImageClassification, tmp_path: Path) -> None:
    trained, ours, theirs = make_network(), make_network(), make_network()
    train(trained, task, RECIPES["sgd"], seed=0)
    start = {name: tensor for name, tensor in state(trained).items() if not name.startswith("7.")}
    theirs.load_state_dict(start, strict=False)  # but for the last layer
    train(theirs, task, RECIPES["sgd"], seed=1)
    outcome = train(ours, task, RECIPES["sgd"], seed=1, start=start, folder=tmp_path)
    assert same(state(ours), state(theirs))
    assert outcome.curve[0]["train_loss"] < train(make_network(), task, RECIPES["sgd"], seed=1).curve[0]["train_loss"]
    with pytest.raises(UsageError, match="is of another training"):
        train(make_network(), task, RECIPES["sgd"], seed=1, folder=tmp_path)
    with pytest.raises(UsageError, match="none of the weights"):
        train(make_network(), task, RECIPES["sgd"], seed=1, start={"other": torch.zeros(3)})


def test_training_on_validation_examples_too_keeps_the_last_epoch(task: ImageClassification) -> None:
    recipe = dataclasses.replace(RECIPES["sgd"], fit_on="train+valid", batch_size=16, augment=False)
    both = dataclasses.replace(
        task, train=Split(np.concatenate([task.train.x, task.valid.x]), np.concatenate([task.train.y, task.valid.y])),
        statistics=(task.mean, task.std),
    )  # fmt: skip
    ours, theirs = make_network(), make_network()
    outcome = train(ours, task, recipe, seed=0)
    curve = train(theirs, both, dataclasses.replace(recipe, fit_on="train"), seed=0).curve
    assert [row["train_loss"] for row in outcome.curve] == [row["train_loss"] for row in curve]
    assert outcome.best_epoch == recipe.epochs
    assert math.isnan(outcome.valid_metric)
    assert "valid_loss" not in outcome.curve[0]


@pytest.mark.parametrize("averaged", [2, 9])
def test_the_last_weights_are_averaged_wherever_the_training_was_stopped(
    task: ImageClassification, tmp_path: Path, averaged: int
) -> None:
    recipe = dataclasses.replace(RECIPES["sgd"], epochs=4, fit_on="train+valid", averaged_epochs=averaged)
    network, states = make_network(), []

    def note(row: dict[str, float]) -> None:
        states.append({name: tensor.double().clone() for name, tensor in network.state_dict().items()})

    train(network, task, recipe, seed=0, on_epoch=note)
    for name, tensor in network.state_dict().items():
        last = [states_of[name] for states_of in states[-averaged:]]
        expected = torch.stack(last).mean(0) if tensor.is_floating_point() else last[-1]
        torch.testing.assert_close(tensor.double(), expected, rtol=1e-5, atol=1e-6)
    part = make_network()
    train(part, task, recipe, seed=0, folder=tmp_path, on_epoch=lambda row: row["epoch"] == 3)
    train(part, task, recipe, seed=0, folder=tmp_path)
    assert same(state(part), state(network))


class Sizes(nn.Module):
    """Remembers the sides of the images that it is trained on."""

    def __init__(self, flat: bool = False) -> None:
        super().__init__()
        self.sides: list[int] = []
        self.layer = nn.Conv2d(1, 6, 3, padding=1)
        self.pool: nn.Module = nn.Identity() if flat else nn.AdaptiveAvgPool2d(1)
        self.last = nn.Linear(384 if flat else 6, 3)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and (not self.sides or self.sides[-1] != x.shape[2]):
            self.sides.append(x.shape[2])
        return self.last(self.pool(self.layer(x)).flatten(1))  # type: ignore[no-any-return]


def test_the_first_epochs_see_smaller_images(task: ImageClassification) -> None:
    recipe = Recipe(epochs=8, batch_size=12, smaller_side=0.5, smaller_epochs=0.5)
    network = Sizes()
    outcome = train(network, task, recipe, seed=0)
    assert network.sides == [4, 5, 6, 7, 8]
    assert [recipe.side(epoch, 0.5) for epoch in (0, 2, 4, 7)] == [0.5, 0.75, 1, 1]
    assert len(outcome.curve) == 8
    fixed = Sizes(flat=True)  # it takes images of one size alone
    train(fixed, task, recipe, seed=0)
    assert fixed.sides == [8]


def test_an_epoch_may_be_a_share_of_the_examples_drawn_anew() -> None:
    task = tiny_task((3, 8, 8), classes=4, examples=60)
    seen: list[torch.Tensor] = []

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3 * 8 * 8, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                seen.append(x.flatten(1).double().sum(1))
            return self.layer(x.flatten(1))

    recipe = Recipe(4, 8, epoch_share=0.25, augment=False, precision="float32", layout="contiguous")
    outcome = train(Watched(), task, recipe, seed=0)
    count = round(len(task.train) / 4)
    told = torch.cat(seen)[-4 * count :].round(decimals=4).view(4, count)
    assert len(outcome.curve) == 4 and all(len(epoch.unique()) > 0.9 * count for epoch in told)
    assert not torch.equal(told[0].sort().values, told[1].sort().values), "each epoch has examples of its own"


def test_a_lighter_recipe_changes_examples_as_the_lighter_task_does(task: ImageClassification) -> None:
    """As a task that is no more than that from the beginning."""
    task = dataclasses.replace(task, shift=2, cutout=3)
    recipe = dataclasses.replace(RECIPES["sgd"], epochs=2, lighter=True)
    lighter = dataclasses.replace(task, shift=1, cutout=0)
    networks = [make_network() for _ in range(3)]
    train(networks[0], task, recipe, seed=1)
    train(networks[1], lighter, dataclasses.replace(recipe, lighter=False), seed=1)
    train(networks[2], task, dataclasses.replace(recipe, lighter=False), seed=1)
    assert same(state(networks[0]), state(networks[1]))
    assert not same(state(networks[0]), state(networks[2]))

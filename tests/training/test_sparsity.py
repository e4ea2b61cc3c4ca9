"""N:M sparsity against brute force, and in every step of real trainings."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from archscout.core.errors import UsageError
from archscout.testing import tiny_task
from archscout.training.batched import train_many
from archscout.training.objective import Objective, Step, Term
from archscout.training.recipe import Recipe
from archscout.training.sparsity import AXES, RULES, Sparsity, density, mask
from archscout.training.trainer import train

RECIPE = Recipe(epochs=3, batch_size=12, augment=False, label_smoothing=0.0)


@pytest.fixture(autouse=True)
def isolated() -> Iterator[None]:
    with torch.random.fork_rng():
        yield


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3, padding=1), nn.ReLU(),
        nn.AvgPool2d(4), nn.Flatten(), nn.Linear(24, 3),
    )  # fmt: skip


def groups(weight: Tensor, m: int, axis: str) -> Iterator[Tensor]:
    """The whole groups of a weight, by loops."""
    for filters in weight:
        if axis == "flat" or filters.dim() == 1:
            rows = [filters.flatten()]
        else:
            rows = [filters[:, i, j] for i in range(filters.shape[1]) for j in range(filters.shape[2])]
        for row in rows:
            for start in range(0, len(row) // m * m, m):
                yield row[start : start + m]


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize(("n", "m"), [(1, 4), (2, 4), (4, 8), (2, 3)])
def test_the_mask_keeps_the_largest_sum_of_magnitudes(n: int, m: int, axis: str) -> None:
    torch.manual_seed(0)
    for weight in (torch.randn(5, 11, 3, 2), torch.randn(4, 16)):
        kept = mask(weight, n, m, axis)
        pairs = list(zip(groups(weight, m, axis), groups(kept, m, axis), strict=True))
        assert pairs
        for group, chosen in pairs:
            best = max(itertools.combinations(group.abs().tolist(), n), key=sum)
            assert float((group.abs() * chosen).sum()) == pytest.approx(sum(best))
            assert int(chosen.sum()) == n
        rows = weight.shape[1] if axis == "channels" else weight[0].numel()
        assert int((kept == 0).sum()) == weight.numel() // rows * (rows // m) * (m - n)


def test_of_equal_weights_the_first_stay() -> None:
    assert mask(torch.ones(1, 8), 2, 4).tolist() == [[1, 1, 0, 0, 1, 1, 0, 0]]


def test_what_is_left_over_stays_whole() -> None:
    assert mask(torch.randn(4, 3, 3, 3), 2, 4).all(), "a first convolution has three channels"
    assert mask(torch.randn(4, 1, 3, 3), 2, 4).all(), "a depthwise convolution has one"
    assert mask(torch.randn(1, 6), 1, 4)[:, 4:].all()


class Watching(Term):
    """Looks at the weights after each step; it stands behind the sparsity."""

    weight = 0.0

    def __init__(self, look: Callable[[nn.Module], None]) -> None:
        self.look = look
        self.steps = 0

    def __call__(self, step: Step) -> Tensor:
        self.network = step.network
        return torch.zeros(())

    def after_step(self) -> None:
        self.look(self.network)
        self.steps += 1


def exact(net: nn.Module) -> None:
    for layer in (net[3], net[7]):
        assert all(int((group != 0).sum()) == 2 for group in groups(layer.weight.detach(), 4, "channels"))
    assert (net[0].weight != 0).all()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_exactly_n_stay_after_every_step(rule: str, optimizer: str) -> None:
    net = network()
    recipe = dataclasses.replace(RECIPE, optimizer=optimizer, learning_rate=0.01)
    watching = Watching(exact)
    before = net[3].weight.detach().clone()
    train(net, tiny_task(), recipe, seed=0, objective=Objective(Sparsity(2, 4, rule=rule), watching))
    assert watching.steps == 3 * 4
    exact(net)
    assert density(net) == pytest.approx((72 + (432 + 72) / 2) / (72 + 432 + 72))
    if rule == "one_shot":
        assert torch.equal(net[3].weight != 0, mask(before, 2, 4).bool())


def test_a_step_is_that_of_the_formula() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(8, 2, bias=False)
    dense, x = layer.weight.detach().clone(), torch.randn(5, 8)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.3)
    term = Sparsity(2, 4, decay=0.1)
    with term.attached(layer, x, "cpu"):
        for _ in range(3):
            kept = mask(dense, 2, 4)
            torch.testing.assert_close(layer.weight.detach(), dense * kept)
            leaf = (dense * kept).requires_grad_()
            (gradient,) = torch.autograd.grad((x @ leaf.t()).pow(2).mean(), leaf)
            dense = dense - 0.3 * (gradient + 0.1 * (1 - kept) * dense)
            optimizer.zero_grad()
            layer(x).pow(2).mean().backward()
            optimizer.step()
            term.after_step()
        torch.testing.assert_close(layer.weight.detach(), dense * mask(dense, 2, 4))
    assert len(term.changes) == 3


def test_the_divergence_counts_weights_that_come_and_go() -> None:
    layer = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[4.0, 3.0, 2.0, 1.0]]))
    term = Sparsity(2, 4, rule="ste")
    with term.attached(layer, torch.ones(1, 4), "cpu"):
        (layer.weight * torch.tensor([3.5, 0.0, 0.0, 0.0])).sum().backward()
        with torch.no_grad():
            layer.weight -= layer.weight.grad
        term.after_step()
    assert [int(n) for n in term.changes] == [2]
    assert layer.weight.tolist() == [[0.0, 3.0, 2.0, 0.0]]


def test_a_training_that_was_stopped_goes_on_with_its_dense_weights(tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, epochs=4, sparsity="1:4")
    whole, parts = network(), network()
    train(whole, tiny_task(), recipe, seed=1)
    train(parts, tiny_task(), recipe, seed=1, folder=tmp_path, on_epoch=lambda row: row["epoch"] == 2)
    again = network(5)
    train(again, tiny_task(), recipe, seed=1, folder=tmp_path)
    for one, other in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_many_networks_of_a_sparse_recipe_are_trained_alone() -> None:
    recipe = dataclasses.replace(RECIPE, epochs=1, sparsity="2:4")
    nets = [network(seed) for seed in range(3)]
    train_many(nets, tiny_task(), recipe, seeds=[0, 1, 2])
    for net in nets:
        exact(net)


def test_layers_may_have_their_own_n() -> None:
    net = network()
    train(net, tiny_task(), RECIPE, seed=0, objective=Objective(Sparsity(2, 4, layers={"3": 1, "7": 4})))
    assert all(int((group != 0).sum()) == 1 for group in groups(net[3].weight.detach(), 4, "channels"))
    assert (net[7].weight != 0).all()


@pytest.mark.parametrize("text", ["4:4", "5:4", "0:4"])
def test_n_above_m_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="N must be at least 1 and below M"):
        dataclasses.replace(RECIPE, sparsity=text)


def test_other_mistakes_are_named() -> None:
    with pytest.raises(UsageError, match="write N:M, as 2:4"):
        dataclasses.replace(RECIPE, sparsity="half")
    with pytest.raises(UsageError, match="no rule 'srste': use sr_ste, ste or one_shot"):
        Sparsity(2, 4, rule="srste")
    with pytest.raises(UsageError, match="there is no sparsity_rule"):
        dataclasses.replace(RECIPE, sparsity_rule="magnitude")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layers": {"3": 0}}, "N of layer '3' must be a whole number of 1 or more"),
        ({"layers": {"3": -1}}, "N of layer '3' must be a whole number of 1 or more"),
        ({"layers": {"3": 1.5}}, "N of layer '3' must be a whole number"),
        ({"layers": ["3"]}, "N of layers"),
        ({"decay": -1.0}, "decay of SR-STE cannot be -1.0"),
        ({"decay": float("nan")}, "decay of SR-STE must be a finite number"),
    ],
)
def test_what_no_layer_can_keep_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Sparsity(2, 4, **options)


def test_a_layer_that_the_network_lacks_is_named() -> None:
    objective = Objective(Sparsity(2, 4, layers={"33": 1}))
    with pytest.raises(UsageError, match="no convolution or linear layer '33' to keep N weights of: did you mean '3'"):
        train(network(), tiny_task(), RECIPE, seed=0, objective=objective)


def test_a_sparsity_that_is_no_text_is_refused() -> None:
    with pytest.raises(UsageError, match="is no sparsity: write N:M"):
        dataclasses.replace(RECIPE, sparsity=(2, 4))
    with pytest.raises(UsageError, match="are no bits of weights and activations"):
        dataclasses.replace(RECIPE, bits=(4, 8))

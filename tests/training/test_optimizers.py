"""The steps of an optimiser, against the same written out, and its state as checkpoints have it."""

import torch
from torch import Tensor, nn

from archscout.training import checkpoint
from archscout.training.optimizers import (
    LARGEST_SCALE,
    TYPICAL_SIZE,
    descend,
    make_optimizer,
    optimizer_tensors,
    restore_optimizer,
    set_rate,
)
from archscout.training.recipe import Recipe
from archscout.training.speed import Mode


def loss_of(network: nn.Module, number: int) -> Tensor:
    return network(torch.randn(8, 3, generator=torch.Generator().manual_seed(number))).square().mean()


def fresh() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    return network, torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)


def test_a_step_is_gradients_clipped_and_followed() -> None:
    (ours, mine), (theirs, other) = fresh(), fresh()
    for number in range(4):
        set_rate(mine, 0.1 / (number + 1))
        answer = descend(
            mine, loss_of(ours, number).backward, lambda: nn.utils.clip_grad_norm_(ours.parameters(), 0.05)
        )
        assert answer is None
        for group in other.param_groups:
            group["lr"] = 0.1 / (number + 1)
        other.zero_grad()
        loss_of(theirs, number).backward()
        nn.utils.clip_grad_norm_(theirs.parameters(), 0.05)
        other.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_gradients_of_the_step_before_are_gone_and_what_has_none_stays() -> None:
    network, optimizer = fresh()
    descend(optimizer, loss_of(network, 0).backward)
    before = [parameter.clone() for parameter in network.parameters()]
    assert descend(optimizer, lambda: "an answer") == "an answer"
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), before, strict=True))


def test_a_state_that_is_put_back_goes_on_alike(tmp_path) -> None:  # type: ignore[no-untyped-def]
    network, optimizer = fresh()
    for number in range(3):
        descend(optimizer, loss_of(network, number).backward)
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    checkpoint.write(tmp_path / "state.safetensors", optimizer_tensors(optimizer, "optimizer"), {})
    descend(optimizer, loss_of(network, 3).backward)
    again, other = fresh()
    again.load_state_dict(weights)
    kept = checkpoint.read(tmp_path / "state.safetensors")
    assert kept is not None
    restore_optimizer(other, checkpoint.part(kept[0], "optimizer"))
    descend(other, loss_of(again, 3).backward)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), network.parameters(), strict=True))


def test_a_relative_rate_moves_weights_in_proportion_to_their_size() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 3))
    with torch.no_grad():
        network[0].weight.mul_(100)
    before = [layer.weight.clone() for layer in network]
    recipe = Recipe(1, optimizer="adamw", learning_rate=1e-3, relative_rate=True, weight_decay=0.0)
    optimizer = make_optimizer(network, 3, recipe, Mode("float32", "contiguous"))
    set_rate(optimizer, recipe.learning_rate)
    descend(optimizer, network(torch.randn(4, 8)).square().sum().backward)
    for layer, old in zip(network, before, strict=True):
        moved = (layer.weight - old).abs().mean()
        # Adam's first step is the rate, in each weight; weights a hundred times as large reach the bound.
        expected = 1e-3 * (old.square().mean().sqrt() / TYPICAL_SIZE).clamp(max=LARGEST_SCALE)
        torch.testing.assert_close(moved, expected, rtol=1e-2, atol=0)

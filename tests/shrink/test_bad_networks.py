"""Networks that nothing can be cut of are refused in one sentence, before anything is paid."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from archscout.core.errors import UsageError
from archscout.networks.pick import build
from archscout.shrink.run import shrink
from archscout.shrink.source import source_of
from archscout.spaces.trained import TrainedSpace
from archscout.testing.tasks import tiny_task

TASK = tiny_task((3, 8, 8), classes=5)


def plain() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5),
    )  # fmt: skip


def frozen() -> nn.Module:
    return plain().requires_grad_(False)


def undefined() -> nn.Module:
    network = plain()
    network[2].weight.data[3] = torch.nan
    return network


def half() -> nn.Module:
    return plain().half()


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyConv2d(8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(5))


def without_memory() -> nn.Module:
    return plain().to("meta")


def pruned() -> nn.Module:
    network = plain()
    prune.ln_structured(network[2], "weight", 0.5, n=2, dim=0)
    return network


class Inference(nn.Module):
    """No gradients go through it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = plain()

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)  # type: ignore[no-any-return]


def scripted() -> nn.Module:
    return torch.jit.script(plain())  # type: ignore[no-any-return, no-untyped-call]


def of_one_example() -> torch.export.ExportedProgram:
    return torch.export.export(plain().eval(), (torch.zeros(1, 3, 8, 8),))


class Overflowing(nn.Module):
    """Answers that are not finite, from weights that are."""

    def __init__(self) -> None:
        super().__init__()
        self.body = plain()

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) * torch.inf  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (frozen, "all weights of network 'Sequential' are frozen"),
        (undefined, r"'2.weight' of the network has values that are not finite"),
        (half, r"'0.weight' of the network is in float16"),
        (pruned, r"the network cannot be copied \(.*\): weights that are computed from others"),
        (Inference, "cannot be trained a step on task 'tiny8x8' .*: mend its forward pass"),
        (without_memory, "'0.weight' of the network has no values yet: run it once"),
        pytest.param(
            lazy, "'0.weight' of the network has no values yet", marks=pytest.mark.filterwarnings("ignore:Lazy modules")
        ),
        pytest.param(
            scripted, "a scripted network cannot be cut", marks=pytest.mark.filterwarnings("ignore::DeprecationWarning")
        ),
        pytest.param(
            of_one_example,
            "runs on one example, but not on 2 at once .*: if it was exported",
            marks=pytest.mark.filterwarnings("ignore::FutureWarning"),  # of PyTorch's own
        ),
        (Overflowing, "answers to validation examples are not finite"),
    ],
)
def test_it_is_said_what_is_wrong(make: Callable[[], Any], said: str, tmp_path: Path) -> None:
    clock = itertools.count(0.0, 0.01).__next__
    with pytest.raises(UsageError, match=said):
        shrink(make(), TASK, maximum={"params": "50%"}, budget="3s", out=tmp_path, clock=clock)


def test_a_compiled_network_is_the_module_that_was_compiled() -> None:
    network = plain()
    space = TrainedSpace(torch.compile(network), input_shape=(3, 8, 8))
    assert space.name == "trained:Sequential" and type(space.module) is nn.Sequential
    assert source_of(torch.compile(network)).name == "Sequential"


@pytest.mark.parametrize("parametrized", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_weights_that_are_computed_are_cut_as_the_numbers_that_they_are(parametrized: Callable[..., nn.Module]) -> None:
    network = plain()
    for place in (0, 2, 6):
        parametrized(network[place])
    with torch.no_grad():
        network(torch.randn(4, 3, 8, 8))  # a step of the power iteration
    network.eval()
    space, x = TrainedSpace(network, input_shape=(3, 8, 8)), torch.randn(2, 3, 8, 8)
    assert space.made_plain == ["0", "2", "6"] and set(space.groups) == {"0", "2"}
    torch.testing.assert_close(build(space, space.widest, TASK).eval()(x), network(x))
    assert type(space.module[2]) is nn.Conv2d and isinstance(space.module[2].weight, nn.Parameter)
    assert parametrize.is_parametrized(network[2]), "the user's own stays as it was"


def test_options_of_another_kind_are_refused_and_one_layer_is_a_list_of_one(tmp_path: Path) -> None:
    clock = itertools.count(0.0, 0.01).__next__
    with pytest.raises(UsageError, match="labels must be True or False, not 'no'"):
        shrink(plain(), TASK, maximum={"params": "50%"}, budget="3s", out=tmp_path, labels="no")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="has no layer 'body' to cut or keep"):  # not 'b'
        shrink(plain(), TASK, maximum={"params": "50%"}, budget="3s", out=tmp_path, only="body", clock=clock)

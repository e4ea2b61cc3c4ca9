"""Passes that make parts of a network again: equal to plain ones, and holding less."""

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.estimators.zero_cost import recomputing
from archscout.estimators.zero_cost.harness import Subject, score
from archscout.testing.tasks import tiny_task

NAMES = ("grad_norm", "snip", "plain", "fisher", "grasp", "jacob_cov", "epe_nas", "zico", "naswot", "near")


@pytest.mark.parametrize("name", ["nasbench201:width=4,cells=2", "darts:layers=3,width=4", "mobile"])
def test_scores_are_equal_whatever_is_kept(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = Setting(create("space", name), tiny_task((3, 32, 32), 4, 40).sealed(), seed=3)
    names = [f"{each}:batch=8" for each in NAMES if not (each == "grasp" and name == "mobile")]
    architectures = [setting.space.sample(stream(number, "recomputing")) for number in range(2)]
    found = []
    for limit in (10**12, 4_000_000, 0):
        monkeypatch.setattr(recomputing, "LIMIT", limit)
        found.append([[e.value for e in column] for column in score(architectures, names, setting).values()])
    # Where a part has two inputs, as in DARTS, gradients of a tensor that several parts see add up in another order.
    close = 1e-3 if name.startswith("darts") else 0
    assert found[1] == [pytest.approx(column, rel=close, abs=0) for column in found[0]]
    assert found[2] == [pytest.approx(column, rel=close, abs=0) for column in found[0]]


def chain(count: int) -> nn.Sequential:
    torch.default_generator.manual_seed(5)

    def block() -> nn.Module:
        return nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4, momentum=0.0))

    return nn.Sequential(*(block() for _ in range(count)))


def test_parts_beyond_the_limit_keep_their_inputs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = chain(20), torch.randn((16, 4, 8, 8), generator=torch.Generator().manual_seed(1))
    runs: Counter[nn.Module] = Counter()
    for block in network:
        block[1].register_forward_hook(lambda module, *_: runs.update([module]))
    weights = [p for p in network.parameters() if p.ndim > 1]
    statistics = [buffer.clone() for name, buffer in network.named_buffers() if "running" in name]
    size, kept, gradients, ran = x.nbytes, [], [], []
    for limit in (10**9, 20 * size):
        monkeypatch.setattr(recomputing, "LIMIT", limit)
        storages: dict[int, int] = {}

        def keep(tensor: Tensor, storages: dict[int, int] = storages) -> Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.nbytes
            return tensor.detach()

        runs.clear()
        with recomputing.recomputing(network):
            y = network(x)
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = y.square().sum()
        gradients.append(torch.autograd.grad(loss, weights))
        ran.append(sorted(runs.values()))
        kept.append(storages)
    assert ran[0] == [1] * 20
    assert ran[1].count(1) < 8
    assert set(ran[1]) == {1, 2}
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
    after = [buffer for name, buffer in network.named_buffers() if "running" in name]
    assert all(torch.equal(one, other) for one, other in zip(statistics, after, strict=True))
    assert not any("forward" in vars(block) for block in network)


def test_what_is_dropped_is_free_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large part that has run with its graph, nothing but the output is left."""
    import gc
    import weakref

    monkeypatch.setattr(recomputing, "LIMIT", 0)
    network, x, seen = chain(3), torch.randn(2, 4, 8, 8), []
    for block in network:
        block[0].register_forward_hook(lambda _, __, y: seen.append(weakref.ref(y)))
    gc.disable()
    try:
        with recomputing.recomputing(network):
            y = network(x.requires_grad_())
        assert y.requires_grad
        assert [each() for each in seen] == [None] * 3
    finally:
        gc.enable()


class Pair(nn.Module):
    """A part that takes and returns more than a tensor."""

    def __init__(self, make: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.layer, self.make = nn.Linear(4, 4), make

    def forward(self, x: Tensor) -> object:
        return self.make(self.layer(x))


@pytest.mark.parametrize("make", [lambda x: (x, 1.0), lambda x: [x, x]])
def test_other_parts_run_as_they_are(make: Callable[[Tensor], object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recomputing, "LIMIT", 0)

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = Pair(make)

        def forward(self, x: Tensor) -> Tensor:
            return self.part(x)[0]  # type: ignore[no-any-return]

    network, x = Whole(), torch.ones((2, 4))
    with recomputing.recomputing(network):
        (found,) = torch.autograd.grad(network(x).sum(), network.part.layer.weight)
    assert torch.equal(found, torch.full((4, 4), 2.0))


def test_cells_are_the_parts_of_networks() -> None:
    setting = Setting(create("space", "nasbench201:width=4,cells=2"), tiny_task((3, 16, 16)).sealed())
    network = Subject(setting.space.sample(stream(0)), setting, {}, {}).network
    kinds = Counter(type(part).__name__ for part in recomputing.parts(network))
    assert kinds["Cell"] == 6
    assert kinds["ReductionBlock"] == 2
    assert not any("Conv2d" in kind for kind in kinds)

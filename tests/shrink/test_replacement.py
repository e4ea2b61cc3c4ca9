"""Collapsible blocks, and what they replace."""

import importlib.util
import itertools
from pathlib import Path

import pytest
import torch
from torch import nn

from archscout.core.errors import ArchscoutError, UsageError
from archscout.networks.collapsible import CollapsibleBlock, collapse
from archscout.shrink.replacement import Candidate, candidates, chosen, replaced, restructure
from archscout.testing.tasks import tiny_task

_spec = importlib.util.spec_from_file_location("zoo", Path(__file__).parents[1] / "networks" / "zoo.py")
zoo = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(zoo)

TASK = tiny_task((3, 16, 16), classes=5)
X, _ = TASK.tensors(TASK.train)


def by_weights(module, shape):
    """A clock that cannot be disturbed: as many milliseconds as there are layers."""
    return float(sum(1 for layer in module.modules() if isinstance(layer, nn.Conv2d)))


@pytest.mark.parametrize(("inputs", "outputs", "stride", "kernel"), [(4, 4, 1, 3), (4, 6, 1, 5), (4, 8, 2, 3)])
def test_the_collapsed_block_answers_alike(inputs, outputs, stride, kernel):
    torch.manual_seed(0)
    block = CollapsibleBlock(inputs, outputs, kernel, stride)
    x = torch.randn(3, inputs, 9, 9)
    single = block.collapsed()
    assert isinstance(single, nn.Conv2d)
    torch.testing.assert_close(single(x), block(x), rtol=1e-5, atol=1e-5)


def test_a_block_that_is_linear_is_found_exactly():
    torch.manual_seed(0)
    linear = nn.Sequential(nn.Conv2d(4, 9, 1), nn.Conv2d(9, 6, 3, 1, 1))
    with torch.no_grad():
        linear[0].bias.zero_()  # a bias in front of padding is no convolution at the edge
    x = torch.randn(32, 4, 8, 8)
    block = CollapsibleBlock(4, 6)
    block.fit(x, linear(x).detach(), ridge=1e-9)
    torch.testing.assert_close(block(x), linear(x), rtol=1e-3, atol=1e-3)


def test_a_network_is_collapsed_and_compared(monkeypatch):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Sequential(CollapsibleBlock(4, 4), nn.ReLU()), CollapsibleBlock(4, 5, 3, 2)
    )
    smaller = collapse(network, X[:4])
    assert not any(isinstance(module, CollapsibleBlock) for module in smaller.modules())
    torch.testing.assert_close(smaller(X[:4]), network.eval()(X[:4]), rtol=1e-5, atol=1e-5)
    monkeypatch.setattr(
        CollapsibleBlock, "collapsed", lambda self: nn.Conv2d(4, self.project.out_channels, 3, self.expand.stride, 1)
    )
    with pytest.raises(ArchscoutError, match="answers differently"):
        collapse(network, X[:4])


def test_candidates_are_the_innermost_blocks_and_rated_by_replacing_them():
    network = zoo.zoo_network("mobilenet")
    found = candidates(network, X[:16], X[16:32], by_weights)
    assert found
    for each in found:
        inside = [name for name, _ in network.get_submodule(each.name).named_modules() if name]
        assert not any(f"{each.name}.{name}" in [other.name for other in found] for name in inside)
        assert each.before > each.after == 1.0
        with torch.no_grad():
            ours, theirs = replaced(network, {each.name: each.replacement})(X[16:32]), network(X[16:32])
        p, q = theirs.softmax(1), ours.softmax(1)
        assert each.harm == pytest.approx(float((p * (p / q).log()).sum(1).mean()), rel=1e-3, abs=1e-6)


def test_the_least_harm_within_the_time_is_chosen():
    block = CollapsibleBlock(2, 2)
    numbers = [(3.0, 1.0, 0.4), (2.0, 1.5, 0.01), (4.0, 3.0, 0.2), (2.0, 0.5, 0.3), (1.0, 0.2, 0.05)]
    found = [Candidate(f"b{i}", (2, 4, 4), block, *each) for i, each in enumerate(numbers)]
    for share in (0.9, 0.7, 0.55):
        best = min(
            (
                (sum(numbers[i][2] for i in some), some)
                for size in range(6)
                for some in itertools.combinations(range(5), size)
                if 12 - sum(numbers[i][0] - numbers[i][1] for i in some) <= share * 12 + 1e-9
            ),
            default=None,
        )
        assert chosen(found, 12.0, share) == tuple(f"b{i}" for i in best[1])
    with pytest.raises(UsageError, match="ask for no smaller share"):
        chosen(found, 12.0, 0.3)


def test_a_restructured_network_is_quicker_and_plain():
    network = zoo.zoo_network("mobilenet")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    result = restructure(network, TASK, share=0.8, epochs=1, calibration=16, time=by_weights)
    assert result.replaced
    assert by_weights(result.network, ()) <= 0.8 * by_weights(network, ())
    assert all(isinstance(result.network.get_submodule(name), nn.Conv2d) for name in result.replaced)
    assert result.network(X[:4]).shape == (4, 5)
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in before.items())
    with pytest.raises(UsageError, match="between 0 and 1"):
        restructure(network, TASK, share=1.5)

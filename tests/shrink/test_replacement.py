"""Collapsible blocks, and what they replace."""

import importlib.util
import itertools
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

import archscout
from archscout.core.errors import ArchscoutError, UsageError
from archscout.networks.collapsible import CollapsibleBlock, collapse
from archscout.networks.pick import build
from archscout.shrink.replacement import Candidate, candidates, chosen, replaced, restructure
from archscout.shrink.run import shrink
from archscout.spaces.replaced import ReplacedSpace
from archscout.spaces.trained import TrainedSpace
from archscout.testing.tasks import tiny_task
from archscout.training.recipe import Recipe
from archscout.training.trainer import train

_spec = importlib.util.spec_from_file_location("zoo", Path(__file__).parents[1] / "networks" / "zoo.py")
zoo = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(zoo)

TASK = tiny_task((3, 16, 16), classes=5)
LEARNED = tiny_task((3, 16, 16), classes=5, examples=60)
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


def test_a_slope_begins_as_none_and_stays_when_the_block_is_collapsed():
    torch.manual_seed(0)
    block = CollapsibleBlock(4, 4, slope=True)
    x = torch.randn(3, 4, 9, 9)
    torch.testing.assert_close(block(x), x + block.project(block.expand(x)))
    with torch.no_grad():
        block.slope.weight.uniform_(0, 1)
    assert not torch.allclose(block(x), x + block.project(block.expand(x)))
    torch.testing.assert_close(block.collapsed()(x), block(x), rtol=1e-5, atol=1e-5)


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
    for name in result.replaced:
        assert [type(layer) for layer in result.network.get_submodule(name)] == [nn.Conv2d, nn.PReLU]
    assert result.network(X[:4]).shape == (4, 5)
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in before.items())
    with pytest.raises(UsageError, match="between 0 and 1"):
        restructure(network, TASK, share=1.5)


class Deep(nn.Module):
    """Three residual blocks between a stem and a head."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.Sequential(*(Residual(size) for size in (8, 24, 8)))
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        return self.head(torch.relu(self.blocks(self.stem(x))).mean((2, 3)))


class Residual(nn.Module):
    def __init__(self, wide):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(8, wide, 3, padding=1), nn.ReLU(), nn.Conv2d(wide, 8, 3, padding=1))

    def forward(self, x):
        return x + self.body(x)


@pytest.fixture(scope="module")
def deep():
    return Deep().eval()


@pytest.fixture(scope="module")
def resnet():
    network = zoo.zoo_network("resnet")
    train(network, LEARNED, Recipe(4, 16, learning_rate=0.05), seed=0)
    return network.eval()


def ticking():
    """A clock that goes on by a hundredth of a second whenever it is asked."""
    return itertools.count(0.0, 0.01).__next__


def test_the_space_builds_what_is_shipped(deep):
    space = ReplacedSpace(TrainedSpace(deep, input_shape=(3, 16, 16)), keep=["blocks.2"])
    assert [choice.name for choice in space.choices] == [
        "blocks.0.body.form",
        "blocks.1.body.form",
    ] and space.size() == 4
    architecture = space.parse("blocks.1.body.form=convolution")
    network = build(space, architecture, TASK)
    single = 8 * 8 * 9 + 8 + 8  # a convolution and its slopes
    own = sum(parameter.numel() for parameter in deep.parameters())
    double = 2 * 8 * 24 * 9 + 24 + 8
    assert sum(parameter.numel() for parameter in network.parameters()) == own - double + single
    assert torch.equal(build(space, space.widest, TASK).eval()(X[:4]), deep(X[:4]))
    with pytest.raises(UsageError, match="has no layer 'block' to cut or keep"):
        ReplacedSpace(TrainedSpace(deep, input_shape=(3, 16, 16)), keep=["block"])
    with pytest.raises(UsageError, match=r"nothing of network .* can be replaced: .* among the layers that may change"):
        ReplacedSpace(TrainedSpace(deep, input_shape=(3, 16, 16)), only=["head"])


@pytest.fixture(scope="module")
def run(resnet, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    return shrink(resnet, LEARNED, maximum={"params": "60%"}, replace=True, budget="0.4s", out=out, clock=ticking())


def test_a_run_replaces_the_blocks_that_a_limit_asks_for(run, resnet):
    metrics = run.metrics
    whole = sum(parameter.numel() for parameter in resnet.parameters())
    assert metrics["original"]["costs"]["params"] == whole and metrics["costs"]["params"] <= 0.6 * whole
    assert [step["step"] for step in metrics["original"]["steps"]] == ["original", "replaced", "recovered"]
    assert metrics["space"] == "replaced:ResNet" and "form=convolution" in metrics["architecture"]
    assert {cut["after"] for cut in metrics["original"]["cuts"]} == {"convolution"}


def test_its_network_is_collapsed_loads_and_answers_as_the_onnx_file(run, resnet):
    loaded = archscout.load(run.folder, space=resnet)
    assert not any(isinstance(module, CollapsibleBlock) for module in loaded.modules())
    x = torch.from_numpy(LEARNED.test.x).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        answers = loaded(x).numpy()
    assert float((answers.argmax(1) == LEARNED.test.y).mean()) == run.metrics["test_accuracy"]
    session = onnxruntime.InferenceSession(run.folder / "network.onnx")
    np.testing.assert_allclose(session.run(None, {"input": x.numpy()})[0], answers, rtol=1e-3, atol=1e-3)


def test_the_same_call_is_the_same_result_and_cutting_is_another_run(run, resnet):
    options = {"maximum": {"params": "60%"}, "budget": "0.4s", "out": run.folder.parent}
    assert shrink(resnet, LEARNED, replace=True, **options).metrics == run.metrics
    with pytest.raises(UsageError, match="was started with replace = True, not False"):
        shrink(resnet, LEARNED, name=run.folder.name, **options)


def test_a_limit_below_the_smallest_is_told(resnet, tmp_path):
    with pytest.raises(UsageError, match=r"no replacement in this network keeps params <= .* every block replaced"):
        shrink(resnet, LEARNED, maximum={"params": "5%"}, replace=True, budget="0.4s", out=tmp_path, clock=ticking())


@pytest.mark.slow
def test_what_was_replaced_learns_again(tmp_path):
    network = zoo.zoo_network("resnet")
    train(network, LEARNED, Recipe(8, 16, learning_rate=0.05), seed=0)
    options = {"maximum": {"params": "60%"}, "budget": "6s", "out": tmp_path, "clock": ticking()}
    assert shrink(network.eval(), LEARNED, replace=True, **options).metrics["test_accuracy"] > 0.7

"""Partial channels against the operations written out."""

import importlib.util
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.networks.gate import Gate
from archscout.supernets.distributions import Distribution, EdgeDistribution
from archscout.supernets.evaluate import mixable
from archscout.supernets.partial import PartOp, use_part
from archscout.supernets.supernet import Supernet
from archscout.testing import tiny_task

_spec = importlib.util.spec_from_file_location("toy", Path(__file__).with_name("toy.py"))
toy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toy)

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


def shuffled(inside, past, groups):
    """Channel g * (C / groups) + k goes to k * groups + g."""
    whole = torch.cat([inside, past], 1)
    each = whole.shape[1] // groups
    return torch.stack([whole[:, g * each + k] for k in range(each) for g in range(groups)], 1)


def normalised(x):
    return (x - x.mean((0, 2, 3), keepdim=True)) / torch.sqrt(x.var((0, 2, 3), unbiased=False, keepdim=True) + 1e-5)


def test_one_channel_in_four_goes_through_the_mixture_and_the_rest_past_it():
    supernet = Supernet(create("space", "nasbench201:width=8,cells=1"), tiny_task(), seed=3)
    before = supernet.mixed()["edge 0->1"][0].options["option3"][1].weight.detach().clone()
    use_part(supernet, 4)
    part = next(m for m in supernet.network.modules() if isinstance(m, PartOp) and m.mixed.choice == "edge 0->1")
    x = torch.randn(5, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    inside, past = x[:, :2], x[:, 2:]
    weight = part.mixed.options["option3"][1].weight
    assert torch.equal(weight, before[:2, :2])
    expected = {
        "none": torch.zeros_like(inside),
        "skip_connect": inside,
        "nor_conv_3x3": normalised(F.conv2d(inside.relu(), weight, padding=1)),
        "avg_pool_3x3": normalised(F.avg_pool2d(inside, 3, 1, 1, count_include_pad=False)),
    }
    supernet.train()
    for option, inner in expected.items():
        supernet.selection.values = {"edge 0->1": option}
        assert torch.allclose(part(x), shuffled(inner, past, 4), atol=1e-5), option
    weights = torch.tensor([0.1, 0.2, 0.0, 0.3, 0.4])
    supernet.selection.gates = {"edge 0->1": Gate(tuple(range(5)), weights)}
    mixed = sum(w * expected[name] for w, name in zip(weights, OPERATIONS, strict=True) if name in expected)
    assert torch.allclose(part(x), shuffled(mixed, past, 4), atol=1e-5)


@pytest.mark.parametrize("name", ["nasbench201:width=8,cells=1", "darts:width=4,layers=3"])
def test_every_path_and_mixture_runs(name):
    space = create("space", name)
    supernet = use_part(Supernet(space, tiny_task()), 4)
    assert mixable(supernet)
    whole = Supernet(space, tiny_task())
    assert sum(p.numel() for p in supernet.parameters()) < 0.8 * sum(p.numel() for p in whole.parameters())
    x = tiny_task().tensors(tiny_task().train)[0]
    for seed in range(3):
        assert supernet.select(space.sample(stream(seed)))(x).isfinite().all()


@pytest.mark.parametrize(("name", "share"), [("nasbench201:width=6,cells=1", 4), ("mobile:stages=2,depth=2", 2)])
def test_channels_that_cannot_be_shared_out_are_refused(name, share):
    with pytest.raises(UsageError, match=r"choice '.*'"):
        use_part(Supernet(create("space", name), tiny_task()), share)


def test_edges_of_a_node_share_out_a_softmax():
    space = toy.nasbench()
    distribution = EdgeDistribution(space)
    assert [len(names) for names in distribution.nodes] == [1, 2, 3]
    toy.random_logits(distribution)
    with torch.no_grad():
        distribution.edges[2].copy_(torch.log(torch.tensor([1.0, 2.0, 5.0])))
    plain, weighted = distribution.marginals(), distribution.weights()
    for name, share in {"edge 0->1": 1.0, "edge 0->3": 1 / 8, "edge 1->3": 2 / 8, "edge 2->3": 5 / 8}.items():
        assert torch.allclose(weighted[name], share * plain[name])
    assert EdgeDistribution(create("space", "darts")).nodes[0] == ["normal 0->2", "normal 1->2"]
    assert "edges.2" in distribution.state_dict()
    assert Distribution(space).weights().keys() == weighted.keys()

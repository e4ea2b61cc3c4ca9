"""L-SWAG against a literal form, on convolutions and on a transformer, and what is refused."""

import numpy as np
import pytest
import torch
from torch import nn

from archscout.core.errors import UsageError
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.seeds import derive, stream
from archscout.estimators.zero_cost.harness import Subject
from archscout.estimators.zero_cost.l_swag import layer_patterns, steadiness
from archscout.networks.pick import build
from archscout.testing.tasks import tiny_task

BATCH = 12


@pytest.fixture
def setting():
    return Setting(create("space", "nasbench201:width=4,cells=1"), tiny_task((3, 16, 16), 4, 40).sealed(), seed=7)


def patterns_of(y):
    """Different patterns, by Python's own sets."""
    return len({tuple(column) for column in (y > 0).flatten(1).T.tolist()})


def test_it_is_the_literal_sum(setting, literal):
    architecture = setting.space.parse(
        "|nor_conv_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_3x3~1|none~2|"
    )
    subject = Subject(architecture, setting, {}, {})
    seed = derive(setting.seed, "weights", setting.space.canonical(architecture))
    network = literal.train_mode(build(setting.space, architecture, setting.task, seed=seed))
    gradients = []
    for part in (0, 1):
        network.zero_grad(set_to_none=True)
        x, y = subject.inputs(BATCH, part)
        setting.task.loss(network(x), y).backward()
        gradients.append([layer.weight.grad.clone().double() for layer in literal.layers_of(network)])
    outputs, order = {}, []
    modules = [m for m in network.modules() if not list(m.children())]

    def record(module, _, y):
        outputs[module] = y
        order.append(module)

    for module in modules:
        module.register_forward_hook(record)
    network(subject.inputs(16)[0])
    expected = 0.0
    for layer, one, other in zip(literal.layers_of(network), *gradients, strict=True):
        spread = np.std([one.numpy(), other.numpy()], axis=0)
        follows = order.index(layer) + 1
        normal = order[follows] if follows < len(order) and isinstance(order[follows], nn.BatchNorm2d) else layer
        if spread.any():
            expected += np.log((1 / spread[spread > 0]).sum()) * patterns_of(outputs[normal])
    found = create("estimator", f"l_swag:batch={BATCH}").estimate([architecture], setting)[0]
    assert found.value == pytest.approx(expected, rel=1e-4)


def test_layers_of_the_middle_alone_and_all_of_them_add_up(setting):
    architecture = setting.space.sample(stream(0, "l_swag"))
    parts = [
        create("estimator", f"l_swag:batch={BATCH},first={first},last={last}")
        .estimate([architecture], setting)[0]
        .value
        for first, last in ((0.0, 0.5), (0.5, 1.0), (0.0, 1.0))
    ]
    assert parts[0] + parts[1] == pytest.approx(parts[2], rel=1e-6)


class Small(nn.Module):
    """A transformer's layer: attention whose weights no inner module runs, and positions of its own."""

    def __init__(self):
        super().__init__()
        self.position = nn.Parameter(torch.randn(1, 5, 8))
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.layer(x + self.position).mean(dim=1))


def test_layers_of_a_transformer_have_patterns():
    torch.manual_seed(0)
    network = Small()
    network.layer.eval()
    network.layer.train()  # the fast path of inference calls no module
    found = layer_patterns(network, torch.randn(10, 5, 8))
    assert [*found] == ["layer.self_attn", "layer.linear1", "layer.linear2", "head"]
    assert all(1 <= count <= 2**10 for count in found.values())
    assert found["head"] <= 3


def test_a_unit_is_on_after_the_normalisation_that_follows_at_once():
    shifted = nn.Sequential(nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4))
    with torch.no_grad():
        shifted[0].bias.fill_(100.0)
    x = torch.randn(6, 1, 3, 3)
    assert layer_patterns(shifted, x)["0"] > 1 == layer_patterns(shifted[:1], x)["0"]


def test_steadiness():
    one, other = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 2.0, 1.0])
    assert steadiness(one, other) == pytest.approx(np.log(2.0 + 1.0))
    assert steadiness(one, one) is None


def test_impossible_layers_are_refused():
    with pytest.raises(UsageError, match=r"0 <= first < last <= 1, shares of the depth, not first=0\.6, last=0\.5"):
        create("estimator", "l_swag:first=0.6,last=0.5")

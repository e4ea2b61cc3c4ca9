"""Normalisation of every operator, and what is read off it."""

import math

import pytest
import torch
from torch import nn

from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.networks.operations import Zero
from archscout.supernets.indicator import Indicator, measures, normalise_everything
from archscout.supernets.supernet import Supernet
from archscout.supernets.weights import last_norm
from archscout.testing import tiny_task

SPACE = create("space", "nasbench201:width=4,cells=1")


def test_every_operator_that_gives_something_is_normalised():
    supernet = normalise_everything(Supernet(SPACE, tiny_task()))
    for places in supernet.mixed().values():
        for place in places:
            for option in place.options.values():
                assert isinstance(option, Zero) or last_norm(option) is not None
    x, _ = tiny_task().tensors(tiny_task().train)
    supernet.train()
    skip = supernet.mixed()["edge 0->1"][0].options["option1"]
    features = 3 + 5 * torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(skip(features).mean((0, 2, 3)), torch.zeros(4), atol=1e-5)
    assert supernet.select(SPACE.sample(stream(0)))(x).isfinite().all()


def test_spaces_of_widths_are_refused():
    with pytest.raises(UsageError, match="not all between modules"):
        normalise_everything(Supernet(create("space", "mobile:stages=2,depth=2"), tiny_task()))


class Linear(nn.Module):
    """Outputs that are known: two normalised features, a rectifier, two classes."""

    def __init__(self):
        super().__init__()
        self.norm, self.relu = nn.BatchNorm1d(2), nn.ReLU()

    def forward(self, x):
        return self.relu(self.norm(x))

    def select(self, architecture):
        return self


def test_the_measures_of_a_network_worked_out_by_hand():
    """Normalised to +-1, (1, 1), (1, -1), (-1, 1), (-1, -1): the rectifiers open for different halves of the examples.

    The outputs' slopes in scale and shift are 1 or -1 times what is open: the fourth example has none, so that the
    kernel is singular.
    """
    x = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    patterns, trainability, certainty = measures(Linear(), None, x)
    assert patterns == 2
    assert trainability == pytest.approx(-math.log(1e12))
    rows = torch.softmax(x.clamp(min=0), 1)
    assert certainty == pytest.approx(float((rows * rows.log()).sum(1).mean()), abs=1e-4)
    # Without the last example: slopes (1, 1, 1, 1), (1, 1, 0, 0), (0, 0, 1, 1) times sqrt... are dependent too.
    assert measures(Linear(), None, x[:1].repeat(2, 1) * torch.tensor([[1.0], [-1.0]]))[0] == 1


def test_the_indicator_ranks_among_the_reference():
    supernet = normalise_everything(Supernet(SPACE, tiny_task(), seed=1))
    before = [weight.requires_grad for weight in supernet.parameters()]
    state = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    x, _ = tiny_task().tensors(tiny_task().valid)
    reference = [SPACE.sample(stream(number)) for number in range(7)]
    indicator = Indicator(supernet, reference, x[:8])
    values = indicator(reference)
    rows = [measures(supernet, architecture, x[:8]) for architecture in reference]
    for place, value in enumerate(values):
        below = [
            sum((other[k] < rows[place][k]) + 0.5 * (other[k] == rows[place][k]) for other in rows) for k in range(3)
        ]
        assert value == pytest.approx(sum(below) / 7)
    assert [weight.requires_grad for weight in supernet.parameters()] == before
    assert all(torch.equal(tensor, state[name]) for name, tensor in supernet.state_dict().items())

"""Straight-through samples where options are held out: they are never drawn, and change no gradient of the others."""

import numpy as np
import torch

from archscout.core.choice import Choice
from archscout.core.space import Space
from archscout.supernets.distributions import DEAD, Distribution
from archscout.supernets.gates import straight_through


class Three(Space):
    name = "three"
    choices = (Choice("a", ("x", "y", "z")),)

    def network(self, task, pick):
        raise AssertionError


class Noise:
    """The same Gumbel noise for the options that are left, whatever their number."""

    def __init__(self, seed):
        self.noise = np.random.default_rng(seed).gumbel(size=2)

    def gumbel(self, size):
        return np.concatenate([self.noise, [50.0] * (size - 2)])  # the third would be drawn, were it there


def test_an_option_that_is_held_out_is_not_drawn_and_changes_no_gradient():
    for seed in range(20):
        distribution = Distribution(Three())
        (logits,) = distribution.logits
        logits.data = torch.tensor([0.3, -0.4, DEAD])
        gate = straight_through(distribution, Noise(seed), temperature=2.0)["a"]
        assert gate.run[0] in (0, 1)
        (gate.weights * torch.tensor([1.0, 3.0, 7.0])).sum().backward()

        two = torch.tensor([0.3, -0.4], requires_grad=True)
        relaxed = torch.softmax((torch.log_softmax(two, 0) + torch.as_tensor(Noise(seed).noise)) / 2.0, 0)
        (relaxed * torch.tensor([1.0, 3.0])).sum().backward()
        torch.testing.assert_close(logits.grad, torch.cat([two.grad, torch.zeros(1)]))

"""An estimator and a strategy from outside."""

from archscout.core.estimator import Estimator
from archscout.core.strategy import Strategy
from archscout.core.trial import Estimate


class Convolutions(Estimator):
    """The number of convolutions in the architecture's text."""

    name = "convolutions"

    def estimate(self, architectures, setting, *, fidelity=None):
        return [Estimate(float(str(architecture).count("conv"))) for architecture in architectures]


class Walk(Strategy):
    """A neighbour of the last architecture."""

    name = "walk"

    def propose(self, space, history, rng):
        return space.mutate(history[-1].architecture, rng) if history else space.sample(rng)

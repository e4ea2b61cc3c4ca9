"""Two candidates for each width at a time: windows that move over its options (Prunode, arXiv 2209.11785).

However many widths there are, a block runs once, at the larger of its two candidates, the other being a mask of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from archscout.core.choice import Option
from archscout.core.space import Space
from archscout.networks.gate import Gate
from archscout.supernets.distributions import DEAD, Distribution
from archscout.supernets.extent import kinds
from archscout.supernets.shrinking import drop
from archscout.supernets.step import Job, Step
from archscout.supernets.updates import Pathwise, expected_cost

CERTAIN = 0.02
"""By how much a candidate must be more probable than the other for its window to move that way."""


class Windows(Distribution):
    """A distribution in which some choices have two options alive at a time; which, and how far a window moves next,
    is in its state.

    Args:
        space: whose architectures.
        orders: by choice with a window, its options from the smallest to the largest.
    """

    def __init__(self, space: Space, orders: Mapping[str, Sequence[Option]]) -> None:
        super().__init__(space)
        self.orders = {name: list(options) for name, options in orders.items() if len(options) > 1}
        lasts = torch.tensor([len(options) - 1 for options in self.orders.values()], dtype=torch.long)
        self.low: Tensor
        self.high: Tensor
        self.stride: Tensor
        self.direction: Tensor
        self.register_buffer("low", lasts // 2)
        self.register_buffer("stride", torch.clamp(lasts // 2, min=1))
        self.register_buffer("high", torch.minimum(self.low + self.stride, lasts))
        self.register_buffer("direction", torch.zeros_like(lasts))
        for place, name in enumerate(self.orders):
            self._open(place, name)

    def window(self, name: str) -> tuple[Option, Option]:
        """The two candidates of a choice, the smaller first."""
        place, order = list(self.orders).index(name), self.orders[name]
        return order[int(self.low[place])], order[int(self.high[place])]

    def move(self) -> None:
        """Each window towards its more probable candidate; after a change of direction by half as much as before.

        A window that cannot move on, or whose candidates are as probable as each other, stays.
        """
        marginals = self.marginals()
        for place, (name, order) in enumerate(self.orders.items()):
            choice = next(choice for choice in self.space.choices if choice.name == name)
            larger = float(marginals[name][choice.index(self.window(name)[1])].detach())
            if abs(larger - 0.5) < CERTAIN:
                continue
            direction = 1 if larger > 0.5 else -1
            if int(self.direction[place]) == -direction:
                self.stride[place] = max(1, int(self.stride[place]) // 2)
            self.direction[place] = direction
            low, high, stride = int(self.low[place]), int(self.high[place]), int(self.stride[place])
            low, high = (high, high + stride) if direction > 0 else (low - stride, low)
            last = len(order) - 1
            # At an end the window becomes as narrow as it can be, around the candidate that won.
            self.low[place], self.high[place] = max(0, min(low, last - 1)), min(last, max(high, 1))
            self._open(place, name)

    def prune(self, threshold: float) -> None:
        """Take away the options, of choices without a window, that are less probable than a share of the most probable
        one of their choice."""
        marginals = self.marginals()
        for choice in self.space.choices:
            if choice.name not in self.orders:
                p = marginals[choice.name].detach()
                gone = [
                    o for o, each in zip(choice.options, p.tolist(), strict=True) if each < threshold * float(p.max())
                ]
                drop(self, [(choice.name, option) for option in gone])

    def _open(self, place: int, name: str) -> None:
        """Both candidates of a window at even chances, all others dead."""
        choice = next(choice for choice in self.space.choices if choice.name == name)
        logits = self.logits[self._of[name]]
        with torch.no_grad():
            logits.fill_(DEAD)
            for option in self.window(name):
                logits[choice.index(option)] = 0.0


def bipath(step: Step) -> list[Job]:
    """Of each width both candidates, weighted by their probabilities; of every other choice one option, by the Gumbel
    trick straight through, among those that are alive."""
    rng, kind = step.rng("gates"), kinds(step.supernet)
    gates = {}
    for name, p in step.distribution.marginals().items():
        live = [place for place, value in enumerate(p.tolist()) if value > 0]
        if kind[name] == "width":
            gates[name] = Gate(tuple(live), p)
            continue
        noise = torch.as_tensor(rng.gumbel(size=len(live)), dtype=p.dtype, device=p.device)
        relaxed = torch.softmax((torch.log(p[live]) + noise) / step.temperature, 0)
        drawn = int(relaxed.argmax())
        one_hot = torch.zeros_like(relaxed)
        one_hot[drawn] = 1.0
        weights = torch.zeros_like(p).index_put(
            (torch.tensor(live, device=p.device),), one_hot - relaxed.detach() + relaxed
        )
        gates[name] = Gate((live[drawn],), weights)
    return [Job(gates)]


class CostedPathwise(Pathwise):
    """Pathwise, plus what the expected cost is above a target, in units of it.

    Args:
        cost: by choice, a cost for each option.
        constant: what every architecture costs.
        target: in the unit of `cost`.
        strength: of the excess in the loss.
        rate: of Adam.
    """

    def __init__(
        self, cost: Mapping[str, Sequence[float]], constant: float, target: float, strength: float, rate: float
    ) -> None:
        super().__init__(bipath, rate, decay=0.0)
        self.cost, self.constant, self.target, self.strength = cost, constant, target, strength

    def gradients(self, step: Step) -> dict[str, float]:
        row = super().gradients(step)
        expected = expected_cost(step.distribution, self.cost) + self.constant
        excess = self.strength * torch.relu(expected / self.target - 1)
        if excess.requires_grad:
            excess.backward()  # type: ignore[no-untyped-call]
        return {**row, "expected_cost": float(expected.detach())}

"""REINFORCE: a policy over the choices, moved towards what did better than usual (Williams 1992)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError
from archscout.core.registry import register
from archscout.core.space import Space
from archscout.core.strategy import Strategy, unseen
from archscout.core.trial import History, Trial

BETAS, SMALL = (0.9, 0.999), 1e-8
"""Of Adam (Kingma, Ba 2015, arXiv 1412.6980), and what keeps it from dividing by zero."""


@register("strategy", "reinforce")
class Reinforce(Strategy):
    """REINFORCE: options are drawn from a probability each, raised where the value is above the moving mean.

    Williams 1992; as the control of NAS-Bench-201 (Dong, Yang 2020, arXiv 2001.00326): one categorical distribution a
    choice, Adam, an exponential moving mean as baseline. There the reward is the accuracy in percent and the rate
    0.001, for thousands of trials; here the advantage is measured in standard deviations of the values so far, so that
    the rate holds for any metric, and suits tens to hundreds.

    Options are drawn by Gumbel noise on the logits, so that a space in which not every combination is an architecture
    says itself what becomes of a draw (`Space.strongest`); there the gradient is that of the options which are left.

    Args:
        rate: of Adam.
        momentum: of the moving mean of values.
    """

    def __init__(self, rate: float = 0.1, momentum: float = 0.9) -> None:
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < np.inf:
            raise UsageError(f"the rate of strategy 'reinforce' must be a number above zero, not {rate!r}.")
        if isinstance(momentum, bool) or not isinstance(momentum, int | float) or not 0 <= momentum < 1:
            raise UsageError(f"the momentum of strategy 'reinforce' is at least 0 and below 1, not {momentum!r}.")
        self.name = "reinforce"
        self.rate, self.momentum = float(rate), float(momentum)
        self._known: Policy | None = None

    def propose(self, space: Space, history: History, rng: np.random.Generator) -> Architecture:
        policy = self.policy(space, history)

        def draw() -> Architecture:
            noisy = {name: logits + rng.gumbel(size=len(logits)) for name, logits in policy.logits.items()}
            return space.nearest(space.strongest({name: values.tolist() for name, values in noisy.items()}))

        return unseen(draw, space, history)

    def policy(self, space: Space, history: History) -> Policy:
        """The policy after all that is known; what was learned of a shorter history is not learned again."""
        policy = self._known
        if policy is None or policy.space != space.digest or not policy.continues(history):
            policy = Policy(space.digest, {c.name: np.zeros(len(c.options)) for c in space.choices})
        places = {c.name: {option: i for i, option in enumerate(c.options)} for c in space.choices}
        for trial in history[policy.seen :]:
            if trial.defined:
                chosen = {name: places[name][option] for name, option in trial.architecture.items()}
                policy.learn(chosen, trial.value, self.rate, self.momentum)
            policy.seen, policy.last = policy.seen + 1, trial
        self._known = policy
        return policy


@dataclass
class Policy:
    """Logits by choice, and what Adam and the baseline remember.

    Args:
        space: digest of the space that the choices are of.
        logits: by choice, one an option.
    """

    space: str
    logits: dict[str, np.ndarray]
    seen: int = 0
    last: Trial | None = None
    values: list[float] = field(default_factory=list)
    mean: float = 0.0
    weight: float = 0.0
    steps: int = 0
    moments: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def continues(self, history: History) -> bool:
        """Whether what was learned is the beginning of this history."""
        return self.seen <= len(history) and (not self.seen or history[self.seen - 1] is self.last)

    def learn(self, chosen: Mapping[str, int], value: float, rate: float, momentum: float) -> None:
        """One step of Adam up the gradient of advantage x log-probability of the chosen options."""
        baseline = self.mean / self.weight if self.weight else value
        self.values.append(value)
        self.mean = momentum * self.mean + (1 - momentum) * value
        self.weight = momentum * self.weight + (1 - momentum)
        spread = float(np.std(self.values))
        advantage = (value - baseline) / spread if spread > 0 else 0.0
        self.steps += 1
        for name, place in chosen.items():
            logits = self.logits[name]
            shares = np.exp(logits - logits.max())
            gradient = -advantage * shares / shares.sum()
            gradient[place] += advantage
            first, second = self.moments.get(name, (np.zeros_like(logits), np.zeros_like(logits)))
            first = BETAS[0] * first + (1 - BETAS[0]) * gradient
            second = BETAS[1] * second + (1 - BETAS[1]) * gradient**2
            self.moments[name] = first, second
            scale = np.sqrt(second / (1 - BETAS[1] ** self.steps)) + SMALL
            logits += rate * first / (1 - BETAS[0] ** self.steps) / scale

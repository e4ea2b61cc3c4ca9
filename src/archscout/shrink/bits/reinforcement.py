"""Bits by an actor that sees one layer after the other, and a critic (HAQ: Wang et al. 2019, arXiv 1811.08886)."""

from __future__ import annotations

import math
from collections import deque
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from archscout.core.seeds import derive, stream
from archscout.shrink.bits.problem import BitProblem, Choice
from archscout.training.optimizers import descend

_WIDTH = 48
_BATCH = 48
_REMEMBERED = 2000
_WARM_UP = 20
"""Episodes of random actions."""
_PATIENCE = 60
"""Episodes in a row that bring nothing new, before the search ends early."""


def reinforcement(problem: BitProblem, seed: int, evaluations: int = 240) -> Choice:
    """An action in [0, 1] says the bits of each choice in turn; what breaks a limit is rolled back (DDPG).

    Every step of an episode gets its reward, the fall of the loss against that of uniform bits, less a moving average
    of rewards; nothing is discounted. As in HAQ, the actor sees what a layer is and which action came before.

    Args:
        problem: what is searched.
        seed: of weights and noise.
        evaluations: different choices that are measured.
    """
    rng = stream(seed, "bits", "reinforcement")
    states = features(problem)
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "bits", "reinforcement"))
        agent = _Agent(states.shape[1] + 1)
    uniform = problem.loss_of(problem.uniform())
    unit = abs(uniform) if 0 < abs(uniform) < math.inf else 1.0
    average, spread, episode, known = 0.0, 0.5, 0, 0
    while len(problem.known) < evaluations and known < _PATIENCE:
        before, actions, seen = 1.0, [], []
        for state in states:
            seen.append(np.append(state, before))
            before = float(rng.random()) if episode < _WARM_UP else _noisy(agent.act(seen[-1]), spread, rng)
            actions.append(before)
        choice = problem.rolled_back(tuple(_position(action, problem) for action in actions))
        known = known + 1 if choice in problem.known else 0
        # Losses have no end above, rewards must have one.
        reward = float(np.tanh((uniform - problem.loss_of(choice)) / unit))
        average = reward if episode == 0 else 0.95 * average + 0.05 * reward
        # What was rolled back is what was done.
        done = [(position + 0.5) / len(problem.bits) for position in choice]
        agent.remember(seen, done, reward - average)
        if episode >= _WARM_UP:
            agent.learn(rng, len(states))
            spread *= 0.985
        episode += 1
    return problem.best()


def features(problem: BitProblem) -> np.ndarray:
    """What the actor sees of each choice (choices x features), each scaled to [0, 1]."""
    rows = []
    for place in problem.places:
        is_value = place >= len(problem.layers)
        layer = problem.sources.index(place) if is_value else place
        operator = problem.layers[layer]
        weight = operator.weighted()[0]
        rows.append([
            float(is_value), layer, float(operator.depthwise), float(operator.kind == "linear"), weight.shape[0],
            weight.shape[1], weight.numel(), operator.kernel[0], operator.stride[0], problem.program.macs_of(operator),
        ])  # fmt: skip
    table = np.array(rows, float)
    low, high = table.min(0), table.max(0)
    scaled: np.ndarray = (table - low) / np.where(high > low, high - low, 1)
    return scaled


def _position(action: float, problem: BitProblem) -> int:
    return min(int(action * len(problem.bits)), len(problem.bits) - 1)


def _noisy(action: float, spread: float, rng: np.random.Generator) -> float:
    """A draw around the action, within [0, 1]."""
    while not 0 <= (drawn := action + spread * float(rng.standard_normal())) <= 1:
        pass
    return drawn


def _layers(inputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, 1)
    )


class _Agent:
    """Actor, critic, their slow copies, and what was seen."""

    def __init__(self, size: int) -> None:
        self.actor, self.critic = _layers(size), _layers(size + 1)
        self.slow_actor, self.slow_critic = _layers(size), _layers(size + 1)
        self.slow_actor.load_state_dict(self.actor.state_dict())
        self.slow_critic.load_state_dict(self.critic.state_dict())
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), lr=1e-3)
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), lr=1e-2)
        self.memory: deque[tuple[np.ndarray, float, float, np.ndarray, float]] = deque(maxlen=_REMEMBERED)

    def act(self, state: np.ndarray) -> float:
        with torch.no_grad():
            return float(torch.sigmoid(self.actor(torch.from_numpy(state).float())))

    def remember(self, states: list[np.ndarray], actions: list[float], reward: float) -> None:
        for place, (state, action) in enumerate(zip(states, actions, strict=True)):
            last = place + 1 == len(states)
            self.memory.append((state, action, reward, state if last else states[place + 1], float(not last)))

    def learn(self, rng: np.random.Generator, steps: int) -> None:
        for _ in range(steps):
            drawn = [self.memory[k] for k in rng.integers(len(self.memory), size=_BATCH)]
            state, action, reward, after, goes_on = (
                torch.from_numpy(np.array(column)).float() for column in zip(*drawn, strict=True)
            )
            with torch.no_grad():
                value = self._value(self.slow_critic, after, torch.sigmoid(self.slow_actor(after)))
                target = reward[:, None] + goes_on[:, None] * value
            descend(self.critic_optimizer, partial(self._critic_backward, state, action, target))
            descend(self.actor_optimizer, partial(self._actor_backward, state))
            with torch.no_grad():
                for slow, quick in ((self.slow_actor, self.actor), (self.slow_critic, self.critic)):
                    for kept, new in zip(slow.parameters(), quick.parameters(), strict=True):
                        kept.lerp_(new, 0.01)

    def _critic_backward(self, state: Tensor, action: Tensor, target: Tensor) -> None:
        (self._value(self.critic, state, action[:, None]) - target).pow(2).mean().backward()  # type: ignore[no-untyped-call]

    def _actor_backward(self, state: Tensor) -> None:
        loss = -self._value(self.critic, state, torch.sigmoid(self.actor(state))).mean()
        loss.backward()  # type: ignore[no-untyped-call]

    def _value(self, critic: nn.Module, state: Tensor, action: Tensor) -> Tensor:
        value: Tensor = critic(torch.cat([state, action], 1))
        return value

"""Probability distributions over the architectures of a space: products of categorical variables.

A variable is one choice (a *factorised* distribution), or several choices that are decided together (a *joint* one, of
which each combination of options has a probability of its own). A variable whose choices are conditional counts only
where they are active, so that probabilities, log-probabilities and the entropy are those of architectures.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from archscout.core.architecture import Architecture
from archscout.core.choice import Choice, Option
from archscout.core.errors import UsageError
from archscout.core.seeds import stream
from archscout.core.space import Space

DEAD = -1e4
"""The logit of an option that is gone: its probability is 0 exactly, and the logit finite."""

MOST_COMBINATIONS = 10_000
"""A joint variable of more options is refused: each would hardly ever be drawn."""


@dataclass(frozen=True)
class Variable:
    """Choices that are decided together; they all have the same condition."""

    choices: tuple[Choice, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(choice.options) for choice in self.choices)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def position(self, values: Mapping[str, Option]) -> int:
        """Which of its combinations these values are."""
        places = [choice.index(values[choice.name]) for choice in self.choices]
        return int(np.ravel_multi_index(places, self.shape))

    def values(self, position: int) -> dict[str, Option]:
        """The combination at a position."""
        places = np.unravel_index(position, self.shape)
        return {choice.name: choice.options[int(i)] for choice, i in zip(self.choices, places, strict=True)}


class Distribution(nn.Module):
    """A product of categorical variables, one vector of logits each; uniform at first
    over what a mixture of the space has.

    Args:
        space: whose architectures.
        groups: names of the choices that are decided together; every other choice is a variable of its own.

    Raises:
        UsageError: for an unknown choice, a group with different conditions, or too many combinations.
    """

    def __init__(self, space: Space, groups: Iterable[Sequence[str]] = ()) -> None:
        super().__init__()
        self.space = space
        self.variables = _variables(space, groups)
        self.logits = nn.ParameterList(torch.zeros(variable.size) for variable in self.variables)
        # What the reward has been on average; NaN before the first (see `archscout.supernets.updates.ScoreFunction`).
        self.baseline: Tensor
        self.register_buffer("baseline", torch.tensor(float("nan")))
        # What a limit costs now (see `archscout.supernets.importance.PricedImportance`).
        self.price: Tensor
        self.register_buffer("price", torch.zeros(()))
        self._of = {c.name: i for i, variable in enumerate(self.variables) for c in variable.choices}
        for name, option in space.unmixed():
            variable = self.variables[self._of[name]]
            if len(variable.choices) == 1:
                self.logits[self._of[name]].data[variable.choices[0].index(option)] = DEAD

    @property
    def factorised(self) -> bool:
        return all(len(variable.choices) == 1 for variable in self.variables)

    def probabilities(self) -> list[Tensor]:
        """Of each variable's combinations (n,)."""
        return [torch.softmax(logits, 0) for logits in self.logits]

    def marginals(self) -> dict[str, Tensor]:
        """By choice, the probability of each option where the choice is active (n,)."""
        by_choice: dict[str, Tensor] = {}
        for variable, p in zip(self.variables, self.probabilities(), strict=True):
            table = p.view(variable.shape)
            for axis, choice in enumerate(variable.choices):
                others = [other for other in range(table.ndim) if other != axis]
                by_choice[choice.name] = table.sum(others) if others else table
        return {choice.name: by_choice[choice.name] for choice in self.space.choices}

    def weights(self) -> dict[str, Tensor]:
        """By choice, by what each option is multiplied in a mixture of all of them (n,): its probability."""
        return self.marginals()

    def presence(self) -> dict[str, Tensor]:
        """By choice, the probability that it is active."""
        marginals, by_choice = self.marginals(), {}
        for choice in self.space.choices:
            condition = choice.condition
            if condition is None:
                by_choice[choice.name] = torch.ones((), device=self.logits[0].device)
                continue
            parent = self.variables[self._of[condition.choice]]
            options = next(c for c in parent.choices if c.name == condition.choice).options
            mask = torch.tensor([option in condition.values for option in options], device=self.logits[0].device)
            by_choice[choice.name] = by_choice[condition.choice] * (marginals[condition.choice] * mask).sum()
        return by_choice

    def entropy(self) -> Tensor:
        """Of the architecture, in nats: the sum over variables of entropy times the probability of being active."""
        presence = self.presence()
        terms = [
            presence[variable.choices[0].name] * -(torch.softmax(logits, 0) * torch.log_softmax(logits, 0)).sum()
            for variable, logits in zip(self.variables, self.logits, strict=True)
        ]
        return torch.stack(terms).sum()

    def log_probability(self, architecture: Architecture) -> Tensor:
        """Of drawing this architecture as it is written (not a simplified form of it)."""
        return self.log_probabilities([architecture])[0]

    def log_probabilities(self, architectures: Sequence[Architecture]) -> Tensor:
        """Of drawing each (A,)."""
        total = torch.zeros(len(architectures), device=self.logits[0].device)
        for variable, logits in zip(self.variables, self.logits, strict=True):
            active = [i for i, a in enumerate(architectures) if variable.choices[0].name in a]
            if active:
                drawn = [variable.position(architectures[i]) for i in active]
                total = total.index_add(
                    0, torch.tensor(active, device=total.device), torch.log_softmax(logits, 0)[drawn]
                )
        return total

    def sample(self, count: int, rng: np.random.Generator, *, balanced: bool = False) -> list[Architecture]:
        """Draws from the distribution.

        Args:
            count: how many.
            rng: of the draws.
            balanced: whether together they take every option as often as its probability says, to within one, rather
                than independently. Each alone has the same distribution as before, and the options of different
                variables stay independent: systematic sampling of each variable, in an order of its own.
        """
        columns = []
        for p in self.probabilities():
            steps = p.detach().double().cumsum(0).cpu().numpy()
            places = (rng.permutation(count) + rng.random()) / count if balanced else rng.random(count)
            columns.append(np.minimum(np.searchsorted(steps, places * steps[-1], side="right"), len(steps) - 1))
        drawn = []
        for row in zip(*columns, strict=True):
            values: dict[str, Option] = {}
            for variable, place in zip(self.variables, row, strict=True):
                values |= variable.values(int(place))
            drawn.append(self.space.architecture(values))
        return drawn

    def mode(self) -> Architecture:
        """Every variable at its most probable combination."""
        return next(self.best_first())

    def best_first(self) -> Iterator[Architecture]:
        """Different architectures in decreasing probability of their variables, the mode first."""
        logs = [torch.log_softmax(logits.detach(), 0).double().cpu().numpy() for logits in self.logits]
        orders = [np.argsort(-values, kind="stable") for values in logs]
        ranked = [values[order] for values, order in zip(logs, orders, strict=True)]
        start = (0,) * len(ranked)
        heap = [(-float(sum(values[0] for values in ranked)), start, 0)]
        seen: set[str] = set()
        while heap:
            cost, ranks, first = heapq.heappop(heap)
            values: dict[str, Option] = {}
            for variable, order, rank in zip(self.variables, orders, ranks, strict=True):
                values |= variable.values(int(order[rank]))
            architecture = self.space.architecture(values)
            if architecture.text not in seen:
                seen.add(architecture.text)
                yield architecture
            # Only variables from the last one changed on go up, so that no tuple of ranks is made twice.
            for place in range(first, len(ranks)):
                if ranks[place] + 1 < len(ranked[place]):
                    dearer = cost + ranked[place][ranks[place]] - ranked[place][ranks[place] + 1]
                    heapq.heappush(heap, (dearer, (*ranks[:place], ranks[place] + 1, *ranks[place + 1 :]), place))

    def joint(self, groups: Iterable[Sequence[str]]) -> Distribution:
        """The same distribution with choices of a group decided together from now on (Yan et al. 2021, arXiv
        2011.10949): the logit of a combination is the sum of its options' log-probabilities."""
        merged = Distribution(self.space, groups).to(self.logits[0].device)
        merged.price.copy_(self.price)
        marginals = self.marginals()
        for variable, logits in zip(merged.variables, merged.logits, strict=True):
            parts = [torch.log(marginals[choice.name]) for choice in variable.choices]
            table = sum(
                part.view([-1 if axis == own else 1 for axis in range(len(parts))]) for own, part in enumerate(parts)
            )
            assert isinstance(table, Tensor)
            logits.data.copy_(table.detach().reshape(-1))
        return merged

    def check(self) -> None:
        """Raises `ArithmeticError` where a logit is no longer finite."""
        if not all(bool(torch.isfinite(logits).all()) for logits in self.parameters()):
            raise ArithmeticError("the distribution over architectures is no longer finite")


class EdgeDistribution(Distribution):
    """With a weight for each edge besides: what comes into a node is a weighted mean over its edges (PC-DARTS: Xu et
    al. 2020, arXiv 1907.05737).

    Edges are choices named `edge 0->2`; those of one node share out a softmax. Other choices have no such weight.
    """

    def __init__(self, space: Space) -> None:
        super().__init__(space)
        nodes: dict[str, list[str]] = {}
        for choice in space.choices:
            if "->" in choice.name:
                nodes.setdefault(_layer(choice), []).append(choice.name)
        self.nodes = list(nodes.values())
        self.edges = nn.ParameterList(torch.zeros(len(names)) for names in self.nodes)

    def weights(self) -> dict[str, Tensor]:
        by_choice = self.marginals()
        for names, logits in zip(self.nodes, self.edges, strict=True):
            for name, weight in zip(names, torch.softmax(logits, 0), strict=True):
                by_choice[name] = weight * by_choice[name]
        return by_choice


def is_product(space: Space, tries: int = 50) -> bool:
    """Whether options can be chosen freely: every combination is an architecture, and means what it says.

    Found out by trying. Spaces of graphs that must hang together, for example, are not; a distribution over single
    choices is then none over architectures.
    """
    rng = stream(0, "product", space.name)
    for _ in range(tries):
        values = {choice.name: choice.options[int(rng.integers(len(choice.options)))] for choice in space.choices}
        try:
            architecture = space.architecture(values)
        except UsageError:
            return False
        if any(values[name] != option for name, option in architecture.items()):
            return False
    return True


def layers(space: Space) -> list[list[str]]:
    """Choices that belong to one layer of the network, for joint variables: those of the same prefix before the last
    dot (`stage1.block2.kernel`), or into the same node (`edge 0->2`), with the same condition. A group ends where
    its combinations would be more than 1,000."""
    groups: dict[tuple[str, object], list[list[Choice]]] = {}
    for choice in space.choices:
        open_groups = groups.setdefault((_layer(choice), choice.condition), [[]])
        if math.prod(len(c.options) for c in [*open_groups[-1], choice]) > 1000:
            open_groups.append([])
        open_groups[-1].append(choice)
    return [[c.name for c in group] for lists in groups.values() for group in lists if group]


def _layer(choice: Choice) -> str:
    """What the choices of one layer have in common in their names."""
    prefix, dot, _ = choice.name.rpartition(".")
    source, arrow, node = choice.name.partition("->")
    return prefix if dot else f"{source.rpartition(' ')[0]} ->{node.partition(' ')[0]}" if arrow else choice.name


def _variables(space: Space, groups: Iterable[Sequence[str]]) -> tuple[Variable, ...]:
    by_name = {choice.name: choice for choice in space.choices}
    grouped = [list(group) for group in groups]
    for name in itertools.chain(*grouped):
        if name not in by_name:
            raise UsageError(f"space '{space.name}' has no choice '{name}', which a joint variable was to have.")
    taken = set(itertools.chain(*grouped))
    variables = [Variable(tuple(by_name[name] for name in group)) for group in grouped if group]
    variables += [Variable((choice,)) for choice in space.choices if choice.name not in taken]
    for variable in variables:
        names = ", ".join(choice.name for choice in variable.choices)
        if len({choice.condition for choice in variable.choices}) > 1:
            raise UsageError(f"choices {names} have different conditions and cannot be one variable.")
        if variable.size > MOST_COMBINATIONS:
            raise UsageError(f"choices {names} have {variable.size:,} combinations: take fewer of them together.")
    order = {choice.name: place for place, choice in enumerate(space.choices)}
    return tuple(sorted(variables, key=lambda variable: order[variable.choices[0].name]))

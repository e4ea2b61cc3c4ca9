"""The space of NAS-Bench-NLP (Klyuchnikov et al. 2020, arXiv 2006.07116): cells of recurrent networks for language,
which are any graph of linear maps, gates and activations."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from archscout.core.architecture import Architecture
from archscout.core.choice import Choice, Condition, Option
from archscout.core.errors import UsageError, nearest
from archscout.core.graph import Graph, Node
from archscout.core.registry import register
from archscout.core.space import Pick, Space
from archscout.core.task import Task
from archscout.networks.elastic import maximum, now
from archscout.spaces.sizes import check_sizes
from archscout.spaces.wiring import canonical_text

STATES = (1, 2, 3)
MOST_NODES = 24
INPUTS = {"linear2": 2, "linear3": 3, "blend": 3, "prod": 2, "sum": 2, "tanh": 1, "sigm": 1, "leaky_relu": 1}
"""Operations and how many inputs each takes. A blend of a, b and c is a * b + (1 - a) * c."""

LINEAR = ("linear2", "linear3")
ACTIVATIONS = ("tanh", "sigm", "leaky_relu")
PUBLISHED = {
    "activation_tanh": "tanh",
    "activation_sigm": "sigm",
    "activation_leaky_relu": "leaky_relu",
    "elementwise_prod": "prod",
    "elementwise_sum": "sum",
    "blend": "blend",
    "linear": "linear",
}
"""Names of operations in published recipes."""

_NODE = re.compile(r"([a-z_]+)\(([a-z0-9,]*)\)")
_EXAMPLE = "'linear(x,h0);tanh(0)>1'"
_RNN = "linear(x,h0);tanh(0)>1"
_LSTM = (
    "linear(x,h0);tanh(0);linear(x,h0);sigm(2);linear(x,h0);sigm(4);linear(x,h0);sigm(6);prod(h1,5);prod(1,3);"
    "sum(8,9);tanh(10);prod(7,11)>12,10"
)


@dataclass(frozen=True)
class Cell:
    """A drawing of a cell: `nodes` are operations with their inputs (`x`, `h0`..., or the number of an earlier node);
    `states` are the nodes that become the new `h0`, `h1`..."""

    nodes: tuple[tuple[str, tuple[str, ...]], ...]
    states: tuple[int, ...]


@register("space", "nasbench_nlp")
class NASBenchNLP(Space):
    """Recurrent cells of up to 24 nodes with 7 operations and 3 hidden states, for text: 6.8 x 10^83 drawings of cells.

    The text lists the nodes, each an operation of what comes before it, and after `>` the nodes that become the hidden
    states h0 (which is the output), h1 and h2: `linear(x,h0);tanh(0)>1` is the simple recurrent cell. A published
    recipe (JSON, with nodes by name) is read too.

    Args:
        width: of the embedding of a character, and of the last layer; 32 unless given (published: 400).
        hidden: of the hidden states of the layers before the last; 32 unless given (published: 600).
        layers: cells on top of each other; 1 unless given (published: 3).

    The set counted by `size` is that of all drawings: inputs of a node come before it and differ, only linear maps take
    x. Sampling follows the published generator: half of the operations are linear maps, each followed by an activation;
    7, 14 or 21 nodes besides the states; what h0 does not need is taken out; drawn again where x or a state is not used
    or a new state takes an old one directly. Different from the published network: there is no dropout, and the
    embedding is not tied to the output layer.
    """

    def __init__(self, width: int = 32, hidden: int = 32, layers: int = 1) -> None:
        check_sizes("nasbench_nlp", width=width, hidden=hidden, layers=layers)
        self.name = "nasbench_nlp"
        self.width, self.hidden, self.layers = width, hidden, layers

    @cached_property
    def choices(self) -> Sequence[Choice]:
        choices = [
            Choice("states", STATES, ordinal=True),
            Choice("nodes", tuple(range(1, MOST_NODES + 1)), ordinal=True),
        ]
        for k in range(MOST_NODES):
            there = Condition("nodes", tuple(range(k + 1, MOST_NODES + 1)))
            choices.append(Choice(f"node {k}", tuple(INPUTS), condition=there))
            for place in range(3):
                takes = Condition(f"node {k}", tuple(op for op, count in INPUTS.items() if count > place))
                choices.append(Choice(f"node {k} input {place}", _sources(max(STATES), k), condition=takes))
        for state in range(max(STATES)):
            there = Condition("states", tuple(count for count in STATES if count > state))
            choices.append(Choice(f"state {state}", tuple(range(MOST_NODES)), ordinal=True, condition=there))
        return tuple(choices)

    # -- text -----------------------------------------------------------------------------------------------------

    def format(self, values: Mapping[str, Option]) -> str:
        return _text(_cell(values))

    def read(self, text: str) -> dict[str, Option]:
        return dict(_values(_read(text)))

    def parse(self, text: str) -> Architecture:
        return _made(_read(text))

    def architecture(self, values: Mapping[str, Option]) -> Architecture:
        """The architecture with these values. Raises `UsageError` where they draw no cell."""
        cell = _cell(super().architecture(values))
        problem = _problem(cell)
        if problem:
            raise UsageError(f"'{_text(cell)}' is no cell of space '{self.name}': {problem}.")
        return _made(cell)

    # -- the set --------------------------------------------------------------------------------------------------

    def size(self) -> int:
        total = 0
        for states in STATES:
            drawings = 1
            for k in range(MOST_NODES):
                drawings *= _count_options(states, k)
                if k + 1 >= states:
                    total += drawings * math.perm(k + 1, states)
        return total

    def __iter__(self) -> Iterator[Architecture]:
        """Every drawing, small ones first."""

        def extend(states: int, count: int, nodes: tuple[tuple[str, tuple[str, ...]], ...]) -> Iterator[Architecture]:
            if len(nodes) == count:
                for chosen in itertools.permutations(range(count), states):
                    yield _made(Cell(nodes, chosen))
                return
            for node in _node_options(states, len(nodes)):
                yield from extend(states, count, (*nodes, node))

        for count in range(1, MOST_NODES + 1):
            for states in STATES:
                if states <= count:
                    yield from extend(states, count, ())

    def sample(self, rng: np.random.Generator) -> Architecture:
        """A random architecture, drawn as the published ones were."""
        while True:
            states = int(rng.choice(STATES))
            cell = _simplified(_generate(states, states + int(rng.choice((7, 14, 21))), rng))
            if len(cell.states) == states and len(cell.nodes) <= MOST_NODES and _sound(cell):
                return _made(cell)

    def mutate(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """A neighbour of the cell without its dead nodes, drawn uniformly among those that use x and all states; among
        all neighbours where there is no such."""
        edits = list(_edited(_simplified(_cell(architecture))))
        order = rng.permutation(len(edits))
        for needs_sound in (True, False):
            for place in order:
                if _problem(edits[place]):
                    continue
                cell = _simplified(edits[place])
                if (_sound(cell) or not needs_sound) and (mutant := _made(cell)) != architecture:
                    return mutant
        raise AssertionError("every cell has a neighbour")

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """Every drawing one edit away: another operation with as many inputs, another input of a node, another node as
        a state, a node taken out (its first input stands in), or a node put in after another one."""
        seen = {architecture}
        for cell in _edits(_cell(architecture)):
            if (neighbour := _made(cell)) not in seen:
                seen.add(neighbour)
                yield neighbour

    def crossover(self, first: Architecture, second: Architecture, rng: np.random.Generator) -> Architecture:
        """A child with as many states as one of its parents, each of which is made as in either parent; the first
        parent where the child has too many nodes."""
        parents = [_cell(first), _cell(second)]
        if first == second:
            return first
        own = int(rng.integers(2))
        count = len(parents[own].states)
        nodes: list[tuple[str, tuple[str, ...]]] = []
        states: list[int] = []
        placed: dict[tuple[int, int], int] = {}
        for state in range(count):
            fitting = [
                p for p, parent in enumerate(parents) if state < len(parent.states) and _reads(parent, state) <= count
            ]
            chosen = fitting[int(rng.integers(len(fitting)))]
            parent = parents[chosen]
            for k in _ancestors(parent, parent.states[state]):
                if (chosen, k) not in placed:
                    operation, inputs = parent.nodes[k]
                    placed[chosen, k] = len(nodes)
                    nodes.append((operation, tuple(str(placed[chosen, int(i)]) if i.isdigit() else i for i in inputs)))
            states.append(placed[chosen, parent.states[state]])
        child = _ordered(Cell(tuple(nodes), tuple(states)))
        return _made(child) if len(child.nodes) <= MOST_NODES else first

    def extremes(self) -> Iterator[Architecture]:
        """The simple recurrent cell, and the long short-term memory (Hochreiter, Schmidhuber 1997)."""
        return (self.parse(text) for text in (_RNN, _LSTM))

    # -- forms ----------------------------------------------------------------------------------------------------

    def simplify(self, architecture: Architecture) -> Architecture:
        """Without the nodes, and the states, that h0 does not need."""
        return _made(_simplified(_cell(architecture)))

    def canonical(self, architecture: Architecture) -> str:
        """The same text for two cells exactly when they are the same linear maps, wired alike, up to the order of nodes
        and of the states other than h0: sums of sums and products of products are flattened, and operations without
        weights on the same inputs are one."""
        cell = _simplified(_cell(architecture))
        others = range(1, len(cell.states))
        return min(_wiring(cell, (0, *order)) for order in itertools.permutations(others))

    def graph(self, architecture: Architecture) -> Graph:
        """Input, x and the old states, operations, the new states, output. Both kinds of `linear` have one label."""
        cell = _cell(architecture)
        count = len(cell.states)
        nodes = [Node("input"), Node("x"), *(Node(f"h_prev_{state}") for state in range(count))]
        edges = [(0, place) for place in range(1, count + 2)]
        place_of = {"x": 1} | {f"h{state}": state + 2 for state in range(count)}
        for k, (operation, inputs) in enumerate(cell.nodes):
            edges += [(place_of[i], len(nodes)) for i in inputs]
            place_of[str(k)] = len(nodes)
            nodes.append(Node(operation.rstrip("23"), group=f"node {k}"))
        last = len(nodes) + count
        for state, k in enumerate(cell.states):
            edges += [(place_of[str(k)], len(nodes)), (len(nodes), last)]
            nodes.append(Node(f"h_new_{state}", group=f"state {state}"))
        return Graph((*nodes, Node("output")), tuple(sorted(edges)))

    # -- network --------------------------------------------------------------------------------------------------

    def check_task(self, task: Task) -> None:
        if len(task.input_shape) != 1 or hasattr(task, "edges"):
            raise UsageError(
                f"space '{self.name}' needs a text; task '{task.name}' has inputs of shape {task.input_shape}: use a "
                "task such as text."
            )

    def network(self, task: Task, pick: Pick) -> nn.Module:
        return Network(task, pick, self.width, self.hidden, self.layers)


class Network(nn.Module):
    """From characters, as numbers (N x length), to outputs for each place (N x characters x length)."""

    def __init__(self, task: Task, pick: Pick, width: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(task.outputs, width)
        sizes = [width, *[hidden] * (layers - 1), width]
        self.layers = nn.ModuleList(Recurrent(inputs, outputs, pick) for inputs, outputs in itertools.pairwise(sizes))
        self.head = task.head(width)

    def forward(self, x: Tensor) -> Tensor:
        numbers = x.long().clamp(0, self.embedding.num_embeddings - 1)
        sequence = list(self.embedding(numbers).unbind(1))
        for layer in self.layers:
            sequence = layer(sequence)
        return self.head(torch.stack(sequence, 2))  # type: ignore[no-any-return]


class Recurrent(nn.Module):
    """One cell, applied to each element of a sequence (each N x `inputs`); gives h0 after each (N x `size`)."""

    def __init__(self, inputs: int, size: int, pick: Pick) -> None:
        super().__init__()
        self.size = size
        self.states = pick.number("states")
        self.chosen = [pick.number(f"state {state}") for state in range(maximum(self.states))]
        builders = [{op: partial(_node, op, k, inputs, size, pick) for op in INPUTS} for k in range(MOST_NODES)]
        self.nodes = pick.depth("nodes", [partial(pick, f"node {k}", made) for k, made in enumerate(builders)])

    def forward(self, sequence: Sequence[Tensor]) -> list[Tensor]:
        count = now(self.states)
        hidden = [sequence[0].new_zeros(sequence[0].shape[0], self.size)] * count
        outputs = []
        for x in sequence:
            values = {"x": x} | {f"h{state}": value for state, value in enumerate(hidden)}
            values = self.nodes(values)
            hidden = [values[str(now(chosen))] for chosen in self.chosen[:count]]
            outputs.append(hidden[0])
        return outputs


class LinearNode(nn.Module):
    """Adds to the values by name the sum of a linear map of each input, and a bias."""

    def __init__(self, name: str, sources: Sequence[Any], maps: Sequence[nn.Module], size: int) -> None:
        super().__init__()
        self.name = name
        self.sources = list(sources)
        self.maps = nn.ModuleList(maps)
        self.bias = nn.Parameter(torch.zeros(size))

    def forward(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        total: Tensor = self.bias
        for source, mapped in zip(self.sources, self.maps, strict=True):
            total = total + mapped(values[now(source)])
        return values | {self.name: total}


class PlainNode(nn.Module):
    """Adds to the values by name the result of an operation without weights."""

    def __init__(self, name: str, operation: str, sources: Sequence[Any]) -> None:
        super().__init__()
        self.name = name
        self.operation = operation
        self.sources = list(sources)

    def forward(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        return values | {self.name: self._result(*(values[now(source)] for source in self.sources))}

    def _result(self, first: Tensor, *rest: Tensor) -> Tensor:
        if self.operation == "tanh":
            return torch.tanh(first)
        if self.operation == "sigm":
            return torch.sigmoid(first)
        if self.operation == "leaky_relu":
            return nn.functional.leaky_relu(first)
        if self.operation == "blend":
            return first * rest[0] + (1 - first) * rest[1]
        return first * rest[0] if self.operation == "prod" else first + rest[0]


def _node(operation: str, k: int, inputs: int, size: int, pick: Pick) -> nn.Module:
    names = [f"node {k} input {place}" for place in range(INPUTS[operation])]
    sources = [pick.number(name) for name in names]
    if operation not in LINEAR:
        return PlainNode(str(k), operation, sources)
    maps = {
        source: partial(nn.Linear, inputs if source == "x" else size, size, bias=False)
        for source in _sources(max(STATES), k)
    }
    return LinearNode(str(k), sources, [pick(name, maps) for name in names], size)


# -- drawings -----------------------------------------------------------------------------------------------------


def _sources(states: int, k: int) -> tuple[str, ...]:
    """What node k may take, where there are so many states."""
    return ("x", *(f"h{state}" for state in range(states)), *(str(node) for node in range(k)))


def _place(source: str) -> tuple[int, int]:
    """The order in which inputs are written where it does not matter."""
    return (0, 0) if source == "x" else (1, int(source[1:])) if source[0] == "h" else (2, int(source))


def _node_options(states: int, k: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """All that node k may be."""
    everything = _sources(states, k)
    for operation, count in INPUTS.items():
        sources = everything if operation in LINEAR else everything[1:]
        choose = itertools.permutations if operation == "blend" else itertools.combinations
        yield from ((operation, inputs) for inputs in choose(sources, count))


def _count_options(states: int, k: int) -> int:
    """How many `_node_options` there are."""
    all_sources = len(_sources(states, k))
    return sum(
        (math.perm if operation == "blend" else math.comb)(all_sources - (operation not in LINEAR), count)
        for operation, count in INPUTS.items()
    )


def _problem(cell: Cell) -> str:
    """What is wrong with a drawing, as a clause; nothing where it is a cell."""
    if not 1 <= len(cell.nodes) <= MOST_NODES:
        return f"it has {len(cell.nodes)} nodes, not 1 to {MOST_NODES}"
    if not 1 <= len(cell.states) <= max(STATES):
        return f"it has {len(cell.states)} states, not 1 to {max(STATES)}"
    for k, (operation, inputs) in enumerate(cell.nodes):
        for source in inputs:
            if source not in _sources(len(cell.states), k):
                return f"node {k} takes '{source}', which is neither x, a state nor a node before it"
            if source == "x" and operation not in LINEAR:
                return f"node {k} ({operation}) takes x, which only linear maps may"
        if len(set(inputs)) < len(inputs):
            return f"node {k} takes one input twice"
    for node in cell.states:
        if not 0 <= node < len(cell.nodes):
            return f"there is no node {node} to be a state"
    if len(set(cell.states)) < len(cell.states):
        return "one node is two states"
    return ""


def _read(text: str) -> Cell:
    packed = "".join(text.split())
    short = text.strip() if len(text) <= 80 else text.strip()[:77] + "..."
    cell = _recipe(packed, short) if packed.startswith("{") else _drawing(packed, short)
    problem = _problem(cell)
    if problem:
        raise UsageError(f"'{short}' is no cell of NAS-Bench-NLP: {problem}.")
    return _ordered(cell)


def _drawing(packed: str, short: str) -> Cell:
    listed, arrow, states = packed.partition(">")
    numbers = states.split(",")
    if not arrow or not all(re.fullmatch(r"\d{1,3}", number) for number in numbers):
        raise UsageError(
            f"'{short}' must end in > and the numbers of the nodes that are the states, as {_EXAMPLE} does."
        )
    nodes = []
    for k, part in enumerate(listed.split(";")):
        match = _NODE.fullmatch(part)
        if match is None:
            raise UsageError(f"node {k} ('{part[:40]}') of '{short}' must be operation(input,...), as in {_EXAMPLE}.")
        nodes.append(_operation(match.group(1), tuple(match.group(2).split(",")), k, short))
    return Cell(tuple(nodes), tuple(int(number) for number in numbers))


def _operation(operation: str, inputs: tuple[str, ...], k: int | str, short: str) -> tuple[str, tuple[str, ...]]:
    named = f"linear{len(inputs)}" if operation == "linear" and len(inputs) in (2, 3) else operation
    if operation in LINEAR or named not in (*INPUTS, "linear"):
        known = sorted({name.rstrip("23") for name in INPUTS})
        raise UsageError(f"'{operation}' in '{short}' is no operation: {nearest(operation, known)}")
    if named == "linear" or len(inputs) != INPUTS[named]:
        wanted = "2 or 3" if operation == "linear" else str(INPUTS[named])
        raise UsageError(f"node {k} of '{short}' has {len(inputs)} inputs: '{operation}' takes {wanted}.")
    return named, inputs


def _recipe(packed: str, short: str) -> Cell:
    """The cell of a published recipe: nodes by name, in any order."""
    try:
        recipe = json.loads(packed)
        inputs = {str(name): [str(source) for source in node["input"]] for name, node in recipe.items()}
        operations = {str(name): str(node["op"]) for name, node in recipe.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"'{short}' is no recipe: give JSON that has, for each node, its op and the list of its input."
        ) from error
    try:
        order = [name for name in TopologicalSorter(inputs).static_order() if name in inputs]
    except CycleError as error:
        raise UsageError(f"'{short}' is no recipe: node '{error.args[1][0]}' depends on itself.") from error
    place = {name: str(k) for k, name in enumerate(order)} | {f"h_prev_{state}": f"h{state}" for state in STATES}
    place |= {"x": "x", "h_prev_0": "h0"}
    nodes = []
    for name in order:
        unknown = [source for source in inputs[name] if source not in place]
        if unknown:
            raise UsageError(f"node '{name}' of '{short}' takes '{unknown[0]}', which is neither a node nor an input.")
        operation = PUBLISHED.get(operations[name], operations[name])
        nodes.append(_operation(operation, tuple(place[source] for source in inputs[name]), name, short))
    states: list[int] = []
    while (name := f"h_new_{len(states)}") in place:
        states.append(int(place[name]))
    return Cell(tuple(nodes), tuple(states))


def _text(cell: Cell) -> str:
    nodes = (f"{operation.rstrip('23')}({','.join(inputs)})" for operation, inputs in cell.nodes)
    return f"{';'.join(nodes)}>{','.join(map(str, cell.states))}"


def _cell(values: Mapping[str, Option]) -> Cell:
    nodes = []
    for k in range(int(values["nodes"])):
        operation = str(values[f"node {k}"])
        nodes.append((operation, tuple(str(values[f"node {k} input {p}"]) for p in range(INPUTS[operation]))))
    return Cell(tuple(nodes), tuple(int(values[f"state {state}"]) for state in range(int(values["states"]))))


def _values(cell: Cell) -> Iterator[tuple[str, Option]]:
    yield "states", len(cell.states)
    yield "nodes", len(cell.nodes)
    for k, (operation, inputs) in enumerate(cell.nodes):
        yield f"node {k}", operation
        for place, source in enumerate(inputs):
            yield f"node {k} input {place}", source
    for state, node in enumerate(cell.states):
        yield f"state {state}", node


def _made(cell: Cell) -> Architecture:
    cell = _ordered(cell)
    return Architecture(_text(cell), tuple(_values(cell)))


def _ordered(cell: Cell) -> Cell:
    """With the inputs in the usual order wherever it does not matter."""
    nodes = ((op, inputs if op == "blend" else tuple(sorted(inputs, key=_place))) for op, inputs in cell.nodes)
    return Cell(tuple(nodes), cell.states)


def _ancestors(cell: Cell, *ends: int) -> list[int]:
    """The nodes that some nodes need, themselves included, in order."""
    needed, waiting = set(ends), list(ends)
    while waiting:
        new = {int(i) for i in cell.nodes[waiting.pop()][1] if i.isdigit()} - needed
        needed |= new
        waiting += new
    return sorted(needed)


def _reads(cell: Cell, state: int) -> int:
    """One more than the last old state that a new state is made of."""
    taken = [i for k in _ancestors(cell, cell.states[state]) for i in cell.nodes[k][1] if i.startswith("h")]
    return max((int(i[1:]) + 1 for i in taken), default=0)


def _simplified(cell: Cell) -> Cell:
    """Without the nodes and states that h0 does not need; what stays keeps its order."""
    states = {0}
    while True:
        live = _ancestors(cell, *(cell.states[state] for state in states))
        more = {int(i[1:]) for k in live for i in cell.nodes[k][1] if i.startswith("h")} - states
        if not more:
            break
        states |= more
    place = {str(k): str(new) for new, k in enumerate(live)} | {"x": "x"}
    place |= {f"h{state}": f"h{new}" for new, state in enumerate(sorted(states))}
    nodes = ((cell.nodes[k][0], tuple(place[i] for i in cell.nodes[k][1])) for k in live)
    return _ordered(Cell(tuple(nodes), tuple(int(place[str(cell.states[state])]) for state in sorted(states))))


def _sound(cell: Cell) -> bool:
    """Whether x and every old state are used, and no new state takes an old one directly."""
    used = {i for _, inputs in cell.nodes for i in inputs}
    direct = any(i.startswith("h") for node in cell.states for i in cell.nodes[node][1])
    return {"x", *(f"h{state}" for state in range(len(cell.states)))} <= used and not direct


def _generate(states: int, count: int, rng: np.random.Generator) -> Cell:
    """A drawing as the published generator makes them, dead nodes and all."""
    base = list(_sources(states, 0))
    nodes: list[tuple[str, tuple[str, ...]]] = []
    activated: list[str] = []
    while len(nodes) < count:
        operation = str(rng.choice(("linear", "blend", "prod", "sum"), p=(0.5, 1 / 6, 1 / 6, 1 / 6)))
        if operation == "linear":
            wanted = int(rng.choice((2, 3), p=(0.8, 0.2)))
            candidates = base + activated
            inputs = rng.choice(candidates, min(wanted, len(candidates)), replace=False)
            nodes.append((f"linear{len(inputs)}", tuple(str(i) for i in inputs)))
            activated.append(str(len(nodes)))
            nodes.append((str(rng.choice(ACTIVATIONS)), (str(len(nodes) - 1),)))
        else:
            candidates = base[1:] + [str(k) for k in range(len(nodes))]
            if INPUTS[operation] <= len(candidates):
                inputs = rng.choice(candidates, INPUTS[operation], replace=False)
                nodes.append((operation, tuple(str(i) for i in inputs)))
    return Cell(tuple(nodes), tuple(int(k) for k in rng.choice(len(nodes), states, replace=False)))


def _edits(cell: Cell) -> Iterator[Cell]:
    """The cells that one edit makes of a cell."""
    return (edited for edited in _edited(cell) if not _problem(edited))


def _edited(cell: Cell) -> Iterator[Cell]:
    """What one edit makes of a cell; not all of it need be a cell."""
    count = len(cell.states)
    for k, (operation, inputs) in enumerate(cell.nodes):
        for other in INPUTS:
            if other != operation and INPUTS[other] == len(inputs):
                yield _with(cell, k, (other, inputs))
        for place, source in itertools.product(range(len(inputs)), _sources(count, k)):
            if source not in inputs:
                yield _with(cell, k, (operation, (*inputs[:place], source, *inputs[place + 1 :])))
    for state, node in itertools.product(range(count), range(len(cell.nodes))):
        if node not in cell.states:
            yield Cell(cell.nodes, (*cell.states[:state], node, *cell.states[state + 1 :]))
    yield from _shorter(cell)
    if len(cell.nodes) < MOST_NODES:
        for k in range(len(cell.nodes)):
            added: list[tuple[str, tuple[str, ...]]] = [(activation, (str(k),)) for activation in ACTIVATIONS]
            others = [source for source in _sources(count, k + 1) if source != str(k)]
            added += [(op, (source, str(k))) for op in ("linear2", "prod", "sum") for source in others]
            yield from (_longer(cell, k, node) for node in added)


def _with(cell: Cell, k: int, node: tuple[str, tuple[str, ...]]) -> Cell:
    return Cell((*cell.nodes[:k], node, *cell.nodes[k + 1 :]), cell.states)


def _shorter(cell: Cell) -> Iterator[Cell]:
    """One node taken out, its first input in its stead."""
    for k, (_, inputs_of_k) in enumerate(cell.nodes):
        place = {str(old): str(old - (old > k)) for old in range(len(cell.nodes))} | {str(k): inputs_of_k[0]}
        nodes = [
            (operation, tuple(place.get(i, i) for i in inputs))
            for other, (operation, inputs) in enumerate(cell.nodes)
            if other != k
        ]
        states = [place[str(node)] for node in cell.states]
        if all(state.isdigit() for state in states):
            yield Cell(tuple(nodes), tuple(int(state) for state in states))


def _longer(cell: Cell, k: int, node: tuple[str, tuple[str, ...]]) -> Cell:
    """A node put in after node k; all that took node k takes the new one."""

    def later(source: str) -> str:
        return str(int(source) + 1) if source.isdigit() and int(source) >= k else source

    after = [(operation, tuple(later(i) for i in inputs)) for operation, inputs in cell.nodes[k + 1 :]]
    return Cell((*cell.nodes[: k + 1], node, *after), tuple(int(later(str(state))) for state in cell.states))


def _wiring(cell: Cell, order: Sequence[int]) -> str:
    """The canonical text with the states numbered in this order. Outside sources: x is -1, the states follow."""
    number = {state: place for place, state in enumerate(order)}
    modules: list[tuple[str, dict[tuple[int, int], int]]] = []
    known: dict[tuple[str, frozenset[tuple[tuple[int, int], int]]], int] = {}
    # What each source stands for: a module or an outside source, and it as a sum and as a product of such.
    value: dict[str, int] = {"x": -1} | {f"h{state}": -2 - number[state] for state in number}
    parts: dict[str, dict[int, Counter[int]]] = {"sum": {}, "prod": {}}
    for k, (operation, inputs) in enumerate(cell.nodes):
        sources = [value[i] for i in inputs]
        if operation == "blend" and sources[1] == sources[2]:
            value[str(k)] = sources[1]
            continue
        if operation in parts:
            total: Counter[int] = Counter()
            for source in sources:
                total.update(parts[operation].get(source, Counter({source: 1})))
            feeds = {(source, 0): count for source, count in total.items()}
        elif operation == "blend":
            feeds = {(source, port): 1 for port, source in enumerate(sources, start=1)}
        else:
            feeds = {(source, 0): count for source, count in Counter(sources).items()}
        key = (operation, frozenset(feeds.items()))
        if operation in LINEAR or key not in known:
            known[key] = len(modules)
            modules.append((operation, feeds))
            if operation in parts:
                parts[operation][known[key]] = total
        value[str(k)] = known[key]
    ends = [(f"state {number[state]}", {(value[str(node)], 0): 1}) for state, node in enumerate(cell.states)]
    # A sum that only larger sums were made of is no module of its own.
    live, waiting = set(), [source for _, feeds in ends for source, _ in feeds if source >= 0]
    while waiting:
        module = waiting.pop()
        if module not in live:
            live.add(module)
            waiting += [source for source, _ in modules[module][1] if source >= 0]
    new = {module: place for place, module in enumerate(sorted(live))}
    live_modules = [modules[module] for module in sorted(live)] + ends
    renamed = [{(new.get(s, s), port): n for (s, port), n in feeds.items()} for _, feeds in live_modules]
    return canonical_text([label for label, _ in live_modules], renamed)

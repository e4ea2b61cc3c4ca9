"""The space of DARTS (Liu, Simonyan, Yang 2019, arXiv 1806.09055): two cells, one that keeps the size of feature maps
and one that halves it, whose four nodes each sum two operations."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from torch import nn

from archscout.core.architecture import Architecture
from archscout.core.choice import Choice, Option
from archscout.core.errors import UsageError, nearest
from archscout.core.graph import Graph, Node
from archscout.core.registry import register
from archscout.core.space import Pick, Space
from archscout.core.task import Task
from archscout.spaces.darts_network import ABSENT, CELLS, NODES, Network, choice_name
from archscout.spaces.darts_parts import NOISE, PARTS, ZERO
from archscout.spaces.images import check_images
from archscout.spaces.sizes import check_sizes
from archscout.spaces.wiring import canonical_text, plain

OPERATIONS = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)

_ORDER = (*OPERATIONS, NOISE)

Terms = tuple[tuple[int, str], ...]
"""What a node sums: pairs of source and operation."""

Genotype = tuple[Terms, ...]
"""The terms of the nodes of the normal cell, then of those of the reduction cell."""

_CONCAT = ("range(2,6)", "[2,3,4,5]")
_GENOTYPE = re.compile(r"Genotype\(normal=\[([^\]]*)\],normal_concat=([^=]*),reduce=\[([^\]]*)\],reduce_concat=(.*)\)")
_LONGEST = 4_000
_CODE = re.compile(r"\[\[(\(\d,\d\)(?:,\(\d,\d\)){7})\],\[(\(\d,\d\)(?:,\(\d,\d\)){7})\]\]")
_EXAMPLE = (
    "Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=range(2, 6), reduce=[...], reduce_concat=range(2, 6))"
)


REFERENCES: Mapping[str, str] = {
    "darts_first_order": "Genotype(normal=[('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 0), "
    "('sep_conv_3x3', 1), ('skip_connect', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 2)], "
    "normal_concat=range(2, 6), reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), "
    "('max_pool_3x3', 0), ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('avg_pool_3x3', 0)], "
    "reduce_concat=range(2, 6))",
    "darts": "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), "
    "('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=range(2, 6), "
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=range(2, 6))",
    "pc_darts": "Genotype(normal=[('sep_conv_3x3', 1), ('skip_connect', 0), ('sep_conv_3x3', 0), ('dil_conv_3x3', 1), "
    "('sep_conv_5x5', 0), ('sep_conv_3x3', 1), ('avg_pool_3x3', 0), ('dil_conv_3x3', 1)], normal_concat=range(2, 6), "
    "reduce=[('sep_conv_5x5', 1), ('max_pool_3x3', 0), ('sep_conv_5x5', 1), ('sep_conv_5x5', 2), ('sep_conv_3x3', 0), "
    "('sep_conv_3x3', 3), ('sep_conv_3x3', 1), ('sep_conv_3x3', 2)], reduce_concat=range(2, 6))",
}
"""The published genotypes for CIFAR-10 of DARTS (first and second order) and PC-DARTS (Xu et al. 2020, arXiv
1907.05737)."""


EDGES = 2
"""Edges into each node that a network keeps."""


@register("space", "darts")
class DARTS(Space):
    """Normal and reduction cells of 14 edges with 7 operations, two edges into each node: 1.08 x 10^18 architectures.

    The text is the published one, `Genotype(normal=[('sep_conv_3x3', 0), ...], ...)`: for each node the operation and
    source of both its edges, here in the order of their sources. NASLib's code (lists of source and operation number)
    is read too.

    Args:
        width: channels of a node of the first cells (doubled at each reduction). Default: the published 36 for inputs
            of 32 x 32 and more, 8 below.
        layers: cells; those after a third and two thirds of them are reduction cells. Default: the published 20 for
            inputs of 32 x 32 and more, 5 below.
        wide: whether a node may also take one source twice, or less than two. Some published sets of genotypes were
            drawn so.
        part: `s1` to `s4`, parts of the space with two operations an edge (Zela et al. 2020, arXiv 1909.09656). S1: the
            two that the authors' pruning left; S2: plain connection and separable 3 x 3 convolution; S3: these and
            `none`; S4: that convolution and `noise`, which puts random numbers in the place of its input (in
            evaluation their mean, zero). Mixtures have `none` in S3 alone.

    Each edge is a choice, with `none` where it is not there, so that a supernet has the weights of all 14 edges. Not
    every assignment of them is a cell. As in the published evaluation network, pooling is not normalised; different
    from it: there is no auxiliary head and no drop path, and feature maps of odd size are halved upwards.
    """

    def __init__(
        self, width: int | None = None, layers: int | None = None, wide: bool = False, part: str | None = None
    ) -> None:
        check_sizes("darts", width=width, layers=layers)
        if not isinstance(wide, bool):
            raise UsageError(f"the parameter wide of space 'darts' must be true or false, not {wide}.")
        if part is not None and part not in PARTS:
            raise UsageError(f"space 'darts' has no part '{part}': {nearest(str(part), PARTS)}")
        if part is not None and wide:
            raise UsageError(f"part {part} of space 'darts' has two edges into each node: leave wide=true out.")
        self.name = "darts"
        self.width, self.layers, self.wide, self.part = width, layers, wide, part

    def identity(self) -> dict[str, Any]:
        """As of every space; the whole space is named as before it had parts."""
        about = super().identity()
        if self.part is None:
            del about["parameters"]["part"]
        return about

    def operations(self, cell: str, source: int, node: int) -> tuple[str, ...]:
        """What an edge may be, where it is there."""
        if self.part is None:
            return OPERATIONS
        before = sum(range(2, node))  # edges into the nodes before
        return PARTS[self.part][cell][before + source]

    @cached_property
    def _slots(self) -> tuple[tuple[str, int, int, int], ...]:
        """Cell, source, node and copy of each choice."""
        copies = 2 if self.wide else 1
        return tuple((cell, i, j, c) for cell in CELLS for j in NODES for i in range(j) for c in range(copies))

    @cached_property
    def choices(self) -> Sequence[Choice]:
        return tuple(Choice(choice_name(*slot), (ABSENT, *self.operations(*slot[:3]))) for slot in self._slots)

    def unmixed(self) -> Sequence[tuple[str, Option]]:
        if self.part is None or self.part in ZERO:
            return ()
        return [(choice.name, ABSENT) for choice in self.choices]

    # -- text -----------------------------------------------------------------------------------------------------

    def format(self, values: Mapping[str, Option]) -> str:
        """The text of a genotype. Raises `UsageError` where a node has the wrong number of edges."""
        return _text(self._genotype(values))

    def read(self, text: str) -> dict[str, Option]:
        return dict(self._values(self._parse(text)))

    def parse(self, text: str) -> Architecture:
        return self._made(self._parse(text))

    def architecture(self, values: Mapping[str, Option]) -> Architecture:
        """The architecture with these operations on its edges. Raises `UsageError` where they make no cell."""
        for choice in self.choices:
            if choice.name not in values:
                raise UsageError(
                    f"choice '{choice.name}' of space '{self.name}' has no value: give one of {choice.options}."
                )
            if values[choice.name] not in choice.options:
                raise UsageError(
                    f"choice '{choice.name}' of space '{self.name}' has no option {values[choice.name]!r}: "
                    f"use one of {choice.options}."
                )
        return self._made(self._genotype(values))

    def _genotype(self, values: Mapping[str, Option]) -> Genotype:
        terms: dict[tuple[str, int], list[tuple[int, str]]] = {(cell, j): [] for cell in CELLS for j in NODES}
        for cell, i, j, copy in self._slots:
            operation = str(values[choice_name(cell, i, j, copy)])
            if operation != ABSENT:
                terms[cell, j].append((i, operation))
        for (cell, j), edges in terms.items():
            if len(edges) > 2 or (len(edges) < 2 and not self.wide):
                raise UsageError(
                    f"node {j} of the {cell} cell has {len(edges)} edges in space '{self.name}': give it "
                    f"{'at most ' if self.wide else ''}two."
                )
        return tuple(_sorted(edges) for edges in terms.values())

    def _values(self, genotype: Genotype) -> Iterator[tuple[str, Option]]:
        by_node = dict(zip(itertools.product(CELLS, NODES), genotype, strict=True))
        for cell, i, j, copy in self._slots:
            here = [operation for source, operation in by_node[cell, j] if source == i]
            yield choice_name(cell, i, j, copy), here[copy] if copy < len(here) else ABSENT

    def _made(self, genotype: Genotype) -> Architecture:
        return Architecture(_text(genotype), tuple(self._values(genotype)))

    def _parse(self, text: str) -> Genotype:
        short = text.strip() if len(text) <= 60 else text.strip()[:57] + "..."
        if len(text) > _LONGEST:
            raise UsageError(f"'{short}' is no genotype: it has {len(text):,} characters, and none has so many.")
        packed = "".join(text.split())
        if match := _CODE.fullmatch(packed):
            pairs = [re.findall(r"\((\d),(\d)\)", part) for part in match.groups()]
            if any(int(o) >= len(OPERATIONS) for cell in pairs for _, o in cell):
                raise UsageError(f"'{short}' has an operation number above {len(OPERATIONS) - 1}: use 0 to 6.")
            cells = [[(int(i), OPERATIONS[int(o)]) for i, o in cell] for cell in pairs]
        elif match := _GENOTYPE.fullmatch(packed):
            for concat in match.group(2, 4):
                if concat not in _CONCAT:
                    raise UsageError(f"'{concat}' in '{short}' must be range(2, 6): a cell gives out all its nodes.")
            cells = [self._pairs(part, name, short) for part, name in zip(match.group(1, 3), CELLS, strict=True)]
        else:
            raise UsageError(f"'{short}' is no genotype: write {_EXAMPLE}, eight pairs a cell.")
        nodes = []
        for name, cell in zip(CELLS, cells, strict=True):
            for k, j in enumerate(NODES):
                terms = cell[2 * k : 2 * k + 2]
                for i, operation in terms:
                    if i >= j:
                        raise UsageError(
                            f"node {j} of the {name} cell of '{short}' takes node {i}, which is not before it."
                        )
                    if operation not in (ABSENT, *self.operations(name, i, j)):
                        raise UsageError(
                            f"the edge from {i} to {j} of the {name} cell of '{short}' cannot be '{operation}' in part "
                            f"{self.part} of space 'darts': use one of {', '.join(self.operations(name, i, j))}."
                        )
                edges = _sorted([(i, operation) for i, operation in terms if operation != ABSENT])
                if not self.wide and len({i for i, _ in edges}) < 2:
                    raise UsageError(
                        f"node {j} of the {name} cell of '{short}' must have two sources and no operation 'none': "
                        "change it, or use space 'darts:wide=true', which has such nodes."
                    )
                nodes.append(edges)
        return tuple(nodes)

    def _pairs(self, part: str, cell: str, short: str) -> list[tuple[int, str]]:
        pairs = re.findall(r"\('(\w+)',(\d)\)", part)
        if len(pairs) != 2 * len(NODES) or ",".join(f"('{o}',{i})" for o, i in pairs) != part:
            raise UsageError(f"the {cell} cell of '{short}' must be eight pairs of an operation and a source.")
        for operation, _ in pairs:
            if operation not in (ABSENT, *_ORDER):
                raise UsageError(f"'{operation}' in '{short}' is no operation: {nearest(operation, OPERATIONS)}")
        return [(int(i), operation) for operation, i in pairs]

    # -- the set --------------------------------------------------------------------------------------------------

    def _node_terms(self, cell: str, node: int) -> list[Terms]:
        """All that a node may sum."""
        if not self.wide:
            return [
                ((i, a), (j, b))
                for i, j in itertools.combinations(range(node), 2)
                for a, b in itertools.product(self.operations(cell, i, node), self.operations(cell, j, node))
            ]
        pairs = [(i, operation) for i in range(node) for operation in OPERATIONS]
        return [_sorted(terms) for count in range(3) for terms in itertools.combinations_with_replacement(pairs, count)]

    def size(self) -> int:
        return math.prod(len(self._node_terms(cell, node)) for cell in CELLS for node in NODES)

    def __iter__(self) -> Iterator[Architecture]:
        """Every architecture; the last node changes fastest."""

        def extend(nodes: Genotype) -> Iterator[Genotype]:
            if len(nodes) == len(CELLS) * len(NODES):
                yield nodes
                return
            place = len(nodes)
            for terms in self._node_terms(CELLS[place // len(NODES)], NODES[place % len(NODES)]):
                yield from extend((*nodes, terms))

        return map(self._made, extend(()))

    def incoming(self) -> Sequence[tuple[Sequence[str], int]]:
        """Of each node of each cell all edges into it, of which it keeps two."""
        nodes: dict[tuple[str, int], list[str]] = {}
        for slot in self._slots:
            nodes.setdefault((slot[0], slot[2]), []).append(choice_name(*slot))
        return [(names, EDGES) for names in nodes.values()]

    def strongest(self, weights: Mapping[str, Sequence[float]]) -> Architecture:
        """The published derivation: each node keeps the two edges whose best operation other than `none` weighs most,
        with that operation."""
        best: dict[tuple[str, int], list[tuple[float, int, str]]] = {}
        for cell, i, j, copy in self._slots:
            operations = self.operations(cell, i, j)
            values = dict(zip((ABSENT, *operations), weights[choice_name(cell, i, j, copy)], strict=True))
            operation = max(operations, key=lambda name: values[name])
            best.setdefault((cell, j), []).append((-float(values[operation]), i, operation))
        return self._made(tuple(_sorted([(i, o) for _, i, o in sorted(edges)[:EDGES]]) for edges in best.values()))

    def sample(self, rng: np.random.Generator) -> Architecture:
        """A random architecture: sources of a node drawn uniformly (without replacement unless `wide`), and operations
        (of seven; with `none`, of eight, if `wide`)."""
        nodes = []
        for cell, node in itertools.product(CELLS, NODES):
            terms = []
            for source in rng.choice(node, 2, replace=self.wide):
                operations = self.operations(cell, int(source), node)
                options = (*operations, ABSENT) if self.wide else operations
                terms.append((int(source), options[int(rng.integers(len(options)))]))
            nodes.append(_sorted([term for term in terms if term[1] != ABSENT]))
        return self._made(tuple(nodes))

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """Every architecture in which one term of one node has another operation or another source (or, if `wide`, is
        put in or taken out)."""
        genotype = self._genotype(architecture)
        for place in range(len(genotype)):
            for terms in self._changed(genotype, place):
                yield self._made((*genotype[:place], terms, *genotype[place + 1 :]))

    def mutate(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """A neighbour: a node drawn uniformly, then one of the changes to it."""
        genotype = self._genotype(architecture)
        place = int(rng.integers(len(genotype)))
        changes = list(self._changed(genotype, place))
        terms = changes[int(rng.integers(len(changes)))]
        return self._made((*genotype[:place], terms, *genotype[place + 1 :]))

    def _changed(self, genotype: Genotype, place: int) -> Iterator[Terms]:
        """What the node at a place may sum in place of what it does."""
        terms, cell, node = genotype[place], CELLS[place // len(NODES)], NODES[place % len(NODES)]
        variants: dict[Terms, None] = {}
        for k, (source, operation) in enumerate(terms):
            others = (*terms[:k], *terms[k + 1 :])
            taken = set() if self.wide else {i for i, _ in others}
            own = self.operations(cell, source, node)
            changed = [(source, other) for other in own if other != operation]
            for i in range(node):
                if i != source and i not in taken:
                    there = self.operations(cell, i, node)
                    # The same operation, or one of those that the other edge does not have.
                    changed += [
                        (i, other)
                        for other in there
                        if other == operation or operation not in there or other not in own
                    ]
            variants |= dict.fromkeys(_sorted((*others, term)) for term in changed)
            if self.wide:
                variants[_sorted(others)] = None
        if self.wide and len(terms) < 2:
            variants |= dict.fromkeys(
                _sorted((*terms, (i, o))) for i in range(node) for o in self.operations(cell, i, node)
            )
        variants.pop(terms, None)
        yield from variants

    def crossover(self, first: Architecture, second: Architecture, rng: np.random.Generator) -> Architecture:
        """A child that takes each node, with its two edges, from either parent."""
        parents = (self._genotype(first), self._genotype(second))
        return self._made(tuple(nodes[int(rng.integers(2))] for nodes in zip(*parents, strict=True)))

    def extremes(self) -> Iterator[Architecture]:
        """All skip connections, all dilated 3 x 3 convolutions, all separable 5 x 5 ones; each node takes 0 and 1. In
        a part of the space, the first and the second operation of each of these edges."""
        if self.part is not None:
            for place in range(2):
                yield self._made(
                    tuple(
                        _sorted([(i, self.operations(cell, i, node)[place]) for i in range(2)])
                        for cell in CELLS
                        for node in NODES
                    )
                )
            return
        for operation in ("skip_connect", "dil_conv_3x3", "sep_conv_5x5"):
            yield self._made((((0, operation), (1, operation)),) * (len(CELLS) * len(NODES)))

    # -- forms ----------------------------------------------------------------------------------------------------

    def simplify(self, architecture: Architecture) -> Architecture:
        """What takes a node that sums nothing (which only `wide` has) is left out."""
        nodes: list[Terms] = []
        for place, terms in enumerate(self._genotype(architecture)):
            cell = nodes[place - place % len(NODES) :]
            nodes.append(tuple((i, operation) for i, operation in terms if i < 2 or cell[i - 2]))
        return self._made(tuple(nodes))

    def canonical(self, architecture: Architecture) -> str:
        """The same text for two genotypes exactly when their cells are the same modules, wired alike, whatever the
        order of nodes: sums through skip connections are flattened, and pools of one tensor are one."""
        genotype = self._genotype(architecture)
        cells = (genotype[: len(NODES)], genotype[len(NODES) :])
        return " ".join(f"{name}[{_wiring(cell, name == 'reduce')}]" for name, cell in zip(CELLS, cells, strict=True))

    def graph(self, architecture: Architecture) -> Graph:
        """Both cells side by side between input and output: operations, sums (`add`) and the joined nodes (`concat`).
        Labels of operations of stride 2 end in `_s2`."""
        genotype = self._genotype(architecture)
        nodes = [Node("input")]
        edges = []
        ends = []
        for c, cell in enumerate(CELLS):
            places = {}
            for i in range(2):
                edges.append((0, len(nodes)))
                places[i] = len(nodes)
                nodes.append(Node(f"{cell}_input{i}", group=cell))
            for j, terms in zip(NODES, genotype[c * len(NODES) : (c + 1) * len(NODES)], strict=True):
                incoming = []
                for i, operation in terms:
                    edges.append((places[i], len(nodes)))
                    incoming.append(len(nodes))
                    strided = cell == "reduce" and i < 2
                    nodes.append(Node(f"{operation}_s2" if strided else operation, group=f"{cell} {i}->{j}"))
                places[j] = len(nodes)
                edges += [(place, len(nodes)) for place in incoming]
                nodes.append(Node("add", group=cell))
            edges += [(places[j], len(nodes)) for j in NODES]
            ends.append(len(nodes))
            nodes.append(Node("concat", group=cell))
        edges += [(end, len(nodes)) for end in ends]
        return Graph((*nodes, Node("output")), tuple(sorted(edges)))

    def references(self) -> Mapping[str, Architecture]:
        return {} if self.part else {name: self.parse(text) for name, text in REFERENCES.items()}

    # -- network --------------------------------------------------------------------------------------------------

    def check_task(self, task: Task) -> None:
        check_images(self, task)

    def network(self, task: Task, pick: Pick) -> nn.Module:
        small = min(task.input_shape[1:]) < 32
        width = self.width or (8 if small else 36)
        layers = self.layers or (5 if small else 20)
        reductions = (layers // 3, 2 * layers // 3) if layers > 2 else ()
        return Network(task, pick, self._slots, width, layers, reductions)

    def cell_alone(self) -> Space:
        """The same architectures as one cell of each kind, without stem: see `TwoCells`."""
        return TwoCells(width=1, layers=2, wide=self.wide, part=self.part)


class TwoCells(DARTS):
    """A normal and a reduction cell of one channel on the input itself: where TE-NAS counts linear regions."""

    def network(self, task: Task, pick: Pick) -> nn.Module:
        return Network(task, pick, self._slots, 1, 2, (1,), stem=False)


def _sorted(terms: Sequence[tuple[int, str]]) -> Terms:
    return tuple(sorted(terms, key=lambda term: (term[0], _ORDER.index(term[1]))))


def _text(genotype: Genotype) -> str:
    def written(nodes: Genotype) -> str:
        padded = [(*terms, *[(0, ABSENT)] * (2 - len(terms))) for terms in nodes]
        return ", ".join(f"('{operation}', {i})" for terms in padded for i, operation in terms)

    normal, reduce = genotype[: len(NODES)], genotype[len(NODES) :]
    return (
        f"Genotype(normal=[{written(normal)}], normal_concat=range(2, 6), "
        f"reduce=[{written(reduce)}], reduce_concat=range(2, 6))"
    )


def _wiring(cell: Genotype, reduce: bool) -> str:
    """The canonical text of a cell. Inputs 0 and 1 are the sources -1 and -2."""
    contents: list[Counter[int]] = [Counter({-1: 1}), Counter({-2: 1})]
    labels: list[str] = []
    feeds: list[Counter[int]] = []
    pools: dict[tuple[str, frozenset[tuple[int, int]]], int] = {}
    for terms in cell:
        total: Counter[int] = Counter()
        for i, operation in terms:
            if not contents[i]:
                continue
            if operation == "skip_connect" and not (reduce and i < 2):
                total.update(contents[i])
                continue
            module = len(labels)
            if "pool" in operation:
                module = pools.setdefault((operation, frozenset(contents[i].items())), module)
            if module == len(labels):
                labels.append(operation)
                feeds.append(contents[i])
            total[module] += 1
        contents.append(total)
    return canonical_text(labels + ["node"] * len(cell), [plain(fed) for fed in [*feeds, *contents[2:]]])

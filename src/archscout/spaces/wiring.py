"""A canonical text of modules and what each is fed: by it, spaces tell whether two architectures are one network.

Exact: two wirings have one text exactly when renumbering the modules turns one into the other. The modules are
coloured by what feeds them and what they feed until nothing more can be told apart (Weisfeiler, Lehman); where that
leaves modules alike, each is singled out in turn and the least text counts (McKay's search tree, of whose
automorphisms only exchanges of twins are used). Cells are small, so that this takes a fraction of a millisecond.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

Feeds = Mapping[tuple[int, int], int]
"""How often each source feeds a module at each of its ports. Sources are places of modules, or negative for what comes
from outside; a port is 0 where the order of the inputs does not matter."""


def canonical_text(labels: Sequence[str], feeds: Sequence[Feeds]) -> str:
    """The text of these modules, the same whatever their order.

    >>> first = canonical_text(["conv", "pool"], [{(-1, 0): 1}, {(0, 0): 1}])
    >>> first == canonical_text(["pool", "conv"], [{(1, 0): 1}, {(-1, 0): 1}])
    True
    """
    fed: list[dict[tuple[int, int], int]] = [{} for _ in labels]
    for module, sources in enumerate(feeds):
        for (source, port), count in sources.items():
            if source >= 0:
                fed[source][module, port] = count
    twins = [(frozenset(feeds[m].items()), frozenset(fed[m].items())) for m in range(len(labels))]
    return _search(_refined(_ranks(labels), feeds, fed), labels, feeds, fed, twins)


def _search(
    colours: list[int], labels: Sequence[str], feeds: Sequence[Feeds], fed: Sequence[Feeds], twins: Sequence[Hashable]
) -> str:
    classes: defaultdict[int, list[int]] = defaultdict(list)
    for module, colour in enumerate(colours):
        classes[colour].append(module)
    alike = next((classes[colour] for colour in sorted(classes) if len(classes[colour]) > 1), None)
    if alike is None:
        order = sorted(range(len(labels)), key=colours.__getitem__)
        return ";".join(f"{labels[m]}({_written(feeds[m], colours)})" for m in order)
    # Of twins, which have all sources and targets in common, any will do.
    chosen = {twins[module]: module for module in alike}.values()
    return min(
        _search(
            _refined([2 * colour + (m != module) for m, colour in enumerate(colours)], feeds, fed),
            labels, feeds, fed, twins,
        )
        for module in chosen
    )  # fmt: skip


def _refined(colours: list[int], feeds: Sequence[Feeds], fed: Sequence[Feeds]) -> list[int]:
    """Colours, as ranks from 0, that tell apart all modules whose surroundings differ."""
    colours = _ranks(colours)
    while True:
        finer = _ranks(
            [
                (
                    colours[module],
                    tuple(sorted((p, colours[s] if s >= 0 else s, n) for (s, p), n in feeds[module].items())),
                    tuple(sorted((p, colours[t], n) for (t, p), n in fed[module].items())),
                )
                for module in range(len(colours))
            ]
        )
        if finer == colours:
            return colours
        colours = finer


def _ranks(keys: Sequence[Any]) -> list[int]:
    # A key sorts by what it says, never by the number of its module.
    order = {key: rank for rank, key in enumerate(sorted(set(keys)))}
    return [order[key] for key in keys]


def _written(feeds: Feeds, colours: Sequence[int]) -> str:
    terms = sorted((port, colours[s] if s >= 0 else s, count) for (s, port), count in feeds.items())
    return "+".join(
        f"{f'{count}*' if count > 1 else ''}{place if place >= 0 else f'x{-place}'}{f'@{port}' if port else ''}"
        for port, place, count in terms
    )


def plain(sources: Counter[int]) -> dict[tuple[int, int], int]:
    """Feeds at one port of which the order does not matter: a sum."""
    return {(source, 0): count for source, count in sources.items()}

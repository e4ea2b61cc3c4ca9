"""New networks among candidates, one at a time."""

from itertools import islice

from archscout.core.fresh import fresh
from archscout.core.registry import create


def test_a_network_comes_once_by_whatever_text() -> None:
    space = create("space", "nasbench201")
    alone = space.parse("|nor_conv_3x3~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|")
    dead = space.parse("|nor_conv_1x1~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|")
    other = space.parse("|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|")
    assert alone != dead
    assert space.canonical(alone) == space.canonical(dead)
    seen: set[str] = set()
    assert list(fresh(space, [alone, dead, other, alone], seen)) == [alone, other]
    assert seen == {space.canonical(alone), space.canonical(other)}
    assert list(fresh(space, [dead, other], seen)) == []


def test_candidates_are_drawn_as_they_are_asked_for() -> None:
    space = create("space", "nasbench201")
    candidates = iter(space)
    first = next(fresh(space, candidates, set()))
    assert first == next(iter(space))
    assert next(candidates) == next(islice(iter(space), 1, None)), "the second one has not been looked at"

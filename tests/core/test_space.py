"""The base class of spaces, against brute force over all assignments."""

import itertools
from collections import Counter

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from torch import nn

from archscout.core.architecture import Architecture
from archscout.core.choice import Choice, Condition
from archscout.core.errors import UsageError
from archscout.core.seeds import stream
from archscout.core.space import Space, take


class Toy(Space):
    """A space of given choices, without a network."""

    name = "toy"

    def __init__(self, *choices):
        self._choices = choices

    @property
    def choices(self):
        return self._choices

    def network(self, task, pick):
        return nn.Identity()


DEEP = Toy(
    Choice("depth", (1, 2, 3), ordinal=True),
    Choice("one", ("a", "b", "c")),
    Choice("two", ("a", "b"), condition=Condition("depth", (2, 3))),
    Choice("flag", (False, True), condition=Condition("two", ("b",))),
    Choice("rate", (0.5, 1.5), condition=Condition("depth", (3,))),
)


@st.composite
def trees(draw):
    choices = []
    for position in range(draw(st.integers(1, 6))):
        condition = None
        if choices and draw(st.booleans()):
            parent = draw(st.sampled_from(choices))
            values = draw(st.lists(st.sampled_from(parent.options), min_size=1, unique=True))
            condition = Condition(parent.name, tuple(values))
        options = tuple(range(draw(st.integers(1, 3))))
        choices.append(Choice(f"c{position}", options, condition=condition))
    return Toy(*choices)


def brute_force(space):
    """Every assignment of every choice, reduced to what is active; an own reading of the conditions."""
    found = set()
    for options in itertools.product(*(choice.options for choice in space.choices)):
        values = dict(zip((choice.name for choice in space.choices), options, strict=True))

        def active(choice, values=values):
            if choice.condition is None:
                return True
            parent = next(c for c in space.choices if c.name == choice.condition.choice)
            return active(parent) and values[parent.name] in choice.condition.values

        found.add(frozenset((c.name, values[c.name]) for c in space.choices if active(c)))
    return found


@settings(max_examples=150, deadline=None, derandomize=True)
@given(trees())
def test_size_and_enumeration_are_those_of_brute_force(space):
    expected = brute_force(space)
    listed = list(space)
    assert space.size() == len(expected) == len(listed)
    assert {frozenset(architecture.items()) for architecture in listed} == expected


def test_the_size_of_a_deep_tree_is_exact():
    # depth 1: 3; depth 2: 3 * (a: 1 + b: 2); depth 3: that twice.
    assert DEEP.size() == 3 + 3 * 3 + 3 * 3 * 2 == len(brute_force(DEEP))


def test_a_size_beyond_floating_point_is_exact():
    space = Toy(*(Choice(f"c{i}", (0, 1, 2)) for i in range(60)))
    assert space.size() == 3**60


def test_enumeration_is_in_the_order_of_the_options():
    assert [str(a) for a in take(iter(DEEP), 4)] == [
        "depth=1,one=a",
        "depth=1,one=b",
        "depth=1,one=c",
        "depth=2,one=a,two=a",
    ]


def test_each_option_is_drawn_equally_often():
    count = 6000
    rng = stream(0)
    drawn = [DEEP.sample(rng) for _ in range(count)]
    for name, options in (("depth", 3), ("one", 3)):
        shares = Counter(architecture[name] for architecture in drawn)
        assert len(shares) == options
        for seen in shares.values():
            assert abs(seen - count / options) < 4 * np.sqrt(count)
    deep = [architecture for architecture in drawn if architecture["depth"] == 3]
    assert abs(sum(a["rate"] == 0.5 for a in deep) - len(deep) / 2) < 4 * np.sqrt(len(deep))


def test_a_mutation_changes_one_choice_and_reaches_every_neighbour():
    start = DEEP.parse("depth=2,one=a,two=b,flag=true")
    rng = stream(1)
    mutants = {DEEP.mutate(start, rng) for _ in range(500)}
    for mutant in mutants:
        assert sum(start[n] != mutant[n] for n in start if n in mutant) == 1
    # depth: 1, or 3 (two rates); one: b, c; two: a; flag: false.
    assert len(mutants) == 1 + 2 + 2 + 1 + 1


def test_a_space_of_one_architecture_has_no_mutation():
    space = Toy(Choice("only", (1,)))
    only = space.sample(stream(0))
    assert space.size() == 1
    assert space.mutate(only, stream(0)) == only
    assert list(space.neighbours(only)) == []


def test_neighbours_are_all_that_differ_in_one_choice():
    space = Toy(Choice("a", (0, 1, 2)), Choice("b", (0, 1)), Choice("c", (0, 1, 2)))
    for architecture in space:
        expected = {o for o in space if sum(o[n] != architecture[n] for n in "abc") == 1}
        neighbours = list(space.neighbours(architecture))
        assert set(neighbours) == expected
        assert len(neighbours) == len(expected)


def test_newly_active_choices_of_a_neighbour_take_their_first_option():
    start = DEEP.parse("depth=1,one=c")
    assert DEEP.parse("depth=3,one=c,two=a,rate=0.5") in list(DEEP.neighbours(start))


def test_a_child_takes_from_both_parents():
    first, second = DEEP.parse("depth=1,one=a"), DEEP.parse("depth=3,one=b,two=b,flag=true,rate=1.5")
    children = {DEEP.crossover(first, second, stream(seed)) for seed in range(50)}
    assert children == {
        DEEP.parse(text)
        for text in (
            "depth=1,one=a",
            "depth=1,one=b",
            "depth=3,one=a,two=b,flag=true,rate=1.5",
            "depth=3,one=b,two=b,flag=true,rate=1.5",
        )
    }


def test_values_of_inactive_choices_are_dropped():
    architecture = DEEP.architecture({"depth": 1, "one": "a", "two": "b", "flag": True, "rate": 0.5})
    assert dict(architecture) == {"depth": 1, "one": "a"}


def test_encoding_names_its_columns():
    names = DEEP.encoding_names
    assert names[:6] == ("depth=1", "depth=2", "depth=3", "one=a", "one=b", "one=c")
    assert names[-4:] == ("flag=false", "flag=true", "rate=0.5", "rate=1.5")
    (row,) = DEEP.encode([DEEP.parse("depth=2,one=c,two=b,flag=false")])
    assert {name for name, value in zip(names, row, strict=True) if value} == {
        "depth=2",
        "one=c",
        "two=b",
        "flag=false",
    }
    assert row.dtype == np.float32


def test_membership():
    assert DEEP.parse("depth=1,one=a") in DEEP
    assert "depth=1,one=a" not in DEEP
    other = Toy(Choice("depth", (1, 2, 3)), Choice("one", ("a", "z")))
    assert other.parse("depth=1,one=z") not in DEEP
    assert Architecture("depth=1,one=a", (("depth", 1), ("one", "a"), ("two", "b"))) not in DEEP
    assert Architecture("anything", (("depth", 1), ("one", "a"))) not in DEEP


def test_extremes_are_the_first_and_the_last_options():
    assert [str(a) for a in DEEP.extremes()] == ["depth=1,one=a", "depth=3,one=c,two=b,flag=true,rate=1.5"]


def test_space_around_a_text_does_not_matter():
    assert DEEP.parse(" depth = 1, one=a \n".replace(" = ", "=")) == DEEP.parse("depth=1,one=a")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an architecture of space 'toy' cannot be empty text"),
        ("depth", "'depth' in architecture 'depth' is not of the form choice=option"),
        ("depth=1,one=a,", "'' in architecture"),
        ("dept=1,one=a", r"space 'toy' has no choice 'dept' .*did you mean 'depth'\?"),
        ("depth=1,depth=1,one=a", "choice 'depth' occurs twice"),
        ("depth=4,one=a", "choice 'depth' has no option '4' .* use one of 1, 2, 3"),
        ("depth=1.0,one=a", "choice 'depth' has no option '1.0'"),
        ("depth=1", r"choice 'one' of space 'toy' has no value: give one of a, b, c"),
        ("depth=1,one=a,two=b", "choice 'two' is not active .* leave it out"),
        ("depth=3,one=a,two=b,flag=True,rate=0.5", "choice 'flag' has no option 'True' .* use one of false, true"),
    ],
)
def test_a_malformed_text_is_one_clear_sentence(text, message):
    with pytest.raises(UsageError, match=message) as caught:
        DEEP.parse(text)
    assert len(str(caught.value).splitlines()) == 1


def test_a_long_text_is_shortened_in_messages():
    with pytest.raises(UsageError) as caught:
        DEEP.parse("depth=1," + "x" * 500)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ((Choice("a", (1,)), Choice("a", (2,))), "names choice 'a' twice"),
        ((Choice("a", (1,), condition=Condition("b", (1,))), Choice("b", (1,))), "'a' depends on 'b', which must come"),
    ],
)
def test_wrong_choices_are_refused(choices, message):
    with pytest.raises(ValueError, match=message):
        Toy(*choices).parse("a=1")


def test_a_space_without_a_graph_says_so():
    with pytest.raises(UsageError, match="space 'toy' has no graph of its own: trace its network"):
        DEEP.graph(DEEP.sample(stream(0)))


class Designed(Toy):
    def references(self):
        return {"small_one": self.parse("depth=1,one=a"), "large": self.parse("depth=2,one=c,two=a")}


def test_a_reference_goes_by_its_name():
    space = Designed(*DEEP.choices)
    assert space.named("large") == space.named(" depth=2,one=c,two=a\n") == space.parse("depth=2,one=c,two=a")
    with pytest.raises(UsageError, match=r"no reference design 'smal_one': did you mean 'small_one'\?"):
        space.named("smal_one")
    with pytest.raises(UsageError, match="is not of the form choice=option"):
        space.named("something else")
    with pytest.raises(UsageError, match="is not of the form choice=option"):
        DEEP.named("smal_one")

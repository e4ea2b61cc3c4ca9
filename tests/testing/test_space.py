"""The suite for spaces passes a right space and fails each wrong one in the test that is about it."""

import itertools
import threading

import numpy as np
import pytest
import torch
from torch import nn

from archscout.core.architecture import Architecture
from archscout.core.choice import Choice, Condition
from archscout.core.graph import Graph, Node
from archscout.core.space import Space
from archscout.networks.elastic import batch_norm, conv2d
from archscout.testing import SpaceConformance, architectures
from archscout.testing.check import for_all


class Right(Space):
    """Two convolutions of an elastic width; the second's kernel is a choice where it runs. Dropout when training."""

    name = "right"
    choices = (
        Choice("width", (2, 4), ordinal=True),
        Choice("depth", (1, 2), ordinal=True),
        Choice("kernel", (1, 3), ordinal=True, condition=Condition("depth", (2,))),
        Choice("act", ("relu", "tanh")),
    )

    def network(self, task, pick):
        width = pick.number("width")
        blocks = [
            lambda: conv2d(1, width, 3),
            lambda: nn.Sequential(conv2d(width, width, pick.number("kernel")), batch_norm(width)),
        ]
        act = pick("act", {"relu": nn.ReLU, "tanh": nn.Tanh})
        return nn.Sequential(pick.depth("depth", blocks), act, nn.Dropout(0.3), task.head(width))

    def graph(self, architecture):
        nodes = tuple(Node(f"{name}={value}") for name, value in architecture.items())
        return Graph(nodes, tuple(itertools.pairwise(range(len(nodes)))))


class TestRight(SpaceConformance):
    def space(self):
        return Right()


class LosesText(Right):
    def format(self, values):
        return super().format({name: value for name, value in values.items() if name != "act"})

    def read(self, text):
        return {**super().read(text), "act": "relu"}


class BreaksOnText(Right):
    def read(self, text):
        return {part.split("=")[0]: part.split("=")[1] for part in text.split(",")}


class ForgetsConditions(Right):
    def architecture(self, values):
        made = super().architecture(values)
        every = {choice.name: values.get(choice.name, choice.options[0]) for choice in self.choices}
        return Architecture(made.text, tuple(every.items()))


class Miscounts(Right):
    def size(self):
        return super().size() - 1


class SamplesFromElsewhere(Right):
    def sample(self, rng):
        return super().sample(np.random.default_rng())


class MutatesNothing(Right):
    def mutate(self, architecture, rng):
        return architecture


class CrossesWithStrangers(Right):
    def crossover(self, first, second, rng):
        return self.sample(rng)


class FarNeighbours(Right):
    def neighbours(self, architecture):
        return (other for other in self if other != architecture)


class MergesDifferent(Right):
    def canonical(self, architecture):
        return str(architecture["act"])


class OneForm(Right):
    def canonical(self, architecture):
        return "all"


class SimplifiesTooMuch(Right):
    def simplify(self, architecture):
        return self.architecture({**architecture, "width": 2})


class EncodesAlike(Right):
    def encode(self, architectures):
        return super().encode(architectures) * 0


class GraphOfNothing(Right):
    def graph(self, architecture):
        return Graph((Node(""),), ())


class OneOutputTooMany(Right):
    def network(self, task, pick):
        return nn.Sequential(super().network(task, pick), nn.Linear(task.outputs, task.outputs + 1))


class NotANumber(Right):
    def network(self, task, pick):
        return nn.Sequential(super().network(task, pick), nn.Threshold(1e9, float("nan")))


class SeedsItself(Right):
    def network(self, task, pick):
        network = super().network(task, pick)
        with torch.no_grad():
            network[-1].classifier.bias.copy_(torch.from_numpy(np.random.default_rng().random(task.outputs)))
        return network


class IgnoresSeed(Right):
    def network(self, task, pick):
        torch.default_generator.manual_seed(7)
        return super().network(task, pick)


class AlwaysAllocates(Right):
    def network(self, task, pick):
        with torch.device("cpu"):
            return super().network(task, pick)


class ScaledByWhatIsPicked(nn.Module):
    """Reads at build time what only the selection knows."""

    def __init__(self, body, width):
        super().__init__()
        self.body = body
        self.scale = 1.0 / (width if isinstance(width, int) else width.maximum)

    def forward(self, x):
        return self.body(x) * self.scale


class FrozenNumber(Right):
    def network(self, task, pick):
        return ScaledByWhatIsPicked(super().network(task, pick), pick.number("width"))


class Locked(Right):
    def __init__(self):
        self.lock = threading.Lock()


WRONG = {
    LosesText: "text_gives_the_architecture_back",
    BreaksOnText: "any_text_is_an_architecture_or_a_usage_error",
    ForgetsConditions: "every_active_choice_and_no_other_has_a_value",
    Miscounts: "size_is_the_number_of_architectures",
    SamplesFromElsewhere: "sampling_follows_the_seed",
    MutatesNothing: "mutation_stays_inside_and_changes_something",
    CrossesWithStrangers: "crossover_takes_from_its_parents",
    FarNeighbours: "neighbours_are_other_architectures",
    MergesDifferent: "one_canonical_form_is_one_network",
    OneForm: "different_architectures_are_different_networks",
    SimplifiesTooMuch: "simplifying_keeps_the_network",
    EncodesAlike: "encoding_is_zeros_and_ones_that_tell_architectures_apart",
    GraphOfNothing: "graph_is_acyclic_and_goes_forward",
    OneOutputTooMany: "network_maps_a_batch_to_outputs",
    NotANumber: "network_maps_a_batch_to_outputs",
    SeedsItself: "network_follows_the_seed_and_leaves_the_global_generator_alone",
    IgnoresSeed: "network_follows_the_seed_and_leaves_the_global_generator_alone",
    AlwaysAllocates: "network_on_the_meta_device_allocates_nothing",
    FrozenNumber: "an_architecture_of_the_supernet_equals_its_stand_alone_twin",
    Locked: "copies_and_pickles_are_the_same_space",
}


@pytest.mark.parametrize(("wrong", "test"), WRONG.items(), ids=lambda value: getattr(value, "__name__", value))
def test_a_wrong_space_fails(wrong, test):
    class Suite(SpaceConformance):
        def space(self):
            return wrong()

    with pytest.raises((AssertionError, KeyError, IndexError, TypeError)):
        getattr(Suite(), f"test_{test}")()


def test_every_test_of_the_suite_can_fail():
    tests = {name.removeprefix("test_") for name in dir(SpaceConformance) if name.startswith("test_")}
    shown = set(WRONG.values())
    assert shown <= tests
    # These repeat what the base class does, in forms that a space rarely overrides.
    assert tests - shown == {
        "a_copy_of_a_supernet_is_independent",
        "a_network_can_be_pickled",
        "a_wrong_value_is_refused",
        "references_are_different_architectures_of_the_space",
        "the_digest_is_that_of_every_copy_and_of_no_use",
        "extremes_are_architectures",
    }


def test_hypothesis_draws_every_architecture():
    space, seen = Right(), set()

    @for_all(200, architectures(space))
    def collect(architecture):
        seen.add(architecture)

    assert seen == set(space)


def test_the_suite_must_be_given_a_space():
    with pytest.raises(TypeError, match=r"abstract method '?space"):
        SpaceConformance().test_extremes_are_architectures()

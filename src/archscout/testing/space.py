"""What every space promises, as tests."""

from __future__ import annotations

import copy
import itertools
from abc import ABC, abstractmethod
from collections import defaultdict
from typing import Any, ClassVar

import cloudpickle
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from archscout.core.architecture import Architecture
from archscout.core.choice import Continuous
from archscout.core.errors import UsageError
from archscout.core.graph import Graph
from archscout.core.seeds import stream
from archscout.core.space import Space, take
from archscout.core.task import Task
from archscout.networks.pick import build
from archscout.supernets.supernet import Supernet
from archscout.testing.check import for_all
from archscout.testing.tasks import tiny_task


@st.composite
def architectures(draw: st.DrawFn, space: Space) -> Architecture:
    """A Hypothesis strategy: any architecture of a space; examples shrink towards the first options."""
    values: dict[str, Any] = {}
    for choice in space.choices:
        condition = choice.condition
        if condition is None or values.get(condition.choice) in condition.values:
            drawn = (
                st.floats(choice.low, choice.high)
                if isinstance(choice, Continuous)
                else st.sampled_from(choice.options)
            )
            values[choice.name] = draw(drawn, label=choice.name)
    return space.architecture(values)


def sampled(space: Space) -> st.SearchStrategy[Architecture]:
    """A Hypothesis strategy for a space in which not every assignment of the choices is an architecture."""
    return st.integers(0, 2**32).map(lambda seed: space.sample(stream(seed, "sampled")))


class SpaceConformance(ABC):
    """The contract of a `Space`. Inherit it and give the space.

    >>> class TestMine(SpaceConformance):                 # doctest: +SKIP
    ...     def space(self): return MySpace()
    """

    examples = 25
    """Architectures that each test of text and form looks at."""

    networks = 6
    """Architectures that each test of networks builds."""

    enumerable = 20_000
    """The size up to which a space is enumerated to its end; of a larger one, the first tenth of so many is."""

    product = True
    """Whether every assignment of the active choices is an architecture, so that one choice can change alone. Where
    not, the space mutates, crosses over and finds neighbours in its own way."""

    tolerance = 1e-5
    """How far an extracted network's outputs may be from the supernet's."""

    _latest: ClassVar[tuple[type, Supernet] | None] = None

    @abstractmethod
    def space(self) -> Space:
        """The space under test."""

    def task(self) -> Task:
        """A task that its networks are built for."""
        return tiny_task()

    def _any(self, space: Space) -> st.SearchStrategy[Architecture]:
        return architectures(space) if self.product else sampled(space)

    def _supernet(self, space: Space, task: Task) -> Supernet:
        """Built once for the tests of a suite, which leave it with any weights and selection; the last one is kept."""
        latest = SpaceConformance._latest
        if latest is None or latest[0] is not type(self):
            latest = SpaceConformance._latest = (type(self), Supernet(space, task))
        return latest[1]

    def _some(self, space: Space) -> list[Architecture]:
        """The ends of the space and a sample: Hypothesis would begin with many that are nearly alike."""
        sample = (space.sample(stream(seed, "conformance", "networks")) for seed in itertools.count())
        return take(itertools.chain(space.extremes(), sample), self.networks)

    # -- text -----------------------------------------------------------------------------------------------------

    def test_text_gives_the_architecture_back(self) -> None:
        space = self.space()

        @for_all(self.examples, self._any(space))
        def check(architecture: Architecture) -> None:
            text = str(architecture)
            assert text == text.strip()
            assert len(text.splitlines()) == 1
            again = space.parse(text)
            assert again == architecture
            assert dict(again) == dict(architecture)
            assert space.parse(f"  {text}\n") == architecture

    def test_any_text_is_an_architecture_or_a_usage_error(self) -> None:
        space = self.space()
        for text in ("", "   ", "no architecture at all", "\x00", "é|~,=-_"):
            with pytest.raises(UsageError) as caught:
                space.parse(text)
            assert len(str(caught.value).splitlines()) == 1

        @for_all(self.examples, self._any(space), st.data())
        def check(architecture: Architecture, data: st.DataObject) -> None:
            text = str(architecture)
            place = data.draw(st.integers(0, len(text) - 1))
            written = data.draw(st.sampled_from(["", "x", "0", "~", text[place] * 2, *text]))
            try:
                changed = space.parse(text[:place] + written + text[place + 1 :])
            except UsageError:
                return
            assert changed in space
            assert space.parse(str(changed)) == changed

    def test_a_wrong_value_is_refused(self) -> None:
        space = self.space()
        architecture = space.sample(stream(0, "conformance"))
        first = next(iter(architecture))
        with pytest.raises(UsageError, match="no option"):
            space.architecture({**architecture, first: "no such option"})
        with pytest.raises(UsageError, match="has no value"):
            space.architecture({name: value for name, value in architecture.items() if name != first})

    # -- the set --------------------------------------------------------------------------------------------------

    def test_every_active_choice_and_no_other_has_a_value(self) -> None:
        space = self.space()

        @for_all(self.examples, self._any(space))
        def check(architecture: Architecture) -> None:
            assert architecture in space
            for choice in space.choices:
                condition = choice.condition
                active = condition is None or architecture.get(condition.choice) in condition.values
                assert (choice.name in architecture) == active
                assert not active or choice.settled(architecture[choice.name]) is not None

    def test_size_is_the_number_of_architectures(self) -> None:
        space = self.space()
        size = space.size()
        assert isinstance(size, int)
        assert size > 0
        count = size if size <= self.enumerable else self.enumerable // 10
        assert len(set(itertools.islice(space, count + 1 if count == size else count))) == count

    def test_sampling_follows_the_seed(self) -> None:
        space = self.space()

        def sample() -> list[Architecture]:
            return [space.sample(stream(seed, "conformance")) for seed in range(30)]

        first = sample()
        assert first == sample()
        assert all(architecture in space for architecture in first)
        assert space.size() == 1 or len(set(first)) > 1

    def test_mutation_stays_inside_and_changes_something(self) -> None:
        space = self.space()
        size = space.size()

        @for_all(self.examples, self._any(space), st.integers(0, 2**32))
        def check(architecture: Architecture, seed: int) -> None:
            mutant = space.mutate(architecture, stream(seed))
            assert mutant in space
            assert mutant == space.mutate(architecture, stream(seed))
            assert mutant != architecture or size == 1

    def test_crossover_takes_from_its_parents(self) -> None:
        space = self.space()

        @for_all(self.examples, self._any(space), self._any(space), st.integers(0, 2**32))
        def check(first: Architecture, second: Architecture, seed: int) -> None:
            child = space.crossover(first, second, stream(seed))
            assert child in space
            assert child == space.crossover(first, second, stream(seed))
            assert space.crossover(first, first, stream(seed)) == first
            for name in child if self.product else ():
                parents = [parent[name] for parent in (first, second) if name in parent]
                assert not parents or child[name] in parents

    def test_neighbours_are_other_architectures(self) -> None:
        space = self.space()

        @for_all(self.examples, self._any(space))
        def check(architecture: Architecture) -> None:
            neighbours = take(space.neighbours(architecture), 200)
            assert len(set(neighbours)) == len(neighbours)
            assert architecture not in neighbours
            for neighbour in neighbours:
                assert neighbour in space
                changed = [n for n in architecture if n in neighbour and architecture[n] != neighbour[n]]
                assert len(changed) == 1 or not self.product

    def test_extremes_are_architectures(self) -> None:
        space = self.space()
        extremes = list(space.extremes())
        assert extremes
        assert all(architecture in space for architecture in extremes)

    def test_references_are_different_architectures_of_the_space(self) -> None:
        space, task = self.space(), self.task()
        references = space.references()
        assert dict(references) == dict(space.references())
        assert all(name.isidentifier() and name == name.lower() for name in references)
        assert all(architecture in space for architecture in references.values())
        assert len(set(references.values())) == len(references)
        for architecture in references.values():
            assert build(space, architecture, task, device="meta") is not None

    # -- forms ----------------------------------------------------------------------------------------------------

    def test_simplifying_keeps_the_network(self) -> None:
        space, task = self.space(), self.task()

        @for_all(self.examples, self._any(space))
        def check(architecture: Architecture) -> None:
            simple = space.simplify(architecture)
            assert simple in space
            assert space.simplify(simple) == simple
            assert space.canonical(simple) == space.canonical(architecture)
            assert space.canonical(space.parse(str(architecture))) == space.canonical(architecture)
            if simple != architecture:
                assert _shapes(space, simple, task) == _shapes(space, architecture, task)

    def test_one_canonical_form_is_one_network(self) -> None:
        space, task = self.space(), self.task()
        by_form: defaultdict[str, set[Architecture]] = defaultdict(set)
        for seed in range(self.examples):
            architecture = space.sample(stream(seed, "conformance"))
            for near in (architecture, *take(space.neighbours(architecture), 40)):
                by_form[space.canonical(near)].add(near)
        shared = [sorted(same, key=str)[:4] for same in by_form.values() if len(same) > 1][: 4 * self.networks]
        for same in shared:
            shapes = [_shapes(space, architecture, task) for architecture in same]
            assert all(other == shapes[0] for other in shapes), f"one form, different networks: {same}"

    def test_encoding_is_zeros_and_ones_that_tell_architectures_apart(self) -> None:
        space = self.space()
        names = space.encoding_names
        assert len(set(names)) == len(names)
        distinct = list({space.sample(stream(seed, "conformance")) for seed in range(50)})
        rows = space.encode(distinct)
        assert rows.shape == (len(distinct), len(names))
        real = {choice.name for choice in space.choices if isinstance(choice, Continuous)}
        zeros_and_ones = rows[:, [place for place, name in enumerate(names) if name not in real]]
        assert set(np.unique(zeros_and_ones)) <= {0.0, 1.0}
        assert rows.min(initial=0.0) >= 0
        assert rows.max(initial=1.0) <= 1
        assert len(np.unique(rows, axis=0)) == len(distinct)
        assert space.encode([]).shape == (0, len(names))

    def test_graph_is_acyclic_and_goes_forward(self) -> None:
        space = self.space()
        try:
            space.graph(next(iter(space.extremes())))
        except UsageError:
            pytest.skip("the space has no graph of its own")

        @for_all(self.examples, self._any(space))
        def check(architecture: Architecture) -> None:
            graph = space.graph(architecture)
            assert isinstance(graph, Graph)
            assert len(graph.nodes) > 1
            assert all(source < target for source, target in graph.edges)
            assert len(set(graph.edges)) == len(graph.edges)
            assert all(graph.labels)
            assert graph == space.graph(space.parse(str(architecture)))

    # -- networks -------------------------------------------------------------------------------------------------

    def test_network_maps_a_batch_to_outputs(self) -> None:
        space, task = self.space(), self.task()
        space.check_task(task)
        x, _ = task.tensors(task.valid.head(5))

        for architecture in self._some(space):
            network = build(space, architecture, task).eval()
            with torch.no_grad():
                outputs = network(x)
            assert tuple(outputs.shape[:2]) == (len(x), task.outputs)
            assert bool(torch.isfinite(outputs).all())

    def test_network_follows_the_seed_and_leaves_the_global_generator_alone(self) -> None:
        space, task = self.space(), self.task()

        for architecture in self._some(space):
            before = torch.random.get_rng_state()
            first = build(space, architecture, task, seed=1).state_dict()
            assert torch.equal(torch.random.get_rng_state(), before)
            torch.rand(1)
            second = build(space, architecture, task, seed=1).state_dict()
            other = build(space, architecture, task, seed=2).state_dict()
            torch.random.set_rng_state(before)
            assert first.keys() == second.keys()
            assert all(torch.equal(first[name], second[name]) for name in first)
            assert not first or any(not torch.equal(first[name], other[name]) for name in first)

    def test_network_on_the_meta_device_allocates_nothing(self) -> None:
        space, task = self.space(), self.task()

        for architecture in self._some(space):
            network = build(space, architecture, task, device="meta")
            tensors = [*network.parameters(), *network.buffers()]
            assert all(tensor.device.type == "meta" for tensor in tensors)
            real = build(space, architecture, task).state_dict()
            assert {n: t.shape for n, t in network.state_dict().items()} == {n: t.shape for n, t in real.items()}

    def test_an_architecture_of_the_supernet_equals_its_stand_alone_twin(self) -> None:
        space, task = self.space(), self.task()
        supernet = self._supernet(space, task)
        x, y = task.tensors(task.train.head(16))

        for architecture in self._some(space):
            twin = supernet.extract(architecture)
            shared = {tensor.data_ptr() for tensor in supernet.state_dict().values() if tensor.numel()}
            assert shared.isdisjoint(tensor.data_ptr() for tensor in twin.state_dict().values() if tensor.numel())
            # Training moves the running statistics of both, so evaluation after it compares those too.
            for training in (True, False):
                supernet.select(architecture).train(training)
                twin.train(training)
                with torch.no_grad():
                    expected, outputs = _repeatably(supernet, x), _repeatably(twin, x)
                assert tuple(outputs.shape[:2]) == (len(x), task.outputs)
                assert float((outputs - expected).abs().max()) <= self.tolerance * max(1.0, float(expected.abs().max()))

            loss = task.loss(supernet.select(architecture)(x), y)
            loss.backward()
            gradients = [p.grad for p in supernet.parameters() if p.grad is not None]
            assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
            supernet.zero_grad(set_to_none=True)

    def test_a_copy_of_a_supernet_is_independent(self) -> None:
        space, task = self.space(), self.task()
        supernet = self._supernet(space, task).eval()
        x, _ = task.tensors(task.train.head(4))
        first, second = space.sample(stream(0, "conformance")), space.sample(stream(1, "conformance"))
        with torch.no_grad():
            expected = [_repeatably(supernet.select(architecture), x) for architecture in (first, second)]
            twin = copy.deepcopy(supernet)
            supernet.select(first)
            assert torch.equal(_repeatably(twin.select(second), x), expected[1])
            assert torch.equal(_repeatably(supernet, x), expected[0])

    # -- travel ---------------------------------------------------------------------------------------------------

    def test_the_digest_is_that_of_every_copy_and_of_no_use(self) -> None:
        """It tells what the space is, whoever made it and whatever it was asked before."""
        space, task = self.space(), self.task()
        digests = {space.digest, self.space().digest}
        build(space, space.sample(stream(0, "conformance")), task)
        for again in (copy.deepcopy(space), cloudpickle.loads(cloudpickle.dumps(space))):
            for name in ("digest", "parts"):
                again.__dict__.pop(name, None)
            digests.add(again.digest)
        assert len(digests) == 1

    def test_copies_and_pickles_are_the_same_space(self) -> None:
        space, task = self.space(), self.task()

        for architecture in self._some(space):
            for again in (copy.deepcopy(space), cloudpickle.loads(cloudpickle.dumps(space))):
                assert again.name == space.name
                assert again.size() == space.size()
                assert again.parse(str(architecture)) == architecture
                assert again.canonical(architecture) == space.canonical(architecture)
                weights = build(space, architecture, task).state_dict()
                others = build(again, architecture, task).state_dict()
                assert weights.keys() == others.keys()
                assert all(torch.equal(weights[name], others[name]) for name in weights)
            assert cloudpickle.loads(cloudpickle.dumps(architecture)) == architecture

    def test_a_network_can_be_pickled(self) -> None:
        space, task = self.space(), self.task()
        network = build(space, space.sample(stream(0, "conformance")), task).eval()
        x, _ = task.tensors(task.valid.head(3))
        again = cloudpickle.loads(cloudpickle.dumps(network))
        with torch.no_grad():
            assert torch.equal(again(x), network(x))

    def test_different_architectures_are_different_networks(self) -> None:
        space, task = self.space(), self.task()
        if space.size() == 1:
            pytest.skip("the space has one architecture")
        forms = {space.canonical(space.sample(stream(seed, "conformance"))) for seed in range(30)}
        assert len(forms) > 1
        extremes = {str(_shapes(space, a, task)) + space.canonical(a) for a in space.extremes()}
        assert len(extremes) > 1


def _shapes(space: Space, architecture: Architecture, task: Task) -> list[tuple[int, ...]]:
    """The shapes of everything in the state of a network, sorted: its parameter count and more."""
    network = build(space, architecture, task, device="meta")
    return sorted(tuple(tensor.shape) for tensor in network.state_dict().values())


def _repeatably(network: nn.Module, x: Tensor) -> Tensor:
    """The outputs with the same dropout every time."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return network(x)  # type: ignore[no-any-return]

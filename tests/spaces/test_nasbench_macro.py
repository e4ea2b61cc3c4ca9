"""NAS-Bench-Macro, against its published table."""

import itertools

import pytest
import torch

from archscout.core.errors import UsageError
from archscout.networks.pick import build
from archscout.networks.tracing import trace_architecture
from archscout.spaces.nasbench_macro import NASBenchMacro
from archscout.testing import SpaceConformance, tiny_task
from archscout.training.trainer import Recipe, train

SPACE = NASBenchMacro()


class TestNASBenchMacro(SpaceConformance):
    examples = 15
    networks = 4

    def space(self):
        return NASBenchMacro()


class TestNASBenchMacroAtOddSizes(SpaceConformance):
    examples = 10
    networks = 4

    def space(self):
        return NASBenchMacro(width=3)

    def task(self):
        return tiny_task((2, 11, 7), classes=4)


@pytest.fixture(scope="module")
def published(published_data):
    parquet = pytest.importorskip("pyarrow.parquet")
    return parquet.read_table(published_data / "nasbench_macro" / "cifar10.parquet").to_pydict()


def test_the_published_table_is_the_whole_space(published, shared_data):
    assert {str(SPACE.parse(text)) for text in published["arch"]} == {str(a) for a in SPACE}
    assert len(set(published["arch"])) == SPACE.size() == 6_561


def test_parameters_and_multiply_adds_are_the_published_ones(published):
    task = tiny_task((3, 32, 32), classes=10)
    for row in range(7, len(published["arch"]), len(published["arch"]) // 41):
        architecture = SPACE.parse(published["arch"][row])
        network = build(SPACE, architecture, task, device="meta")
        assert sum(parameter.numel() for parameter in network.parameters()) == published["params"][row]
        macs = sum(node.macs for node in trace_architecture(SPACE, architecture, task).nodes)
        assert macs == published["flops"][row]


def test_architectures_with_one_form_have_one_published_size(published, whole):
    sizes = {}
    for text, *size in zip(published["arch"], published["params"], published["flops"], strict=True):
        assert sizes.setdefault(SPACE.canonical(SPACE.parse(text)), size) == size
    assert len(sizes) == 9 * 21 * 21 if whole else len(sizes) < len(published["arch"])


def test_one_form_is_one_function():
    task = tiny_task((3, 8, 8))
    x = torch.rand(2, 3, 8, 8)
    twins = [SPACE.parse("212" + middle + "122") for middle in ("01", "10")]
    outputs = [build(SPACE, twin, task, seed=3).eval()(x) for twin in twins]
    assert twins[0] != twins[1]
    assert SPACE.canonical(twins[0]) == SPACE.canonical(twins[1]) == "21210122"
    assert torch.equal(*outputs)


def test_forms_are_counted_by_brute_force():
    """Two architectures are one network if their stages begin alike and go on with the same blocks in order."""
    forms = set()
    for digits in itertools.product("012", repeat=8):
        text = "".join(digits)
        forms.add(tuple((s[0], s[1:].replace("0", "")) for s in (text[:2], text[2:5], text[5:])))
    assert len({SPACE.canonical(a) for a in SPACE}) == len(forms)


@pytest.mark.parametrize("text", ["", "0201210", "020121000", "02012103", "0 201210", "ABCDEFGH"])
def test_a_malformed_text_is_one_clear_sentence(text):
    with pytest.raises(UsageError, match=r"write eight digits|cannot be empty") as caught:
        SPACE.parse(text)
    assert len(str(caught.value).splitlines()) == 1


def test_a_network_learns():
    task = tiny_task()
    network = build(SPACE, SPACE.parse("12012010"), task)
    outcome = train(network, task, Recipe(4, learning_rate=0.05), seed=0)
    assert outcome.curve[-1]["train_loss"] < outcome.curve[0]["train_loss"]


def test_sizes_are_checked():
    with pytest.raises(UsageError, match=r"width .* must be a whole number"):
        NASBenchMacro(width=0)
    with pytest.raises(UsageError, match="at least 4 x 4"):
        SPACE.check_task(tiny_task((1, 3, 8)))


def test_references_have_the_published_parameters():
    """As the table lists them for CIFAR-10."""
    space, task = NASBenchMacro(32), tiny_task((3, 32, 32), classes=10, examples=10)
    sizes = {
        name: sum(p.numel() for p in build(space, a, task, device="meta").parameters())
        for name, a in space.references().items()
    }
    assert sizes == {"all_mb3_k3": 1588874, "best_cifar10": 1985514, "all_mb6_k5": 2932586}

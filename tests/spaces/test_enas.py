"""ENAS cells as D-VAE published them."""

import json

import pytest
import torch

from archscout.core.errors import UsageError
from archscout.core.seeds import stream
from archscout.networks.pick import build
from archscout.spaces.enas import ENAS, OPERATIONS
from archscout.testing import SpaceConformance, tiny_task
from archscout.training.trainer import Recipe, train

SPACE = ENAS()
TEXT = "[[1],[4,0],[5,0,0],[0,1,1,1],[2,1,1,1,1],[3,0,0,0,0,1]]"


class TestENAS(SpaceConformance):
    examples = 10
    networks = 4

    def space(self):
        return ENAS(width=4)


class TestENASAtOddSizes(SpaceConformance):
    examples = 8
    networks = 3

    def space(self):
        return ENAS(width=3, layers=4)

    def task(self):
        return tiny_task((2, 11, 7), classes=4)


def test_the_published_cells_keep_their_text(published_data, whole):
    parquet = pytest.importorskip("pyarrow.parquet")
    texts = parquet.read_table(published_data / "enas_dvae" / "enas6_weight_sharing.parquet").to_pydict()["structure"]
    assert len(texts) == (20_020 if whole else 400)
    assert all(str(SPACE.parse(text)) == text for text in texts[::4])


def test_size_is_the_closed_form():
    assert SPACE.size() == 6**6 * 2 ** (1 + 2 + 3 + 4 + 5)
    assert ENAS(layers=3).size() == len(set(ENAS(layers=3))) == 6**3 * 2**3


def test_the_text_says_what_feeds_what():
    architecture = SPACE.parse(TEXT)
    assert [architecture[f"layer {layer}"] for layer in range(1, 7)] == [OPERATIONS[k] for k in (1, 4, 5, 0, 2, 3)]
    skips = {name for name, value in architecture.items() if name.startswith("skip") and value}
    assert skips == {"skip 0->4", "skip 1->4", "skip 2->4", *(f"skip {i}->5" for i in range(4)), "skip 4->6"}
    graph = SPACE.graph(architecture)
    assert graph.predecessors(4) == (0, 1, 2, 3)
    assert graph.predecessors(3) == (2,)
    assert graph.predecessors(7) == (6,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[1]]", "is not a list of 6 layers"),
        ("[[1],", "is not a list of 6 layers"),
        (TEXT.replace("[4,0]", "[4,0,0]"), "layer 2 of .* must be a list of 2 whole numbers"),
        (TEXT.replace("[4,0]", "[4,0.5]"), "layer 2 of .* must be a list of 2 whole numbers"),
        (TEXT.replace("[4,0]", "[6,0]"), "has operation 6: use 0 to 5"),
        (TEXT.replace("[4,0]", "[4,2]"), "a skip that is neither 0 nor 1"),
        (TEXT.replace("[4,0]", "[4,true]"), "whole numbers"),
        ("[" * 100_000, "is not a list of 6 layers"),
    ],
)
def test_a_malformed_text_is_one_clear_sentence(text, message):
    with pytest.raises(UsageError, match=message) as caught:
        SPACE.parse(text)
    assert len(str(caught.value)) < 300
    assert len(str(caught.value).splitlines()) == 1


def test_a_layer_is_its_operation_plus_what_is_skipped():
    """Three layers, in which maps are halved after the first and the second: computed again by hand."""
    space = ENAS(width=4, layers=3)
    network = build(space, space.parse("[[0],[5,1],[1,1,0]]"), tiny_task()).eval()
    for norm in network.norms[1:]:
        torch.nn.init.uniform_(norm.weight)
    reduce = network.reductions
    with torch.no_grad():
        x = torch.rand(2, 1, 8, 8)
        stem = network.stem(x)
        first = reduce["1after1"](network.operations[0](stem))
        stem = reduce["0after1"](stem)
        second = reduce["2after2"](network.norms[1](network.operations[1](first) + stem))
        stem = reduce["0after2"](stem)
        third = network.norms[2](network.operations[2](second) + stem)
        assert third.shape[2:] == (2, 2)
        assert torch.allclose(network(x), network.head(third), atol=1e-6)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_network_learns(seed):
    network = build(SPACE, SPACE.sample(stream(seed)), tiny_task())
    outcome = train(network, tiny_task(), Recipe(4, learning_rate=0.05), seed=0)
    assert outcome.curve[-1]["train_loss"] < outcome.curve[0]["train_loss"]


def test_sizes_are_checked():
    with pytest.raises(UsageError, match="layers of space 'enas' must be a whole number"):
        ENAS(layers=0)
    with pytest.raises(UsageError, match="at least 4 x 4"):
        SPACE.check_task(tiny_task((1, 3, 8)))
    twelve = ENAS(layers=12)
    assert len(json.loads(str(twelve.sample(stream(0))))) == 12

"""NAS-Bench-NLP, against its published recipes and PyTorch's own recurrent layers."""

import itertools
import json

import numpy as np
import pytest
import torch
from torch import nn

from archscout.core.errors import UsageError
from archscout.core.seeds import stream
from archscout.core.task import Split
from archscout.networks.pick import build
from archscout.spaces.nasbench_nlp import STATES, NASBenchNLP, _node_options
from archscout.tasks.text import NextCharacter, text
from archscout.testing import SpaceConformance, tiny_task
from archscout.training.export import export_onnx
from archscout.training.trainer import Recipe, train

SPACE = NASBenchNLP()
RNN, LSTM = (str(architecture) for architecture in SPACE.extremes())
GRU = "linear(x,h0);sigm(0);linear(x,h0);sigm(2);prod(1,h0);linear(x,4);tanh(5);blend(3,h0,6)>7"


def tiny_text(characters=5, length=6, examples=24):
    rng = stream(0, "tiny text")
    steps = (np.arange(length + 1) + rng.integers(0, characters, (examples, 1))) % characters
    split = Split(steps[:, :-1].astype(np.uint8), np.ascontiguousarray(steps[:, 1:]).astype(np.int64))
    return NextCharacter("tiny text", (length,), characters, split, split, split, tuple("abcdefgh"[:characters]))


class TestNASBenchNLP(SpaceConformance):
    product = False
    examples = 10
    networks = 4
    enumerable = 5_000

    def space(self):
        return NASBenchNLP(width=6, hidden=4)

    def task(self):
        return tiny_text()


class TestNASBenchNLPOfTwoLayers(SpaceConformance):
    product = False
    examples = 5
    networks = 3
    enumerable = 2_000

    def space(self):
        return NASBenchNLP(width=4, hidden=6, layers=2)

    def task(self):
        return tiny_text(characters=3, length=4)


@pytest.fixture(scope="module")
def published(published_data):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(published_data / "nasbench_nlp" / "wikitext2_curves.parquet").to_pydict()
    return table["recipe"], table["num_params"]


# -- text -------------------------------------------------------------------------------------------------------------


def test_every_published_recipe_is_read(published):
    for recipe in published[0]:
        architecture = SPACE.parse(recipe)
        nodes = json.loads(recipe)
        assert architecture["nodes"] == len(nodes)
        assert architecture["states"] == sum(name[6:].isdigit() for name in nodes if name.startswith("h_new_"))
        assert SPACE.parse(str(architecture)) == architecture


def test_recipes_of_known_cells_are_those_cells(published):
    first = [SPACE.canonical(SPACE.parse(recipe)) for recipe in published[0][:3]]
    assert first[0] == SPACE.canonical(SPACE.parse(RNN))
    assert first[2] == SPACE.canonical(SPACE.parse(GRU))
    # The published LSTM has another activation at its output gate.
    assert first[1] == SPACE.canonical(SPACE.parse(LSTM.replace("sigm(6)", "tanh(6)")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("linear(x,h0);tanh(0)", "must end in >"),
        ("linear(x,h0);tanh(0)>", "must end in >"),
        ("linear(x,h0);tanh 0>1", "node 1 .* must be operation"),
        ("linear(x,h0);tanj(0)>1", r"did you mean 'tanh'\?"),
        ("linear2(x,h0);tanh(0)>1", "node 0 .* must be operation"),
        ("linear(x);tanh(0)>1", "node 0 .* takes 2 or 3"),
        ("linear(x,h0);tanh(0,0)>1", "node 1 .* has 2 inputs: 'tanh' takes 1"),
        ("linear(x,h1);tanh(0)>1", "node 0 takes 'h1', which is neither"),
        ("linear(x,1);tanh(0)>1", "node 0 takes '1', which is neither"),
        ("linear(x,h0);tanh(x)>1", r"node 1 \(tanh\) takes x"),
        ("linear(h0,h0);tanh(0)>1", "takes one input twice"),
        ("linear(x,h0);tanh(0)>2", "no node 2"),
        ("linear(x,h0);tanh(0)>1,1", "one node is two states"),
        (";".join(["linear(x,h0)"] * 25) + ">3", "it has 25 nodes"),
        ('{"h_new_0": {"op": "linear"}}', "is no recipe"),
        ('{"h_new_0": 3}', "is no recipe"),
        ('{"f": {"op": "tanh", "input": ["g"]}, "g": {"op": "tanh", "input": ["f"]}}', "depends on itself"),
        ('{"h_new_0": {"op": "activation_tanh", "input": ["f"]}}', "takes 'f', which is neither"),
        ('{"f": {"op": "linear", "input": ["x", "h_prev_0"]}}', "it has 0 states"),
    ],
)
def test_a_malformed_text_is_one_clear_sentence(text, message):
    with pytest.raises(UsageError, match=message) as caught:
        SPACE.parse(text)
    assert len(str(caught.value).splitlines()) == 1


# -- the set ----------------------------------------------------------------------------------------------------------


def test_size_counts_all_drawings():
    for states, k in itertools.product(STATES, range(4)):
        options = list(_node_options(states, k))
        assert len({(op, inputs) for op, inputs in options}) == len(options)
    one = sum(1 for _ in _node_options(1, 0))
    two = one * 2 * sum(1 for _ in _node_options(1, 1)) + 2 * len(list(_node_options(2, 0))) * len(
        list(_node_options(2, 1))
    )
    small = list(itertools.takewhile(lambda architecture: architecture["nodes"] < 3, SPACE))
    assert len(small) == len(set(small)) == one + two
    assert 6.8e83 < SPACE.size() < 6.9e83


def test_samples_are_cells_that_use_everything():
    for seed in range(40):
        architecture = SPACE.sample(stream(seed))
        assert SPACE.simplify(architecture) == architecture
        graph = SPACE.graph(architecture)
        fed = {source for source, _ in graph.edges}
        assert fed == set(range(len(graph.nodes) - 1))
        for seed_of_mutant in range(5):
            mutant = SPACE.mutate(architecture, stream(seed_of_mutant))
            assert SPACE.simplify(mutant) == mutant != architecture


def test_a_child_has_states_of_its_parents():
    first, second = SPACE.parse(LSTM), SPACE.parse("linear(x,h0);leaky_relu(0);linear(x,h1);sigm(2);sum(1,3)>4,3")
    children = {str(SPACE.crossover(first, second, stream(seed))) for seed in range(30)}
    assert len(children) > 2
    mixed = [child for child in children if "leaky_relu" in child and "blend" not in child and child.count("tanh")]
    assert all(SPACE.parse(child)["states"] == 2 for child in mixed)


# -- forms ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (RNN, "linear(h0,x);tanh(0)>1", True),
        (RNN, "linear(x,h0);sigm(0)>1", False),
        (RNN, "linear(x,h0);tanh(0);sigm(1)>1", True),
        (RNN, "linear(x,h0);tanh(0);linear(x,h1);tanh(2)>1,3", True),
        (RNN, "linear(x,h1);tanh(0);linear(x,h0);tanh(2)>1,3", False),
        ("linear(x,h0);tanh(0);tanh(0);sum(1,2)>3", "linear(x,h0);tanh(0);sum(0,1)>2", False),
        ("linear(x,h0);tanh(0);tanh(0);prod(1,0);prod(2,3)>4", "linear(x,h0);tanh(0);prod(1,0);prod(1,2)>3", True),
        (
            "linear(x,h0);tanh(0);sigm(0);sum(0,1);sum(2,3)>4",
            "linear(x,h0);tanh(0);sigm(0);sum(0,2);sum(1,3)>4",
            True,
        ),
        ("linear(x,h0);tanh(0);sigm(0);blend(0,1,2)>3", "linear(x,h0);tanh(0);sigm(0);blend(0,2,1)>3", False),
        (
            "linear(x,h1);linear(x,h2);tanh(0);sigm(1);linear(2,3)>4,2,3",
            "linear(x,h2);linear(x,h1);tanh(0);sigm(1);linear(2,3)>4,3,2",
            True,
        ),
        ("linear(x,h0);linear(x,h0);sum(0,1)>2", "linear(x,h0);sum(0,h0)>1", False),
    ],
)
def test_forms(one, other, same):
    forms = [SPACE.canonical(SPACE.parse(text)) for text in (one, other)]
    assert (forms[0] == forms[1]) == same


@pytest.mark.parametrize("seed", range(15))
def test_the_order_of_nodes_does_not_matter(seed):
    architecture = SPACE.sample(stream(seed, "order"))
    nodes = str(architecture).partition(">")[0].split(";")
    inputs = {
        f"n{k}": [f"n{i}" if i.isdigit() else i for i in node.partition("(")[2][:-1].split(",")]
        for k, node in enumerate(nodes)
    }
    states = [int(architecture[f"state {state}"]) for state in range(architecture["states"])]
    names = {f"n{k}": f"h_new_{states.index(k)}" for k in states}
    recipe = {
        names.get(f"n{k}", f"n{k}"): {
            "op": node.partition("(")[0],
            "input": [names.get(i, i.replace("h", "h_prev_") if i[0] == "h" else i) for i in inputs[f"n{k}"]],
        }
        for k, node in enumerate(nodes)
    }
    shuffled = [list(recipe)[k] for k in stream(seed, "shuffle").permutation(len(recipe))]
    again = SPACE.parse(json.dumps({name: recipe[name] for name in shuffled}))
    assert SPACE.canonical(again) == SPACE.canonical(architecture)


# -- network ----------------------------------------------------------------------------------------------------------


def test_parameters_are_the_published_ones(published):
    """The published network has 3 layers of 400, 600 and 400 and ties the embedding of 33,278 words to the output."""
    words = 33_278
    nothing = Split(np.zeros((0, 4), np.int32), np.zeros((0, 4), np.int64))
    task = NextCharacter("words", (4,), words, nothing, nothing, None, ())
    space = NASBenchNLP(width=400, hidden=600, layers=3)
    for recipe, params in list(zip(*published, strict=True))[::12]:
        network = build(space, space.parse(recipe), task, device="meta")
        unused = space.simplify(space.parse(recipe)) != space.parse(recipe)
        found = sum(parameter.numel() for parameter in network.parameters()) - 400 * words
        assert found < params if unused else found == params


def test_the_lstm_is_that_of_pytorch():
    task = tiny_text()
    network = build(NASBenchNLP(width=4), SPACE.parse(LSTM), task)
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    cell = network.layers[0].nodes
    expected = nn.LSTM(4, 4, batch_first=True)
    # Which nodes of the text are the linear maps of PyTorch's gates: input, forget, cell, output.
    gates = {0: "tanh", 2: "sigm", 4: "sigm", 6: "sigm"}
    assert [cell[k + 1].operation for k in gates] == list(gates.values())
    order = [2, 4, 0, 6]
    with torch.no_grad():
        expected.weight_ih_l0.copy_(torch.cat([cell[k].maps[0].weight for k in order]))
        expected.weight_hh_l0.copy_(torch.cat([cell[k].maps[1].weight for k in order]))
        expected.bias_ih_l0.copy_(torch.cat([cell[k].bias for k in order]))
        expected.bias_hh_l0.zero_()
        x = torch.rand(2, 6, 4)
        outputs = network.layers[0](list(x.unbind(1)))
    assert torch.allclose(torch.stack(outputs, 1), expected(x)[0], atol=1e-5)


def test_a_network_learns_real_text():
    """Fewer bits a character than the frequencies of characters alone give."""
    task = text(train=300)
    network = build(SPACE, SPACE.parse(GRU), task)
    outcome = train(network, task, Recipe(4, batch_size=16, learning_rate=1.0), seed=0)
    counts = np.bincount(task.train.y.ravel(), minlength=task.outputs) + 1
    unigram = -np.log(counts / counts.sum())[task.valid.y].mean()
    assert min(row["valid_loss"] for row in outcome.curve) < unigram - 0.3


def test_a_network_is_written_as_onnx_for_any_batch(tmp_path):
    network = build(NASBenchNLP(width=4), SPACE.parse(GRU), tiny_text(length=3)).eval()
    assert export_onnx(network, (3,), tmp_path / "network.onnx") < 1e-4


def test_a_task_without_text_is_refused():
    with pytest.raises(UsageError, match=r"needs a text; .* such as text"):
        SPACE.check_task(tiny_task())
    with pytest.raises(UsageError, match="layers of space 'nasbench_nlp' must be a whole number"):
        NASBenchNLP(layers=0)

"""DARTS, against its published count, its published network and two published sets of genotypes."""

import itertools
import time

import pytest
import torch
from torch import nn

from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.networks.pick import build
from archscout.spaces.darts import CELLS, DARTS, NODES, OPERATIONS
from archscout.supernets.distributions import Distribution
from archscout.testing import SpaceConformance, tiny_task
from archscout.training.trainer import Recipe, train

SPACE = DARTS()
WIDE = DARTS(wide=True)
DARTS_V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), "
    "('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5], "
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"
)


class TestDARTS(SpaceConformance):
    product = False
    examples = 10
    networks = 4

    def space(self):
        return DARTS(width=4, layers=3)


class TestDARTSWide(SpaceConformance):
    product = False
    examples = 5
    networks = 2
    enumerable = 5_000

    def space(self):
        return DARTS(width=3, layers=3, wide=True)

    def task(self):
        return tiny_task((2, 11, 7), classes=4)


class TestDARTSPart(SpaceConformance):
    product = False
    examples = 5
    networks = 2

    def space(self):
        return DARTS(width=2, layers=3, part="s1")


def column(shared_data, file, name):
    parquet = pytest.importorskip("pyarrow.parquet")
    return parquet.read_table(shared_data / "darts" / file).to_pydict()[name]


def cells(normal, reduce=None):
    """A genotype whose cells are written as one list of (operation, source) each."""
    text = [
        ", ".join(f"('{operation}', {source})" for operation, source in cell) for cell in (normal, reduce or normal)
    ]
    return f"Genotype(normal=[{text[0]}], normal_concat=range(2, 6), reduce=[{text[1]}], reduce_concat=range(2, 6))"


# -- text -------------------------------------------------------------------------------------------------------------


def test_the_published_genotype_is_read():
    architecture = SPACE.parse(DARTS_V2)
    assert architecture["normal 0->2"] == architecture["normal 1->2"] == "sep_conv_3x3"
    assert architecture["normal 0->5"] == "skip_connect"
    assert architecture["normal 2->5"] == "dil_conv_3x3"
    assert architecture["reduce 2->5"] == "skip_connect"
    assert sum(operation != "none" for operation in architecture.values()) == 16
    assert SPACE.parse(DARTS_V2.replace("[2, 3, 4, 5]", "range(2, 6)")) == architecture


def test_every_published_genotype_is_read(shared_data):
    texts = column(shared_data, "darts_1000_cifar10.parquet", "genotype")
    assert len({WIDE.parse(text) for text in texts}) == 1_000


def test_every_published_code_is_read(published_data, whole):
    codes = column(published_data, "nasbench301_zero_cost.parquet", "arch")
    assert len({SPACE.parse(code) for code in codes}) == len(codes) == (11_946 if whole else 200)


def test_a_code_is_a_genotype():
    code = (
        "[[(0, 0), (1, 0), (0, 0), (1, 0), (0, 4), (1, 1), (1, 6), (3, 3)], [(0, 1)"
        + ", (1, 2), (0, 3)" * 3
        + ", (3, 6)]]"
    )
    architecture = SPACE.parse(code)
    assert architecture["normal 0->4"] == "sep_conv_5x5"
    assert architecture["normal 1->5"] == "dil_conv_5x5"
    assert architecture["normal 3->5"] == "sep_conv_3x3"
    assert architecture["reduce 0->5"] == "sep_conv_3x3"
    assert architecture["reduce 3->5"] == "dil_conv_5x5"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Genotype", "is no genotype: write"),
        (DARTS_V2.replace("('sep_conv_3x3', 0), ", "", 1), "the normal cell .* must be eight pairs"),
        (DARTS_V2.replace("sep_conv_3x3", "sep_conv_3x4", 1), r"no operation: did you mean 'sep_conv_3x3'\?"),
        (DARTS_V2.replace("('sep_conv_3x3', 1)", "('sep_conv_3x3', 2)", 1), "takes node 2, which is not before it"),
        (DARTS_V2.replace("('sep_conv_3x3', 1)", "('sep_conv_3x3', 0)", 1), "darts:wide=true"),
        (DARTS_V2.replace("('sep_conv_3x3', 1)", "('none', 1)", 1), "darts:wide=true"),
        (DARTS_V2.replace("[2, 3, 4, 5]", "[4, 5]", 1), r"must be range\(2, 6\)"),
        (
            "[[" + ",".join(["(0,7),(1,1)"] * 4) + "],[" + ",".join(["(0,0),(1,1)"] * 4) + "]]",
            "operation number above 6",
        ),
    ],
)
def test_a_malformed_text_is_one_clear_sentence(text, message):
    with pytest.raises(UsageError, match=message) as caught:
        SPACE.parse(text)
    assert len(str(caught.value).splitlines()) == 1


def test_values_that_make_no_cell_are_refused():
    values = dict(SPACE.parse(DARTS_V2))
    with pytest.raises(UsageError, match="node 3 of the normal cell has 3 edges"):
        SPACE.architecture({**values, "normal 2->3": "skip_connect"})
    with pytest.raises(UsageError, match="node 2 of the reduce cell has 1 edges"):
        SPACE.architecture({**values, "reduce 0->2": "none"})


# -- the set ----------------------------------------------------------------------------------------------------------


def test_size_is_the_published_one():
    assert SPACE.size() == (1 * 3 * 6 * 10 * 7**8) ** 2
    pairs = [7 * node for node in NODES]
    per_cell = 1
    for count in pairs:
        per_cell *= 1 + count + count * (count + 1) // 2
    assert WIDE.size() == per_cell**2


def test_neighbours_are_counted():
    count = sum(2 * 6 + 2 * (node - 2) for node in NODES) * len(CELLS)
    for seed in range(5):
        architecture = SPACE.sample(stream(seed))
        neighbours = list(SPACE.neighbours(architecture))
        assert len(neighbours) == count
        assert SPACE.mutate(architecture, stream(seed)) in neighbours


def test_samples_take_every_operation_and_pair_evenly():
    architectures = [SPACE.sample(stream(seed)) for seed in range(400)]
    taken = [operation for architecture in architectures for operation in architecture.values() if operation != "none"]
    for operation in OPERATIONS:
        assert abs(taken.count(operation) / len(taken) - 1 / 7) < 0.02
    there = sum(architecture["normal 3->5"] != "none" for architecture in architectures)
    assert abs(there / 400 - 4 / 10) < 0.1


# -- forms ------------------------------------------------------------------------------------------------------------


def test_nodes_may_be_renamed():
    for seed in range(30):
        genotype = SPACE._genotype(SPACE.sample(stream(seed)))
        for order in itertools.permutations(range(4)):
            place = {0: 0, 1: 1} | {old + 2: new + 2 for new, old in enumerate(order)}
            moved = [tuple((place[i], operation) for i, operation in genotype[old]) for old in order]
            if all(i < node + 2 for node, terms in enumerate(moved) for i, _ in terms):
                text = cells(
                    [(o, i) for terms in moved for i, o in terms], [(o, i) for t in genotype[4:] for i, o in t]
                )
                original = cells(*([(o, i) for t in part for i, o in t] for part in (genotype[:4], genotype[4:])))
                assert SPACE.canonical(SPACE.parse(text)) == SPACE.canonical(SPACE.parse(original))


REST = [("sep_conv_3x3", 0), ("dil_conv_3x3", 1), ("sep_conv_5x5", 0), ("dil_conv_5x5", 1)]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        # Two skips of the inputs are one sum, whichever of the two nodes that hold it is taken further.
        (
            [("skip_connect", 0), ("skip_connect", 1)] * 2 + [("sep_conv_3x3", 2), ("skip_connect", 0)] * 2,
            [("skip_connect", 0), ("skip_connect", 1)] * 2
            + [("sep_conv_3x3", 2), ("skip_connect", 0), ("sep_conv_3x3", 3), ("skip_connect", 0)],
            True,
        ),
        ([("avg_pool_3x3", 0), *REST[1:], *REST], [("max_pool_3x3", 0), *REST[1:], *REST], False),
        ([*REST[:2], *REST[2:], *REST], [*REST[2:], *REST[:2], *REST], True),
    ],
)  # fmt: skip
def test_forms_of_cells(one, other, same):
    reduce = [*REST, *REST]
    forms = [SPACE.canonical(SPACE.parse(cells(cell, reduce))) for cell in (one, other)]
    assert (forms[0] == forms[1]) == same


def test_a_skip_of_stride_two_is_a_module():
    """Where a node of the reduction cell takes an input by a skip connection, it has weights, and so is not shared."""
    one = [("skip_connect", 0), ("skip_connect", 1)] * 2 + [("sep_conv_3x3", 2), ("skip_connect", 0)] * 2
    other = [*one[:6], ("sep_conv_3x3", 3), ("skip_connect", 0)]
    forms = [SPACE.canonical(SPACE.parse(cells([*REST, *REST], cell))) for cell in (one, other)]
    assert forms[0] != forms[1]


def test_what_takes_an_empty_node_is_left_out():
    text = cells([("none", 0)] * 2 + [("sep_conv_3x3", 2), ("skip_connect", 2), *REST])
    simple = WIDE.simplify(WIDE.parse(text))
    assert simple["normal 2->3"] == simple["normal 2->3 second"] == "none"
    network = build(DARTS(width=2, layers=1, wide=True), WIDE.parse(text), tiny_task())
    made = network.cells[0](*[torch.rand(1, 6, 8, 8)] * 2)
    assert made[:, :4].abs().sum() == 0
    assert made[:, 4:].abs().sum() > 0


# -- network ----------------------------------------------------------------------------------------------------------


def test_the_published_network_has_the_published_size():
    """DARTS (second order) has 3.3 M parameters (Liu et al. 2019, table 1), without the auxiliary head."""
    network = build(SPACE, SPACE.parse(DARTS_V2), tiny_task((3, 32, 32), classes=10), device="meta")
    assert round(sum(parameter.numel() for parameter in network.parameters()) / 1e6, 1) == 3.3


def test_parameters_are_those_of_naslib(shared_data):
    """NASLib builds 8 cells of 32 channels, in which the normalisation of operations has no parameters."""
    codes = column(shared_data, "nasbench301_zero_cost.parquet", "arch")
    params = column(shared_data, "nasbench301_zero_cost.parquet", "params")
    rows = [row for row, count in enumerate(params) if count is not None]
    assert len(rows) == 725
    space, task = DARTS(width=32, layers=8), tiny_task((3, 32, 32), classes=10)
    for row in rows[::60]:
        network = build(space, space.parse(codes[row]), task, device="meta")
        scales = sum(
            parameter.numel()
            for name, module in network.named_modules()
            if ".edges." in name and isinstance(module, nn.BatchNorm2d)
            for parameter in module.parameters()
        )
        assert sum(parameter.numel() for parameter in network.parameters()) - scales == round(params[row] * 1e6)


def test_a_network_learns():
    task = tiny_task()
    network = build(DARTS(width=4, layers=3), SPACE.parse(DARTS_V2), task)
    outcome = train(network, task, Recipe(8, learning_rate=0.02, augment=False), seed=0)
    assert outcome.curve[-1]["train_loss"] < outcome.curve[0]["train_loss"]


def test_sizes_are_checked():
    with pytest.raises(UsageError, match="layers of space 'darts' must be a whole number"):
        DARTS(layers=0)
    with pytest.raises(UsageError, match="wide of space 'darts' must be true or false"):
        DARTS(wide=1)
    with pytest.raises(UsageError, match="at least 4 x 4"):
        SPACE.check_task(tiny_task((1, 3, 8)))


def test_a_mixture_is_cut_down_to_the_two_strongest_edges_of_each_node():
    """Against every pair of edges and operations of every node."""
    rng = stream(0, "mixture")
    weights = {choice.name: rng.random(len(choice.options)) for choice in SPACE.choices}
    for values in weights.values():
        values[0] += 5.0  # `none` is the most probable everywhere, and never taken
    found = SPACE.strongest({name: values.tolist() for name, values in weights.items()})
    for cell in ("normal", "reduce"):
        for node in (2, 3, 4, 5):

            def total(terms, cell=cell, node=node):
                return sum(weights[f"{cell} {i}->{node}"][1 + OPERATIONS.index(o)] for i, o in terms)

            best = max(SPACE._node_terms(cell, node), key=total)
            taken = [(i, found[f"{cell} {i}->{node}"]) for i in range(node) if found[f"{cell} {i}->{node}"] != "none"]
            assert taken == list(best)


def test_references_have_the_published_parameters():
    """In millions, as the publications list them for CIFAR-10: 3.3, 3.3 and 3.6."""
    space, task = DARTS(36, 20), tiny_task((3, 32, 32), classes=10, examples=10)
    published = {"darts_first_order": 3.3, "darts": 3.3, "pc_darts": 3.6}
    sizes = {}
    for name, architecture in space.references().items():
        sizes[name] = sum(p.numel() for p in build(space, architecture, task, device="meta").parameters()) / 1e6
    assert sizes == pytest.approx(published, abs=0.2)


@pytest.mark.parametrize(
    "text",
    [
        "Genotype(normal=[" + "],normal_concat=" * 2000,
        "Genotype(normal=[" + "]" * 3000,
        "Genotype(normal=[],normal_concat=" + ",reduce=[" * 400,
        "[[" + "(0,1)," * 5000,
        "G" * 10**6,
    ],
    ids=["concat", "brackets", "reduce", "code", "long"],
)
def test_long_texts_are_refused_at_once(text: str) -> None:
    began = time.process_time()
    with pytest.raises(UsageError) as caught:
        create("space", "darts").parse(text)
    assert time.process_time() - began < 0.5
    assert len(str(caught.value)) < 500


# -- parts: S1 to S4 --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["s1", "s2", "s3", "s4"])
def test_a_part_has_two_operations_an_edge(part):
    space = DARTS(part=part)
    # Of j sources two, with two operations each: (1 + 3 + 6 + 10 pairs of sources) x 4, multiplied over nodes.
    assert space.size() == (4 * 12 * 24 * 40) ** 2
    assert all(len(choice.options) == 3 and choice.options[0] == "none" for choice in space.choices)
    some = [space.sample(stream(seed, "part")) for seed in range(20)]
    assert all(architecture in space and space.parse(architecture.text) == architecture for architecture in some)
    for other in space.neighbours(some[0]):
        assert other in space and some[0] in list(space.neighbours(other))


def test_the_published_operations_of_s1():
    space = DARTS(part="s1")
    options = {choice.name: set(choice.options) - {"none"} for choice in space.choices}
    assert options["normal 0->2"] == {"skip_connect", "dil_conv_3x3"}
    assert options["normal 4->5"] == {"dil_conv_3x3", "dil_conv_5x5"}
    assert options["reduce 0->2"] == options["reduce 1->5"] == {"max_pool_3x3", "avg_pool_3x3"}
    assert options["reduce 1->4"] == {"max_pool_3x3", "sep_conv_3x3"}


def test_what_lies_outside_a_part_is_refused():
    with pytest.raises(UsageError, match=r"the edge from 0 to 5 of the normal cell .* cannot be .* in part s2"):
        DARTS(part="s2").parse(
            DARTS_V2.replace("max_pool_3x3", "sep_conv_3x3").replace(
                "('skip_connect', 0), ('dil", "('avg_pool_3x3', 0), ('dil"
            )
        )
    with pytest.raises(UsageError, match="has no part 's5'"):
        DARTS(part="s5")
    with pytest.raises(UsageError, match="leave wide=true out"):
        DARTS(part="s1", wide=True)
    assert not DARTS(part="s2").references()


def test_noise_is_drawn_in_training_alone():
    space = DARTS(width=2, layers=3, part="s4")
    network = build(space, list(space.extremes())[1], tiny_task((3, 16, 16), classes=5))
    x = torch.rand(4, 3, 16, 16)
    with torch.no_grad():
        assert not torch.equal(network(x), network(x))
        assert torch.equal(network.eval()(x), network(x))


def test_mixtures_have_none_in_s3_alone():
    for part, share in (("s1", 0.0), ("s2", 0.0), ("s3", 1 / 3), ("s4", 0.0), (None, 1 / 8)):
        weights = Distribution(DARTS(part=part)).weights()
        assert all(float(weight[0].detach()) == pytest.approx(share) for weight in weights.values())

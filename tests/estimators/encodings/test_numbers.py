"""Numbers of layer-wise spaces against sums and products written out."""

import numpy as np
import pytest

from archscout.core.choice import Choice, Condition, Continuous
from archscout.core.registry import create
from archscout.core.space import Space
from archscout.estimators.encodings.encode import default_encoding, encode, widths
from archscout.estimators.encodings.numbers import blocks, numbers, quantities


class Layers(Space):
    """Two stages of up to two blocks each, with every way to write a choice."""

    name = "layers"

    @property
    def choices(self):
        found = [Choice("resolution", (16, 32), ordinal=True)]
        for stage in (1, 2):
            found += [Choice(f"stage{stage}.width", (8, 16), ordinal=True)]
            found += [Choice(f"stage{stage}.depth", (1, 2), ordinal=True)]
            for block in (1, 2):
                runs = Condition(f"stage{stage}.depth", (2,)) if block == 2 else None
                found.append(Choice(f"stage{stage}.block{block}.kernel", (3, 5), ordinal=True, condition=runs))
                found.append(Choice(f"stage{stage}.block{block}.kind", ("e2", "e6", "pool"), condition=runs))
        return tuple(found)

    def network(self, task, pick):
        raise AssertionError("no network is built here")


@pytest.fixture(scope="module")
def encoded():
    space = Layers()
    architecture = space.architecture({
        "resolution": 32,
        "stage1.width": 8, "stage1.depth": 2,
        "stage1.block1.kernel": 3, "stage1.block1.kind": "e6", "stage1.block2.kernel": 5, "stage1.block2.kind": "pool",
        "stage2.width": 16, "stage2.depth": 1, "stage2.block1.kernel": 5, "stage2.block1.kind": "e2",
    })  # fmt: skip
    row = numbers(space, [architecture])[0]
    names = []
    from archscout.estimators.encodings import numbers as module

    columns = module._columns(space, module._matrix(space, [architecture]))
    for name, block in columns.items():
        names.append((name, block[0].tolist()))
    assert [value for _, block in names for value in block] == row.tolist()
    return space, dict(names)


def test_real_numbers_are_taken_as_they_are():
    class Real(Layers):
        choices = (Continuous("probability", 0.1, 0.9), Choice("kernel", (3, 5), ordinal=True))

    row = numbers(Real(), [Real().architecture({"probability": 0.25, "kernel": 5})])[0]
    np.testing.assert_allclose(row, [0.25, 5])


def test_choices_are_ordered_numbers_and_absent_layers_are_none(encoded):
    _, row = encoded
    assert row["stage#.block#.kernel"] == [3, 5, 5, 0]
    assert row["stage#.block#.kind.e"] == [6, 0, 2, 0], "an option without numbers has none"
    assert row["stage#.width"] == [8, 16]
    assert row["resolution"] == [32]


def test_sums_are_by_stage_and_in_all_and_run_along_the_layers(encoded):
    _, row = encoded
    assert row["sum of stage#.depth"] == [3]
    assert row["sum of stage#.block#.kernel"] == [13]
    assert row["stage#.block#.kernel by stage"] == [8, 5]
    assert row["running sum of stage#.block#.kernel"] == [3, 8, 13]
    assert row["sum of stage#.block#.kind=pool"] == [1]


def test_work_is_the_product_of_a_layer_with_the_width_of_its_stage_and_the_resolution(encoded):
    _, row = encoded
    blocks = [[3 * 6 * 8 * 32, 5 * 0 * 8 * 32], [5 * 2 * 16 * 32]]
    np.testing.assert_allclose(row["work by stage"], np.log1p([sum(stage) for stage in blocks]), rtol=1e-6)
    np.testing.assert_allclose(row["work in all"], np.log1p([sum(map(sum, blocks))]), rtol=1e-6)
    squared = [9 * 6 * 8 * 32**2, 25 * 2 * 16 * 32**2]
    np.testing.assert_allclose(row["squared work by stage"], np.log1p(squared), rtol=1e-6)


def test_blocks_are_the_widths_of_the_kinds(encoded):
    space, row = encoded
    assert blocks(space) == tuple(map(len, row.values()))
    assert sum(widths("numbers+choices", space)) == encode("numbers+choices", space, []).shape[1]


def test_names_of_options_are_read():
    found = {(q.kind, q.place): q.values for q in quantities(create("space", "nasbench_macro"))}
    assert found["layer #.mb", (3,)] == {"identity": 0.0, "mb3_k3": 3.0, "mb6_k5": 6.0}
    assert found["layer #.k", (3,)] == {"identity": 0.0, "mb3_k3": 3.0, "mb6_k5": 5.0}
    grouped = {q.kind: q.values for q in quantities(create("space", "fbnet")) if q.place == (1,)}
    assert grouped["layer #.g"]["k3_e1_g2"] == 2
    assert grouped["layer #.g"]["k3_e1"] == 1, "what a block does not say of itself it has once"


@pytest.mark.parametrize("name", ["mobile", "nasbench_macro", "fbnet", "fbnetv2", "classic", "series"])
def test_spaces_of_layers_are_known_by_their_graphs(name):
    space = create("space", name)
    assert default_encoding(space) == "numbers+choices"
    rng = np.random.default_rng(0)
    matrix = numbers(space, [space.sample(rng) for _ in range(20)])
    assert matrix.shape[1] == sum(blocks(space))
    assert np.isfinite(matrix).all()


@pytest.mark.parametrize("name", ["nasbench201", "nasbench101", "darts", "enas", "nasbench_graph"])
def test_spaces_of_cells_keep_the_pruned_graph(name):
    assert default_encoding(create("space", name)) == "live+choices"

"""Flow attention: what it may not see, layers against literal loops, and what another table is worth."""

import json
import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scipy.stats import kendalltau

from archscout.core.errors import DataError, UsageError
from archscout.core.registry import create
from archscout.estimators.encodings.encode import encode, widths
from archscout.estimators.encodings.graph import WIDTH, described
from archscout.estimators.encodings.graphs import reference
from archscout.estimators.predictors import flan
from archscout.estimators.predictors.flan import FLAN, Flow, FlowAttention, hinge
from archscout.testing import EstimatorConformance

SPACES = ("nasbench101", "nasbench201", "darts", "enas", "nasbench_macro", "nasbench_graph", "nasbench_nlp", "mobile")


@pytest.fixture(scope="module")
def cells():
    return create("space", "nasbench201")


def law(space, architectures):
    """Made up, and the same in both spaces: convolutions help, large ones more, pools harm, depth counts."""
    x = encode("unified_graph", space, architectures)
    size = reference(space).vertices
    words = x[:, size * size :].reshape(len(x), size, WIDTH).sum(axis=1)
    convolutions = words @ described("conv_3x3"), words @ described("conv_1x1")
    return 0.9 - 0.5 * np.exp(-0.3 * convolutions[0] - 0.1 * convolutions[1]) - 0.05 * (words @ described("max_pool"))


def table(path, space, architectures, values):
    about = {"format": 1, "name": path.stem, "space": space.name, "default": "acc", "source": "made up",
             "metrics": {"acc": {}, "loss": {"kind": "loss"}, "missing": {}}}  # fmt: skip
    columns = {"architecture": list(map(str, architectures)), "acc": values, "loss": -np.asarray(values),
               "missing": [None] * (len(values) - 2) + [0.1, 0.2]}  # fmt: skip
    made = pa.table(columns).replace_schema_metadata({b"archscout": json.dumps(about).encode()})
    pq.write_table(made, path)
    return str(path)


@pytest.mark.parametrize("name", SPACES)
def test_no_two_operations_of_a_space_have_the_same_words(name):
    labels = reference(create("space", name)).labels
    words = np.stack([described(label) for label in labels])
    assert (words.sum(axis=1) > 0).all()
    assert len(np.unique(words, axis=0)) == len(labels)


def test_the_same_operation_has_the_same_words_in_two_spaces():
    for here, there in (("nor_conv_3x3", "conv3x3-bn-relu"), ("nor_conv_1x1", "conv1x1-bn-relu"),
                        ("max_pool_3x3", "maxpool3x3"), ("input", "input")):  # fmt: skip
        np.testing.assert_array_equal(described(here), described(there))
    assert described("sep_conv_5x5") @ described("sep_conv_3x3") == 2, "sep and conv"


def test_the_unified_graph_is_the_live_graph_in_words(cells):
    rng = np.random.default_rng(0)
    architectures = [cells.sample(rng) for _ in range(20)]
    ours, live = encode("unified_graph", cells, architectures), encode("live_graph", cells, architectures)
    labels = reference(cells).labels
    np.testing.assert_array_equal(ours[:, :64], live[:, :64])
    words = live[:, 64:].reshape(20, 8, len(labels)) @ np.stack([described(label) for label in labels])
    np.testing.assert_array_equal(ours[:, 64:], words.reshape(20, -1))
    assert widths("unified_graph", cells) == (64, 8 * WIDTH)


def test_a_layer_is_that_of_a_literal_loop():
    torch.manual_seed(0)
    layer = FlowAttention(4, 3, 2).eval()
    state, operations = torch.randn(1, 3, 4), torch.randn(1, 3, 2)
    receives = torch.zeros(1, 3, 3)
    receives[0, 1, 0], receives[0, 2, 0], receives[0, 2, 1] = 1, 2, 1
    ways = torch.log((receives + torch.eye(3)).clamp(min=1e-9))
    with torch.no_grad():
        found = layer(state, operations, receives, ways)[0]
        gates, moved, kept = torch.sigmoid(layer.gates(operations))[0], layer.moved(state)[0], layer.kept(state)[0]
        given, taken = layer.giver(moved[:, 3:])[:, 0], layer.taker(moved[:, 3:])[:, 0]
        for i, froms in enumerate([[], [0], [0, 0, 1]]):
            dense = gates[i, :3] * sum((moved[j, :3] for j in froms), torch.zeros(3)) + kept[i]
            scores = [float(taken[i] + given[j]) for j in (i, *froms)]
            weights = [math.exp(s if s > 0 else 0.2 * s) for s in scores]
            mean = sum(w * moved[j, 3:] for j, w in zip((i, *froms), weights, strict=True)) / sum(weights)
            both = (dense + gates[i, 3:] * mean) / 2
            expected = torch.relu(layer.norm(both))
            torch.testing.assert_close(found[i], expected, rtol=1e-4, atol=1e-5)


def test_the_loss_is_a_hinge_on_pairs_by_brute_force():
    rng = np.random.default_rng(1)
    said, y = rng.normal(size=7), rng.integers(0, 4, size=7)
    short = [max(0, flan.MARGIN - (said[i] - said[j])) for i in range(7) for j in range(7) if y[i] > y[j]]
    assert float(hinge(torch.from_numpy(said), torch.from_numpy(y))) == pytest.approx(np.mean(short), rel=1e-5)
    assert float(hinge(torch.from_numpy(said), torch.ones(7))) == 0


def test_relabelling_and_padding_change_nothing():
    torch.manual_seed(0)
    network = Flow(WIDTH, 0).eval()
    rng = np.random.default_rng(2)
    adjacency = torch.from_numpy(np.triu(rng.random((4, 6, 6)) < 0.4, 1).astype(np.float32))
    operations = torch.from_numpy((rng.random((4, 6, WIDTH)) < 0.2).astype(np.float32))
    order = torch.from_numpy(rng.permutation(6))
    side = torch.zeros(4, 0)
    with torch.no_grad():
        said = network(adjacency, operations, side)
        renamed = network(adjacency[:, order][:, :, order], operations[:, order], side)
        padded = network(nn_pad(adjacency, (0, 3, 0, 3)), nn_pad(operations, (0, 0, 0, 3)), side)
        turned = network(adjacency.transpose(1, 2), operations, side)
    torch.testing.assert_close(renamed, said, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(padded, said, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(turned, said, rtol=1e-3)


def nn_pad(x, widths):
    return torch.nn.functional.pad(x, widths)


def test_what_is_learned_of_another_space_helps(tmp_path, cells, monkeypatch):
    monkeypatch.setattr(flan, "SCHOOLING", replace(flan.SCHOOLING, epochs=25))
    rng = np.random.default_rng(3)
    other = create("space", "nasbench101")
    sources = [other.sample(rng) for _ in range(150)]
    source = table(tmp_path / "source.parquet", other, sources, law(other, sources))
    architectures = [cells.sample(rng) for _ in range(300)]
    y, x = law(cells, architectures), encode("unified_graph", cells, architectures).astype(float)

    def tau(**given):
        return np.mean([
            kendalltau(FLAN(widths=widths("unified_graph", cells), seed=s, epochs=20, **given)
                       .fit(x[10 * s : 10 * s + 10], y[10 * s : 10 * s + 10]).predict(x[100:]), y[100:]).statistic
            for s in range(2)
        ])  # fmt: skip

    assert tau(source=source) > tau() + 0.05


def test_of_a_source_lower_losses_are_better(tmp_path, cells, monkeypatch):
    monkeypatch.setattr(flan, "SCHOOLING", replace(flan.SCHOOLING, epochs=1))
    sources = [cells.sample(np.random.default_rng(seed)) for seed in range(20)]
    source = table(tmp_path / "both.parquet", cells, sources, law(cells, sources))
    ours, theirs = flan.schooled(source, "acc"), flan.schooled(source, "loss")
    assert not any(name.startswith("beside") for name in ours)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_source_is_refused_in_a_sentence(tmp_path, cells):
    rng = np.random.default_rng(4)
    sources = [cells.sample(rng) for _ in range(12)]
    source = table(tmp_path / "few.parquet", cells, sources, np.linspace(0, 1, 12))
    with pytest.raises(UsageError, match="there is no table or file 'nonsense'"):
        create("estimator", "flan:source=nonsense")
    with pytest.raises(DataError, match="gone"):
        create("estimator", f"flan:source={tmp_path / 'gone.parquet'}")
    with pytest.raises(UsageError, match="has no metric 'speed'"):
        create("estimator", f"flan:source={source},metric=speed")
    x = encode("unified_graph", cells, sources).astype(float)
    with pytest.raises(DataError, match="2 networks have a 'missing', and at least 10"):
        FLAN(widths=widths("unified_graph", cells), source=source, metric="missing").fit(x, np.linspace(0, 1, 12))
    assert create("estimator", f"flan:source={source}").name == f"flan:{source}", "the source needs no name"


class TestFlanIsAnEstimator(EstimatorConformance):
    count, examples, tolerance = 4, 2, 1e-4

    def estimator(self):
        made = create("estimator", "flan")
        made.predictor.set_params(epochs=3)
        return made

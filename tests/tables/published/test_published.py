"""Every published table: read, sound, and with the best values that were published."""

import math
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from archscout.core.errors import DataError, UsageError
from archscout.tables import published
from archscout.tables.check import check

FILES = {
    "ec_nas": "nasbench101/ec_nas_energy.parquet",
    "nasbench201": "nasbench201/accuracy.parquet",
    "nasbench101": "nasbench101/cells_20k.parquet",
    "nasbench_macro": "nasbench_macro/cifar10.parquet",
    "nasbench301": "darts/nasbench301_zero_cost.parquet",
    "darts": "darts/darts_1000_cifar10.parquet",
    "enas": "enas_dvae/enas6_weight_sharing.parquet",
    "nasbench_nlp": "nasbench_nlp/wikitext2_curves.parquet",
    "nasbench_graph": "nasbench_graph/nasbench_graph.parquet",
}

ROWS = {
    "ec_nas": 91 * 3 + 2_532,
    "nasbench201": 15_625, "nasbench101": 20_001, "nasbench_macro": 6_561, "nasbench301": 11_946, "darts": 1_000,
    "enas": 20_020, "nasbench_nlp": 345, "nasbench_graph": 26_206,
}  # fmt: skip

SAMPLED = {
    "nasbench201": 300, "nasbench_macro": 400, "nasbench301": 200, "enas": 400, "nasbench_nlp": 15,
    "nasbench_graph": 60,
}  # fmt: skip

NETWORKS = {"nasbench201": 5_260, "nasbench101": 20_001, "nasbench_macro": 3_969, "nasbench301": 11_946, "enas": 20_015}

_WHOLE = Path(os.environ.get("ARCHSCOUT_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data")).is_dir()

HEAVY = ("nasbench101", "nasbench301", "enas", "nasbench_graph") if _WHOLE else ()
"""Tens of thousands of canonical forms each, where the tables are whole."""


def kinds(*more):
    """The kinds as parameters, with what else each comes with; heavy ones are slow tests."""
    rows = more or [(kind,) for kind in FILES]
    return [pytest.param(*row, marks=pytest.mark.slow if row[0] in HEAVY else ()) for row in rows]


BEST = {
    ("nasbench201", "c10_test_200"): 0.9437,
    ("nasbench201", "c100_test_200"): 0.7351,
    ("nasbench201", "in16_test_200"): 0.4731,
    ("nasbench201", "c10v_valid_200"): 0.91607,
    ("nasbench201", "c100_valid_200"): 0.73493,
    ("nasbench101", "valid_acc_108"): 0.9491,
    ("nasbench_macro", "mean_acc"): 0.9313,
    ("nasbench301", "val_accuracy"): 0.9449,
    ("darts", "valid_acc"): 0.8661,
    ("enas", "ws_accuracy"): 0.7502,
}


def test_there_is_a_reader_for_every_file():
    assert set(published.kinds()) == set(FILES)
    assert all("arXiv" in summary for summary in published.kinds().values())


@pytest.mark.parametrize("kind", kinds())
def test_every_row_is_there_and_sound(imported, kind, whole):
    table = imported(kind, FILES[kind])
    assert len(table) == (ROWS if whole else SAMPLED).get(kind, len(table)) > 10
    wrong = [str(finding) for finding in check(table) if finding.wrong]
    assert wrong == (["column 'c10_test_200': all values are missing"] if kind == "nasbench201" and not whole else [])
    if whole and kind in NETWORKS:
        assert len(table.first_rows) == NETWORKS[kind]
    assert table.space.parse(table.best()[0])


@pytest.mark.parametrize(("kind", "metric"), kinds(*BEST))
def test_the_best_row_is_the_published_one(imported, shared_data, kind, metric):
    assert np.nanmax(imported(kind, FILES[kind]).column(metric)) == pytest.approx(BEST[kind, metric], abs=5e-5)


@pytest.mark.parametrize(
    ("kind", "column", "source", "factor"),
    kinds(
        ("nasbench201", "c10v_test_200", "c10v_test_200", 100),
        ("nasbench201", "in16_valid_12", "in16_valid_12", 100),
        ("nasbench201", "naswot", "naswot_score_c10", 1),
        ("nasbench101", "valid_acc_36", "valid_acc_36", 1),
        ("nasbench101", "training_time_s_108", "training_time_s_108", 1),
        ("nasbench_macro", "test_acc_1", "test_acc_1", 100),
        ("nasbench_macro", "macs", "flops", 1),
        ("nasbench301", "val_accuracy", "val_accuracy", 100),
        ("darts", "valid_acc", "valid_acc", 100),
        ("enas", "ws_accuracy", "ws_accuracy", 1),
    ),
)
def test_values_are_the_files(imported, published_data, kind, column, source, factor):
    table = imported(kind, FILES[kind])
    if source not in pq.read_schema(published_data / FILES[kind]).names:
        pytest.skip(f"the licence of column '{source}' allows no sample")
    values = pq.read_table(published_data / FILES[kind], columns=[source]).column(0).to_numpy(zero_copy_only=False)
    np.testing.assert_allclose(table.column(column) * factor, values, rtol=1e-6, atol=1e-6)


def test_nasbench201_is_joined_with_scores_and_latencies(imported, published_data, whole):
    table = imported("nasbench201", FILES["nasbench201"])
    folder = published_data / "nasbench201"
    index = pq.read_table(folder / "accuracy.parquet", columns=["index"]).column(0).to_pylist()
    latency = pq.read_table(folder / "latency_ms.parquet").to_pandas().set_index("index")
    np.testing.assert_allclose(table.column("latency@fpga_ms"), latency["fpga"].sort_index(), rtol=1e-6)
    assert sum(name.startswith("latency@") for name in table.metrics) == 27
    scores = pq.read_table(folder / "zero_cost.parquet").to_pandas()
    for dataset, suffix in (("cifar10", ""), ("cifar100", "_c100"), ("ImageNet16-120", "_in16")):
        mine = scores[scores.dataset == dataset].set_index("index").reindex(index)
        np.testing.assert_allclose(table.column(f"synflow{suffix}"), mine["synflow"], rtol=1e-6)
    failed = (scores.epe_nas <= -1e8).sum()
    epe = sum(np.isnan(table.column(f"epe_nas{suffix}")).sum() for suffix in ("", "_c100", "_in16"))
    assert epe == scores.epe_nas.isna().sum() + failed
    if not whole:
        return
    # Published counts of parameters agree with the closed form but for the 204 rows that are known to be off.
    counted = pq.read_table(folder / "accuracy.parquet", columns=["params_M_c10"]).column(0).to_numpy()
    assert (np.abs(table.column("params") / 1e6 - counted) > 1e-5).sum() == 204
    known = scores[(scores.dataset == "cifar10") & scores.flops.notna()]
    np.testing.assert_allclose(table.column("macs")[known["index"]] / 1e6, known.flops, rtol=1e-5)


def test_nasbench201_fidelities(imported):
    table = imported("nasbench201", FILES["nasbench201"])
    assert table.fidelities() == (12, 200)
    best = table.best("c10v_valid_200")[0]
    row = table.rows(best)
    assert table.value(best, epochs=12) == pytest.approx(table.column("c10_valid_12")[row].mean())


@pytest.mark.slow
def test_nasbench101_joins_by_hash_and_scales_seconds(imported, shared_data):
    table = imported("nasbench101", FILES["nasbench101"])
    scores = pq.read_table(shared_data / "nasbench101" / "zero_cost.parquet").to_pandas().set_index("module_hash")
    hashes = table.texts("module_hash")
    np.testing.assert_allclose(table.column("zen"), scores["zen"].reindex(hashes), rtol=1e-6)
    row = 77
    text = table.architectures[row]
    assert table.seconds(text, epochs=36) == pytest.approx(table.column("training_time_s_108")[row] / 3)
    assert table.fidelities() == (4, 12, 36, 108)


def test_ec_nas_has_a_row_a_training_and_its_fidelities(imported, published_data, whole):
    table = imported("ec_nas", FILES["ec_nas"])
    assert len(table.first_rows) == 2_532 or not whole
    assert table.fidelities() == (4, 12, 36, 108)
    found = pq.read_table(published_data / FILES["ec_nas"]).to_pandas()
    best = found[found.epochs == 108].sort_values("valid_acc").iloc[-1]
    mine = found[(found.module_hash == best.module_hash)]
    text = f"{best.adjacency}:{best.interior_ops}"
    assert len(table.rows(text)) == 4 or not whole  # three repeats, and once among the cells of five vertices
    for epochs, group in mine.groupby("epochs"):
        assert table.value(text, epochs=epochs) == pytest.approx(group.valid_acc.mean())
        assert table.seconds(text, epochs=epochs) == pytest.approx(group.training_time_s.mean())
        assert table.value(text, f"train_energy_kwh_{epochs}") == pytest.approx(group.train_energy_kwh.mean())


def test_nasbench_nlp_has_whole_curves_and_marks_diverged_ones(imported, shared_data):
    table = imported("nasbench_nlp", FILES["nasbench_nlp"])
    found = pq.read_table(shared_data / FILES["nasbench_nlp"]).to_pandas()
    curves = table.curve_matrix("valid_loss_curve")
    assert curves.shape == (345, 50)
    for row in (0, 186, 344):
        known = np.array(found.val_losses[row], dtype=float)
        np.testing.assert_array_equal(curves[row, : len(known)], known)
        assert np.isnan(curves[row, len(known) :]).all()
    assert np.isnan(table.column("valid_loss")).sum() == (found.status != "OK").sum() == 4
    finished = int(np.flatnonzero(found.epochs == 50)[0])
    text = table.architectures[finished]
    if len(table.rows(text)) == 1:
        assert table.seconds(text, epochs=10) == pytest.approx(sum(found.wall_times[finished][:10]))
    assert table.metric().higher is False
    assert table.best()[1] == np.nanmin(table.values())
    penn = pq.read_table(shared_data / "nasbench_nlp" / "ptb_results.parquet").to_pandas()
    losses = penn.drop_duplicates("recipe_id").set_index("recipe_id")["loss"].reindex(found.recipe_id)
    np.testing.assert_allclose(table.column("ptb_loss"), losses, rtol=1e-6)


@pytest.mark.slow
def test_nasbench_graph_has_a_row_a_network(imported, shared_data):
    table = imported("nasbench_graph", FILES["nasbench_graph"])
    found = pq.read_table(shared_data / FILES["nasbench_graph"]).to_pandas()
    cora = found[found.dataset == "cora"]
    assert np.nanmax(table.column("cora_valid")) == pytest.approx(cora.valid_perf.max())
    assert (~np.isnan(table.column("proteins_test"))).sum() == 2_021
    some = cora.iloc[1234]
    row = next(r for r, t in enumerate(table.architectures) if t == f"{some['link']}:{some.ops}")
    assert table.column("cora_test")[row] == pytest.approx(some.test_perf)
    assert table.column("cora_latency_ms")[row] == pytest.approx(1e3 * some.latency)
    assert table.column("cora_params")[row] == pytest.approx(1e6 * some.params_M)


# -- files that are not what they should be ---------------------------------------------------------------------------


def test_an_unknown_kind():
    with pytest.raises(UsageError, match="there is no kind of table 'nasbench21': did you mean 'nasbench201'"):
        published.read("nasbench21", "x.parquet")


@pytest.mark.parametrize("kind", FILES)
def test_a_file_of_another_kind_or_none(tmp_path, kind):
    with pytest.raises(DataError, match="there is no file"):
        published.read(kind, tmp_path / "gone.parquet")
    text = tmp_path / "text.parquet"
    text.write_text("x")
    with pytest.raises(DataError, match=r"text\.parquet' is no readable Parquet file"):
        published.read(kind, text)
    pq.write_table(pa.table({"x": [1]}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match=r"other\.parquet' has no column '\w+', which a table of this kind has"):
        published.read(kind, tmp_path / "other.parquet")


def test_a_bad_architecture_is_named_by_its_row_in_the_source(tmp_path):
    columns = {"genotype": ["Genotype(x)"], "valid_acc": [85.0]}
    pq.write_table(pa.table(columns), tmp_path / "d.parquet")
    with pytest.raises(DataError, match=r"row 0 of '.*d\.parquet', column 'genotype', is not of space 'darts"):
        published.read("darts", tmp_path / "d.parquet").write(tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


def test_a_value_that_is_no_number_is_named(tmp_path):
    columns = {"genotype": ["a", "b"], "valid_acc": ["85.0", "high"]}
    pq.write_table(pa.table(columns), tmp_path / "d.parquet")
    with pytest.raises(DataError, match=r"row 1 of '.*d\.parquet', column 'valid_acc', holds 'high': it must be"):
        published.read("darts", tmp_path / "d.parquet")


def test_curves_of_one_row_that_differ_in_length(tmp_path):
    columns = {
        "recipe_id": [1], "recipe": ["{}"], "num_params": [3], "train_losses": [[1.0, 2.0]], "val_losses": [[1.0]],
        "test_losses": [[1.0, 2.0]], "wall_times": [[1.0, 2.0]],
    }  # fmt: skip
    pq.write_table(pa.table(columns), tmp_path / "n.parquet")
    with pytest.raises(DataError, match=r"row 0 of '.*', column 'val_losses', has 1 epochs where 'wall_times' has 2"):
        published.read("nasbench_nlp", tmp_path / "n.parquet")


def test_what_does_not_lie_beside_a_file_is_noted(shared_data, tmp_path):
    (tmp_path / "cells.parquet").write_bytes((shared_data / FILES["nasbench101"]).read_bytes())
    draft = published.read("nasbench101", tmp_path / "cells.parquet")
    assert draft.notes == ["there is no zero_cost.parquet beside 'cells.parquet', so its columns are not joined."]
    assert not math.isnan(draft.columns["valid_acc_4"][0])

"""The study of supernets: rows against scores made by hand, and going on where it was stopped."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from archscout.core.errors import UsageError
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.seeds import derive
from archscout.study import supernets as study
from archscout.supernets.supernet import Supernet
from archscout.testing import tiny_task

SPACE = create("space", "nasbench201:width=4,cells=1")


def plan(**named):
    return study.Supernets(**({"paths": ("uniform", "untrained"), "passes": 3, "batch": 8, "repeats": 2,
                               "metric": "valid", "sample": 12, "examples": 8} | named))  # fmt: skip


@pytest.fixture(scope="module")
def rows(small_table, tmp_path_factory):
    folder = tmp_path_factory.mktemp("supernets")
    found = study.compare(small_table, SPACE, tiny_task(), plan(), folder)
    return folder, found


def test_every_kind_and_every_control_has_its_row(rows, small_table):
    _, found = rows
    assert [(row["paths"], row["repeat"]) for row in found] == [
        ("uniform", 0), ("untrained", 0), ("uniform", 1), ("untrained", 1), ("params", 0), ("macs", 0), ("random", 0),
    ]  # fmt: skip
    texts, truth = study.ranked_networks(small_table, plan())
    assert len({SPACE.canonical(SPACE.parse(text)) for text in texts}) == len(texts) == 12
    assert truth.tolist() == [small_table.value(text, "valid") for text in texts]
    by = {(row["paths"], row["repeat"]): row for row in found}
    counted = [create("cost", "params").measure(SPACE.parse(t), Setting(SPACE, tiny_task())).value for t in texts]
    assert by["params", 0]["scores"] == counted
    assert by["params", 0]["spearman"] == pytest.approx(spearmanr(counted, truth).statistic)
    # The untrained supernet's scores are those of a supernet of this seed.
    supernet = Supernet(SPACE, tiny_task(), seed=derive(0, "study", "supernet", 1)).train()
    x, y = tiny_task().tensors(tiny_task().valid.head(8))
    with torch.no_grad():
        expected = [-float(tiny_task().loss(supernet.select(SPACE.parse(text))(x), y)) for text in texts]
    assert np.allclose(by["untrained", 1]["scores"], expected, atol=1e-5)
    assert by["uniform", 1]["scores"] != by["untrained", 1]["scores"]


def test_a_study_goes_on_and_refuses_another_setting(rows, small_table, monkeypatch):
    folder, found = rows
    monkeypatch.setattr(study, "measure", None)
    assert study.compare(small_table, SPACE, tiny_task(), plan(), folder) == found
    with pytest.raises(UsageError, match="begun with "):
        study.compare(small_table, SPACE, tiny_task(), plan(passes=4), folder)
    with pytest.raises(UsageError, match="did you mean 'uniform'"):
        study.compare(small_table, SPACE, tiny_task(), plan(paths=("unifrom",)), folder)
    with pytest.raises(UsageError, match="space 'mobile' does not have the architectures of table"):
        study.compare(small_table, create("space", "mobile"), tiny_task(), plan(), folder)


def test_the_summary_has_means_and_the_agreement_of_seeds(rows):
    _, found = rows
    entries = {entry["paths"]: entry for entry in study.summary(found)}
    own = [row for row in found if row["paths"] == "uniform"]
    assert entries["uniform"]["spearman"] == pytest.approx(np.mean([row["spearman"] for row in own]))
    agreement = spearmanr(own[0]["scores"], own[1]["scores"]).statistic
    assert entries["uniform"]["stability"] == pytest.approx(agreement)
    assert math.isnan(entries["params"]["stability"])
    bias = entries["params"]["bias"]["edge 0->1=nor_conv_3x3"]
    assert bias == pytest.approx(next(r for r in found if r["paths"] == "params")["bias"]["edge 0->1=nor_conv_3x3"])


def test_fair_paths_get_no_more_passes(small_table):
    supernet = study.trained_supernet(SPACE, tiny_task(), plan(passes=10), "fair", 0)
    tracked = supernet.network[0][1].num_batches_tracked  # the stem runs once a path
    assert int(tracked) == 10

"""The learned score of weights from a Fourier bank: what it is made of, and that it transfers."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau, spearmanr
from torch import nn

from archscout.core.errors import UsageError
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.estimators.predictors import fourier
from archscout.networks.pick import build
from archscout.tables.load import load


@pytest.fixture(scope="module")
def judge():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return fourier.Judge().double()


@pytest.mark.parametrize("shape", [(4, 2, 3, 3), (20, 20, 1, 1), (3, 5)])
def test_weights_are_magnitudes_of_the_transform_written_as_sums(judge, shape):
    outputs, inputs, height, width = (*shape, 1, 1)[:4]
    size, maps = outputs * inputs, judge.maps.detach().numpy()
    used = maps[: min(size, fourier.BANK), :height, :width]
    expected = np.zeros((size, height, width), dtype=complex)
    places = np.arange(used.shape[0])
    for u in range(height):
        for v in range(width):
            wave = np.exp(-2j * np.pi * (np.arange(height)[:, None] * u / height + np.arange(width)[None] * v / width))
            coefficients = (used * wave).sum(axis=(1, 2)) / math.sqrt(height * width)
            lines = np.exp(-2j * np.pi * np.arange(size)[:, None] * places[None] / size) @ coefficients
            expected[:, u, v] = lines / math.sqrt(size)
    made = judge.weight(shape).detach().numpy()
    filled = max(1, size / fourier.BANK)
    scale = math.sqrt(filled * 2 / (inputs * height * width))
    np.testing.assert_allclose(made, (np.abs(expected) * scale).reshape(shape), atol=1e-10)
    # As strong as weights for rectified units are: mean square of 2 over the inputs of an output.
    assert (made**2).mean() == pytest.approx(2 / (inputs * height * width), rel=0.35)


def test_soft_ranks_become_ranks():
    rng = np.random.default_rng(0)
    score, rank = rng.permutation(30) * 1.0, torch.arange(30.0, dtype=torch.float64)
    found = float(fourier.soft_spearman(torch.from_numpy(score), rank))
    assert found == pytest.approx(spearmanr(score, np.arange(30)).statistic, abs=0.03)
    given = torch.from_numpy(score).requires_grad_()
    fourier.soft_spearman(given, rank).backward()
    better = given.detach() + 0.5 * given.grad / given.grad.abs().max()
    assert float(fourier.soft_spearman(better, rank)) > found


def test_batch_normalisation_becomes_standardisation_by_position():
    network = fourier.standardising(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)))
    x = torch.randn(8, 3, 5, 5)
    out = network(x)
    assert isinstance(network[1], fourier.Standardise)
    np.testing.assert_allclose(out.mean(dim=0).detach(), 0, atol=1e-5)
    np.testing.assert_allclose(out.var(dim=0, unbiased=False).detach(), 1, atol=1e-2)


def test_gradients_reach_the_bank_and_the_images():
    space, task = create("space", "nasbench201"), create("task", "digits")
    architectures = [space.sample(np.random.default_rng(seed)) for seed in range(3)]
    judge = fourier.Judge()
    networks = [fourier.standardising(build(space, one, task)) for one in architectures]
    score = judge(networks, task.input_shape)
    assert score.shape == (3,)
    score.sum().backward()
    assert judge.maps.grad.abs().sum() > 0
    assert judge.images.grad.abs().sum() > 0
    alone = judge(networks[1:2], task.input_shape)
    torch.testing.assert_close(alone, score[1:2], msg="a score does not depend on the others")


@pytest.mark.slow
def test_what_is_learned_of_one_table_orders_another(monkeypatch):
    monkeypatch.setattr(fourier, "TRAINED", 200)
    monkeypatch.setattr(fourier, "EPOCHS", 2)
    fourier.learned.cache_clear()
    table, task = load("nasbench201-fashion"), create("task", "digits")
    values = np.asarray(table.values(table.default_metric))
    rows = np.random.default_rng(0).permutation(len(values))[:120]
    architectures = [table.space.parse(table.architectures[table.first_rows[row]]) for row in rows]
    made = create("estimator", "fourier:source=nasbench201-digits")
    said = [estimate.value for estimate in made.estimate(architectures, Setting(table.space, task))]
    again = made.estimate(architectures[:2], Setting(table.space, task))
    assert [estimate.value for estimate in again] == said[:2]
    fourier.learned.cache_clear()
    assert kendalltau(said, values[rows]).statistic > 0.1


def test_what_is_no_image_and_what_is_no_table():
    text = create("task", "text")
    (estimate,) = fourier.FourierScore().estimate([None], Setting(create("space", "nasbench201"), text))
    assert math.isnan(estimate.value)
    assert "sees images" in estimate.reason
    with pytest.raises(UsageError):
        fourier.learned("no-such-table", "")
    with pytest.raises(UsageError, match="last linear layer"), fourier.features(nn.Conv2d(1, 1, 1)):
        pass

"""The benchmark of value (`benchmarks/front_door/`): its data are what they are said to be, its verdicts right."""

import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import ttest_rel

from benchmarks.front_door import value, value_data, value_page, value_picture, value_rivals


@pytest.fixture
def root(tmp_path):
    """Sets in which every pixel of an image is twenty times its label."""
    images = tmp_path / "images"
    images.mkdir()
    labels = np.repeat(np.arange(10), 30)
    for name, shape in (("mnist", (28, 28)), ("cifar10_jpeg", (32, 32, 3))):
        x = np.broadcast_to((20 * labels).reshape(-1, *[1] * len(shape)), (len(labels), *shape)).astype(np.uint8)
        np.savez(images / f"{name}.npz", x_train=x, y_train=labels, x_test=x, y_test=labels)
    return tmp_path


# -- data -------------------------------------------------------------------------------------------------------------


def test_addnist_and_multnist_name_sum_and_product(root):
    for label in (value_data._sum, value_data._product):
        x, y = value_data._three_digits(root, "train", 200, label)
        digits = x[:, 0, 0].astype(int) // 20
        assert x.shape == (200, 28, 28, 3)
        assert (x == 20 * digits[:, None, None]).all()
        right = [r + g + b - 1 if label is value_data._sum else r * g * b % 10 for r, g, b in digits]
        assert y.tolist() == right
        assert 0 <= y.min() <= y.max() < (20 if label is value_data._sum else 10)


def test_cifartile_counts_different_labels(root):
    x, y = value_data._tiles(root, "train", 80)
    assert x.shape == (80, 64, 64, 3)
    corners = x[:, [0, 0, 63, 63], [0, 63, 0, 63], 0]
    assert y.tolist() == [len(set(four)) - 1 for four in corners.tolist()]
    assert np.bincount(y).tolist() == [20] * 4
    # Training and test pictures are drawn apart.
    assert not np.array_equal(x, value_data._tiles(root, "test", 80)[0])


def test_mel_filters_share_out_the_spectrum():
    """Triangles that overlap by half add up to one between the first and the last peak; peaks are even in mel."""
    filters = value_data.mel_filters()
    frequencies = np.linspace(0, 4000, filters.shape[1])
    top = 2595 * np.log10(1 + 4000 / 700)
    peaks = 700 * (10 ** (np.arange(1, value_data.MELS + 1) * top / (value_data.MELS + 1) / 2595) - 1)
    between = (frequencies >= peaks[0]) & (frequencies <= peaks[-1])
    assert filters.sum(0)[between] == pytest.approx(1)
    # A pure tone is loudest in the band whose peak is nearest to it.
    for band in (8, 16, 28):
        wave = np.sin(2 * np.pi * peaks[band] * np.arange(8448) / 8000).astype(np.float32)[None]
        assert abs(int(value_data.log_mel_energies(wave)[0].mean(1).argmax()) - band) <= 1


# -- rivals -----------------------------------------------------------------------------------------------------------


def test_rivals_have_the_published_parameters():
    """ResNet-20 has 0.27 M (He et al. 2016, table 6; 0.28 M with projections), ResNet-18 for small images 11.17 M."""
    sizes = {}
    for name in value_rivals.NETWORKS:
        network = value_rivals.NETWORKS[name](3, 10, 32)
        sizes[name] = sum(p.numel() for p in network.parameters()) / 1e6
        assert network(torch.randn(2, 3, 32, 32)).shape == (2, 10)
        assert value_rivals.NETWORKS[name](1, 10, 8)(torch.randn(2, 1, 8, 8)).shape == (2, 10)
    assert sizes["resnet20"] == pytest.approx(0.2725, abs=5e-4)
    assert sizes["resnet18"] == pytest.approx(11.174, abs=1e-3)
    assert sizes["resnet8"] == pytest.approx(0.078, abs=1e-3)


def test_rivals_learn_within_their_time(monkeypatch):
    """Networks by a clock that goes on with every look at it: how many steps they take is no matter of the machine."""
    import time

    rng = np.random.default_rng(0)
    patterns = rng.uniform(40, 215, (3, 8, 8, 1))

    def split(count):
        y = np.arange(count) % 3
        return (patterns[y] + rng.normal(0, 25, (count, 8, 8, 1))).clip(0, 255).astype(np.uint8), y

    examples = value_rivals.Examples(*split(120), *split(60), classes=3, flip=False)
    looks = itertools.count()
    with monkeypatch.context() as patched:
        patched.setattr(value_rivals, "time", SimpleNamespace(process_time=lambda: next(looks) / 40))
        row = value_rivals.RIVALS["resnet8"](examples, 2.5, 0)
    assert row["test_accuracy"] > 0.8 and 80 < 2 * row["epochs"] <= 100
    for name, seconds in (("svm", 1.0), ("boosting", 1.0)):
        started = time.process_time()
        row = value_rivals.RIVALS[name](examples, seconds, 0)
        assert row["test_accuracy"] > 0.8
        assert row["latency_ms"] > 0
        assert time.process_time() - started < 2 * seconds + 1


# -- verdicts ---------------------------------------------------------------------------------------------------------


def rows_of(name, values, latency=0.5):
    cell = {"cell": "digits@1m", "cpu_seconds": 60.0, "latency_ms": latency}
    return [cell | {"contender": name, "seed": seed, "test_accuracy": value} for seed, value in enumerate(values)]


def test_a_search_is_held_against_the_best_that_keeps_the_limit():
    own = [0.90, 0.92, 0.91]
    rows = [
        *rows_of("search<1ms", own), *rows_of("search<5ms", own), *rows_of("plain", [0.95, 0.96, 0.96], latency=2.0),
        *rows_of("resnet8", [0.88, 0.91, 0.89]), *rows_of("svm", [0.85, 0.85]), *rows_of("random<1ms", own),
    ]  # fmt: skip
    cell = value_page.CELLS[0]
    assert cell.name == "digits@1m"
    (tight,) = value_page.judge(cell, rows, 1.0, value_page.RIVALS)
    (loose,) = value_page.judge(cell, rows, 5.0, value_page.RIVALS)
    assert (tight.opponent, loose.opponent) == ("resnet8", "plain")
    assert tight.difference == pytest.approx(0.05 / 3)
    assert tight.p == pytest.approx(float(ttest_rel(own, [0.88, 0.91, 0.89]).pvalue))
    assert loose.lost
    assert not tight.lost
    assert value_page.judge(cell, rows, 5.0, ["random<5ms"]) == []
    written = value_page.write(
        [*rows, {"cell": "digits@1m", "contender": "boosting", "seed": 0, "error": "out of memory"}]
    )
    assert "digits@1m, 5 ms: -4.7 points against plain (p = 0.0" in written
    assert "above in 1, below beyond chance in 1" in written
    assert "- digits@1m, boosting, seed 0: out of memory" in written
    assert "| plain | 95.7 ± 1.4 | 3 | 60 |" in written


def test_rows_are_kept_and_not_run_again(tmp_path):
    file = tmp_path / "value.json"
    for row in (*rows_of("plain", [0.5, 0.6]), *rows_of("plain", [0.7])):
        value.results(file).add(row)
    rows = value.results(file).rows
    assert [(row["seed"], row["test_accuracy"]) for row in rows] == [(0, 0.7), (1, 0.6)]
    assert json.loads(file.read_text())["rows"] == rows
    assert value.chosen(value.CELLS[0], "plain,search") == ["plain", "search<5ms", "search<1ms"]
    with pytest.raises(SystemExit, match="no contender 'plian'"):
        value.chosen(value.CELLS[0], "plian")


def test_the_picture_has_searches_at_5_ms_and_no_failed_rows():
    row = {"cell": "mnist@1m", "seed": 0, "test_accuracy": 0.9}
    rows = [
        {**row, "contender": "search<5ms"},
        {**row, "contender": "search<5ms", "seed": 1, "test_accuracy": 0.8},
        {**row, "contender": "search<1ms"},
        {**row, "contender": "plain", "error": "out of memory"},
        {**row, "contender": "svm", "cell": "digits@1m"},
    ]
    assert value_picture.means(rows, value.cell_of("mnist@1m")) == {"search": [0.9, 0.8]}

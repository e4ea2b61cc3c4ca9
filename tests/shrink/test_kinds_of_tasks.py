"""What is shrunk may answer with anything that a network gives: classes, several labels, numbers, ranks."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import archscout
from archscout.core import registry
from archscout.core.errors import UsageError
from archscout.core.task import Task
from archscout.shrink.run import shrink

_spec = importlib.util.spec_from_file_location("kept", Path(__file__).with_name("test_kept.py"))
kept = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(kept)

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 255, (60, 16, 16, 3)).astype(np.uint8)


def task(targets: Any, kind: str) -> Task:
    return archscout.task((IMAGES, targets), kind=kind)


TASKS = {
    "several labels": lambda: task((RNG.random((60, 3)) < 0.5).astype(np.int64), "multilabel"),
    "numbers": lambda: task(1000 + IMAGES.mean((1, 2, 3)), "regression"),
    "ranks": lambda: task(np.arange(60) % 4, "ordinal"),
}


@pytest.fixture
def backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(kept.Parted, "network", lambda self: self.structure().eval())
    monkeypatch.setattr(kept.Parted, "file", lambda self: tmp_path)
    monkeypatch.setitem(registry._registered, ("backbone", "parted"), kept.Parted)
    return "parted"


@pytest.mark.parametrize("name", TASKS)
def test_a_backbone_learns_other_tasks_than_one_class(backbone: str, name: str, tmp_path: Path) -> None:
    """No logistic regression is fitted to what are no classes."""
    result = shrink(backbone, TASKS[name](), budget="2s", size=32, clock=kept.ticking(), out=tmp_path, name="run")
    metric = result.metrics["metric"]
    assert np.isfinite([result.metrics[f"valid_{metric}"], result.metrics[f"test_{metric}"]]).all()


def test_numbers_are_measured_in_their_own_unit(tmp_path: Path) -> None:
    """Of a network of one's own, whose answers lie near the mean: about as far off as the numbers are spread."""
    given = TASKS["numbers"]()
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 1))
    result = shrink(network, given, budget="1s", clock=kept.ticking(), out=tmp_path, name="run")
    spread = float(given.train.y.std())
    for split in ("valid", "test"):
        assert result.metrics[f"{split}_root_mean_squared_error"] < 4 * spread
    loaded = archscout.load(result.folder, space=network)
    with torch.no_grad():
        answers = loaded(torch.from_numpy(given.test.x).permute(0, 3, 1, 2).float())
    error = float((answers - torch.from_numpy(given.test.y).float()).square().mean().sqrt())
    assert result.metrics["test_root_mean_squared_error"] == pytest.approx(error, rel=1e-3)


def test_a_backbone_that_gives_no_maps_is_refused_for_masks(backbone: str, tmp_path: Path) -> None:
    masks = task((IMAGES[..., 0] > 100).astype(np.uint8), "segmentation")
    with pytest.raises(UsageError, match="cannot be trained a step"):
        shrink(backbone, masks, budget="2s", size=32, clock=kept.ticking(), out=tmp_path, name="run")

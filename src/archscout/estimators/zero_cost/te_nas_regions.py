"""How many linear regions a thin network cuts its inputs into."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from archscout.core.errors import UndefinedScore, UsageError
from archscout.core.estimator import Setting
from archscout.core.registry import register
from archscout.core.seeds import derive, stream
from archscout.core.task import Task
from archscout.estimators.zero_cost.harness import Batch, Score, Subject, prepared
from archscout.estimators.zero_cost.patterns import Codes, different_rows
from archscout.estimators.zero_cost.te_nas_ntk import check_repeats
from archscout.estimators.zero_cost.watching import Watching
from archscout.networks.pick import build
from archscout.spaces.thin import thin

_SIDE = 3
_BATCHES, _SIZE = 3, 1000


@register("estimator", "te_nas_regions")
class TeNasRegions(Score):
    """TE-NAS's expressivity: number of linear regions among 3,000 tiny inputs (3 forward passes of a thin network).

    score = number of different patterns of open and closed ReLUs over 3 batches of 1,000 inputs, each one channel of a
    3 x 3 crop of a training image, through a network of 1 channel and 1 cell a stage where the space has such sizes;
    the mean over `repeats`.

    Source: Chen, Gong, Wang 2021, arXiv 2102.11535. Their network has no stem there; here it keeps its own, of one
    channel. Their code compares patterns by products in half precision; here patterns are packed into bytes and equal
    ones counted, exactly. Spaces that cannot take 3 x 3 pixels get crops of the least size that they take.

    Args:
        repeats: draws of weights and crops; the original's 3 by default.
    """

    needs = frozenset({"inputs"})

    def __init__(self, repeats: int = 3) -> None:
        self.name = "te_nas_regions"
        self.repeats = check_repeats(repeats, self.name)

    def score(self, subject: Subject) -> float:
        setting = subject.setting
        space = thin(setting.space, width=1, cells=1)

        def made(task: Task, seed: int) -> nn.Module:
            return build(space, subject.architecture, task, seed=seed, device=setting.device)

        form = space.canonical(subject.architecture)
        found = [
            regions(setting, number, partial(made, seed=derive(setting.seed, "regions", form, number)), subject.inputs)
            for number in range(self.repeats)
        ]
        return sum(found) / self.repeats


def regions(
    setting: Setting, number: int, make: Callable[[Task], nn.Module], inputs: Callable[[int, int], Batch]
) -> float:
    """The number of different patterns of rectifiers, in the draw of crops of this number.

    Args:
        setting: its task says how large crops can be, its seed which ones are drawn.
        number: of the draw.
        make: the network for tiny images of one channel; it may raise `UsageError`.
        inputs: examples of the training split, by how many and which draw.

    Raises:
        UndefinedScore: the task has no images, or none that the network takes; the network has no rectifier.
    """
    if len(setting.task.input_shape) != 3:
        raise UndefinedScore("the inputs are no images")
    why = f"the task's are below {_SIDE} x {_SIDE}"
    for side in range(_SIDE, min(setting.task.input_shape[1:]) + 1):
        task = dataclasses.replace(setting.task, input_shape=(1, side, side))
        try:
            network = prepared(make(task))
            with torch.no_grad():
                network(torch.zeros((2, 1, side, side), device=setting.device))
        except (UsageError, RuntimeError, ValueError) as error:  # what spaces and layers raise for small images
            why = str(error).partition("\n")[0]
            continue
        codes = []
        for part in range(_BATCHES):
            watcher = Codes()
            x, _ = inputs(_SIZE, number * _BATCHES + part)
            with torch.no_grad(), Watching([watcher]):
                network(_crops(x, side, stream(setting.seed, "crops", number, part)))
            codes.append(watcher.by_example())
        if not codes[0].numel():
            raise UndefinedScore("the network has no rectifier")
        return float(different_rows(torch.cat(codes).cpu()))
    raise UndefinedScore(f"the network takes no images of one channel at any size up to the task's: {why}")


def _crops(x: Tensor, side: int, rng: np.random.Generator) -> Tensor:
    """Crops of images, one channel each (1000 x 1 x side x side); the same for every architecture."""
    count, channels, height, width = x.shape
    picked = torch.from_numpy(rng.integers(0, count, _SIZE))
    channel = int(rng.integers(channels))
    top = torch.from_numpy(rng.integers(0, height - side + 1, _SIZE))
    left = torch.from_numpy(rng.integers(0, width - side + 1, _SIZE))
    rows = top[:, None, None] + torch.arange(side)[:, None]
    columns = left[:, None, None] + torch.arange(side)
    return x[:, channel][picked[:, None, None], rows, columns][:, None].contiguous()

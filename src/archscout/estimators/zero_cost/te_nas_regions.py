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
from archscout.core.space import Space
from archscout.core.task import Task
from archscout.estimators.zero_cost.harness import Batch, Score, Subject, prepared
from archscout.estimators.zero_cost.kernel import check_shared, shared_network
from archscout.estimators.zero_cost.patterns import Codes, different_rows
from archscout.estimators.zero_cost.te_nas_ntk import check_repeats
from archscout.estimators.zero_cost.watching import Watching
from archscout.networks.pick import build
from archscout.spaces.thin import cell_alone, thin

NETWORKS = ("cell", "thin")

_SIDE = 3
_BATCHES, _SIZE = 3, 1000


@register("estimator", "te_nas_regions")
class TeNasRegions(Score):
    """TE-NAS's expressivity: number of linear regions among 3,000 tiny inputs (3 forward passes of a thin network).

    score = number of different patterns of open and closed ReLUs over 3 batches of 1,000 inputs, each one channel of a
    3 x 3 crop of a training image; the mean over `repeats`. The network is, as published, one cell of one channel on
    the input itself (`nasbench201`; one of each kind in `darts`), without stem; or (`network=thin`, and in other
    spaces) the whole network with 1 channel and 1 cell a stage where the space has such sizes.

    Source: Chen, Gong, Wang 2021, arXiv 2102.11535. Their code compares patterns by products in half precision; here
    patterns are packed into bytes and equal ones counted, exactly. Spaces that cannot take 3 x 3 pixels get crops of
    the least size that they take.

    Args:
        repeats: draws of weights and crops; the original's 3 by default.
        network: `cell` or `thin`.
        shared: whether all architectures are cut out of one supernet of random weights a repeat (TEG-NAS).
    """

    needs = frozenset({"inputs"})

    def __init__(self, repeats: int = 3, network: str = "cell", shared: bool = False) -> None:
        self.name = "te_nas_regions"
        self.repeats, self.shared = check_repeats(repeats, self.name), check_shared(shared, self.name)
        if network not in NETWORKS:
            raise UsageError(f"the network of estimator '{self.name}' is cell or thin, not '{network}'.")
        self.network = network

    def score(self, subject: Subject) -> float:
        setting = subject.setting
        space = region_space(setting.space, self.network)

        form = space.canonical(subject.architecture)

        def made(task: Task, number: int) -> nn.Module:
            if self.shared:
                return shared_network(space, subject.architecture, task, setting, "regions", number)
            seed = derive(setting.seed, "regions", form, number)
            return build(space, subject.architecture, task, seed=seed, device=setting.device)

        counts = [
            regions(setting, number, partial(made, number=number), subject.inputs) for number in range(self.repeats)
        ]
        return sum(counts) / self.repeats


def region_space(space: Space, network: str) -> Space:
    """The space of the networks whose regions are counted; `network` is one of `NETWORKS`."""
    alone = cell_alone(space) if network == "cell" else None
    return alone or thin(space, width=1, cells=1, layers=2)


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

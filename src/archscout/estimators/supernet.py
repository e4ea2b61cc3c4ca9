"""Inherited scores: one network is trained for all architectures, and each is asked with its share of the weights."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import ClassVar

import torch

from archscout.core.architecture import Architecture
from archscout.core.cache import Cache
from archscout.core.estimator import Estimator, Setting
from archscout.core.registry import register
from archscout.core.seeds import derive
from archscout.core.trial import Estimate
from archscout.supernets import plans
from archscout.supernets.distributions import Distribution
from archscout.supernets.evaluate import Data, losses
from archscout.supernets.phases import Phase, Settings, fit
from archscout.supernets.supernet import Supernet

EXAMPLES, BATCH = 512, 128
KEPT = 4
"""Supernets that a process keeps: those of several estimators that are asked by turns."""


@register("estimator", "supernet")
class Inherited(Estimator):
    """Inherited weights: minus the validation loss in a supernet trained by single paths (arXiv 1904.00420).

    The supernet is trained when the first estimate is asked for, which takes most of the time, and the last four are
    kept in the process; every process trains the same one.

    Args:
        steps: of training the supernet (the fidelity, where one is asked for).
        batch: examples a step.
    """

    name = "supernet"
    needs: ClassVar[frozenset[str]] = frozenset({"inputs", "targets", "gradients"})
    paths: ClassVar[str] = "uniform"
    """The plan in `archscout.supernets.plans` by which the supernet is trained."""

    def __init__(self, steps: int = 1000, batch: int = 64) -> None:
        self.settings = Settings(steps=steps, batch_size=batch)

    def estimate(
        self, architectures: Sequence[Architecture], setting: Setting, *, fidelity: int | None = None
    ) -> list[Estimate]:
        settings = Settings(steps=fidelity or self.settings.steps, batch_size=self.settings.batch_size)
        supernet = trained_supernet(setting, settings, self.paths)
        x, y = setting.task.tensors(setting.task.valid.head(EXAMPLES), setting.device)
        count = max(1, round(len(x) / BATCH))
        batches = list(zip(x.tensor_split(count), y.tensor_split(count), strict=True))
        estimates = []
        for architecture in architectures:
            began = time.perf_counter()
            value = self._value(supernet, architecture, batches)
            reason = "" if math.isfinite(value) else f"the inherited value is {value}."
            value = value if math.isfinite(value) else math.nan
            estimates.append(Estimate(value, seconds=time.perf_counter() - began, reason=reason))
        return estimates

    def _value(self, supernet: Supernet, architecture: Architecture, batches: Sequence[Data]) -> float:
        return -float(torch.stack([losses(supernet, [architecture], batch) for batch in batches]).mean())


_supernets = Cache[Supernet](KEPT)


def trained_supernet(setting: Setting, settings: Settings, paths: str = "uniform") -> Supernet:
    """A supernet trained by a plan, by its name; the last four of the process are kept."""

    def trained() -> Supernet:
        seed = derive(setting.seed, "supernet")
        supernet = Supernet(setting.space, setting.task, seed=seed)
        phases = [Phase(plan=getattr(plans, paths))]
        fit(supernet, Distribution(setting.space), phases, settings, seed=seed, device=setting.device)
        return supernet

    where = (setting.space.digest, setting.task.digest, setting.seed, setting.device)
    return _supernets.get((*where, settings, paths), trained)

"""AZ-NAS: four views of a network at initialisation, and their joint rank."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.core.errors import UndefinedScore
from archscout.core.registry import register
from archscout.estimators.zero_cost.harness import Ensemble, Score, Subject, check_batch
from archscout.estimators.zero_cost.initialisation import kaiming
from archscout.estimators.zero_cost.ranks import log_rank_sum
from archscout.estimators.zero_cost.recomputing import recomputing
from archscout.training.contexts import frozen

_SMALL = 1e-6


class _Blocks:
    """Of one forward and backward pass: entropies of the blocks' outputs, and how far each block keeps gradients."""

    def __init__(self, entropies: list[float], trainability: float) -> None:
        self.entropies, self.trainability = entropies, trainability


class _View(Score):
    """A score of AZ-NAS; the pass is made once for all of them."""

    def __init__(self, batch: int = 64) -> None:
        self.name = type(self).__name__
        self.size = check_batch(batch, "az_nas")

    def blocks(self, subject: Subject) -> _Blocks:
        return subject.once(("az_nas", self.size), lambda: _pass(subject, self.size))


@register("estimator", "az_expressivity")
class Expressivity(_View):
    """AZ-NAS's expressivity: entropy of the spectrum of block outputs (1 forward pass, no data).

    score = sum over blocks l of the entropy of the normalised eigenvalues of the C x C covariance of the block's output
    F_l (rows: places of all examples), for N(0, 1) inputs and Kaiming-normal weights. Source: see `az_nas`.

    Args:
        batch: random inputs.
    """

    def score(self, subject: Subject) -> float:
        return sum(self.blocks(subject).entropies)


@register("estimator", "az_progressivity")
class Progressivity(_View):
    """AZ-NAS's progressivity: least growth of expressivity from block to block (1 forward pass, no data).

    score = min over blocks of E_l - E_(l-1), E_l as in `az_expressivity`. Source: see `az_nas`.

    Args:
        batch: random inputs.
    """

    def score(self, subject: Subject) -> float:
        entropies = self.blocks(subject).entropies
        return min(after - before for before, after in pairwise(entropies))


@register("estimator", "az_trainability")
class Trainability(_View):
    """AZ-NAS's trainability: how far blocks keep the size of gradients (1 forward and backward pass, no data).

    score = mean over blocks of 2 - s - 1 / (s + 1e-6), s the largest singular value of the mean over places of g_in
    g_out^T, where g_out is random signs at the block's output and g_in what comes out at its input. Undefined where a
    block gives gradients through as they are. Source: see `az_nas`.

    Args:
        batch: random inputs.
    """

    def score(self, subject: Subject) -> float:
        return self.blocks(subject).trainability


@register("estimator", "az_nas")
class AzNas(Ensemble):
    """AZ-NAS: expressivity, progressivity, trainability and complexity by the sum of logarithmic ranks.

    score = sum over `az_expressivity`, `az_progressivity`, `az_trainability` and `macs` of log(rank / m), ranks
    ascending among a reference sample of the space; undefined ones rank lowest.

    Source: Lee, Ham 2024, "AZ-NAS: Assembling Zero-Cost Proxies for Network Architecture Search", arXiv 2403.19232.
    They rank among the m candidates at hand, so that a score depends on what else is scored; here the measure is fixed.

    Args:
        batch: random inputs.
        reference: architectures drawn to rank against.
    """

    needs = frozenset({"gradients"})

    def __init__(self, batch: int = 64, reference: int = 64) -> None:
        self.name = "az_nas"
        check_batch(batch, self.name)
        self.members = tuple(f"az_{view}:batch={batch}" for view in ("expressivity", "progressivity", "trainability"))
        self.members += ("macs",)
        self.reference = reference

    combine = staticmethod(log_rank_sum)


def _pass(subject: Subject, size: int) -> _Blocks:
    network = subject.initialised(kaiming, "az_nas")
    x = subject.normal(size, *subject.setting.task.input_shape, keys=("az_nas",)).requires_grad_()
    features: list[Tensor] = []

    def keep(module: nn.Module, inputs: object, y: Tensor) -> None:
        if isinstance(y, Tensor) and y.ndim == 4:
            features.append(y)

    handles = [block.register_forward_hook(keep) for block in blocks(network)]
    try:
        with torch.enable_grad(), frozen(network), recomputing(network):
            network(x)
    finally:
        for handle in handles:
            handle.remove()
    if len(features) < 2:
        raise UndefinedScore("the network has fewer than two blocks with feature maps")
    entropies = [_entropy(feature.detach()) for feature in features]
    gains = [_gain(subject, before, after, place) for place, (before, after) in enumerate(pairwise(features))]
    return _Blocks(entropies, sum(gains) / len(gains))


def blocks(network: nn.Module) -> list[nn.Module]:
    """The parts of a network between which it is a chain: its children, those of sequences of sequences, without its
    head and what has no parts and no weights."""
    modules: list[nn.Module] = []
    for child in network.children():
        parts = list(child.children())
        if isinstance(child, nn.Sequential) and any(any(True for _ in part.children()) for part in parts):
            modules += blocks(child)
        elif parts and (not isinstance(child, nn.Sequential) or any(p.ndim > 1 for p in child.parameters())):
            modules.append(child)
    return modules


def _entropy(feature: Tensor) -> float:
    rows = feature.movedim(1, 3).flatten(0, 2)
    rows = rows - rows.mean(0)
    values = torch.linalg.eigvalsh((rows.T @ rows).double()).clamp_(min=0)
    total = float(values.sum())
    return float(torch.special.entr(values / total).sum()) if total > 0 else math.nan


def _gain(subject: Subject, before: Tensor, after: Tensor, place: int) -> float:
    generator = subject.generator("az_nas", "signs", place)
    signs = torch.randint(0, 2, after.shape, generator=generator).to(after) * 2 - 1
    if not (after.requires_grad and before.requires_grad):
        raise UndefinedScore("what a block gives does not depend on what it is given")
    (back,) = torch.autograd.grad(after, before, signs, retain_graph=True, allow_unused=True)
    if back is None or (back.shape == signs.shape and torch.equal(back, signs)):
        return -math.inf
    if back.shape[2:] != signs.shape[2:]:
        back = F.pixel_unshuffle(back, back.shape[2] // signs.shape[2])
    inside, outside = (t.movedim(1, 3).flatten(0, 2) for t in (back, signs))
    largest = float(torch.linalg.matrix_norm(inside.T @ outside / len(outside), 2))
    return 2 - largest - 1 / (largest + _SMALL)

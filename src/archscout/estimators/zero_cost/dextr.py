"""How independent the channels of a network are, and how much it bends a curve of inputs."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from archscout.core.errors import UndefinedScore
from archscout.core.registry import register
from archscout.estimators.zero_cost.harness import Score, Subject, check_batch
from archscout.estimators.zero_cost.normalising import normalised_by
from archscout.estimators.zero_cost.watching import Watcher


class _Conditions(Watcher):
    """The sum over modules of the least over the largest singular value of the channels' matrix, first example."""

    def __init__(self) -> None:
        self.total = 0.0

    def module(self, module: nn.Module, y: Tensor) -> None:
        if y.ndim < 2:
            return
        values = torch.linalg.svdvals(y[0].reshape(len(y[0]), -1).double())
        if float(values[0]) > 0:
            self.total += float(values[-1] / values[0])


@register("estimator", "dextr")
class Dextr(Score):
    """Dextr: conditioning of feature maps joined with the curvature of the outputs along a circle of inputs.

    score = S kappa / (S + kappa); S = log(1 + sum over modules of sigma_min / sigma_max of the C x (H W) matrix of the
    first example's output); kappa = log(1 + curvature) with curvature = sqrt(|v|^2 |a|^2 - (v a)^2) / |v|^3, v and a
    the first and second derivative of the outputs along u cos t + w sin t at t = 0, for a random orthonormal pair u, w.
    No labels; batch normalisation normalises the one input of the curve by itself.

    Source: Asthana, Conrad, Ortmanns, Belagiannis 2025, "Dextr: Zero-Shot Neural Architecture Search with Singular
        Value Decomposition and Extrinsic Curvature", TMLR. Their code hooks every module, containers included, so that
        a score depends on how code is nested; here modules without parts count, once each. Where the curvature fails,
        their code returns S alone; here the score is undefined.

    Args:
        batch: examples, of which batch normalisation takes its statistics for S.
    """

    needs = frozenset({"inputs", "gradients"})
    watches = (_Conditions,)

    def __init__(self, batch: int = 64) -> None:
        self.name = "dextr"
        self.batch = check_batch(batch, self.name)

    def score(self, subject: Subject) -> float:
        conditions = math.log1p(subject.watched(_Conditions, self.batch).total)
        curved = math.log1p(_curvature(subject))
        if not conditions + curved > 0:
            raise UndefinedScore("no feature map is of full rank and the outputs do not bend")
        return conditions * curved / (conditions + curved)


def _by_itself(layer: _BatchNorm, x: Tensor) -> Tensor:
    """Batch normalisation of the one example there is, in operations that can be differentiated any number of times."""
    places = [d for d in range(x.ndim) if d != 1]
    centred = x - x.mean(places, keepdim=True)
    made = centred * (centred.square().mean(places, keepdim=True) + layer.eps).rsqrt()
    shape = [1, -1, *(1,) * (x.ndim - 2)]
    if layer.affine:
        made = made * layer.weight.reshape(shape) + layer.bias.reshape(shape)
    return made


def _curvature(subject: Subject) -> float:
    """Of the outputs along a circle of inputs, at its first point."""
    shape = subject.setting.task.input_shape
    pair = subject.normal(2, *shape, keys=("dextr",)).flatten(1).double()
    u, w = torch.linalg.qr(pair.T)[0].T
    network = subject.network
    parameters = {name: p.detach().double() for name, p in network.named_parameters()}
    buffers = {name: b.double() if b.is_floating_point() else b for name, b in network.named_buffers()}

    def outputs(t: Tensor) -> Tensor:
        x = (u * torch.cos(t) + w * torch.sin(t)).reshape(1, *shape)
        with normalised_by(network, _by_itself):
            made: Tensor = torch.func.functional_call(network, (parameters, buffers), (x,))
        return made.flatten()

    def velocity(t: Tensor) -> Tensor:
        slope: Tensor = torch.func.jvp(outputs, (t,), (torch.ones_like(t),))[1]
        return slope

    try:
        start = torch.zeros((), dtype=torch.float64)
        v, a = torch.func.jvp(velocity, (start,), (torch.ones_like(start),))[:2]
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise UndefinedScore(f"the outputs cannot be differentiated twice: {error}") from error
    vv, aa, va = float(v @ v), float(a @ a), float(v @ a)
    if not vv > 0:
        raise UndefinedScore("the outputs do not depend on the input")
    return math.sqrt(max(vv * aa - va**2, 0.0) / vv**3)

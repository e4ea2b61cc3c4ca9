"""How differently two constant initialisations order the examples of a batch."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from archscout.core.errors import UndefinedScore, UsageError
from archscout.core.registry import register
from archscout.estimators.zero_cost.constant_outputs import constant_outputs, images
from archscout.estimators.zero_cost.expression import read
from archscout.estimators.zero_cost.harness import Score, Subject, check_batch
from archscout.estimators.zero_cost.layers import is_familiar
from archscout.estimators.zero_cost.one_channel import constant_weights, fits
from archscout.estimators.zero_cost.operators import operators
from archscout.estimators.zero_cost.skeleton import skeleton


@register("estimator", "epsilon")
class Epsilon(Score):
    """Epsilon: disagreement of outputs under two constant weights (2 forward passes, one channel; no labels).

    For each constant w of two: all weights (those of batch normalisation too) are w, all biases 0, batch normalisation
    takes the statistics of the batch; y_w are the outputs of the examples, v_w = (y_w - min y_w) / (max y_w - min y_w),
    entries that are exactly 0 left out. score = mean_i |v_low,i - v_high,i| / mean of both v. Higher is better.

    Source: Gracheva 2023, "Neural Architecture Search: Two Constant Shared Weights Initialisations" (epsinas), arXiv
        2302.04406. Constants for NAS-Bench-201 are 1e-7 and 1, for NAS-Bench-101 1e-4 and 10.

    At 1e-7 each convolution makes the signal some ten decades smaller, so that in float32 only paths without
    convolutions count; where an architecture has none, all outputs are 0 and the score is undefined. That is so for 41
    % of NAS-Bench-201, which the original code leaves out of its correlations. `epsilon_log` is defined there too.

    With equal channels one channel stands for all, and a network is an expression that many architectures share
    (`archscout.estimators.zero_cost.expression`, `.one_channel`): the same number to rounding, about a hundred times as
    fast. Networks that do not keep channels equal run in full.

    Args:
        batch: examples; the original's 256 by default.
        low: the smaller constant.
        high: the larger constant.
    """

    needs = frozenset({"inputs"})

    def __init__(self, batch: int = 256, low: float = 1e-7, high: float = 1.0) -> None:
        self.name = "epsilon"
        self.size = check_batch(batch, self.name)
        if not 0 < low < high:
            raise UsageError(f"estimator 'epsilon' needs constants 0 < low < high, not {low} and {high}.")
        self.low, self.high = low, high

    def score(self, subject: Subject) -> float:
        return disagreement(outputs(subject, self.size, (self.low, self.high)))


def outputs(subject: Subject, batch: int, weights: tuple[float, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    """One output an initialisation and example (initialisations x N), on one channel where the network allows.

    Raises `UndefinedScore` where those of an initialisation, of the first one if it is so for several, are all equal.
    """
    setting = subject.setting
    x, _ = subject.inputs(batch)
    bones = skeleton(setting.space, subject.architecture, setting.task)
    on_processor = x.device.type == "cpu"
    terms = subject.once("expression", lambda: read(bones, x.shape[1:])) if on_processor else None
    if terms is not None:
        one_channel = images(x, dtype)
        return torch.stack([_different(constant_outputs(terms, one_channel, weight)) for weight in weights])
    if on_processor and fits(bones, operators(subject)):
        made = constant_weights(bones, x.to(dtype), weights)
    else:
        _check_names(subject.network)
        network = copy.deepcopy(subject.network).to(dtype)
        made = torch.stack([literal(network, x.to(dtype), weight) for weight in weights])
    for row in made:
        _different(row)
    return made


def _check_names(network: nn.Module) -> None:
    """Raises `UndefinedScore` where a user's own code holds vectors of which no name says whether they are biases."""
    for module in network.modules():
        for name, parameter in () if is_familiar(module) else module.named_parameters(recurse=False):
            if parameter.ndim < 2 and not ("bias" in name or "weight" in name):
                raise UndefinedScore(f"it is not known whether '{name}' in its code is a bias")


def _different(outputs: Tensor) -> Tensor:
    """Outputs that are not all equal. Raises `UndefinedScore` for others."""
    if not bool(outputs.max() > outputs.min()):
        raise UndefinedScore("all examples have the same output (no path without convolutions, or none at all)")
    return outputs


def literal(network: nn.Module, x: Tensor, weight: float) -> Tensor:
    """The outputs of the examples with this constant for all weights, in full (N); the network keeps the constant."""
    with torch.no_grad():
        for module in network.modules():
            for name, parameter in module.named_parameters(recurse=False):
                parameter.fill_(0.0 if "bias" in name else weight)
            if isinstance(module, _BatchNorm):
                module.train()
        return network(x).flatten(1)[:, 0]  # type: ignore[no-any-return]


def disagreement(outputs: Tensor) -> float:
    """The score, given the outputs of two initialisations (2 x N), neither of which are all equal."""
    least, most = outputs.amin(1, keepdim=True), outputs.amax(1, keepdim=True)
    places = (outputs - least) / (most - least)
    places[places == 0] = torch.nan
    difference = (places[0] - places[1]).abs().nanmean()
    return float(difference / places.nanmean())

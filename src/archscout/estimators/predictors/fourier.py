"""A learned score: networks get weights from a learned bank, see learned images, and are never trained."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import ClassVar

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError
from archscout.core.estimator import Estimator, Setting
from archscout.core.registry import create, register
from archscout.core.trial import Estimate
from archscout.estimators.predictors.source import networks_of
from archscout.estimators.predictors.training import randomness
from archscout.networks.pick import build

BANK, SIDE = 256, 7
"""Maps of the bank, and their height and width."""

IMAGES, PIXELS = 32, 16
"""Learned images of three channels, and their height and width."""

WIDTH, TOLD = 32, 4
"""Of what the features of an image are brought to, and what is told of it."""

TRAINED, EPOCHS, BATCH = 400, 6, 16
"""Networks of the source table, how often each is seen, and how many are ordered at once."""

SOFTNESS = 0.1
"""By so many standard deviations two scores must differ for their order to be nearly certain."""


@register("estimator", "fourier")
class FourierScore(Estimator):
    """A score learned on another table, of weights from a Fourier bank (2023, arXiv 2308.16775); minutes once.

    An architecture is built with weights that one learned bank of 7 x 7 maps makes for every shape: the magnitudes of
    the Fourier transform of the maps over height and width, and then along the bank to as many as the layer needs,
    scaled by the root of 2 over the inputs of an output. It sees learned images; batch normalisation is replaced by
    standardising each position over the images. The features before the last linear layer are brought to one width by
    weights of the same bank, to unit variance and to sign(x) log(1 + |x|); a perceptron over all images tells the
    score. All of it is learned on pairs of architectures and accuracies of `source`, by Adam(0.9, 0.95) at 1e-3, to
    maximise a differentiable Spearman correlation within batches; nothing of the networks that are judged is trained.

    Reconstructed, and smaller, so that it is learned in a minute or so: 256 maps for 4,096, 32 images of 16 x 16
    (resized to what the network takes) for 64 of 32 x 32, 400 networks of the source seen six times in batches of 16,
    built for 8 x 8 digits, whatever the task; biases are zero; ranks are sums of sigmoids. The score itself is then
    made for the network of the setting's space and task. The published ensemble over spaces is left out.

    What was learned is kept in the process; every process learns the same. A table must not be its own source.

    Args:
        source: a table to learn from: its name, or a file.
        metric: what is learned of it; its default metric if empty.
    """

    name = "fourier"
    needs: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, source: str = "nasbench201-digits", metric: str = "") -> None:
        self.source, self.metric = source, metric

    def estimate(
        self, architectures: Sequence[Architecture], setting: Setting, *, fidelity: int | None = None
    ) -> list[Estimate]:
        shape = setting.task.input_shape
        if len(shape) != 3:
            return [Estimate(math.nan, reason=f"fourier sees images, not inputs of shape {shape}.")] * len(
                architectures
            )
        judge = learned(self.source, self.metric)
        estimates = []
        for architecture in architectures:
            start = time.perf_counter()
            network = standardising(build(setting.space, architecture, setting.task))
            with torch.no_grad():
                value = float(judge([network], shape)[0])
            reason = "" if math.isfinite(value) else f"fourier is {value}"
            value = value if math.isfinite(value) else math.nan
            estimates.append(Estimate(value, time.perf_counter() - start, reason=reason))
        return estimates


class Judge(nn.Module):
    """The bank, the images and what reads features: from networks to a score each."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Parameter(torch.randn(BANK, SIDE, SIDE))
        self.images = nn.Parameter(torch.randn(IMAGES, 3, PIXELS, PIXELS))
        self.tell = nn.Linear(WIDTH, TOLD)
        self.head = nn.Sequential(nn.Linear(IMAGES * TOLD, 64), nn.ReLU(), nn.Linear(64, 1))

    def weight(self, shape: Sequence[int]) -> Tensor:
        """The weight of a layer of this shape: (outputs, inputs) or (outputs, inputs, height, width)."""
        outputs, inputs = shape[:2]
        height, width = shape[2:] if len(shape) == 4 else (1, 1)
        size = outputs * inputs
        maps = torch.fft.fft2(self.maps, s=(height, width), norm="ortho")
        spectrum = torch.fft.fft(maps, n=size, dim=0, norm="ortho").abs()
        # Zeros that the transforms were filled up with have no energy: what is there is made up for it.
        filled = max(size, BANK) / BANK * max(height, SIDE) / SIDE * max(width, SIDE) / SIDE
        scaled: Tensor = spectrum.reshape(tuple(shape)) * math.sqrt(filled * 2 / (inputs * height * width))
        return scaled

    def seen(self, shape: Sequence[int]) -> Tensor:
        """The images as a network takes them: (IMAGES, *shape)."""
        images = nn.functional.interpolate(self.images, tuple(shape[1:]), mode="bilinear")
        grey = images.mean(dim=1, keepdim=True)
        return images if shape[0] == 3 else grey.expand(-1, shape[0], -1, -1)

    def forward(self, networks: Sequence[nn.Module], shape: Sequence[int]) -> Tensor:
        weights: dict[tuple[int, ...], Tensor] = {}

        def of(wanted: Sequence[int]) -> Tensor:  # layers of one shape share their weights
            key = tuple(wanted)
            if key not in weights:
                weights[key] = self.weight(key)
            return weights[key]

        seen = self.seen(shape)
        scores = []
        for network in networks:
            own = {
                name: of(value.shape) if value.ndim in (2, 4) else torch.zeros_like(value)
                for name, value in network.named_parameters()
            }
            with features(network) as values:
                functional_call(network, own, (seen,))
            plain = values[-1] @ of((WIDTH, values[-1].shape[1])).T
            plain = (plain - plain.mean()) / (plain.std() + 1e-6)
            projected = self.tell(torch.sign(plain) * torch.log1p(plain.abs()))
            scores.append(self.head(projected.flatten())[0])
        return torch.stack(scores)


class Standardise(nn.Module):
    """In place of batch normalisation: each channel at each position to mean 0 and variance 1 over the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(dim=0)) / torch.sqrt(x.var(dim=0, unbiased=False) + 1e-5)


def standardising(network: nn.Module) -> nn.Module:
    """The network with `Standardise` for batch normalisation; changed in place."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, _BatchNorm):
                setattr(module, name, Standardise())
    return network.eval()


@contextmanager
def features(network: nn.Module) -> Iterator[list[Tensor]]:
    """What reaches the last linear layer while this lasts, one row an image.

    Raises `UsageError` where there is no such layer.
    """
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise UsageError("fourier reads what reaches the last linear layer of a network, and this one has none.")
    values: list[Tensor] = []
    hook = linear[-1].register_forward_pre_hook(lambda _, inputs: values.append(inputs[0].flatten(1)))
    try:
        yield values
    finally:
        hook.remove()


def soft_spearman(score: Tensor, rank: Tensor) -> Tensor:
    """The correlation of given ranks with soft ones: sums of sigmoids of the differences of standardised scores."""
    plain = (score - score.mean()) / (score.std() + 1e-6)
    soft = torch.sigmoid((plain[:, None] - plain[None]) / SOFTNESS).sum(dim=1)
    return torch.corrcoef(torch.stack([soft, rank]))[0, 1]


@cache
def learned(source: str, metric: str) -> Judge:
    """What was learned from a table, with a seed of its own. Raises `DataError` where too few networks have a value."""
    space, texts, values = networks_of(source, metric, "fourier", TRAINED, BATCH)
    task = create("task", "digits")
    networks = [standardising(build(space, space.parse(text), task)) for text in texts]
    with randomness(0, "fourier") as rng:
        judge = Judge()
        optimizer = torch.optim.Adam(judge.parameters(), 1e-3, (0.9, 0.95), fused=True)
        for _ in range(EPOCHS):
            for part in np.array_split(rng.permutation(len(texts)), max(1, len(texts) // BATCH)):
                rank = torch.from_numpy(rankdata(values[part]).astype(np.float32))
                if rank.std() == 0:
                    continue
                optimizer.zero_grad()
                score = judge([networks[place] for place in part], task.input_shape)
                torch.autograd.backward(-soft_spearman(score, rank))
                optimizer.step()
    return judge.eval()

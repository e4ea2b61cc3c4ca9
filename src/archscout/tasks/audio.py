"""Recordings: waveforms in, log-mel spectrograms inside; one class for each, or numbers."""

from __future__ import annotations

import math
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Generator, Tensor, nn

from archscout.core.registry import register
from archscout.core.task import Split, Task
from archscout.networks.elastic import Number
from archscout.networks.log_mel import FLOOR, LogMel
from archscout.networks.operations import ClassifierHead
from archscout.tasks import augmentation, drawing
from archscout.tasks.classification import Classification
from archscout.tasks.mapped import Streamed, is_streamed
from archscout.tasks.regression import Regression

Statistics = tuple[float, float]

_BLOCK = 256
_REMEMBERED = 8
_LARGEST = 2**28
"""Bytes: larger spectrograms are computed whenever they are asked for."""

_spectrograms: OrderedDict[tuple[Any, ...], tuple[Any, Tensor]] = OrderedDict()


@dataclass(frozen=True)
class AudioTask(Task):
    """A task whose inputs are recordings; to a network they are images of one channel, `mels` x frames.

    Recordings of a split are N x samples, float32, -1 to 1. A deployed network takes them so: the spectrogram is part
    of it, and of its ONNX file.

    Args:
        rate: samples a second.
        samples: of a recording.
        window: samples of a frame of the spectrogram.
        hop: samples from one frame to the next.
        statistics: mean and standard deviation of the log-mel spectrogram; those of `train` where None.
        shift: by how many frames augmentation moves a recording.
        bands: the most mel bands that augmentation hides, as many frames likewise (SpecAugment, Park et al. 2019,
            arXiv 1904.08779); 0 for none.
    """

    rate: int = 16_000
    samples: int = 16_000
    window: int = 512
    hop: int = 256
    statistics: Statistics | None = None
    shift: int = 0
    bands: int = 0

    @property
    def deployed_shape(self) -> tuple[int, ...]:
        return (self.samples,)

    @cached_property
    def spectrogram(self) -> LogMel:
        """From waveforms to what a network sees, before it is normalised."""
        return LogMel(self.rate, self.window, self.hop, self.input_shape[1])

    @cached_property
    def normalisation(self) -> Statistics:
        """Mean and standard deviation of the spectrograms."""
        if self.statistics is not None:
            return self.statistics
        sums = []
        for start in range(0, len(self.train), _BLOCK):
            x = self.spectrograms(self.train.x[start : start + _BLOCK]).flatten(1).double()
            sums += torch.stack([x.sum(1), x.square().sum(1)], 1).tolist()
        count = len(self.train) * math.prod(self.input_shape)
        mean, square = (math.fsum(numbers) / count for numbers in zip(*sums, strict=True))
        return mean, max(math.sqrt(max(square - mean**2, 0.0)), 1e-3)

    def tensors(self, split: Split, device: Any = "cpu") -> tuple[Tensor, Tensor]:
        targets = torch.from_numpy(split.y).to(device)
        if is_streamed(split.x):
            return cast(Tensor, Streamed([split.x], self._inputs, device)), targets
        return self._normalised(self._remembered(split.x)).to(device), targets

    def _inputs(self, sounds: np.ndarray) -> Tensor:
        return self._normalised(self.spectrograms(sounds))

    def _normalised(self, spectrograms: Tensor) -> Tensor:
        mean, std = self.normalisation
        return (spectrograms - mean).div_(std)

    def spectrograms(self, sounds: np.ndarray) -> Tensor:
        """The spectrograms of some recordings (N x 1 x mels x frames), not normalised. Each is computed alone, for in a
        batch of another size a convolution may come out otherwise in its last bits: batches from the disk are those
        from memory."""
        with torch.no_grad():
            blocks = [self.spectrogram(torch.tensor(sound[None])) for sound in sounds]
        return torch.cat(blocks) if blocks else torch.empty((0, *self.input_shape))

    def _remembered(self, sounds: np.ndarray) -> Tensor:
        """The spectrograms of some recordings; of arrays that were given last, they are remembered."""
        key = (id(sounds), self.rate, self.window, self.hop, self.input_shape)
        if key in _spectrograms and _spectrograms[key][0]() is sounds:
            return _spectrograms[key][1]
        x = self.spectrograms(sounds)
        if x.nbytes <= _LARGEST:
            _spectrograms[key] = (weakref.ref(sounds), x)
            while len(_spectrograms) > _REMEMBERED:
                _spectrograms.popitem(last=False)
        return x

    def augment(self, x: Tensor, generator: Generator) -> Tensor:
        """Shift in time (silence comes in), then a stripe of frequencies and one of time hidden (the mean is put)."""
        if self.shift:
            mean, std = self.normalisation
            x = augmentation.slide(x, self.shift, (math.log(FLOOR) - mean) / std, generator)
        if self.bands:
            x = augmentation.stripe(x, self.bands, 2, generator)
            x = augmentation.stripe(x, self.bands, 3, generator)
        return x

    def head(self, channels: Number) -> nn.Module:
        return ClassifierHead(channels, self.outputs)

    def deploy(self, network: nn.Module) -> nn.Module:
        return Listener(LogMel(self.rate, self.window, self.hop, self.input_shape[1]), network, *self.normalisation)

    def picture(self, sound: np.ndarray) -> str:
        """A recording as its waveform above its spectrogram: a PNG file in base64."""
        return drawing.as_base64(self.sketch(sound))

    def sketch(self, sound: np.ndarray) -> np.ndarray:
        """A recording as its waveform above its spectrogram (height x width x 3, bytes)."""
        with torch.no_grad():
            spectrogram = self.spectrogram(torch.tensor(sound)[None])[0, 0].numpy()
        width = max(spectrogram.shape[1], 160)
        return np.concatenate([drawing.waves(sound[None], 32, width), drawing.heat(spectrogram[::-1], 64, width)])

    def describe(self) -> dict[str, Any]:
        return super().describe() | {"statistics": list(self.normalisation)}

    @classmethod
    def fields_of(cls, description: Mapping[str, Any]) -> dict[str, Any]:
        mean, std = description["statistics"]
        return super().fields_of(description) | {"statistics": (float(mean), float(std))}


@register("kind", "audio classification")
@dataclass(frozen=True)
class AudioClassification(Classification, AudioTask):
    """One class for each recording; the metric is the fraction of those whose class has the largest output."""

    kind: ClassVar[str] = "audio classification"


@register("kind", "audio regression")
@dataclass(frozen=True)
class AudioRegression(Regression, AudioTask):
    """Numbers for each recording; the usual metric is the root mean squared error in the numbers' own unit."""

    kind: ClassVar[str] = "audio regression"


class Listener(nn.Module):
    """A network behind its spectrogram: takes waveforms (N x samples, float32, -1 to 1)."""

    mean: Tensor
    std: Tensor

    def __init__(self, spectrogram: LogMel, network: nn.Module, mean: float, std: float) -> None:
        super().__init__()
        self.spectrogram = spectrogram
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))
        self.network = network

    def forward(self, x: Tensor) -> Any:
        return self.network((self.spectrogram(x) - self.mean) / self.std)

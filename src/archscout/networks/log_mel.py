"""From a waveform to its log-mel spectrogram, as a layer that every runtime has the operators of."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

FLOOR = 1e-6
"""Added to the power before the logarithm: 60 dB below a full sine wave, so that silence is a number."""

_LOWEST = 20.0


class LogMel(nn.Module):
    """The logarithm of the power in bands that are equally wide on the mel scale (O'Shaughnessy 1987; HTK's formula).

    Frames of `window` samples under a Hann window, `hop` apart, without padding. The Fourier transform is a convolution
    with cosines and sines, so that ONNX needs no operator of its own for it.

    Args:
        rate: samples a second.
        window: samples of a frame.
        hop: samples from one frame to the next.
        mels: bands, from 20 Hz to half the rate.

    Takes N x samples, gives N x 1 x mels x frames.
    """

    basis: Tensor
    bands: Tensor

    def __init__(self, rate: int, window: int, hop: int, mels: int) -> None:
        super().__init__()
        self.hop = hop
        place = np.arange(window)
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * place / window)
        hann /= hann.sum() / 2  # a full sine wave has the power 1
        angle = 2 * np.pi * np.outer(np.arange(window // 2 + 1), place) / window
        basis = np.concatenate([np.cos(angle), np.sin(angle)]) * hann
        # They follow from the four numbers: a file of weights need not hold them.
        self.register_buffer("basis", torch.tensor(basis[:, None], dtype=torch.float32), persistent=False)
        bands = mel_bands(rate, window, mels)
        self.register_buffer("bands", torch.tensor(bands, dtype=torch.float32)[:, :, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        cosines, sines = F.conv1d(x.unsqueeze(1), self.basis, stride=self.hop).chunk(2, 1)
        power = F.conv1d(cosines.square() + sines.square(), self.bands)
        return (power + FLOOR).log().unsqueeze(1)


def frames(samples: int, window: int, hop: int) -> int:
    """How many frames lie within so many samples.

    >>> frames(16000, 400, 160)
    98
    """
    return max(0, 1 + (samples - window) // hop)


def mel_bands(rate: int, window: int, mels: int) -> np.ndarray:
    """By what each frequency counts in each band: mels x (window // 2 + 1), triangles of height 1.

    A band that is narrower than the distance of two frequencies takes the nearest one.
    """
    frequencies = np.arange(window // 2 + 1) * rate / window
    corners = _hertz(np.linspace(_mel(_LOWEST), _mel(rate / 2), mels + 2))
    low, centre, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    bands: np.ndarray = np.minimum((frequencies - low) / (centre - low), (high - frequencies) / (high - centre))
    bands = bands.clip(min=0)
    for band in np.flatnonzero(bands.sum(1) == 0):
        bands[band, np.abs(frequencies - corners[1 + band]).argmin()] = 1
    return bands


def _mel(hertz: float) -> float:
    return 2595 * float(np.log10(1 + hertz / 700))


def _hertz(mel: np.ndarray) -> np.ndarray:
    return np.asarray(700 * (10 ** (mel / 2595) - 1))

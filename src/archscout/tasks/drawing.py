"""Small drawings of what is no picture: a waveform, a spectrogram, a series. Arrays of height x width x 3, bytes."""

from __future__ import annotations

import base64
import io

import numpy as np

_COLOURS = ((31, 119, 180), (214, 95, 14), (44, 140, 60), (140, 86, 170), (200, 40, 60), (100, 100, 100))
_HEAT = np.asarray([(20, 12, 50), (110, 30, 110), (220, 90, 60), (250, 230, 150)], float)


def as_base64(pixels: np.ndarray) -> str:
    """A PNG file of an array of bytes (height x width, or x 3), in base64."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def waves(channels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Each channel (channels x length) as a line: at each column, from its smallest to its largest value there."""
    drawn = np.full((height, width, 3), 255, np.uint8)
    low, high = float(channels.min()), float(channels.max())
    scale = (height - 1) / (high - low) if high > low else 0.0
    length = channels.shape[1]
    edges = np.linspace(0, length, width + 1).astype(int)
    for number, channel in enumerate(channels[: len(_COLOURS)]):
        for column in range(width):
            # From the last value before, so that the line has no gaps.
            some = channel[max(0, edges[column] - 1) : max(edges[column + 1], edges[column] + 1)]
            top, bottom = (round((high - float(value)) * scale) for value in (some.max(), some.min()))
            drawn[top : bottom + 1, column] = _COLOURS[number]
    return drawn


def heat(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """A matrix as colours, dark for small; each value as many pixels as fit."""
    low, high = float(values.min()), float(values.max())
    rows, columns = (np.arange(size) * count // size for size, count in zip((height, width), values.shape, strict=True))
    share = (values[rows][:, columns] - low) / max(high - low, 1e-12) * (len(_HEAT) - 1)
    drawn = np.stack([np.interp(share, np.arange(len(_HEAT)), _HEAT[:, part]) for part in range(3)], -1)
    return np.asarray(drawn.round().astype(np.uint8))

"""Examples of different length in one array: padded with zeros to one size, with a mask that says how far each goes.

The mask is the last channel of the input, 1 where an example has content and 0 where it is padding. So it goes wherever
the input goes (batches, worker processes, costs, ONNX files), a network sees where its input ends, and a head that
`takes_mask` gets it beside the feature maps.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from archscout.core.errors import DataError
from archscout.networks.elastic import Number, linear


def pad(examples: Sequence[np.ndarray], longest: int | None = None) -> np.ndarray:
    """Arrays of C x ... x L, each with an L of its own, as one of N x (C + 1) x ... x longest (float32).

    Args:
        examples: equal in all dimensions but the last.
        longest: the length of all; that of the longest example where None.

    Raises:
        DataError: there is no example, one is empty or longer than `longest`, or they differ in another dimension.
    """
    if not examples:
        raise DataError("there is no example to be padded: give one at least.")
    first = examples[0].shape[:-1]
    most = max(example.shape[-1] for example in examples) if longest is None else longest
    padded = np.zeros((len(examples), first[0] + 1, *first[1:], most), np.float32)
    for place, (row, example) in enumerate(zip(padded, examples, strict=True)):
        length = example.shape[-1]
        if example.shape[:-1] != first or not 0 < length <= most:
            raise DataError(
                f"example {place} has shape {example.shape} where {(*first, f'1 to {most}')} is wanted: cut it, or pad "
                "to a larger length."
            )
        row[:-1, ..., :length] = example
        row[-1, ..., :length] = 1
    return padded


def lengths(x: np.ndarray) -> np.ndarray:
    """How far each of some padded examples (N x (C + 1) x ... x L) goes (N, int64)."""
    return np.asarray((x[:, -1].reshape(len(x), -1, x.shape[-1])[:, 0] > 0).sum(1), np.int64)


class MaskedHead(nn.Module):
    """The mean over all places that have content, and a linear layer: what lies in the padding makes no difference.

    Args:
        channels: of the feature map.
        outputs: of the linear layer.
    """

    takes_mask = True

    def __init__(self, channels: Number, outputs: int) -> None:
        super().__init__()
        self.classifier = linear(channels, outputs)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Outputs (N x outputs) for features (N x C x ...) and the mask of their inputs (N x 1 x ...)."""
        # A place of a coarser map has content where its first place in the input has: so the first one always does.
        mask = F.interpolate(mask, features.shape[2:], mode="nearest")
        places = tuple(range(2, features.ndim))
        return self.classifier((features * mask).sum(places) / mask.sum(places).clamp(min=1))  # type: ignore[no-any-return]


def read(head: nn.Module, maps: Tensor | Sequence[Tensor], x: Tensor) -> Tensor:
    """What a head answers to feature maps of an input; one that takes a mask gets it."""
    if getattr(head, "takes_mask", False):
        return head(maps, x[:, -1:])  # type: ignore[no-any-return]
    return head(maps)  # type: ignore[no-any-return]


def in_row(*layers: nn.Module) -> nn.Module:
    """Layers one after the other, of which the last is a head."""
    return MaskedRow(*layers) if getattr(layers[-1], "takes_mask", False) else nn.Sequential(*layers)


class MaskedRow(nn.Sequential):
    """Layers in a row, and a head that gets the mask of the input."""

    def forward(self, x: Tensor) -> Tensor:
        *layers, head = self
        features = x
        for layer in layers:
            features = layer(features)
        return read(head, features, x)

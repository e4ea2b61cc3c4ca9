"""A task from outside whose examples are of different length: strips of handwriting."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits

from archscout.core.panel import Table
from archscout.core.task import Split, Task
from archscout.networks.padding import MaskedHead, lengths, pad
from archscout.tasks.meters import Hits


@dataclass(frozen=True)
class Strips(Task):
    """Which digit a strip shows, once or several times."""

    kind: ClassVar[str] = "strips"

    def tensors(self, split, device="cpu"):
        return torch.from_numpy(split.x).to(device), torch.from_numpy(split.y).to(device)

    def head(self, channels):
        return MaskedHead(channels, self.outputs)

    def loss(self, outputs, targets, smoothing=0.0):
        return F.cross_entropy(outputs, targets, label_smoothing=smoothing)

    def meter(self):
        return Hits()

    def review(self, answers):
        parts = [(lengths(stored), (outputs.argmax(1) == y).numpy()) for outputs, y, stored in answers]
        long, right = (np.concatenate(column) for column in zip(*parts, strict=True))
        rows = [[int(each), float(right[long == each].mean())] for each in np.unique(long)]
        return [Table("How well strips of each length are read", ["pixels", "accuracy"], rows)]

    def deploy(self, network):
        return network


def strips(*, examples: int = 60):
    """One to three handwritten images (8 x 8 pixels) of one of three digits, side by side."""
    images, labels = load_digits(n_class=3, return_X_y=True)
    images = images.reshape(-1, 1, 8, 8).astype(np.float32) / 16

    def split(seed):
        rng = np.random.default_rng(seed)
        y = rng.integers(0, 3, examples)
        drawn = [rng.choice(np.flatnonzero(labels == digit), rng.integers(1, 4)) for digit in y]
        return Split(pad([np.concatenate(list(images[rows]), axis=-1) for rows in drawn], longest=24), y)

    return Strips("strips", (2, 8, 24), 3, split(0), split(1), split(2), ("zero", "one", "two"))

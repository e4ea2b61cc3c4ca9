"""What a user would write for each kind of task: one network in plain PyTorch, trained by AdamW for so many seconds.

Nothing of Archscout is used but the arrays of the task, and its metric. Networks train on all examples that are not for
testing; the learning rate follows the share of the processor time that is spent, so that each ends its schedule when
the time is over.
"""

from __future__ import annotations

import math
import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MOST_EPOCHS = 200
"""More passes over the data do not pay."""

RATE = 3e-3
BATCH = 32


def convolution(inputs: int, outputs: int, kernel: int = 3) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def series(inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
    return [nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2, bias=False), nn.BatchNorm1d(outputs), nn.ReLU()]


def spectrogram_net(channels: int, outputs: int) -> nn.Module:
    """Four convolutions with max pooling between them, as for images."""
    layers = convolution(channels, 32)
    for before, after in ((32, 64), (64, 128), (128, 128)):
        layers += [nn.MaxPool2d(2, ceil_mode=True), *convolution(before, after)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(128, outputs))


def fcn(channels: int, outputs: int) -> nn.Module:
    """Wang, Yan, Oates 2017, arXiv 1611.06455."""
    layers = [*series(channels, 128, 9), *series(128, 256, 5), *series(256, 128, 3)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(128, outputs))


class ResidualBlock(nn.Module):
    """Three convolutions and a way around them."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        layers = [*series(inputs, outputs, 9), *series(outputs, outputs, 5), *series(outputs, outputs, 3)]
        self.body = nn.Sequential(*layers[:-1])
        self.around = nn.Sequential(nn.Conv1d(inputs, outputs, 1, bias=False), nn.BatchNorm1d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.around(x))


def resnet(channels: int, outputs: int) -> nn.Module:
    """The residual network for series of Wang, Yan, Oates 2017, arXiv 1611.06455."""
    blocks = [ResidualBlock(channels, 64), ResidualBlock(64, 128), ResidualBlock(128, 128)]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(128, outputs))


class XVector(nn.Module):
    """Snyder et al. 2018, "X-vectors", at an eighth of the width: an embedding, then its cosines with each speaker."""

    def __init__(self, bands: int, embedding: int, speakers: int) -> None:
        super().__init__()
        layers = [nn.Conv1d(bands, 64, 5, padding=2), nn.ReLU(), nn.BatchNorm1d(64)]
        for dilation in (2, 3):
            layers += [nn.Conv1d(64, 64, 3, padding=dilation, dilation=dilation), nn.ReLU(), nn.BatchNorm1d(64)]
        self.frames = nn.Sequential(*layers, nn.Conv1d(64, 192, 1), nn.ReLU(), nn.BatchNorm1d(192))
        self.embedding = nn.Sequential(nn.Linear(384, embedding), nn.BatchNorm1d(embedding))
        self.speakers = nn.Parameter(torch.randn(speakers, embedding))

    def forward(self, x: Tensor) -> Tensor:
        frames = self.frames(x.squeeze(1))
        embedding = F.normalize(self.embedding(torch.cat([frames.mean(2), frames.std(2)], 1)), dim=1)
        return torch.cat([embedding, embedding @ F.normalize(self.speakers, dim=1).T], 1)


class UNet(nn.Module):
    """Ronneberger, Fischer, Brox 2015, arXiv 1505.04597, of four stages of 16 to 128 channels."""

    def __init__(self, channels: int, outputs: int, widths: tuple[int, ...] = (16, 32, 64, 128)) -> None:
        super().__init__()
        pairs = list(zip((channels, *widths), widths, strict=False))
        self.down = nn.ModuleList(nn.Sequential(*convolution(i, o), *convolution(o, o)) for i, o in pairs)
        pairs = list(zip(reversed(widths), reversed(widths[:-1]), strict=False))
        self.up = nn.ModuleList(nn.Sequential(*convolution(i + o, o), *convolution(o, o)) for i, o in pairs)
        self.classifier = nn.Conv2d(widths[0], outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps: list[Tensor] = []
        for stage in self.down:
            maps.append(stage(F.max_pool2d(maps[-1], 2, ceil_mode=True) if maps else x))
        y = maps.pop()
        for stage in self.up:
            fine = maps.pop()
            y = stage(torch.cat([F.interpolate(y, fine.shape[2:], mode="bilinear"), fine], 1))
        output: Tensor = self.classifier(y)
        return output


class CRNN(nn.Module):
    """Shi, Bai, Yao 2015, arXiv 1507.05717, at a quarter of the width, with one LSTM."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *convolution(channels, 32), nn.MaxPool2d(2), *convolution(32, 64), nn.MaxPool2d(2), *convolution(64, 128),
            nn.MaxPool2d((2, 1)), *convolution(128, 128), nn.MaxPool2d((4, 1)),
        )  # fmt: skip
        self.lstm = nn.LSTM(128, 64, batch_first=True, bidirectional=True)
        self.classifier = nn.Linear(128, outputs)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.lstm(self.body(x).squeeze(2).transpose(1, 2))
        output: Tensor = self.classifier(states)
        return output.transpose(1, 2)


NETWORKS = {
    "audio classification": spectrogram_net,
    "series classification": fcn,
    "image segmentation": UNet,
    "text lines": CRNN,
}

OTHERS = {("series classification", "resnet"): resnet}
"""Further ones, by kind and name."""


def loss_of(kind: str, outputs: Tensor, y: Tensor) -> Tensor:
    if kind == "text lines":
        scores = outputs.permute(2, 0, 1).log_softmax(2)
        full = torch.full((len(y),), len(scores))
        return F.ctc_loss(scores, y.clamp(min=0), full, (y >= 0).sum(1), blank=outputs.shape[1] - 1, zero_infinity=True)
    return F.cross_entropy(outputs, y, ignore_index=-1)


def jittered(kind: str, x: Tensor, y: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """A batch moved by a few places, as anybody would: images of masks with their masks, and mirrored."""
    if kind == "image segmentation":
        return (x.flip(3), y.flip(2)) if torch.rand(()) < 0.5 else (x, y)
    by = int(torch.randint(-width, width + 1, ()))
    return torch.roll(x, by, -1), y


def train(task: Any, seconds: float, seed: int, name: str = "") -> dict[str, Any]:
    """Train the network of the kind of a task, or a further one by its name, for so many processor seconds, and test it
    once."""
    started = time.process_time()
    torch.manual_seed(seed)
    parts = [task.tensors(split) for split in (task.train, task.valid)]
    x, y = (torch.cat([part[i] for part in parts]) for i in (0, 1))
    network = (OTHERS[task.kind, name] if name else NETWORKS[task.kind])(task.input_shape[0], task.outputs)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
    steps, epochs, share = 0, 0, 0.0
    most = MOST_EPOCHS * math.ceil(len(x) / BATCH)
    while share < 1:
        for rows in torch.randperm(len(x)).split(BATCH):
            share = max((time.process_time() - started) / seconds, steps / most)
            if share >= 1 or len(rows) < 2:
                continue
            for group in optimizer.param_groups:
                group["lr"] = RATE * min(1.0, 20 * share + 0.01) * (1 + math.cos(math.pi * share)) / 2
            inputs, targets = jittered(task.kind, x[rows], y[rows], max(1, x.shape[-1] // 20))
            optimizer.zero_grad()
            loss_of(task.kind, network(inputs), targets).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            steps += 1
        epochs += 1
    network.eval()
    x_test, y_test = task.tensors(task.test)
    with torch.no_grad():
        outputs = torch.cat([network(some) for some in x_test.split(BATCH)])
    return {
        "test": task.measure(outputs, y_test),
        "epochs": epochs,
        "params": sum(parameter.numel() for parameter in network.parameters()),
        "milliseconds": milliseconds(network, x_test[:1]),
    }


def verified(task: Any, epochs: int, seed: int) -> float:
    """The metric on the validation split of an x-vector that was trained on the speakers of a task by softmax."""
    torch.manual_seed(seed)
    x, y = task.tensors(task.train)
    known = torch.tensor(task.known)
    network = XVector(task.input_shape[1], task.embedding, len(known))
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            outputs = network(torch.roll(x[rows], int(torch.randint(-4, 5, ())), -1))
            own = (y[rows, None] == known).long().argmax(1)
            F.cross_entropy(20 * outputs[:, task.embedding :], own).backward()
            optimizer.step()
        schedule.step()
    network.eval()
    x, y = task.tensors(task.valid)
    with torch.no_grad():
        return float(task.measure(network(x), y))


def milliseconds(network: nn.Module, x: Tensor, repeats: int = 30) -> float:
    """The median time of one example through a network in PyTorch, on one thread."""
    network.eval()
    times = []
    with torch.no_grad():
        for _ in range(repeats):
            started = time.perf_counter()
            network(x)
            times.append(1000 * (time.perf_counter() - started))
    return round(sorted(times)[repeats // 2], 3)

"""What a user would pick instead of a search: networks in plain PyTorch with a sound recipe, and scikit-learn.

Nothing of Archscout is used here but the arrays of the task. Networks train on all examples that are not for testing,
for as many processor seconds as they are given: the learning rate follows the share of the time that is spent, so that
every network ends its schedule when the time is over, whatever its speed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

MOST_EPOCHS = 200
"""More passes over the data do not pay."""


@dataclass(frozen=True)
class Examples:
    """Images N x H x W x C (uint8 or float) and labels, to train on and to test on."""

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: int
    flip: bool


# -- networks ---------------------------------------------------------------------------------------------------------


def convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]  # fmt: skip


def head(channels: int, classes: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]


def plain(channels: int, classes: int, side: int) -> nn.Module:
    """Four convolutions with max pooling between them."""
    layers = convolution(channels, 64)
    for inputs, outputs in ((64, 128), (128, 256), (256, 256)):
        layers += [nn.MaxPool2d(2, ceil_mode=True), *convolution(inputs, outputs)]
    return nn.Sequential(*layers, *head(256, classes))


class BasicBlock(nn.Module):
    """He et al. 2016, arXiv 1512.03385."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(*convolution(inputs, outputs, 3, stride), *convolution(outputs, outputs)[:2])
        change = stride > 1 or inputs != outputs
        self.shortcut = nn.Sequential(*convolution(inputs, outputs, 1, stride)[:2]) if change else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.residual(x))


def resnet(blocks: int, widths: tuple[int, ...] = (16, 32, 64)) -> Callable[[int, int, int], nn.Module]:
    """The ResNets for small images: three stages of 16, 32 and 64 channels."""

    def build(channels: int, classes: int, side: int) -> nn.Module:
        layers, inputs = convolution(channels, widths[0]), widths[0]
        for stage, width in enumerate(widths):
            for block in range(blocks):
                layers.append(BasicBlock(inputs, width, 2 if stage and not block else 1))
                inputs = width
        return nn.Sequential(*layers, *head(inputs, classes))

    return build


class InvertedResidual(nn.Module):
    """Sandler et al. 2018, arXiv 1801.04381."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        expand = convolution(inputs, hidden, 1) if expansion > 1 else []
        filters = convolution(hidden, hidden, 3, stride, hidden)
        self.layers = nn.Sequential(*expand, *filters, *convolution(hidden, outputs, 1)[:2])
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


def mobilenet_v2_small(channels: int, classes: int, side: int) -> nn.Module:
    """MobileNetV2 at half the width; strides that leave maps of about 4 pixels a side."""
    halvings = max(0, side.bit_length() - 3)
    layers, inputs = convolution(channels, 16), 16
    stages = [(1, 8, 1), (6, 16, 2), (6, 16, 3), (6, 32, 3), (6, 48, 2)]
    for stage, (expansion, outputs, depth) in enumerate(stages):
        for block in range(depth):
            stride = 2 if stage and not block and len(stages) - stage <= halvings else 1
            layers.append(InvertedResidual(inputs, outputs, expansion, stride))
            inputs = outputs
    return nn.Sequential(*layers, *convolution(inputs, 256, 1), *head(256, classes))


NETWORKS: dict[str, Callable[[int, int, int], nn.Module]] = {
    "plain": plain,
    "resnet8": resnet(1),
    "resnet20": resnet(3),
    "mobilenet_v2_small": mobilenet_v2_small,
    "resnet18": resnet(2, (64, 128, 256, 512)),
}


# -- training ---------------------------------------------------------------------------------------------------------


def train_network(name: str, examples: Examples, seconds: float, seed: int) -> dict[str, Any]:
    """Train for so many processor seconds and test once. SGD with Nesterov momentum, warm-up and cosine, weight decay
    5e-4, label smoothing .1; shifts by an eighth of the side, and mirrored images where the data allow it."""
    started = time.process_time()
    torch.manual_seed(seed)
    x, x_test = normalised(examples)
    y, y_test = torch.from_numpy(examples.y), torch.from_numpy(examples.y_test)
    network = NETWORKS[name](x.shape[1], examples.classes, min(x.shape[2:])).to(memory_format=torch.channels_last)
    batch = 128 if len(x) >= 20_000 else 64
    rate = 0.1 * batch / 128
    vectors = [p for p in network.parameters() if p.ndim == 1]
    matrices = [p for p in network.parameters() if p.ndim > 1]
    optimizer = torch.optim.SGD(
        [{"params": matrices, "weight_decay": 5e-4}, {"params": vectors, "weight_decay": 0.0}],
        lr=rate, momentum=0.9, nesterov=True,
    )  # fmt: skip
    # Testing takes time, too: a hundredth of that of the training examples' forward and backward passes, or so.
    testing = 0.0
    steps, epoch = math.ceil(len(x) / batch), 0
    share = 0.0
    while share < 1:
        network.train()
        for step, rows in enumerate(torch.randperm(len(x)).tensor_split(steps)):
            spent = (time.process_time() - started + testing) / seconds
            share = max(spent, (epoch + step / steps) / MOST_EPOCHS)
            if share >= 1:
                break
            warmed = min(1.0, share / 0.1)
            for group in optimizer.param_groups:
                group["lr"] = rate * warmed * 0.5 * (1 + math.cos(math.pi * share))
            images = changed(x[rows], examples.flip).contiguous(memory_format=torch.channels_last)
            loss = F.cross_entropy(network(images), y[rows], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if epoch == 0 and step == 0:
                before = time.process_time()
                predictions(network, x_test[:256])
                testing = (time.process_time() - before) * len(x_test) / 256
                network.train()
        epoch += 1
    accuracy = float((predictions(network, x_test) == y_test).double().mean())
    return {"test_accuracy": accuracy, "epochs": epoch, **costs(network, x_test[:1])}


def normalised(examples: Examples) -> tuple[Tensor, Tensor]:
    """Images as N x C x H x W tensors, each channel with mean 0 and deviation 1 over the training images."""
    x, x_test = (torch.from_numpy(a).permute(0, 3, 1, 2).float() for a in (examples.x, examples.x_test))
    std, mean = torch.std_mean(x, (0, 2, 3), keepdim=True)
    return (x - mean) / (std + 1e-6), (x_test - mean) / (std + 1e-6)


def changed(x: Tensor, flip: bool) -> Tensor:
    """Each image shifted by up to an eighth of its side, and perhaps mirrored."""
    n, _, height, width = x.shape
    pad = max(1, min(height, width) // 8)
    windows = F.pad(x, [pad] * 4).unfold(2, height, 1).unfold(3, width, 1)
    down, right = torch.randint(2 * pad + 1, (2, n))
    x = windows[torch.arange(n), :, down, right]
    return torch.where(torch.rand(n, 1, 1, 1) < 0.5, x.flip(3), x) if flip else x


@torch.inference_mode()
def predictions(network: nn.Module, x: Tensor) -> Tensor:
    network.eval()
    return torch.cat([network(b.contiguous(memory_format=torch.channels_last)).argmax(1) for b in x.split(256)])


@torch.inference_mode()
def costs(network: nn.Module, x: Tensor) -> dict[str, float]:
    """Parameters, and the latency of the first image of a batch."""
    network.eval()
    count = sum(parameter.numel() for parameter in network.parameters())
    return {"params": count, "latency_ms": latency(lambda: network(x[:1]))}


def latency(call: Callable[[], object]) -> float:
    """The median time of a call, in milliseconds of one core: other programs do not disturb it."""
    times = []
    for _ in range(40):
        before = time.process_time()
        call()
        times.append(time.process_time() - before)
    return 1e3 * float(np.median(times[10:]))


# -- scikit-learn -----------------------------------------------------------------------------------------------------


MOST_SVM_EXAMPLES = 10_000
"""The time of a support vector machine grows with the square of this."""


def train_svm(examples: Examples, seconds: float, seed: int) -> dict[str, Any]:
    """A support vector machine with a Gaussian kernel on standardised pixels (C = 10)."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    model = make_pipeline(StandardScaler(), SVC(C=10, cache_size=1000))
    rows = np.random.default_rng(seed).permutation(len(examples.x))[:MOST_SVM_EXAMPLES]
    model.fit(flat(examples.x[rows]), examples.y[rows])
    accuracy = float(model.score(flat(examples.x_test), examples.y_test))
    return {"test_accuracy": accuracy, "latency_ms": latency(lambda: model.predict(flat(examples.x_test[:1])))}


def train_boosting(examples: Examples, seconds: float, seed: int) -> dict[str, Any]:
    """Histogram gradient boosting on pixels, for as many rounds as the time allows, of which there are at most 200."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    started = time.process_time()
    model = HistGradientBoostingClassifier(
        max_iter=1, learning_rate=0.1, max_leaf_nodes=15, max_features=0.1, early_stopping=False, warm_start=True,
        random_state=seed,
    )  # fmt: skip
    x, rounds, step, of_a_round = flat(examples.x), 0, 1, 0.0
    while step > 0:
        before = time.process_time()
        rounds += step
        model.set_params(max_iter=rounds).fit(x, examples.y)
        of_a_round = (time.process_time() - before) / step
        left = 0.9 * seconds - (time.process_time() - started)
        step = min(200 - rounds, math.floor(0.5 * left / of_a_round))
    accuracy = float(model.score(flat(examples.x_test), examples.y_test))
    time_of_one = latency(lambda: model.predict(flat(examples.x_test[:1])))
    return {"test_accuracy": accuracy, "latency_ms": time_of_one, "rounds": rounds}


def flat(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), -1).astype(np.float32)  # type: ignore[no-any-return]


RIVALS: dict[str, Callable[[Examples, float, int], dict[str, Any]]] = {
    **{
        name: lambda examples, seconds, seed, name=name: train_network(name, examples, seconds, seed)
        for name in NETWORKS
    },
    "svm": train_svm,
    "boosting": train_boosting,
}

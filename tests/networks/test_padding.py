"""Examples of different length: padded, unpadded, and heads to which it makes no difference how far they are padded."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from archscout.core.errors import DataError
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.core.task import Split
from archscout.networks.padding import MaskedHead, lengths, pad
from archscout.networks.pick import build
from archscout.supernets.supernet import Supernet
from archscout.tasks.images import ImageClassification

SPACES = [
    "nasbench201:width=4", "classic:width=64", "enas:width=4,layers=4", "nasbench101", "fbnet", "fbnetv2",
    "darts:width=4,layers=3", "mobile:width=8", "nasbench_macro:width=4",
]  # fmt: skip


@dataclass(frozen=True)
class Masked(ImageClassification):
    """An image task whose images are as wide as the mask, their last channel, says."""

    def head(self, channels):
        return MaskedHead(channels, self.outputs)


def examples() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(3, 4, length)) for length in (5, 1, 8)]


def test_padding_keeps_every_example_and_its_length() -> None:
    padded = pad(examples())
    assert padded.shape == (3, 4, 4, 8)
    assert padded.dtype == np.float32
    assert lengths(padded).tolist() == [5, 1, 8]
    for row, example, length in zip(padded, examples(), (5, 1, 8), strict=True):
        assert np.array_equal(row[:3, :, :length], example.astype(np.float32))
        assert not row[:, :, length:].any()
        assert (row[3, :, :length] == 1).all()
    assert pad(examples(), longest=12).shape == (3, 4, 4, 12)


@pytest.mark.parametrize(
    ("given", "longest", "message"),
    [
        ([], None, "no example"),
        ([np.zeros((2, 3)), np.zeros((2, 0))], None, r"example 1 has shape \(2, 0\) where \(2, '1 to 3'\)"),
        ([np.zeros((2, 3))], 2, "example 0 .* '1 to 2'"),
        ([np.zeros((2, 3)), np.zeros((1, 3))], None, "example 1"),
    ],
)
def test_what_cannot_be_padded_is_one_clear_error(given: list[np.ndarray], longest: int | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        pad(given, longest)


def test_a_masked_head_takes_the_mean_over_what_has_content() -> None:
    torch.manual_seed(0)
    head = MaskedHead(5, 2)
    maps, x = torch.randn(3, 5, 4, 8), torch.from_numpy(pad(examples()))
    expected = [head.classifier(maps[i, :, :, :length].mean((1, 2))) for i, length in enumerate((5, 1, 8))]
    assert torch.allclose(head(maps, x[:, -1:]), torch.stack(expected), atol=1e-6)
    changed = maps.clone()
    changed[0, :, :, 5:] = 1e3
    assert torch.equal(head(changed, x[:, -1:])[0], head(maps, x[:, -1:])[0])
    # A map of half the size, of which every place stands for two columns.
    halves, taken = torch.randn(3, 5, 2, 4), (3, 1, 4)
    expected = [head.classifier(halves[i, :, :, :length].mean((1, 2))) for i, length in enumerate(taken)]
    assert torch.allclose(head(halves, x[:, -1:]), torch.stack(expected), atol=1e-6)


@pytest.mark.parametrize("name", SPACES)
def test_every_space_of_images_gives_the_mask_to_the_head(name: str) -> None:
    x = np.random.default_rng(0).random((4, 16, 16, 2)).astype(np.float32)
    x[..., 1] = np.arange(16)[None, None, :] < np.asarray([3, 8, 16, 1])[:, None, None]
    split = Split(x, np.asarray([0, 1, 0, 1]))
    task = Masked("wide", (2, 16, 16), 2, split, split, None, statistics=((0.0, 0.0), (1.0, 1.0)))
    space = create("space", name)
    architecture = space.sample(stream(0, "masked"))
    inputs, _ = task.tensors(split)
    for network in (build(space, architecture, task), Supernet(space, task).select(architecture)):
        head = next(module for module in network.modules() if isinstance(module, MaskedHead))
        given: list[torch.Tensor] = []
        head.register_forward_pre_hook(lambda _, inputs, given=given: given.append(inputs[1]))  # type: ignore[misc]
        assert network(inputs).shape == (4, 2)
        assert torch.equal(given[0], inputs[:, -1:])
        assert isinstance(network, nn.Module)

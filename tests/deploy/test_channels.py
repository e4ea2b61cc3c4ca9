"""Which channels operators take, against what they do to a map."""

from typing import Any

import pytest
import torch

from archscout.deploy.channels import taken

aten = torch.ops.aten


@pytest.mark.parametrize(
    ("func", "args", "channels"),
    [
        (aten.slice.Tensor, (1, 1, 6, 2), [[1, 3, 5]]),
        (aten.split.Tensor, (4, 1), [[0, 1, 2, 3], [4, 5]]),
        (aten.split_with_sizes.default, ([1, 5], 1), [[0], [1, 2, 3, 4, 5]]),
        (aten.select.int, (1, 4), [[4]]),
        (aten.native_channel_shuffle.default, (2,), [[0, 3, 1, 4, 2, 5]]),
        (aten.index.Tensor, ([None, torch.tensor([5, 0, 0])],), [[5, 0, 0]]),
        (aten.slice.Tensor, (2, 1, 4, 1), [None]),
        (aten.transpose.int, (2, 3), [None]),
        (aten.permute.default, ([0, 2, 3, 1],), [None]),
    ],
)
def test_channels_are_those_that_the_operator_gives(
    func: Any, args: tuple[Any, ...], channels: list[list[int] | None]
) -> None:
    x = torch.randn(1, 6, 4, 4, generator=torch.Generator().manual_seed(0))
    assert taken(func, (x, *args), {}, (6, 4, 4)) == channels
    outputs = func(x, *args)
    for output, own in zip(outputs if isinstance(outputs, list | tuple) else [outputs], channels, strict=True):
        if own is not None:
            torch.testing.assert_close(output.reshape(1, len(own), 4, 4), x[:, own], rtol=0, atol=0)

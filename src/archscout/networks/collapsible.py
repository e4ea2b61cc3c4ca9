"""A block without a non-linearity inside: wide while it is trained, a single convolution when it is shipped.

Collapsible linear blocks, with which restructurable activation networks replace blocks that hardware runs poorly
(Bhardwaj et al. 2022, arXiv 2208.08562).
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from archscout.core.errors import ArchscoutError

TOLERANCE = 1e-5
"""Of the largest output: how far what was collapsed may be from what was trained."""


class CollapsibleBlock(nn.Module):
    """A K x K convolution to many channels and a 1 x 1 convolution to few; the input is added where shapes agree.

    Args:
        inputs: channels.
        outputs: channels.
        kernel: odd.
        stride: of the first convolution.
        wide: channels between the two; twice the larger of inputs and outputs where None.
        slope: whether what is below zero is multiplied by a number that each channel learns (PReLU, which stays when
            the block is collapsed). It begins as 1: at first the block is linear.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        stride: int = 1,
        wide: int | None = None,
        slope: bool = False,
    ) -> None:
        super().__init__()
        wide = wide or 2 * max(inputs, outputs)
        self.expand = nn.Conv2d(inputs, wide, kernel, stride, kernel // 2)
        self.project = nn.Conv2d(wide, outputs, 1)
        self.residual = stride == 1 and inputs == outputs
        self.slope = nn.PReLU(outputs, init=1.0) if slope else None

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.expand(x))
        if self.residual:
            y = x + y
        return y if self.slope is None else self.slope(y)

    def collapsed(self) -> nn.Module:
        """What gives the same answers: one convolution, and the slope where there is one."""
        convolution = self._convolution()
        if self.slope is None:
            return convolution
        return nn.Sequential(convolution, copy.deepcopy(self.slope)).train(self.training)

    def _convolution(self) -> nn.Conv2d:
        wide, narrow = self.expand.weight.double(), self.project.weight[:, :, 0, 0].double()
        weight = torch.einsum("op,pikl->oikl", narrow, wide)
        biases = [layer.bias for layer in (self.expand, self.project)]
        assert biases[0] is not None and biases[1] is not None
        bias = narrow @ biases[0].double() + biases[1].double()
        if self.residual:
            centre = weight.shape[-1] // 2
            weight[:, :, centre, centre] += torch.eye(len(weight), dtype=weight.dtype, device=weight.device)
        kernel, stride = self.expand.kernel_size[0], self.expand.stride[0]
        result = nn.Conv2d(self.expand.in_channels, len(weight), kernel, stride, kernel // 2).to(self.expand.weight)
        with torch.no_grad():
            result.weight.copy_(weight)
            assert result.bias is not None
            result.bias.copy_(bias)
        return result.train(self.training)

    @torch.no_grad()
    def fit(self, inputs: Tensor, outputs: Tensor, ridge: float = 1e-3) -> None:
        """Begin as the linear map nearest to a block that is replaced, whatever its slope: ridge regression of its
        outputs (N, O, H, W) on the patches of its inputs (N, I, H', W')."""
        kernel, stride = self.expand.kernel_size[0], self.expand.stride[0]
        targets = outputs - inputs if self.residual else outputs
        patches = nn.functional.unfold(inputs, kernel, padding=kernel // 2, stride=stride)
        rows = patches.transpose(1, 2).reshape(-1, patches.shape[1]).double()
        rows = torch.cat([rows, torch.ones(len(rows), 1, dtype=rows.dtype)], 1)
        wanted = targets.flatten(2).transpose(1, 2).reshape(-1, targets.shape[1]).double()
        gram = rows.T @ rows
        gram.diagonal().add_(ridge * float(gram.diagonal().mean()))
        solution = torch.linalg.solve(gram, rows.T @ wanted).to(inputs.dtype).T
        count, (expand, project) = len(solution), (self.expand, self.project)
        assert expand.bias is not None and project.bias is not None
        # The first of the wide channels are the solution; the others are drawn, and nothing reads them yet.
        expand.weight[:count] = solution[:, :-1].unflatten(1, expand.weight.shape[1:])
        expand.bias[:count] = solution[:, -1]
        project.weight.zero_()
        project.weight[:, :count, 0, 0] = torch.eye(count)
        project.bias.zero_()
        if self.slope is not None:
            self.slope.weight.fill_(1.0)


def collapse(network: nn.Module, example: Tensor) -> nn.Module:
    """A copy of a network with every collapsible block made one convolution.

    Args:
        network: in whatever mode.
        example: a batch of inputs, on which both must answer alike (1e-5 of the largest output).

    Raises:
        ArchscoutError: they do not.
    """
    smaller: nn.Module = copy.deepcopy(network).eval()
    if isinstance(smaller, CollapsibleBlock):
        smaller = smaller.collapsed()
    for parent in list(smaller.modules()):
        for name, child in parent.named_children():
            if isinstance(child, CollapsibleBlock):
                setattr(parent, name, child.collapsed())
    with torch.no_grad():
        expected, answer = copy.deepcopy(network).eval()(example), smaller(example)
    apart, most = float((answer - expected).abs().max()), max(1.0, float(expected.abs().max()))
    if not apart <= TOLERANCE * most:
        raise ArchscoutError(
            f"the collapsed network answers differently ({apart:.2g} of {most:.2g}): train it at a lower rate."
        )
    return smaller

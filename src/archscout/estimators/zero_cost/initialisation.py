"""Ways of initialising a network other than PyTorch's own, for `Subject.initialised`."""

from __future__ import annotations

from torch import Generator, nn
from torch.nn.modules.batchnorm import _BatchNorm

_WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def normal(module: nn.Module, generator: Generator) -> None:
    """Weights of convolutions and linear layers N(0, 1), biases 0; batch normalisation leaves as it normalises."""
    if isinstance(module, _WEIGHTED):
        module.weight.normal_(generator=generator)
    _neutral(module)


def kaiming(module: nn.Module, generator: Generator) -> None:
    """Weights N(0, 2 / fan-in), biases 0; batch normalisation leaves as it normalises."""
    if isinstance(module, _WEIGHTED):
        module.weight.normal_(generator=generator).mul_((2 / module.weight[0].numel()) ** 0.5)
    _neutral(module)


def _neutral(module: nn.Module) -> None:
    if isinstance(module, _WEIGHTED) and module.bias is not None:
        module.bias.zero_()
    if isinstance(module, _BatchNorm):
        module.reset_parameters()

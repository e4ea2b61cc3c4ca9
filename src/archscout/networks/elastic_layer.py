"""Any layer of PyTorch whose sizes are choices, for a supernet: one set of weights of which each size uses a part.

A layer of the size that runs now is made once without memory, and is called with slices of the shared weights: the
first ones of each dimension, and the middle of a kernel. So there is no second definition of what a layer computes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from archscout.core.errors import UsageError
from archscout.networks.elastic import Elastic, Number, now, profile

_CONVOLUTIONS = (nn.modules.conv._ConvNd,)
_MIXED = frozenset({"inputs", "outputs"})
"""Numbers of convolutions that may be several at once, under gates."""


def elastic_layer(make: Callable[..., nn.Module], numbers: Mapping[str, Number]) -> nn.Module:
    """The layer that `make` gives for these numbers, or one that follows the selection where some are elastic."""
    if not any(isinstance(number, Elastic) for number in numbers.values()):
        return make(**numbers)
    return ElasticLayer(make, numbers)


class ElasticLayer(nn.Module):
    """A layer of which the first channels and the middle of the kernel run."""

    def __init__(self, make: Callable[..., nn.Module], numbers: Mapping[str, Number]) -> None:
        super().__init__()
        self.make, self.numbers = make, dict(numbers)
        self._shells: dict[tuple[Any, ...], nn.Module] = {}
        ends = [{min(n.possible), max(n.possible)} if isinstance(n, Elastic) else {n} for n in numbers.values()]
        shapes: dict[str, list[tuple[int, ...]]] = {}
        for values in itertools.product(*ends):
            try:
                shell = self._shell(values)
            except ValueError:
                continue  # no such layer: groups that do not divide the channels, for example
            for name, tensor in (*shell.named_parameters(), *shell.named_buffers()):
                shapes.setdefault(name, []).append(tuple(tensor.shape))
        if not shapes:
            raise UsageError(f"no layer can be made of {numbers}: its sizes do not go together.")
        widest: dict[str, tuple[int, ...]] = {n: tuple(map(max, zip(*rows, strict=True))) for n, rows in shapes.items()}
        template = self._shell(next(iter(self._shells)))
        for name, parameter in template.named_parameters():
            self.register_parameter(name, nn.Parameter(torch.empty(widest[name]), parameter.requires_grad))
        self._convolution = isinstance(template, _CONVOLUTIONS)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """As the layer would begin whose weights are as large as all of them."""
        template = next(iter(self._shells.values()))
        fan = max((p[0].numel() for p in self.parameters() if p.ndim > 1), default=1)
        for name, parameter in self.named_parameters():
            if isinstance(template, nn.Embedding):
                nn.init.normal_(parameter)
            elif not self._convolution:
                nn.init.constant_(parameter, float(name == "weight"))
            elif parameter.ndim > 1:
                nn.init.kaiming_uniform_(parameter, a=5**0.5)
            else:
                nn.init.uniform_(parameter, -(fan**-0.5), fan**-0.5)

    def active_state(self) -> dict[str, Tensor]:
        """The slices that run now, as the state of a plain layer."""
        shell = self._shell(tuple(now(number) for number in self.numbers.values()))
        own = dict(self.named_parameters())
        return {name: self._cut(own[name], tensor.shape) for name, tensor in shell.named_parameters()}

    def forward(self, *inputs: Any) -> Tensor:
        for role, number in self.numbers.items():
            if profile(number) is not None and not (self._convolution and role in _MIXED):
                kind = type(next(iter(self._shells.values()))).__name__
                raise UsageError(f"the {role} of {kind} cannot be mixed: search with a method that runs single paths.")
        shell = self._shell(tuple(now(number) for number in self.numbers.values()))
        y: Tensor = functional_call(shell, self.active_state(), inputs)
        mask = profile(self.numbers["outputs"]) if "outputs" in self.numbers else None
        return y if mask is None else y * mask.view(-1, *[1] * (y.ndim - 2))

    def _shell(self, values: tuple[Any, ...]) -> nn.Module:
        if values not in self._shells:
            with torch.device("meta"):
                self._shells[values] = self.make(**dict(zip(self.numbers, values, strict=True)))
        return self._shells[values]

    def _cut(self, tensor: Tensor, shape: torch.Size) -> Tensor:
        places = []
        for dimension, size in enumerate(shape):
            spare = tensor.shape[dimension] - size
            start = spare // 2 if self._convolution and dimension > 1 else 0
            places.append(slice(start, start + size))
        return tensor[tuple(places)]

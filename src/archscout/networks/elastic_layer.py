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
from archscout.networks.elastic import Elastic, Number, is_mixed, maximum, now, profile

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
        ends = [_ends(n) if isinstance(n, Elastic) else {n} for n in numbers.values()]
        shapes: dict[str, list[tuple[int, ...]]] = {}
        for values in itertools.product(*ends):
            try:
                shell = self._shell(values)
            except ValueError:
                continue  # no such layer: groups that do not divide the channels, for example
            for name, _ in shell.named_buffers():
                raise UsageError(
                    f"{type(shell).__name__} has a {name} of its own, which layers of several sizes cannot share: "
                    "search with a method that trains networks alone, or leave it out (track_running_stats=False)."
                )
            for name, tensor in shell.named_parameters():
                shapes.setdefault(name, []).append(tuple(tensor.shape))
        if not self._shells:
            raise UsageError(f"no layer can be made of {numbers}: its sizes do not go together.")
        widest: dict[str, tuple[int, ...]] = {n: tuple(map(max, zip(*rows, strict=True))) for n, rows in shapes.items()}
        template = self._shell(next(iter(self._shells)))
        for name, shape in widest.items():
            *parents, own = name.split(".")
            owner: nn.Module = self
            for parent in parents:
                if parent not in owner._modules:
                    owner.add_module(parent, nn.Module())
                owner = owner.get_submodule(parent)
            owner.register_parameter(own, nn.Parameter(torch.empty(shape)))
        self._convolution = isinstance(template, _CONVOLUTIONS)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """As the layer would begin whose weights are as large as all of them."""
        own = {} if self._convolution else self._drawn()
        fan = max((p[0].numel() for p in self.parameters() if p.ndim > 1), default=1)
        for name, parameter in self.named_parameters():
            if name in own and own[name].shape == parameter.shape:
                with torch.no_grad():
                    parameter.copy_(own[name])
            elif not self._convolution and parameter.ndim == 1:
                nn.init.constant_(parameter, float(name == "weight"))
            elif parameter.ndim > 1:
                nn.init.kaiming_uniform_(parameter, a=5**0.5)
            else:
                nn.init.uniform_(parameter, -(fan**-0.5), fan**-0.5)

    def _drawn(self) -> dict[str, Tensor]:
        """The weights of a plain layer of the largest numbers; none where there is no such layer."""
        try:
            layer = self.make(**{role: maximum(number) for role, number in self.numbers.items()})
        except ValueError:
            return {}
        return dict(layer.named_parameters())

    def active_state(self) -> dict[str, Tensor]:
        """The slices that run now, as the state of a plain layer."""
        shell = self._shell(tuple(now(number) for number in self.numbers.values()))
        own, plain = dict(self.named_parameters()), shell.named_parameters()
        return {name: self._cut(own[name], tensor.shape, _parts(shell, name)) for name, tensor in plain}

    def forward(self, *inputs: Any, **named: Any) -> Any:
        for role, number in self.numbers.items():
            if is_mixed(number) and not (self._convolution and role in _MIXED):
                kind = type(next(iter(self._shells.values()))).__name__
                raise UsageError(f"the {role} of {kind} cannot be mixed: search with a method that runs single paths.")
        shell = self._shell(tuple(now(number) for number in self.numbers.values()))
        shell.train(self.training)
        state = self.active_state()
        if isinstance(shell, nn.RNNBase):  # reads its weights from a list
            shell._flat_weights = [state.get(name) for name in shell._flat_weights_names]
        y = functional_call(shell, state, inputs, named)
        mask = profile(self.numbers["outputs"]) if "outputs" in self.numbers else None
        return y if mask is None else y * mask.view(-1, *[1] * (y.ndim - 2))

    def _shell(self, values: tuple[Any, ...]) -> nn.Module:
        if values not in self._shells:
            with torch.device("meta"):
                self._shells[values] = self.make(**dict(zip(self.numbers, values, strict=True)))
        return self._shells[values]

    def _cut(self, tensor: Tensor, shape: torch.Size, parts: int = 1) -> Tensor:
        if parts > 1:
            whole = tensor.view(parts, -1, *tensor.shape[1:])
            return torch.cat([self._cut(part, torch.Size((shape[0] // parts, *shape[1:]))) for part in whole])
        places = []
        for dimension, size in enumerate(shape):
            spare = tensor.shape[dimension] - size
            start = spare // 2 if self._convolution and dimension > 1 else 0
            places.append(slice(start, start + size))
        return tensor[tuple(places)]


def _ends(number: Elastic) -> set[Any]:
    """The least and the greatest that a number can be, between which sizes lie; of texts all."""
    possible: tuple[Any, ...] = number.possible
    return set(possible) if isinstance(possible[0], str) else {min(possible), max(possible)}


def _parts(layer: nn.Module, name: str) -> int:
    """How many weights of one form lie one after the other in a weight: those of gates, of queries, keys, values."""
    if isinstance(layer, nn.RNNBase | nn.RNNCellBase) and name.startswith(("weight_ih", "weight_hh", "bias_")):
        kinds = {nn.LSTM: 4, nn.LSTMCell: 4, nn.GRU: 3, nn.GRUCell: 3}
        return kinds.get(type(layer), 1)
    return 3 if isinstance(layer, nn.MultiheadAttention) and name.startswith("in_proj") else 1

"""Weights and inputs of layers on grids of few bits, from the first step of a training to the last."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from archscout.deploy.observers import observer
from archscout.deploy.quantisers import Quantiser, quantiser
from archscout.deploy.schemes import DEFAULT, Scheme, preset
from archscout.training.contexts import evaluation
from archscout.training.objective import Step, Term
from archscout.training.recipe import bits_of
from archscout.training.sparsity import sparse_layers

_ENDS = 8
"""Bits of the first and the last layer, and of their inputs."""


class OnGrid(Term):
    """Convolutions and linear layers compute with weights and inputs of few bits, and learn what the grids are.

    For the length of the training each weight is what a quantiser makes of it, a scale for each channel, and so is the
    input of each layer; the first and the last layer have 8 bits. Batch normalisation stays, for folding it later
    keeps a symmetric grid with a scale for each channel as it is. When the training ends the network has the rounded
    weights, and inputs as they come: quantised after training at the same bits it is near what it was trained as.

    Args:
        bits: of weights and inputs, as `w4a8`.
        algorithm: of `archscout.deploy.quantisers.QUANTISERS`.

    Raises:
        UsageError: there are no such bits, or no such quantiser.
    """

    weight = 0.0

    def __init__(self, bits: str = "w4a8", algorithm: str = "lsq") -> None:
        self.bits, self.algorithm = bits_of(bits), algorithm
        self.kind = quantiser(algorithm)

    @contextmanager
    def attached(self, network: nn.Module, x: Tensor, device: str) -> Iterator[None]:
        layers = [layer for _, layer in sparse_layers(network) if isinstance(layer.weight, nn.Parameter)]
        inputs = _inputs(network, layers, x)
        with ExitStack() as stack:
            for place, layer in enumerate(layers):
                ends = place in (0, len(layers) - 1)
                weight_bits, input_bits = (_ENDS if ends else bits for bits in self.bits)
                self._attach(stack, layer, inputs.get(layer), weight_bits, input_bits, device)
            yield

    def _attach(
        self, stack: ExitStack, layer: nn.Module, x: Tensor | None, weight_bits: int, input_bits: int, device: str
    ) -> None:
        given = preset(DEFAULT).with_bits(weight_bits, input_bits)
        weight = layer.weight
        assert isinstance(weight, nn.Parameter)
        own = self._started(given.weights, weight.detach(), weight=True)
        parametrize.register_parametrization(layer, "weight", own.to(device))
        stack.callback(parametrize.remove_parametrizations, layer, "weight", leave_parametrized=True)
        if x is None:
            return  # it does not run alone
        layer.add_module("input_grid", self._started(given.activations, x, weight=False).to(device))
        stack.callback(layer._modules.pop, "input_grid")
        handle = layer.register_forward_pre_hook(lambda layer, given: (layer.input_grid(given[0]), *given[1:]))
        stack.callback(handle.remove)

    def _started(self, scheme: Scheme, x: Tensor, *, weight: bool) -> Quantiser:
        rows = x.flatten(1) if scheme.per_channel else x.reshape(1, -1)
        seen = observer("mse")(scheme)
        seen.update(rows.float().cpu())
        return self.kind(scheme, scheme.grid(*seen.range()), x.float().cpu(), weight=weight)

    def __call__(self, step: Step) -> Tensor:
        return torch.zeros(())

    def identity(self) -> Any:
        return [type(self).__name__, self.bits, self.algorithm]


def _inputs(network: nn.Module, layers: list[nn.Module], x: Tensor) -> dict[nn.Module, Tensor]:
    """What each layer reads, of some inputs of the network."""
    inputs: dict[nn.Module, Tensor] = {}

    def look(layer: nn.Module, given: tuple[Any, ...]) -> None:
        if given and isinstance(given[0], Tensor):
            inputs[layer] = given[0].detach()

    with ExitStack() as stack:
        for layer in layers:
            stack.callback(layer.register_forward_pre_hook(look).remove)
        with evaluation(network):
            network(x)
    return inputs

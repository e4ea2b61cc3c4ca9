"""Layer-wise rows: one row for each layer of the network that an architecture builds."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from archscout.core.space import Space
from archscout.core.task import Task
from archscout.estimators.encodings.graphs import Architectures, parsed
from archscout.networks.tracing import blueprint

KINDS = ("conv", "linear", "norm", "pool", "other")
COLUMNS = (*KINDS, "kernel", "stride", "groups", "inputs", "outputs", "height", "width", "params")
"""What the columns of a row are: the kind one-hot; channels in and out; the size of the output; weights."""


def layers(space: Space, architectures: Architectures, task: Task) -> list[np.ndarray]:
    """For each architecture the layers of its network in the order in which they run: float32, (layers, 13).

    A layer is a module without others in it that has weights or pools; activations are none. The columns are `COLUMNS`.
    No number of the network is computed where its code allows for that.
    """
    return [_rows(blueprint(space, architecture, task), task) for architecture in parsed(space, architectures)]


def _rows(network: nn.Module, task: Task) -> np.ndarray:
    rows: list[list[float]] = []
    layers = [module for module in network.modules() if not any(True for _ in module.children()) and _counts(module)]
    handles = [layer.register_forward_hook(lambda *call: rows.append(_row(*call))) for layer in layers]
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    training = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.zeros((1, *task.input_shape), device=device))
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    return np.asarray(rows, dtype=np.float32).reshape(-1, len(COLUMNS))


def _counts(module: nn.Module) -> bool:
    return _kind(module) != "other" or any(True for _ in module.parameters(recurse=False))


def _kind(module: nn.Module) -> str:
    name = type(module).__name__.lower()
    return next((kind for kind in KINDS if kind in name), "other")


def _row(module: Any, inputs: tuple[Any, ...], output: Any) -> list[float]:
    given, made = inputs[0], output if isinstance(output, Tensor) else output[0]
    kind = _kind(module)
    spatial = made.shape[2:] if made.dim() == 4 else (1, 1)
    return [
        *(float(kind == one) for one in KINDS),
        _first(getattr(module, "kernel_size", 1)),
        _first(getattr(module, "stride", None) or 1),
        float(getattr(module, "groups", 1)),
        float(given.shape[1] if given.dim() > 1 else 1),
        float(made.shape[1] if made.dim() > 1 else 1),
        *map(float, spatial),
        float(sum(parameter.numel() for parameter in module.parameters(recurse=False))),
    ]


def _first(value: Any) -> float:
    return float(value[0] if isinstance(value, tuple) else value)

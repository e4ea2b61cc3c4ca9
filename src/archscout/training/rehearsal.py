"""The end of a search, tried at its beginning on one untrained network, while nothing has been spent.

A module of the user's own may do whatever PyTorch does, and some of it stands in the way of a result only at its end:
a state that is not in parameters and buffers, an operator that ONNX has no word for. What the search cannot do without
(a training step, weights that are saved and loaded, a way to workers, the costs that it must keep) is refused here in
one sentence; what it can do without is told, and the result will be whole but for that. Spaces of Archscout's own are
known to do all of it.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from archscout.core import seeds
from archscout.core.architecture import Architecture
from archscout.core.cost import Cost
from archscout.core.errors import UsageError, reason_of
from archscout.core.estimator import Setting
from archscout.core.space import Space
from archscout.core.task import Task
from archscout.networks.outputs import named
from archscout.networks.pick import build
from archscout.networks.tracing import trace_architecture
from archscout.training import checkpoint
from archscout.training.export import to_onnx
from archscout.workers import pickling

_EXAMPLES = 8
_ATTEMPTS = 20
"""Architectures that are looked at for one that runs."""
_CLOSE = 1e-5


def rehearse(
    space: Space, task: Task, *, seed: int = 0, device: str = "cpu", costs: Sequence[Cost] = (), workers: int = 0
) -> list[str]:
    """Take one untrained network through all that a search does with its winner.

    Args:
        space: what is to be searched.
        task: sealed.
        seed: of the search.
        device: where networks will be trained.
        costs: that limits and objectives name.
        workers: processes that networks are sent to; 0 where there is none.

    Returns:
        What the networks cannot do and the search does without, a sentence each; nothing where all is well.

    Raises:
        UsageError: something that the search cannot do without.
    """
    if not is_foreign(space):
        return []
    architecture = space.sample(seeds.stream(seed, "rehearsal"))
    sentences = space.caveats(task)
    if space.own_module:
        for attempt in range(_ATTEMPTS):
            if _runs(space, architecture, task):
                break
            architecture = space.sample(seeds.stream(seed, "rehearsal", attempt))
    network = build(space, architecture, task, seed=seed)
    try_step(network, task, space.name, device)
    network = network.cpu().eval()
    sentences += _save_and_load(network, space, architecture, task)
    if workers:
        _send(space)
    setting = Setting(space, task, seed=seed, device=device)
    for cost in costs:
        try:
            cost.screen([architecture], setting)
        except Exception as error:
            raise UsageError(
                f"cost '{cost.name}' of space '{space.name}' cannot be told ({reason_of(error)}): limit another one."
            ) from error
    return sentences + _extras(network, space, architecture, task)


def is_foreign(space: Space) -> bool:
    """Whether a space comes from outside, so that nobody here knows what its networks do."""
    return space.own_module or not type(space).__module__.startswith("archscout.")


def _runs(space: Space, architecture: Architecture, task: Task) -> bool:
    try:
        build(space, architecture, task)
    except Exception:
        return False
    return True


def try_step(network: nn.Module, task: Task, space: str, device: str) -> None:
    """One step of training, as far as the gradients; statistics of normalisation move. `space`: its name.

    Raises:
        UsageError: the network does not take it.
    """
    x, y = task.tensors(task.train.head(min(_EXAMPLES, len(task.train))), device)
    network.to(device).train()
    try:
        with torch.random.fork_rng(devices=[]):
            task.loss(network(x), y).backward()
        for parameter in network.parameters():
            parameter.grad = None
    except Exception as error:
        raise UsageError(
            f"a network of space '{space}' cannot be trained a step on task '{task.name}' ({reason_of(error)}): "
            "mend its forward pass, or give the weights that are to learn requires_grad."
        ) from error


def _flat(outputs: Any) -> torch.Tensor:
    """All numbers of all outputs."""
    return torch.cat([output.flatten() for output in named(outputs).values()])


def _save_and_load(network: nn.Module, space: Space, architecture: Architecture, task: Task) -> list[str]:
    """Whether weights that were saved give the same answers in a new network."""
    x, _ = task.tensors(task.train.head(min(_EXAMPLES, len(task.train))), "cpu")
    with torch.no_grad():
        first, second = _flat(network(x)), _flat(network(x))
    if not torch.allclose(first, second, rtol=_CLOSE, atol=_CLOSE, equal_nan=True):
        return [f"networks of space '{space.name}' answer differently each time, also in evaluation mode."]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.safetensors"
        try:
            checkpoint.write(file, network.state_dict(), {})
            kept = checkpoint.read(file)
            other = build(space, architecture, task, seed=1).eval()
            other.load_state_dict(kept[0] if kept else {})
            with torch.no_grad():
                loaded = _flat(other(x))
        except Exception as error:
            raise UsageError(
                f"the weights of a network of space '{space.name}' cannot be saved and loaded ({reason_of(error)})."
            ) from error
    if not torch.allclose(first, loaded, rtol=_CLOSE, atol=_CLOSE, equal_nan=True):
        raise UsageError(
            f"a network of space '{space.name}' answers differently after its weights were saved and loaded: keep "
            "whatever it learns or draws in parameters and buffers."
        )
    return []


def _send(space: Space) -> None:
    try:
        pickle.loads(pickling.dumps(space))  # noqa: S301 - our own bytes
    except Exception as error:
        raise UsageError(
            f"space '{space.name}' cannot be sent to worker processes ({reason_of(error)}): search with workers=0, or "
            "keep open files, locks and the like out of the module."
        ) from error


def _extras(network: nn.Module, space: Space, architecture: Architecture, task: Task) -> list[str]:
    """What is missed, but not needed."""
    sentences = []
    try:
        _ = trace_architecture(space, architecture, task).macs
    except Exception as error:
        sentences.append(f"multiply-adds or the drawing will be missing from the result: {reason_of(error)}.")
    try:
        to_onnx(task.deploy(network).eval(), task.deployed_shape, quick=True)
    except Exception as error:
        sentences.append(f"there will be no network.onnx: {reason_of(error)}.")
    return sentences

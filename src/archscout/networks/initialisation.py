"""How the weights of a user's module begin: those that were given are kept, the others are drawn anew from a seed.

A search compares networks from fresh weights, so every layer that can initialise itself (`reset_parameters`) does so
again, from the seed of the training. What must not be lost by that is what the user put there: a frozen filter,
weights loaded from a file, an initialisation of their own. PyTorch keeps no record of where a number comes from, so
`adopt` decides by what can be seen. The weights of a layer count as given where

- the parameter is frozen (`requires_grad=False`);
- no part of the module would initialise it (a bare `nn.Parameter` or buffer);
- it was written more often than its layer writes it when it is made (by `load_state_dict`, `nn.init`, an optimizer);
- or its values are not such as its layer draws: other constants, a uniform layer with values beyond its bound, or
  another distribution (Kolmogorov and Smirnov, at one in a million). This sees what was written through `.data`, and
  copied or unpickled modules, but not in tensors of a few numbers that happen to look alike.

Running statistics are given where a weight of their layer is: a pass to try a module out does not make them so.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils.spectral_norm import SpectralNorm, remove_spectral_norm
from torch.nn.utils.weight_norm import WeightNorm, remove_weight_norm

_DRAWS = 32
_DRAWN = 2**21
"""How many times a module is drawn to compare it with, and how many numbers that may be in all."""
_COMPARED = 4096
"""Numbers of a tensor that are compared with what its layer draws, at most."""
_CHANCE = 1e-6
_POWER_STEPS = 15
_FEWEST = 16
"""Numbers from which on it can be told whether they look drawn at random."""


@dataclass
class Adopted:
    """A copy of a module, and which of its tensors were given: by path, why (`frozen`, `own` or `set`)."""

    module: nn.Module
    given: dict[str, str] = field(default_factory=dict)

    def tensors(self) -> dict[str, Tensor]:
        """The given parameters and buffers by path."""
        return {path: tensor for path, tensor in _tensors(self.module) if path in self.given}


def adopt(module: nn.Module) -> Adopted:
    """A copy of a user's module on the CPU, with what it was given told from what its layers drew by themselves.

    Weight and spectral normalisation of the old kind (hooks), which cannot be copied once they have run, become
    parametrizations in the copy.
    """
    memo: dict[int, Any] = dict(lazy_copies(module))
    for part in module.modules():
        for value in vars(part).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    originals = [*module.parameters(), *module.buffers()]
    twin = as_leaves(copy.deepcopy(module, memo)).cpu()
    written = {id(memo[id(t)]): t._version for t in originals if isinstance(memo.get(id(t)), Tensor)}
    for part in list(twin.modules()):
        _modernise(part)
    return Adopted(twin, _given(twin, written))


def draw(network: nn.Module) -> None:
    """Initialise anew every part that can, from the inside out, so that one which initialises its parts has the last
    word. What a parametrization computes (weight and spectral normalisation) is drawn as the plain layer draws it."""
    for part in reversed(list(network.modules())):
        if parametrize.is_parametrized(part):
            _draw_parametrized(part)
        else:
            _reset(part)


def lazy_copies(module: nn.Module) -> dict[int, Tensor]:
    """The memo of a deep copy for tensors that have no size yet, which do not copy themselves."""
    lazy = [t for t in (*module.parameters(), *module.buffers()) if nn.parameter.is_lazy(t)]
    device = torch.empty(0).device
    return {id(t): type(t)(device=device, dtype=t.dtype) for t in lazy}  # type: ignore[call-arg]


def as_leaves(network: nn.Module) -> nn.Module:
    """A copy of a network, whose weights no optimiser would take where TorchScript has copied them as what is computed;
    they become its own."""
    for weight in network.parameters():
        if not weight.is_leaf:
            weight.detach_().requires_grad_()
    return network


def looks_drawn(tensor: Tensor) -> bool:
    """Whether the numbers may be independent draws around 0 (normal, cut off or not, or uniform).

    Such a tensor is another one each time the module is made, and is no knowledge that one module has and another has
    not. Few numbers, and constants, never look drawn.
    """
    if not tensor.is_floating_point() or tensor.numel() < _FEWEST or tensor.layout is not torch.strided:
        return False
    values = _sample(tensor)
    spread = float(np.sqrt(np.mean(values**2)))
    if not spread or not math.isfinite(spread) or len(np.unique(values)) < 0.9 * len(values):
        return False
    families = (stats.norm.cdf, stats.uniform(-math.sqrt(3), 2 * math.sqrt(3)).cdf, _CUT_OFF.cdf)
    return any(stats.kstest(values / spread, family).pvalue > 1e-3 for family in families)


_CUT_OFF = stats.truncnorm(-2 / 0.8796, 2 / 0.8796, scale=1.0)
"""A normal distribution cut off at two of its standard deviations, scaled to a spread of about 1."""


# -- drawing ------------------------------------------------------------------------------------------------------


def _resetter(part: nn.Module) -> Any:
    reset = getattr(part, "reset_parameters", None) or getattr(part, "_reset_parameters", None)
    return reset if callable(reset) else None


def _reset(part: nn.Module) -> None:
    reset = _resetter(part)
    if reset is not None:
        reset()


def _draw_parametrized(part: nn.Module) -> None:
    parametrized: Any = part.parametrizations
    plain = _plain(part, list(parametrized))
    _reset(plain)
    training = parametrized.training
    with torch.no_grad():
        for name, tensor in part.named_parameters(recurse=False):
            tensor.copy_(getattr(plain, name))
        parametrized.train()
        for name in parametrized:
            if all(hasattr(each, "right_inverse") for each in parametrized[name]):
                setattr(part, name, getattr(plain, name).detach())
            else:  # what is drawn is what the weight is computed from
                parametrized[name].original.copy_(getattr(plain, name))
            # Spectral normalisation learns the largest singular value by a step each time it is asked in training.
            for _ in range(_POWER_STEPS):
                getattr(part, name)
    parametrized.train(training)


def _plain(part: nn.Module, names: list[str]) -> nn.Module:
    """The layer without its parametrizations, which share their class with every copy, so that it must be remade."""
    kind: Any = type(part).__mro__[1]
    plain: nn.Module = kind.__new__(kind)
    plain.__dict__ = dict(part.__dict__)
    plain._modules = {name: child for name, child in part._modules.items() if name != "parametrizations"}
    plain._parameters = {
        name: None if tensor is None else nn.Parameter(tensor.detach().clone())
        for name, tensor in part._parameters.items()
    }
    for name in names:
        plain._parameters[name] = nn.Parameter(getattr(part, name).detach().clone())
    return plain


def _modernise(part: nn.Module) -> None:
    """Turn the old normalisations of weights, which are hooks, into parametrizations."""
    for hook in list(part._forward_pre_hooks.values()):
        if isinstance(hook, WeightNorm):
            remove_weight_norm(part, hook.name)
            parametrizations.weight_norm(part, hook.name, hook.dim)
        elif isinstance(hook, SpectralNorm):
            raw = getattr(part, f"{hook.name}_orig").detach().clone()
            remove_spectral_norm(part, hook.name)
            with torch.no_grad():
                getattr(part, hook.name).copy_(raw)
            parametrizations.spectral_norm(part, hook.name, hook.n_power_iterations, hook.eps, hook.dim)


# -- what was given -----------------------------------------------------------------------------------------------


def _given(module: nn.Module, written: dict[int, int]) -> dict[str, str]:
    """Why each given tensor counts as such, by path. `written`: how often the original of each was written to."""
    draws: list[dict[str, Tensor]] = []
    fresh = as_leaves(copy.deepcopy(module, dict(lazy_copies(module))))
    before = {path: tensor._version for path, tensor in _tensors(fresh)}
    with torch.random.fork_rng(devices=[]):
        size = sum(tensor.numel() for _, tensor in _tensors(fresh))
        for seed in range(max(2, min(_DRAWS, _DRAWN // max(1, size)))):
            torch.default_generator.manual_seed(seed)
            draw(fresh)
            if not seed:
                writes = {path: tensor._version - before[path] for path, tensor in _tensors(fresh)}
            draws.append({path: tensor.detach().clone() for path, tensor in _tensors(fresh)})
    given: dict[str, str] = {}
    layers: dict[str, list[str]] = {}
    for path, tensor in _tensors(module):
        parameter = isinstance(tensor, nn.Parameter)
        if parameter and not tensor.requires_grad:
            given[path] = "frozen"
        elif not writes.get(path):
            given[path] = "own"
        elif parameter:
            layers.setdefault(_layer(module, path), []).append(path)
            once_more = ".parametrizations." in path  # registering a parametrization writes too
            if written.get(id(tensor), 0) > writes[path] + once_more or _differs(
                tensor, [each[path] for each in draws]
            ):
                given[path] = "set"
    parameters = dict(_tensors(module))
    for paths in layers.values():
        # Weights are loaded by the layer, and a bias may be too short to show that it was loaded too.
        largest = max(paths, key=lambda path: parameters[path].numel())
        times = written.get(id(parameters[largest]), 0)
        loaded = times < writes[largest] or (times == writes[largest] and not looks_drawn(parameters[largest]))
        if given.get(largest) == "set" and loaded:
            given |= dict.fromkeys(paths, "set")
    with_weights = {_layer(module, path) for path in given}
    for path, tensor in _tensors(module):
        if isinstance(tensor, nn.Parameter) or not writes.get(path):
            continue
        layer = _layer(module, path)
        if layer in with_weights or (
            layer not in layers and _differs(tensor, [each[path] for each in draws]) and tensor.is_floating_point()
        ):
            given[path] = "set"
    return given


def _differs(tensor: Tensor, draws: list[Tensor]) -> bool:
    """Whether a tensor has other values than its layer would have drawn."""
    if any(draw.shape != tensor.shape for draw in draws):
        return True
    if not tensor.numel():
        return False
    if all(torch.equal(draw, draws[0]) for draw in draws[1:]):
        return not torch.equal(tensor.detach(), draws[0])  # constants: exactly these
    values = _sample(tensor)
    pooled = np.concatenate([_sample(draw) for draw in draws])
    if not np.isfinite(values).all() or (_repeats(values) and not _repeats(_sample(draws[0]))):
        return True
    largest = float(np.abs(pooled).max())
    spread = float(np.sqrt(np.mean(pooled**2)))
    uniform = len(pooled) >= 200 and 1.70 < largest / max(spread, 1e-30) < 1.77
    if uniform and float(tensor.detach().abs().max()) > 1.03 * largest:
        return True
    return bool(stats.ks_2samp(values, pooled).pvalue < _CHANCE)


def _repeats(values: np.ndarray) -> bool:
    return len(np.unique(values)) <= len(values) / 2


def _sample(tensor: Tensor) -> np.ndarray:
    """At most so many of the numbers, evenly spaced."""
    flat = tensor.detach().flatten()
    step = max(1, flat.numel() // _COMPARED)
    return flat[::step].double().numpy()


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers by path; tied ones once, and those whose size is not known yet not at all."""
    for path, tensor in (*module.named_parameters(), *module.named_buffers()):
        if not nn.parameter.is_lazy(tensor):
            yield path, tensor


def _layer(module: nn.Module, path: str) -> str:
    """The path of the innermost part that initialises the tensor of a path."""
    parts = path.split(".")[:-1]
    while parts and _resetter(module.get_submodule(".".join(parts))) is None:
        parts.pop()
    return ".".join(parts)

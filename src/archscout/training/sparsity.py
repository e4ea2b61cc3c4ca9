"""N:M sparsity: of every M weights in a row, N stay, in all layers, from the first step of a training to the last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from archscout.core import options
from archscout.core.errors import UsageError, nearest
from archscout.networks.few_bits import mask
from archscout.training.objective import Step, Term
from archscout.training.recipe import sparsity_of

RULES = ("sr_ste", "ste", "one_shot")
AXES = ("channels", "flat")


class Sparsity(Term):
    """Keeps the weights of convolutions and linear layers N:M sparse in every step of a training.

    The optimiser moves dense weights; the network computes with the masked ones. The gradient of the masked weights is
    that of the dense ones (straight through), and SR-STE adds `decay` times the weights that are masked out, which
    makes the choice settle (Zhou et al. 2021, arXiv 2102.04010). Between steps, and when the training ends, the network
    has the masked weights. With optimisers that scale gradients (AdamW, Muon) the added term is scaled as well.

    Args:
        n, m: how many of how many weights stay.
        rule: `sr_ste`, `ste` (the same without decay), or `one_shot`: the mask of the first weights for good, for a
            network that was trained before (Mishra et al. 2021, arXiv 2104.08378).
        axis: see `mask`.
        decay: of SR-STE.
        layers: N of layers by their names in the network, instead of `n`; M or more leaves a layer dense.

    Raises:
        UsageError: N is not below M, there is no such rule or axis, N of a layer is no number above zero, or decay is
            below zero; in training, a network without such a layer.
    """

    weight = 0.0

    def __init__(
        self,
        n: int,
        m: int,
        *,
        rule: str = "sr_ste",
        axis: str = "channels",
        decay: float = 2e-4,
        layers: Mapping[str, int] | None = None,
    ) -> None:
        self.n, self.m = sparsity_of(f"{n}:{m}")
        for value, known, what in ((rule, RULES, "rule"), (axis, AXES, "axis")):
            if value not in known:
                raise UsageError(f"N:M sparsity has no {what} '{value}': use {', '.join(known[:-1])} or {known[-1]}.")
        own = options.mapping(layers, "N of layers", '{"head": 1}')
        self.layers = {name: options.whole(kept, f"N of layer '{name}'", 1) for name, kept in own.items()}
        if options.number(decay, "the decay of SR-STE") < 0:
            raise UsageError(f"the decay of SR-STE cannot be {decay!r}: it is zero or more.")
        self.rule, self.axis, self.decay = rule, axis, float(decay) if rule == "sr_ste" else 0.0
        self.changes: list[Tensor] = []
        """Of each step: how many weights it let in or threw out (the divergence of the sparse architecture)."""
        self._kept = nn.Module()
        self._parameters: dict[str, nn.Parameter] = {}
        self._moving: set[str] = set()

    @contextmanager
    def attached(self, network: nn.Module, x: Tensor, device: str) -> Iterator[None]:
        self._kept, self._parameters, self.changes = nn.Module(), {}, []
        self._moving.clear()
        handles = []
        named = dict(sparse_layers(network))
        for name in self.layers:
            if name not in named:
                raise UsageError(
                    f"the network has no convolution or linear layer '{name}' to keep N weights of: "
                    f"{nearest(name, named)}"
                )
        for place, (name, layer) in enumerate(named.items()):
            n = self.layers.get(name, self.n)
            if n >= self.m:
                continue
            parameter, key = layer.weight, f"{place}"
            assert isinstance(parameter, nn.Parameter)
            dense = parameter.detach().clone()
            self._kept.register_buffer(f"{key}_dense", dense)
            self._kept.register_buffer(f"{key}_mask", mask(dense, n, self.m, self.axis))
            self._kept.register_buffer(f"{key}_n", torch.tensor(n))
            self._parameters[key] = parameter
            self._put_mask(key)
            hook = parameter.register_post_accumulate_grad_hook(self._opened(key))  # type: ignore[no-untyped-call]
            handles.append(hook)
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def __call__(self, step: Step) -> Tensor:
        return torch.zeros(())

    def after_step(self) -> None:
        """Choose anew, and put the masked weights into the network."""
        changes = torch.zeros(())
        with torch.no_grad():
            for key in sorted(self._moving):
                dense, before = self._tensor(key, "dense"), self._tensor(key, "mask")
                dense.copy_(self._parameters[key])
                if self.rule != "one_shot":
                    now = mask(dense, int(self._tensor(key, "n")), self.m, self.axis)
                    changes = changes + (now != before).sum().cpu()
                    before.copy_(now)
                self._put_mask(key)
        self._moving.clear()
        self.changes.append(changes)

    def modules(self) -> list[nn.Module]:
        """What a checkpoint must hold besides the network: dense weights and masks, which no gradient reaches."""
        return [self._kept]

    def identity(self) -> Any:
        return [type(self).__name__, self.n, self.m, self.rule, self.axis, self.decay, self.layers]

    def _opened(self, key: str) -> Any:
        def dense_again(parameter: Tensor) -> None:
            """Between the gradient and the step of the optimiser: the dense weights, and the gradient that they get."""
            with torch.no_grad():
                dense, kept = self._tensor(key, "dense"), self._tensor(key, "mask")
                parameter.copy_(dense)
                assert parameter.grad is not None
                if self.rule == "one_shot":
                    parameter.grad.mul_(kept)
                elif self.decay:
                    parameter.grad.add_((1 - kept) * dense, alpha=self.decay)
                self._moving.add(key)

        return dense_again

    def _put_mask(self, key: str) -> None:
        with torch.no_grad():
            self._parameters[key].copy_(self._tensor(key, "dense") * self._tensor(key, "mask"))

    def _tensor(self, key: str, what: str) -> Tensor:
        tensor = getattr(self._kept, f"{key}_{what}")
        assert isinstance(tensor, Tensor)
        return tensor


def sparse_layers(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The convolutions and linear layers of a network, each with its name."""
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Linear) or (isinstance(layer, _ConvNd) and not isinstance(layer, _ConvTransposeNd)):
            yield name, layer


def density(network: nn.Module) -> float:
    """The share of the weights of convolutions and linear layers that are not zero."""
    weights = [layer.weight for _, layer in sparse_layers(network)]
    counts = [(int((w != 0).sum()), w.numel()) for w in weights if isinstance(w, Tensor)]
    return sum(kept for kept, _ in counts) / max(1, sum(whole for _, whole in counts))

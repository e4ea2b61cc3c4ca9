"""Muon: the step of a weight matrix is its momentum made orthogonal (Jordan et al. 2024).

https://kellerjordan.github.io/posts/muon

A matrix is what a layer multiplies by: a convolution's weight counts as one matrix (outputs x inputs of a window) for
each of its groups. Vectors and the last layer, which Muon is not meant for, go by SGD with Nesterov momentum. Matrices
of one shape are orthogonalised together, whether they belong to several layers or to several networks of a stack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.sgd import sgd

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the Newton-Schulz step: they raise small singular values fastest, and leave all of them between .7 and 1.2."""

LEAST_NORM = 1e-7
"""A matrix of a smaller norm is no direction: its step is shorter."""

LONG = 2
"""How many times as many columns as rows a matrix has for which steps on its Gram matrix are the quicker ones."""


class Muon(Optimizer):
    """Muon for groups with `orthogonal` true, SGD with Nesterov momentum for others.

    Args:
        groups: of parameters, each with `params`, `orthogonal`, `rate` (times the learning rate), `weight_decay`, and
            in orthogonal ones `blocks`: how many matrices, one after the other along dimension 0, each parameter holds.
        lr: learning rate. An orthogonal step of 1 changes an m x n matrix by max(1, m / n) ** 0.5 in its spectral norm.
        momentum: of both.
        steps: of Newton-Schulz.
        dtype: in which matrices are made orthogonal.

    Weight decay is decoupled for matrices (lr * weight_decay of them is taken away a step), part of the gradient for
    others.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        lr: float,
        momentum: float = 0.9,
        steps: int = 3,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        usual = {"lr": lr, "momentum": momentum, "rate": 1.0, "weight_decay": 0.0, "orthogonal": False}
        super().__init__(groups, usual)
        self.newton_schulz_steps, self.dtype = steps, dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        if closure is not None:
            raise NotImplementedError("Muon takes no closure.")
        for group in self.param_groups:
            places = [i for i, parameter in enumerate(group["params"]) if parameter.grad is not None]
            if places:
                (self._orthogonal_step if group["orthogonal"] else self._plain_step)(group, places)

    def _directions(self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        """Nesterov's: the gradients, plus momentum times what has gathered of them."""
        momenta = self._momenta(parameters)
        torch._foreach_mul_(momenta, group["momentum"])
        torch._foreach_add_(momenta, gradients)
        return list(torch._foreach_add(gradients, momenta, alpha=group["momentum"]))

    def _momenta(self, parameters: list[Tensor]) -> list[Tensor]:
        momenta: list[Tensor] = []
        for parameter in parameters:
            state = self.state[parameter]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(parameter)
            momenta.append(state["momentum_buffer"])
        return momenta

    def _plain_step(self, group: dict[str, Any], places: list[int]) -> None:
        parameters = [group["params"][i] for i in places]
        sgd(
            parameters, [parameter.grad for parameter in parameters], [*self._momenta(parameters)],
            weight_decay=group["weight_decay"], momentum=group["momentum"], lr=group["lr"] * group["rate"],
            dampening=0.0, nesterov=group["momentum"] > 0, maximize=False, fused=True,
        )  # fmt: skip

    def _orthogonal_step(self, group: dict[str, Any], places: list[int]) -> None:
        parameters = [group["params"][i] for i in places]
        blocks = [group["blocks"][i] for i in places]
        directions = self._directions(group, parameters, [parameter.grad for parameter in parameters])
        rate = group["lr"] * group["rate"]
        torch._foreach_mul_(parameters, 1 - rate * group["weight_decay"])
        alike: dict[tuple[int, int], list[int]] = {}
        lasts = [_channels_last(parameter) for parameter in parameters]
        matrices = [
            (d.permute(0, 2, 3, 1) if last else d).reshape(count, len(d) // count, -1)
            for d, count, last in zip(directions, blocks, lasts, strict=True)
        ]
        for i, matrix in enumerate(matrices):
            alike.setdefault((matrix.shape[1], matrix.shape[2]), []).append(i)
        for (rows, columns), members in alike.items():
            # Rows alone are not multiplied, and stay as precise as they are.
            some = [matrices[i].to(self.dtype) if min(rows, columns) > 1 else matrices[i] for i in members]
            together = torch.cat(some) if len(some) > 1 else some[0]
            steps = orthogonalised(together, self.newton_schulz_steps, self.dtype)
            scale = max(1.0, rows / columns) ** 0.5
            for i, step in zip(members, torch.split(steps, [blocks[i] for i in members]), strict=True):
                weight = parameters[i].permute(0, 2, 3, 1) if lasts[i] else parameters[i]
                weight.add_(step.reshape(weight.shape).to(weight.dtype), alpha=-rate * scale)


def _channels_last(weight: Tensor) -> bool:
    """Whether a weight lies in memory with its channels last: in that order its columns are read without a copy.

    A step does not depend on the order of columns.
    """
    return weight.ndim == 4 and not weight.is_contiguous() and weight.is_contiguous(memory_format=torch.channels_last)


def orthogonalised(matrices: Tensor, steps: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Matrices (B x m x n) with their singular vectors, and singular values near 1; a row alone is made a unit vector.

    Each step is a polynomial of odd degree of the matrix, which needs no decomposition (Bernstein, Newhouse 2024,
    arXiv 2409.20325; coefficients: Jordan et al. 2024). All steps together are an even polynomial of the matrix's Gram
    matrix, times the matrix: of long matrices that is worked out on the small square.
    """
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.mT
    rows, columns = x.shape[1:]
    if rows > 1 and columns >= LONG * rows:
        x = x.to(dtype)
        gram = x @ x.mT
        # The squared norms of the matrices: they need not be divided themselves, which are much larger.
        precise = torch.promote_types(dtype, torch.float32)
        squares = gram.diagonal(dim1=1, dim2=2).sum(1, dtype=precise)[:, None, None].clamp(min=LEAST_NORM**2)
        product = _product_of_steps((gram / squares).to(dtype), steps) * squares.rsqrt()
        x = product.to(dtype) @ x
        return x if wide else x.mT
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=LEAST_NORM)
    if rows > 1:
        x = x.to(dtype)
        a, b, c = COEFFICIENTS
        for _ in range(steps):
            gram = x @ x.mT
            x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x if wide else x.mT


def _product_of_steps(gram: Tensor, steps: int) -> Tensor:
    """What a matrix with this Gram matrix (B x m x m) is multiplied by in so many steps."""
    a, b, c = COEFFICIENTS
    product: Tensor | None = None
    for step in range(steps):
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal(dim1=1, dim2=2).add_(a)
        product = factor if product is None else factor @ product
        if step < steps - 1:
            gram = factor @ gram @ factor
    if product is None:
        return torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device).expand_as(gram)
    return product

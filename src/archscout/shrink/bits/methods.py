"""Methods of mixed precision by name, and what they make of a quantisation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from archscout.core import options
from archscout.core.errors import UsageError, nearest
from archscout.deploy.program import Program
from archscout.deploy.quantise import Quantisation
from archscout.shrink.bits.curvature import by_curvature, one_at_a_time
from archscout.shrink.bits.exhaustive import exhaustive
from archscout.shrink.bits.fractional import fractional
from archscout.shrink.bits.genetic import genetic
from archscout.shrink.bits.hessian import Loss
from archscout.shrink.bits.limits import Limit
from archscout.shrink.bits.mixtures import differentiable
from archscout.shrink.bits.problem import BitProblem, Choice
from archscout.shrink.bits.reinforcement import reinforcement

METHODS: Mapping[str, Callable[[BitProblem, int], Choice]] = {
    "hawq": by_curvature,
    "one_at_a_time": one_at_a_time,
    "genetic": genetic,
    "reinforcement": reinforcement,
    "differentiable": differentiable,
    "fractional": fractional,
    "exhaustive": exhaustive,
}
"""Each takes a problem and a seed."""

DEFAULT = "hawq"


def check_method(name: str) -> str:
    """The name of a method, as given. Raises `UsageError`."""
    if options.text(name, "the method to choose bits") not in METHODS:
        raise UsageError(f"there is no method '{name}' to choose bits: {nearest(name, METHODS)}")
    return name


def mixed(
    program: Program,
    examples: Tensor,
    loss: Loss,
    how: Quantisation,
    limits: Sequence[Limit],
    *,
    method: str = DEFAULT,
    span: tuple[float, float] | None = None,
    seed: int = 0,
) -> Quantisation:
    """`how`, with bits of each layer (and value) by a method, within limits. Raises as `BitProblem` does.

    Where uniform bits within the limits lose less on the examples, they are taken instead.
    """
    choose = METHODS[check_method(method)]
    problem = BitProblem(program, examples, loss, how, limits, span=span)
    return problem.quantisation(min(choose(problem, seed), problem.uniform(), key=problem.loss_of))

"""Operators that are one: clamps and gains in the operator before them, equal clamps, and none that nobody reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from archscout.deploy.program import Operator


def fused(operators: Sequence[Operator], answer: int) -> tuple[list[Operator], int]:
    """Fewer operators that come to the same, and the value that is the answer.

    Args:
        operators: in the order in which they run.
        answer: the value that is wanted.
    """
    names = _names(operators)
    merged = [
        replace(o, inputs=tuple(names.get(v, v) for v in o.inputs))
        for o in operators
        if names.get(o.output, o.output) == o.output
    ]
    answer = names.get(answer, answer)
    return _needed(_together(merged, answer), answer), answer


def _names(operators: Sequence[Operator]) -> dict[int, int]:
    """Clamps of one value to one range are one value: the name that it goes by."""
    first: dict[tuple[int, tuple[float, float]], int] = {}
    return {o.output: first.setdefault((o.inputs[0], o.clamp), o.output) for o in operators if o.kind == "clamp"}


def _together(operators: list[Operator], answer: int) -> list[Operator]:
    """A clamp, or what each channel is multiplied by, belongs to the operator that makes its input, where nothing else
    reads that."""
    reads = Counter(v for o in operators for v in o.inputs)
    reads[answer] += 1
    makers = {o.output: place for place, o in enumerate(operators)}
    left: list[Operator | None] = list(operators)
    for place, operator in enumerate(operators):
        source = operator.inputs[0]
        if source not in makers or reads[source] != 1:
            continue
        maker = left[makers[source]]
        if maker is None:
            continue
        together: Operator | None = None
        if operator.kind == "clamp" and maker.kind in ("conv", "linear", "add", "multiply", "clamp"):
            low, high = max(maker.clamp[0], operator.clamp[0]), min(maker.clamp[1], operator.clamp[1])
            together = replace(maker, output=operator.output, clamp=(low, max(low, high)))
        elif _scales(operator) and maker.weight is not None and not maker.clamps:
            together = _scaled(maker, operator)
        if together is not None:
            left[makers[source]] = together
            makers[operator.output] = makers[source]
            left[place] = None
    return [operator for operator in left if operator is not None]


def _scales(o: Operator) -> bool:
    """Whether an operator multiplies each channel and adds to it, and nothing else."""
    alone = o.kind == "conv" and o.weight is not None and o.weight[0].numel() == 1 and o.groups == len(o.weight)
    return alone and (o.stride, o.padding, o.after) == ((1, 1), (0, 0), None)


def _scaled(maker: Operator, operator: Operator) -> Operator:
    (weight, bias), (scale, shift) = maker.weighted(), operator.weighted()
    many = scale.flatten()
    return replace(
        maker, output=operator.output, clamp=operator.clamp, bias=bias * many + shift,
        weight=weight * many.view(-1, *[1] * (weight.dim() - 1)),
    )  # fmt: skip


def _needed(operators: list[Operator], answer: int) -> list[Operator]:
    read = {answer}
    needed = []
    for operator in reversed(operators):
        if operator.output in read:
            needed.append(operator)
            read.update(operator.inputs)
    return needed[::-1]

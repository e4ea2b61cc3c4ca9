"""Bits of each layer of a finished run's network within what a user allows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from archscout.core import options
from archscout.core.errors import UsageError
from archscout.core.task import Task
from archscout.costs.latency import Latency
from archscout.costs.macs import Macs
from archscout.costs.weight_bytes import WeightBytes
from archscout.deploy.quantise import Quantisation
from archscout.deploy.reading import read
from archscout.finished.algorithms import check_images
from archscout.finished.examples import calibration_split, span, stored
from archscout.shrink.bits import limits as bit_limits
from archscout.shrink.bits.limits import Limit
from archscout.shrink.bits.methods import DEFAULT, check_method, mixed


def within(
    network: nn.Module,
    task: Task,
    how: Quantisation,
    given: Mapping[str, int | float | str | None],
    *,
    latency_table: str | Path | None = None,
    method: str | None = None,
    count: int,
    seed: int,
) -> Quantisation:
    """`how`, with bits of each layer that keep all limits; as it is where there is none.

    Args:
        network: deployed.
        task: with data: the loss is of training examples.
        how: schemes and observer.
        given: limits as a user gives them: `weight_bytes`, `bit_operations`, `latency`; None for none.
        latency_table: a file of latencies of layers.
        method: of `archscout.shrink.bits.methods.METHODS`; `hawq` where None.
        count: training examples.
        seed: of all random decisions.

    Raises:
        UsageError: a limit that cannot be read or kept, a method without a limit, a latency without a table, bits that
            are given and chosen.
        DataError: the table has something else than numbers.
    """
    check_method(DEFAULT if method is None else method)
    asked = {name: limit for name, limit in given.items() if limit is not None}
    if (latency_table is None) != ("latency" not in asked):
        raise UsageError("a limit of latency by layers and a table of their latencies go together: give both or none.")
    if not asked:
        if method is not None:
            raise UsageError("bits are chosen within a limit: give the bytes of the weights, or bit operations.")
        return how
    check_images(task)
    program = read(network, task.input_shape)
    limits: list[Limit] = []
    if (most := asked.get("weight_bytes")) is not None:
        limits.append(bit_limits.weight_bytes(program, WeightBytes.quantity(most, "weight_bytes")))
    if (most := asked.get("bit_operations")) is not None:
        limits.append(bit_limits.bit_operations(program, Macs.quantity(most, "bit_operations")))
    if (most := asked.get("latency")) is not None:
        table = bit_limits.read_table(options.path(latency_table, "the table of latencies"))
        limits.append(bit_limits.table_latency(program, table, Latency.quantity(most, "latency")))
    activations = any(limit.of_activations for limit in limits)
    for what, bits, chosen in (
        ("weights", how.weight_bits, True), ("activations", how.activation_bits, activations),
    ):  # fmt: skip
        if chosen and bits is not None:
            raise UsageError(
                f"the bits of {what} are given ({bits}) and to be chosen within a limit: leave out one of both."
            )
    split = calibration_split(task, count, seed)
    targets = task.tensors(split)[1]
    return mixed(
        program,
        stored(task, split),
        lambda outputs: task.loss(outputs, targets),
        how,
        limits,
        method=method or DEFAULT,
        span=span(task),
        seed=seed,
    )

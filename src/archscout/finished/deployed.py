"""A finished run as C code for a microcontroller: written, compiled and run where the tools are, and judged."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from archscout import __version__
from archscout.core import options
from archscout.core.errors import ArchscoutError, UsageError
from archscout.core.files import replacing_folder, well_formed, write_json
from archscout.core.task import Split, Task
from archscout.costs import devices
from archscout.costs.devices import Device
from archscout.deploy import toolchain
from archscout.deploy.arena import plan
from archscout.deploy.c import STACK_BYTES, emit, flash_bytes, flash_constants
from archscout.deploy.instructions import instructions
from archscout.deploy.patches import best
from archscout.deploy.quantise import Quantisation
from archscout.deploy.quantised_onnx import to_onnx
from archscout.finished.algorithms import to_integers
from archscout.finished.examples import EXAMPLES, stored
from archscout.finished.quantised import Int8
from archscout.search.result import METRICS, RESTORE, Result
from archscout.tasks.audio import AudioTask

BUDGET = "budget.json"
VECTORS = 8
"""Examples of the self-test, where no other number is given."""

MOST_PATCHES = 8
"""Along a side."""

TIGHT = 0.8
"""From which share of flash or memory on a network leaves little for the rest of a program."""


def searched_device(folder: Path) -> str:
    """The microcontroller that a run was searched for. Raises `UsageError` where it was for none."""
    name = Result.read(folder).metrics.get("microcontroller")
    if not name:
        raise UsageError(
            f"run '{folder.name}' was searched for no microcontroller: name one by --device, as cortex-m4."
        )
    return str(name)


def note_device(result: Result, name: str) -> Result:
    """Write into the metrics of a run for which microcontroller it was searched."""
    if result.metrics.get("microcontroller") == name:
        return result
    write_json(result.folder / "metrics.json", {**result.metrics, "microcontroller": name})
    return Result.read(result.folder)


def target(name: str) -> Device:
    """A device that C code is written for. Raises `UsageError` where its memory or processor is not known."""
    device = devices.find(options.text(name, "the device"))
    if device.memory is None or not device.core:
        known = [each for each in devices.names() if devices.find(each).memory and devices.find(each).core]
        raise UsageError(
            f"nothing is known of the memory and processor of device '{name}': use one of {', '.join(known)}, or put "
            f"'memory' and 'core' into a profile in '{devices.user_folder()}'."
        )
    return device


def verdict(device: Device, flash: int, sram: int) -> dict[str, Any]:
    """Whether a network fits: FITS, TIGHT (from 80 % on) or TOO BIG, with its shares of flash and memory.

    Of the memory, what the profile says that the rest of a program needs is taken off.
    """
    assert device.memory is not None
    shares = {
        "flash_share": flash / device.memory.flash_bytes,
        "sram_share": sram / max(1, device.memory.sram_bytes - device.memory.runtime_sram_bytes),
    }
    largest = max(shares.values())
    return {"verdict": "TOO BIG" if largest > 1 else "TIGHT" if largest > TIGHT else "FITS", **shares}


def deploy_run(
    folder: Path,
    network: nn.Module,
    task: Task,
    device: str,
    out: Path,
    how: Quantisation,
    *,
    algorithm: str = "nearest",
    epochs: int | None = None,
    count: int = EXAMPLES,
    vectors: int = VECTORS,
    patches: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Write a run's network as C into a folder; gives what is in its `budget.json`.

    The code is compiled and run on this machine, where it has a compiler, and on the device's core in QEMU, where these
    are installed; both must give the integer reference's bytes. What was not done is said under `missing`.

    Args:
        folder: of the run.
        network: its deployed network.
        task: with data: of training examples ranges are taken, of the test (or validation) examples the self-test.
        device: by name, with memory and processor known.
        out: a new or empty folder, or one of an earlier export, which is replaced.
        how: schemes, observer and corrections.
        algorithm: of `archscout.finished.algorithms.ALGORITHMS`.
        epochs: of one that trains.
        count: training examples that ranges are taken from.
        vectors: examples of the self-test.
        patches: the first operators run in so many patches by so many, as many operators as need least memory; 0 for
            none.
        seed: which examples ranges are taken from.

    Raises:
        UsageError: the device is unknown, the folder holds something else, or an operator has no integer form.
        ArchscoutError: the code cannot be compiled or differs, or what was counted breaks a limit of the search.
    """
    profile = target(device)
    result = Result.read(folder)
    _free(out)
    if vectors < 1:
        raise UsageError(f"a self-test has one example or more, not {vectors}.")
    if patches != 0 and not 2 <= patches <= MOST_PATCHES:
        raise UsageError(
            f"first operators run in 2 to {MOST_PATCHES} patches along a side (or 0: in none), not in {patches}."
        )
    quantised = to_integers(network, task, how, algorithm=algorithm, epochs=epochs, count=count, seed=seed)
    program = quantised.program
    split = task.valid if task.test is None else task.test
    shown = Split(split.x[:vectors], split.y[:vectors])
    pixels = task.train.x.dtype == np.uint8
    schedule = best(program, patches) if patches else None
    if patches and schedule is None:
        raise UsageError("patches of the first operators would not need less memory: leave out --patches.")
    code = emit(quantised, stored(task, shown), pixels=pixels, patches=schedule)
    missing = {}
    if absent := toolchain.missing(toolchain.HOST):
        missing["self-test on this machine"] = absent
    else:
        toolchain.check_on_host(code.files)
    counted = toolchain.count(code.files, profile.core, profile.board)
    if absent := toolchain.missing(toolchain.CROSS):
        missing["flash, counted"] = missing["instructions"] = absent
    elif counted.instructions is None:
        reason = toolchain.missing(toolchain.EMULATOR) or f"QEMU has no board with a {profile.core} that counts"
        missing["instructions"] = reason
    estimated_flash = flash_bytes(program, pixels) + code.constants - flash_constants(program, pixels)
    flash = counted.flash_bytes or estimated_flash
    sram = code.arena.size + (counted.stack_bytes or STACK_BYTES)
    again = 0 if schedule is None else schedule.extra_macs(program)
    estimated_instructions = round(instructions(program) * (1 + again / max(1, program.macs)))
    steps = counted.instructions or estimated_instructions
    with well_formed(folder / METRICS, RESTORE):
        _limits(result.metrics, {"flash_bytes": float(flash), "sram_bytes": float(sram), "instructions": float(steps)})
    metric = task.metric
    splits = {"valid": task.valid, "test": task.test}
    int8 = Int8(quantised, to_onnx(quantised))
    budget = {
        "format": 1,
        "run": folder.name,
        "architecture": result.architecture,
        "version": __version__,
        "device": profile.name,
        "core": profile.core,
        "board": profile.board or None,
        "flash_bytes": flash,
        "constants_bytes": code.constants,
        "sram_bytes": sram,
        "arena_bytes": code.arena.size,
        "stack_bytes": counted.stack_bytes or STACK_BYTES,
        "instructions": counted.instructions,
        "counted": {
            "flash_bytes": counted.flash_bytes is not None,
            "stack_bytes": counted.stack_bytes is not None,
            "instructions": counted.instructions is not None,
        },
        "estimated": {
            "flash_bytes": estimated_flash,
            "sram_bytes": code.arena.size + STACK_BYTES,
            "instructions": estimated_instructions,
        },
        "macs": program.macs,
        "patches": None
        if schedule is None
        else {
            "side": patches,
            "operators": schedule.operators,
            "extra_macs": again,
            "arena_bytes_without": plan(program).size,
        },
        "algorithm": algorithm,
        "scheme": how.scheme,
        "spectrogram": spectrogram_of(task),
        **{f"{name}_{metric}": int8.measure(task, part) for name, part in splits.items() if part is not None},
        "selftest": {
            "vectors": len(shown),
            "this machine": "self-test on this machine" not in missing,
            "board": counted.instructions is not None,
        },
        "verdicts": {
            each.name: verdict(each, flash, sram)
            for name in devices.names()
            if (each := devices.find(name)).memory and each.core
        },
        "missing": missing,
    }
    _write(out, {**code.files, BUDGET: json.dumps(budget, indent=1) + "\n"})
    return budget


def spectrogram_of(task: Task) -> dict[str, float] | None:
    """What the program around the network computes of a recording: the numbers of `LogMel`; None of images."""
    if not isinstance(task, AudioTask):
        return None
    return {"rate": task.rate, "window": task.window, "hop": task.hop, "mels": task.input_shape[1],
            "frames": task.input_shape[2]}  # fmt: skip


def _limits(metrics: Mapping[str, Any], counted: Mapping[str, float]) -> None:
    """Raises `ArchscoutError` where what was counted is above a limit that the run was searched under."""
    known = {**{key: value for key, value in metrics.get("costs", {}).items() if value is not None}, **counted}
    for limit in metrics.get("constraints", ()):
        value = known.get(limit["key"])
        if value is not None and value > limit["limit"]:
            raise ArchscoutError(
                f"the network breaks a limit of its search: {limit['key']} is {value:,.0f}, above "
                f"{limit['limit']:,.0f}; search again with a lower limit."
            )


def _free(out: Path) -> None:
    above = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    if above != out.absolute() and not (above.is_dir() and os.access(above, os.W_OK)):
        raise UsageError(f"cannot write '{out}', for '{above}' takes no folder: name another folder for the code.")
    if out.exists() and not out.is_dir():
        raise UsageError(f"'{out}' is a file: name a folder for the code.")
    if out.is_dir() and any(out.iterdir()) and not (out / BUDGET).is_file():
        raise UsageError(f"'{out}' holds something else than an export: name a new folder for the code.")


def _write(out: Path, texts: Mapping[str, str]) -> None:
    """The folder as a whole: beside its place first, then renamed."""
    try:
        with replacing_folder(out) as partial:
            for name, text in texts.items():
                (partial / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"cannot write '{out}': {error.strerror or error}; name another folder for the code."
        ) from error

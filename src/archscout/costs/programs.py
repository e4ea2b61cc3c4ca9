"""What is estimated of a network's integer program before it is trained: read once, counted for all costs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import nn

from archscout.core.architecture import Architecture
from archscout.core.cost import Measurement
from archscout.core.errors import ArchscoutError, UsageError
from archscout.core.estimator import Setting
from archscout.core.task import Task
from archscout.deploy.c import flash_bytes, sram_bytes
from archscout.deploy.instructions import instructions
from archscout.deploy.program import Program
from archscout.deploy.reading import read
from archscout.networks.pick import build
from archscout.networks.tracing import blueprint
from archscout.tasks.image_task import Mirrored

_REMEMBERED = 10_000
"""Architectures whose counts are remembered in a process."""


@dataclass(frozen=True)
class Counts:
    """Of a program: bytes of flash and of memory, and instructions; all infinite where there is none (`refused`)."""

    flash: float = math.inf
    sram: float = math.inf
    instructions: float = math.inf
    refused: str = ""


_counted: dict[tuple[str, str, str], Counts] = {}


def counts(architecture: Architecture, setting: Setting) -> Counts:
    """The counts of the program of an architecture of the setting's space.

    The stored type of the task says whether inputs are pixels of 0 to 255.
    """
    key = (setting.space.digest, setting.task.digest, architecture.text)
    if key not in _counted:
        if len(_counted) >= _REMEMBERED:
            _counted.clear()
        _counted[key] = _count(architecture, setting)
    return _counted[key]


def estimated(value: float, of: Counts) -> Measurement:
    """One of the counts, as what a cost measured."""
    return Measurement(float(value), details={"estimate": True} | ({"refused": of.refused} if of.refused else {}))


def _count(architecture: Architecture, setting: Setting) -> Counts:
    try:
        program = _program(architecture, setting)
    except UsageError as error:
        return Counts(refused=str(error))
    pixels = setting.task.train.x.dtype == np.uint8
    return Counts(flash_bytes(program, pixels), sram_bytes(program), instructions(program))


def _program(architecture: Architecture, setting: Setting) -> Program:
    task = setting.task
    try:
        return _read(blueprint(setting.space, architecture, task), task)
    except UsageError:
        raise
    except (ArchscoutError, RuntimeError, NotImplementedError):  # code that looks at numbers
        return _read(build(setting.space, architecture, task, seed=setting.seed), task)


def _read(network: nn.Module, task: Task) -> Program:
    """The program of a network; of a mean over an image and its mirror image the network alone, as its code is."""
    answering = task.answering(network)
    return read(answering.network if isinstance(answering, Mirrored) else answering, task.input_shape)

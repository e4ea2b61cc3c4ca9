"""What is estimated of a network's integer program before it is trained."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.cost import Measurement
from archscout.core.errors import ArchscoutError, UsageError
from archscout.core.estimator import Setting
from archscout.deploy.program import Program, read
from archscout.networks.pick import build
from archscout.networks.tracing import blueprint


def estimate(architecture: Architecture, setting: Setting, count: Callable[[Program, bool], int]) -> Measurement:
    """A count of the program of an architecture; infinite where it has none.

    Args:
        architecture: of the setting's space.
        setting: with the task, whose stored type says whether inputs are pixels of 0 to 255.
        count: of a program, and whether its inputs are such pixels.
    """
    pixels = setting.task.train.x.dtype == np.uint8
    try:
        program = _program(architecture, setting)
    except UsageError as error:
        return Measurement(math.inf, details={"estimate": True, "refused": str(error)})
    return Measurement(float(count(program, pixels)), details={"estimate": True})


def _program(architecture: Architecture, setting: Setting) -> Program:
    task = setting.task
    shape = task.input_shape
    try:
        return read(task.answering(blueprint(setting.space, architecture, task)), shape)
    except UsageError:
        raise
    except (ArchscoutError, RuntimeError, NotImplementedError):  # code that looks at numbers
        return read(task.answering(build(setting.space, architecture, task, seed=setting.seed)), shape)

"""The device that networks run on: a name that PyTorch knows, of something that this machine has."""

from __future__ import annotations

import re
from typing import Any

from archscout.core import options
from archscout.core.errors import UsageError, nearest

KINDS = ("cpu", "cuda", "mps", "xpu")
_FORM = re.compile(r"([a-z]{1,20})(?::([0-9]{1,3}))?")


def check_device(value: Any) -> str:
    """The device as text: `cpu`, `cuda`, `cuda:1`, `mps`, `xpu`; also a `torch.device`.

    Raises `UsageError` for any other name, and for a device that this machine does not have.
    """
    name = str(value) if type(value).__name__ == "device" else options.text(value, "the device")
    match = _FORM.fullmatch(name)
    kind = match.group(1) if match else ""
    if match is None or kind not in KINDS:
        raise UsageError(
            f"networks cannot run on the device {options.shown(name)}: {nearest(kind or name[:20], KINDS)} (what is to "
            "be fast elsewhere is limited by --max latency@DEVICE=...)."
        )
    if kind == "cpu":
        return "cpu"
    import torch

    backend = torch.backends.mps if kind == "mps" else getattr(torch, kind)
    count = 0 if not backend.is_available() else 1 if kind == "mps" else backend.device_count()
    if int(match.group(2) or 0) >= count:
        there = f"this machine has {count} of the kind" if count else "this machine, or its PyTorch, has none"
        raise UsageError(f"networks cannot run on '{name}': {there}; leave --device out to use the processor.")
    return name

"""The state of a training in one safetensors file, written after each epoch in place of the one before.

No generator state is kept: every random decision of an epoch comes from a stream named by the seed and the epoch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from archscout.core.files import write_bytes

FORMAT = 1


def write(path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
    """Write tensors and JSON notes. Whoever reads sees the old file or the new one, never half of either."""
    # Copies, because safetensors refuses tensors that share memory, as the weights of a tied module do.
    copies = {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    data = save(copies, metadata={"archscout": json.dumps({"format": FORMAT, **notes})})
    write_bytes(path, data, sweep=False)


def read(path: Path, device: str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The tensors and notes of a file; None where there is none, or none of ours."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt", device=device) as file:
            notes = json.loads((file.metadata() or {}).get("archscout", "{}"))
            if notes.get("format") != FORMAT:
                return None
            return {name: file.get_tensor(name) for name in file.keys()}, notes  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, ValueError):
        return None


def part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors below a name: `part({"network.weight": w}, "network")` is `{"weight": w}`."""
    return {key.removeprefix(f"{name}."): tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")}

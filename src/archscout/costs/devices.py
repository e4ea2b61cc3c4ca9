"""Devices: what is known of each, as data files.

A profile is one JSON file. Those that come with Archscout lie in `costs/profiles/`; a user's own lie in the folder of
the environment variable ARCHSCOUT_DEVICES, or else in the user's configuration folder, and win over ours of the same
name. Nothing here loads torch: `archscout list devices` is instant.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from platformdirs import user_config_path

from archscout.core.cost import Limit, Limits
from archscout.core.errors import DataError, UsageError, nearest
from archscout.core.files import read_json, write_text

FOLDER_VARIABLE = "ARCHSCOUT_DEVICES"
FORMAT = 1

_SHIPPED = Path(__file__).with_name("profiles")
_SIZE = re.compile(r" \d+(x\d+)*$")
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,39}")


@dataclass(frozen=True)
class Memory:
    """What a microcontroller has, in bytes, and what a runtime takes of it before any network."""

    sram_bytes: int
    flash_bytes: int
    runtime_sram_bytes: int = 0
    runtime_flash_bytes: int = 0


@dataclass(frozen=True)
class Energy:
    """Constants of an estimate: picojoules for one multiply-add, and for one byte moved to or from memory."""

    pj_per_mac: float
    pj_per_byte: float
    bytes_per_number: int = 4


@dataclass(frozen=True)
class Device:
    """What is known of a device; whatever is not known is None or empty.

    `operators` are the labels of traced operators that it runs (`conv` stands for all sizes); `latency` are the latency
    data by space (see `archscout.costs.device_latency`); `conditions` say how those were measured.
    """

    name: str
    title: str
    kind: str
    source: str
    memory: Memory | None = None
    energy: Energy | None = None
    operators: tuple[str, ...] = ()
    latency: tuple[Mapping[str, Any], ...] = ()
    conditions: Mapping[str, Any] = field(default_factory=dict)
    core: str = ""
    """The processor, by the name that compilers know: code for it can be compiled."""
    board: str = ""
    """A board of QEMU with that core."""
    own: bool = False
    """Whether the user added it."""

    def knows(self) -> str:
        """What can be asked about it, in words."""
        spaces = [f"{entry['space']} ({' x '.join(str(n) for n in entry['input_shape'])})" for entry in self.latency]
        parts = [f"latency of {' and '.join(spaces)}"] if spaces else []
        parts += ["memory"] if self.memory else []
        parts += ["energy (estimate)"] if self.energy else []
        return ", ".join(parts) or "nothing yet"

    def unsupported(self, labels: Iterable[str]) -> list[str]:
        """Of the labels of traced operators, those that it does not run; none where nothing is known of them.

        >>> Device("a", "A", "own", "", operators=("conv", "relu")).unsupported(["input", "conv 3x3", "gelu", "output"])
        ['gelu']
        """
        if not self.operators:
            return []
        known = {"input", "output", *self.operators}
        return sorted({label for label in labels if _SIZE.sub("", label).removesuffix("_") not in known})


def user_folder() -> Path:
    """Where the user's own profiles lie; it need not exist."""
    given = os.environ.get(FOLDER_VARIABLE)
    return Path(given) if given else user_config_path("archscout") / "devices"


def names() -> list[str]:
    """The names of all devices, sorted."""
    return sorted(_files())


def find(name: str) -> Device:
    """The device of a name. Raises `UsageError` for an unknown one, `DataError` for a damaged file."""
    files = _files()
    if name not in files:
        meant = nearest(name, files)
        meant = f"{meant} " if meant.endswith("?") else ""
        raise UsageError(
            f"there is no device '{name}': {meant}'archscout list devices' shows all, "
            f"and 'archscout device add {name if _NAME.fullmatch(name) else 'NAME'}' makes one from measurements."
        )
    return read(files[name])


def searched_for(device: Any, maximum: Limits | None) -> tuple[Any, Limits | None]:
    """Where networks run in a search for a device, and its limits.

    A microcontroller (a profile with memory) trains nothing: networks run on the processor here, and their integer form
    must keep to its flash and memory, each where no limit is given. Any other device is left as it is.

    >>> searched_for("cortex-m0plus", {"sram": "8kB"})
    ('cpu', {'flash': 262144, 'sram': '8kB'})
    >>> searched_for("cpu", None)
    ('cpu', None)
    """
    if not isinstance(device, str) or device not in _files():
        return device, maximum
    memory = find(device).memory
    if memory is None:
        return device, maximum
    named = {getattr(cost, "name", cost) for cost in maximum or {}}
    sizes = {"flash": memory.flash_bytes, "sram": memory.sram_bytes}
    limits: dict[Any, Limit] = {cost: size for cost, size in sizes.items() if cost not in named}
    limits.update(maximum or {})
    return "cpu", limits


def read(file: Path) -> Device:
    """The device of a file. Raises `DataError` where the file is no profile."""
    try:
        content = read_json(file, "delete it, or add the device again.")
        if content["format"] != FORMAT:
            raise DataError(f"'{file}' was written by a newer version (format {content['format']}): upgrade archscout.")
        known = {"name": content["name"], "title": content["title"], "kind": content["kind"]}
        if not all(isinstance(value, str) for value in known.values()) or known["name"] != file.stem:
            raise TypeError("its name, title and kind must be text, and its name that of the file")
        return Device(
            **known,
            source=str(content.get("source", "")),
            memory=Memory(**content["memory"]) if content.get("memory") else None,
            energy=Energy(**content["energy"]) if content.get("energy") else None,
            operators=tuple(content.get("operators", ())),
            latency=tuple(dict(entry) for entry in content.get("latency", ())),
            conditions=dict(content.get("conditions", {})),
            core=str(content.get("core", "")),
            board=str(content.get("board", "")),
            own=file.parent != _SHIPPED,
        )
    except DataError:
        raise
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"the device profile '{file}' is damaged ({error}): delete it, or add the device again."
        ) from error


def save(
    name: str, title: str, latency: Sequence[Mapping[str, Any]], conditions: Mapping[str, Any], source: str
) -> Path:
    """Write the profile of a user's own device; one of the same name is replaced. Raises `UsageError`."""
    check_name(name)
    folder = user_folder()
    content = {
        "format": FORMAT,
        "name": name,
        "title": title,
        "kind": "own",
        "source": source,
        "conditions": dict(conditions),
        "latency": [dict(entry) for entry in latency],
    }
    file = folder / f"{name}.json"
    try:
        write_text(file, json.dumps(content, indent=1) + "\n")
    except OSError as error:
        raise UsageError(
            f"cannot write to '{folder}': {error.strerror or error}; name another folder by {FOLDER_VARIABLE}."
        ) from error
    return file


def change(name: str, entry: Mapping[str, Any], changes: Mapping[str, Any]) -> Path:
    """Change what a device of the user's own knows of the latency of some networks; the rest of its profile stays.

    Raises `UsageError` for a device of the package, and where the profile cannot be written.
    """
    file = user_folder() / f"{name}.json"
    if not file.is_file():
        raise UsageError(f"'{name}' is no device of your own: 'archscout device add' makes one.")
    content = json.loads(file.read_text(encoding="utf-8"))
    content["latency"] = [{**each, **changes} if each == dict(entry) else each for each in content["latency"]]
    try:
        write_text(file, json.dumps(content, indent=1) + "\n")
    except OSError as error:
        raise UsageError(f"cannot write to '{file}': {error.strerror or error}.") from error
    return file


def check_name(name: str) -> None:
    """Raises `UsageError` for what cannot be the name of a device of the user's own."""
    if not _NAME.fullmatch(name) or name in ("local", "cpu", "cuda", "mps", "xpu"):
        raise UsageError(
            f"'{name}' cannot be the name of a device: use up to 40 small letters, digits, dots, dashes and "
            "underscores ('local' is this machine)."
        )


def _files() -> dict[str, Path]:
    files = {file.stem: file for file in _SHIPPED.glob("*.json")}
    return files | {file.stem: file for file in user_folder().glob("*.json")}

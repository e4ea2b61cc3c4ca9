"""Everything that has a name: `@register("estimator", "naswot")` on a class or a function that makes one.

The design meets three constraints. Adding a thing is one new file, so the built-in ones are found by reading the
decorators out of the files of their room, without importing them (no torch is loaded to print a list). An outside
package adds a thing by an entry point of the group `archscout.<kind>s`. A name may carry parameters,
`nasbench201:width=16,cells=5`, which become keyword arguments; what is registered as `latency@DEVICE` is asked for as
`latency@pixel3`, and gets `device="pixel3"`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from archscout.core import options
from archscout.core.errors import UsageError, nearest

ROOMS = {
    "space": "spaces",
    "task": "tasks",
    "kind": "kinds",
    "estimator": "estimators",
    "strategy": "strategies",
    "cost": "costs",
    "table": "tables",
    "method": "methods",
    "backbone": "backbones",
    "recipe": "recipes",
}

FOLDERS = ROOMS | {"kind": "tasks", "recipe": "training"}
"""Where built-in names are: the room of what is registered. Kinds are the classes of tasks."""

_DECORATOR = re.compile(
    r'^@register\("(?P<kind>\w+)", "(?P<name>[^"]+)"\)\n(?:@.*\n)*(?:class|def) [\s\S]*?:\n\s+r?"""(?P<summary>[^\n]*)',
    re.MULTILINE,
)

T = TypeVar("T", bound=Callable[..., Any])
_registered: dict[tuple[str, str], Callable[..., Any]] = {}
_adopted: dict[tuple[str, str], Callable[[], Callable[..., Any]]] = {}
"""How to make the factories of names that another process has registered, until one is asked for."""


@dataclass(frozen=True)
class Entry:
    """A registered name: where it comes from, and the first line of its docstring."""

    kind: str
    name: str
    module: str
    summary: str
    source: str


def register(kind: str, name: str) -> Callable[[T], T]:
    """Give a class, or a function that makes an object, a name of one of the kinds.

    >>> @register("strategy", "mine")                     # doctest: +SKIP
    ... class Mine(Strategy): ...
    """
    if kind not in ROOMS:
        raise UsageError(f"there is no kind '{kind}': {nearest(kind, ROOMS)}")

    def keep(factory: T) -> T:
        ours = __name__.partition(".")[0]
        if factory.__module__.partition(".")[0] != ours and name in _built_in(kind):
            # It would be the name of one thing here, and of the other in worker processes.
            raise UsageError(f"{kind} '{name}' is one of {ours}'s own: give yours another name.")
        known = _registered.get((kind, name))
        if known is not None and (known.__module__, known.__qualname__) != (factory.__module__, factory.__qualname__):
            raise UsageError(f"{kind} '{name}' is registered twice, in {known.__module__} and {factory.__module__}.")
        _registered[kind, name] = factory
        return factory

    return keep


def own() -> dict[tuple[str, str], Callable[..., Any]]:
    """What this process has registered that no other knows of itself, by kind and name: neither built in nor installed.

    Worker processes are sent it (`archscout.workers.names`).
    """
    return {
        (kind, name): factory
        for (kind, name), factory in _registered.items()
        if name not in _built_in(kind) and name not in _installed(kind)
    }


def adopt(kind: str, name: str, load: Callable[[], Callable[..., Any]]) -> None:
    """Register what another process has registered, to be loaded when it is asked for; what is known here stays."""
    _adopted.setdefault((kind, name), load)


@cache
def _built_in(kind: str) -> dict[str, Entry]:
    package = __name__.partition(".")[0]
    root = Path(__file__).parent.parent
    entries: dict[str, Entry] = {}
    for file in sorted((root / FOLDERS[kind]).rglob("*.py")):
        module = ".".join((package, *file.relative_to(root).with_suffix("").parts)).removesuffix(".__init__")
        for match in _DECORATOR.finditer(file.read_text(encoding="utf-8")):
            if match["kind"] == kind:
                summary = match["summary"].strip().removesuffix('"""')
                entries[match["name"]] = Entry(kind, match["name"], module, summary, package)
    return entries


@cache
def _installed(kind: str) -> dict[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group=f"archscout.{ROOMS[kind]}")}


def entries(kind: str) -> list[Entry]:
    """Everything registered of a kind, sorted by name: built in, installed beside us, or registered in this process."""
    by_name = dict(_built_in(kind))
    for name, point in _installed(kind).items():
        # Without importing it, all that is known of a plug-in is what its package says of itself.
        summary = str(point.dist.metadata.json.get("summary", "")) if point.dist else ""
        by_name.setdefault(name, Entry(kind, name, point.value, summary, point.dist.name if point.dist else "plug-in"))
    for (of, name), factory in _registered.items():
        if of == kind and name not in by_name:
            summary = (inspect.getdoc(factory) or "").partition("\n")[0]
            by_name[name] = Entry(kind, name, factory.__module__, summary, factory.__module__.partition(".")[0])
    for of, name in _adopted:
        if of == kind:
            by_name.setdefault(name, Entry(kind, name, "", "", "another process"))
    return [by_name[name] for name in sorted(by_name)]


def names(kind: str) -> list[str]:
    """The registered names of a kind (`"space"` or `"spaces"`, ...)."""
    return [entry.name for entry in entries(singular(kind))]


def singular(kind: str) -> str:
    """`"space"` for `"space"` and for `"spaces"`. Raises `UsageError` for what is no kind."""
    for singular, plural in ROOMS.items():
        if isinstance(kind, str) and kind in (singular, plural):
            return singular
    raise UsageError(f"there is no kind {options.shown(kind)}: {nearest(kind, ROOMS.values())}")


def factory(kind: str, name: str) -> Callable[..., Any]:
    """What makes the objects of a registered name. Raises `UsageError` for an unknown one, with the nearest known."""
    if (kind, name) not in _registered:
        if name in _built_in(kind):
            importlib.import_module(_built_in(kind)[name].module)
        elif name in _installed(kind):
            _registered[kind, name] = _installed(kind)[name].load()
        elif (kind, name) in _adopted:
            _registered[kind, name] = _adopted[kind, name]()
        else:
            raise UsageError(f"there is no {kind} '{name}': {nearest(name, names(kind))}")
    return _registered[kind, name]


_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_LONGEST = 64


def create(kind: str, text: str, **defaults: Any) -> Any:
    """The object of a name with parameters: `create("space", "nasbench201:width=16")`.

    Raises `UsageError` for an unknown name or parameter. The object's `name` becomes the text, its parameters sorted.
    """
    if not isinstance(text, str):
        raise UsageError(f"the {kind} must be a name, not {options.shown(text)}.")
    name = text.strip().partition(":")[0]
    base, _, device = name.partition("@")
    general = bool(device) and name not in names(kind)  # else it is a name of its own, as latency@int8
    if general and f"{base}@DEVICE" not in names(kind) and base in names(kind):
        raise UsageError(
            f"{kind} '{base}' is of no device: write '{base}', and name the device where one is asked for (a search, "
            f"deploy), by --device {device}."
        )
    make = factory(kind, f"{base}@DEVICE" if general else name)
    accepted = inspect.signature(make).parameters
    parameters = parse_name(text, first="source" if "source" in accepted else "")[1]
    parameters = {key: _as_declared(value, accepted.get(key)) for key, value in parameters.items()}
    given = dict(parameters) | ({"device": device} if general else {})
    free = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values())
    for parameter in parameters:
        if parameter not in accepted and not free:
            raise UsageError(f"{kind} '{name}' has no parameter '{parameter}': {nearest(parameter, accepted)}")
    complaint = ""
    for key, value in parameters.items():
        if not complaint and (wanted := _wanted(value, accepted.get(key))):
            complaint = f"the {key} of {kind} '{name}' must be {wanted}, not '{written(value)}'."
    try:
        instance = make(**{k: v for k, v in defaults.items() if k in accepted or free} | given)
    except UsageError:
        raise
    except Exception as error:
        if not complaint and not isinstance(error, TypeError):
            raise
        raise UsageError(complaint or f"{kind} '{text}' cannot be made: {error}.") from error
    if complaint:
        raise UsageError(complaint)
    if hasattr(instance, "name"):
        object.__setattr__(instance, "name", full_name(name, parameters))
    return instance


def _declared(parameter: inspect.Parameter | None) -> str:
    """The type of a parameter as its signature has it; nothing where there is none."""
    declared = "" if parameter is None else getattr(parameter.annotation, "__name__", str(parameter.annotation))
    return declared.removesuffix(" | None")


def _as_declared(value: Any, parameter: inspect.Parameter | None) -> Any:
    """A value as its parameter takes it: 1 and 0 are true and false where a truth value is asked for."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return bool(value) if whole and value in (0, 1) and _declared(parameter) == "bool" else value


def _wanted(value: Any, parameter: inspect.Parameter | None) -> str:
    """What a parameter takes by its declared type, where this value is none of it; else nothing."""
    declared = _declared(parameter)
    if declared == "bool" and not isinstance(value, bool):
        return "true or false"
    if declared == "int" and isinstance(value, float):
        return "a whole number"
    return "a number" if isinstance(value, str) and declared in ("int", "float", "int | float") else ""


def full_name(name: str, parameters: Mapping[str, Any]) -> str:
    """A name with its parameters, sorted: the text that `parse_name` reads.

    >>> full_name("digits", {"train": 500, "flip": False})
    'digits:flip=false,train=500'
    """
    first = [str(parameters["source"])] if "source" in parameters else []
    others = [f"{key}={written(value)}" for key, value in sorted(parameters.items()) if key != "source"]
    return name + ":" * bool(parameters) + ",".join(first + others)


def written(value: Any) -> str:
    """The value of a parameter as names have it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def parse_name(text: str, first: str = "") -> tuple[str, dict[str, Any]]:
    """A name and its parameters; the first one may be bare where it has a name, `first`.

    >>> parse_name("nasbench201:width=16,cells=5")
    ('nasbench201', {'width': 16, 'cells': 5})
    """
    name, colon, rest = text.strip().partition(":")
    parameters: dict[str, Any] = {}
    if colon:
        for place, part in enumerate(rest.split(",")):
            key, sign, value = part.partition("=")
            if first and not place and not sign and part.strip():
                key, sign, value = first, "=", part
            if not sign or not key.strip():
                raise UsageError(f"'{part}' in '{text}' is not of the form parameter=value.")
            if key.strip() in parameters:
                raise UsageError(f"'{text}' gives the parameter {key.strip()} twice: give it once.")
            parameters[key.strip()] = _value(value.strip())
    return name, parameters


def _value(text: str) -> bool | int | float | str:
    if text in ("true", "false"):
        return text == "true"
    # Only plain numbers: Python reads `1_000`, digits of all scripts, `nan` and `inf` too.
    if len(text) > _LONGEST or not _NUMBER.fullmatch(text):
        return text
    try:
        return int(text)
    except ValueError:
        return float(text)

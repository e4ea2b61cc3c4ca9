"""A short hash of anything that an object is made of: equal in every process, different where the object differs.

It is what stored results are compared by, so nothing may enter it that changes from one process to the next: no memory
address, no order of a set, no line number. Objects are walked: numbers, texts, arrays and containers by their content;
objects by their class and attributes; functions and classes of a user's own by their compiled code, what they refer to
included, for an edited `forward` is another network; those of libraries by name. A comment, a docstring, or a move to
another module changes nothing.
"""

from __future__ import annotations

import dis
import enum
import functools
import hashlib
import struct
import sys
import sysconfig
import types
from dataclasses import dataclass
from typing import Any

import numpy as np

LENGTH = 16
"""Hexadecimal digits of a digest."""

_PART = 2**20
"""Numbers of an array that are in another type at a time."""

_OWN = frozenset({"archscout", "torch", "numpy", "builtins", *sys.stdlib_module_names}) - {"__main__"}
_INSTALLED = tuple({sysconfig.get_path(kind) for kind in ("purelib", "platlib")})


def digest(*values: Any) -> str:
    """A hash of values, as short hexadecimal text; see `Digest`."""
    return Digest().add(values).text()


@dataclass(frozen=True)
class CountedAs:
    """An array that counts as one of another type: what is held in fewer bytes is what it was before."""

    array: np.ndarray
    dtype: Any


class Digest:
    """A hash that values are added to, one after the other.

    What is met again is named by the order in which it was first met: two layers that share a tensor differ from two
    that have equal ones, and an object may refer to itself.
    """

    def __init__(self) -> None:
        self._sha = hashlib.sha256()
        self._places: dict[int, int] = {}
        self._alive: list[Any] = []  # an address is a name only while what lies there is kept alive

    def text(self) -> str:
        """The hash of what was added so far."""
        return self._sha.hexdigest()[:LENGTH]

    def add(self, value: Any) -> Digest:
        """Add one value, whatever it is."""
        if value is None or isinstance(value, bool | int | float | complex | str | bytes):
            self._plain(value)
        elif isinstance(value, enum.Enum):
            self.mark(f"enum {_name(type(value))}.{value.name}")
        elif isinstance(value, tuple | list) and type(value).__module__ in ("builtins", "torch"):
            self.mark(f"{type(value).__name__} {len(value)}")
            for each in value:
                self.add(each)
        elif isinstance(value, set | frozenset):
            self.mark("set " + " ".join(sorted(digest(each) for each in value)))
        elif isinstance(value, CountedAs):
            self._counted(value.array, np.dtype(value.dtype))
        elif isinstance(value, np.generic) or _is_array(value):
            self.array(value)
        elif not self._met(value):
            self.reference(value)
        return self

    def reference(self, value: Any) -> None:
        """Add what can be shared, or refer to itself, when it is met for the first time."""
        if isinstance(value, dict | types.MappingProxyType):
            self.mark(f"mapping {len(value)}")
            for key, each in value.items():
                self.add(key).add(each)
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, types.FunctionType):
            self._function(value)
        elif isinstance(value, types.CodeType):
            self._code(value, None)
        elif isinstance(value, types.MethodType):
            self.mark("method").add(value.__func__).add(value.__self__)
        elif isinstance(value, types.ModuleType):
            self.mark(f"module {value.__name__}")
        elif isinstance(value, property):
            self.mark("property").add((value.fget, value.fset, value.fdel))
        elif isinstance(value, functools.partial | functools.partialmethod):
            self.mark("partial").add(value.func).add(value.args).add(dict(value.keywords))
        elif isinstance(value, functools.cached_property):
            self.mark("cached").add(value.func)
        elif isinstance(value, staticmethod | classmethod) or "__wrapped__" in getattr(value, "__dict__", ()):
            self.mark(f"wrapped by {type(value).__name__}").add(value.__wrapped__)
        elif isinstance(value, types.BuiltinFunctionType | types.MethodDescriptorType | types.WrapperDescriptorType):
            self.mark(f"built in {value.__qualname__}")
        else:
            self._object(value)

    # -- plain content ------------------------------------------------------------------------------------------------

    def mark(self, text: str) -> Digest:
        """Add a word of ours, which no value can be taken for."""
        return self._bytes(b"m", text.encode("utf-8", "surrogatepass"))

    def _bytes(self, kind: bytes, content: bytes | memoryview) -> Digest:
        self._sha.update(kind + struct.pack("<q", len(content)))
        self._sha.update(content)
        return self

    def _plain(self, value: Any) -> None:
        if isinstance(value, str):
            self._bytes(b"s", str(value).encode("utf-8", "surrogatepass"))
        elif isinstance(value, bytes):
            self._bytes(b"b", value)
        else:
            self.mark(f"{type(value).__name__} {value!r}")

    def array(self, value: Any) -> None:
        """Add shape, type and content of an array or a tensor (which may have a type that NumPy lacks)."""
        if not isinstance(value, np.ndarray | np.generic):
            torch = sys.modules["torch"]
            self.mark(f"tensor {tuple(value.shape)} {value.dtype} {value.requires_grad}")
            if value.device.type == "meta":
                return
            if value.layout is not torch.strided or value.is_quantized:
                self._object(value)
                return
            value = value.resolve_conj().resolve_neg().detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        array = np.ascontiguousarray(value)
        self.mark(f"array {np.shape(value)} {array.dtype.str}")
        if array.dtype.hasobject:
            self.add(array.tolist())
        else:
            self._bytes(b"a", array.reshape(-1).view(np.uint8).data)

    def _counted(self, array: np.ndarray, dtype: np.dtype) -> None:
        """What `array` adds of the array in another type, of which no more than a part is ever in memory."""
        self.mark(f"array {array.shape} {dtype.str}")
        self._sha.update(b"a" + struct.pack("<q", array.size * dtype.itemsize))
        rows = max(1, _PART // max(1, array[:1].size))
        for start in range(0, len(array), rows):
            self._sha.update(np.ascontiguousarray(array[start : start + rows], dtype).reshape(-1).view(np.uint8).data)

    def _met(self, value: Any) -> bool:
        place = self._places.get(id(value))
        if place is not None:
            self.mark(f"again {place}")
            return True
        self._places[id(value)] = len(self._places)
        self._alive.append(value)
        return False

    # -- code ---------------------------------------------------------------------------------------------------------

    def _class(self, value: type) -> None:
        if is_library(value):
            self.mark(f"class {_name(value)}")
            return
        self.mark(f"class {value.__qualname__}")
        self.add(value.__bases__)
        for name in sorted(vars(value)):
            member = vars(value)[name]
            special = name.startswith("__") and name.endswith("__")
            if special and (not isinstance(member, types.FunctionType) or name == "__annotate_func__"):
                continue
            if name not in ("_abc_impl", "_abc_registry"):
                self.add(name).add(member)

    def _function(self, value: types.FunctionType) -> None:
        if is_library(value):
            self.mark(f"function {_name(value)}")
        else:
            self.mark("function").add(value.__defaults__).add(value.__kwdefaults__)
            self._code(value.__code__, value.__doc__)
            for name in sorted(globals_read(value.__code__)):
                if name in value.__globals__:
                    self.add(name).add(value.__globals__[name])
        for cell in value.__closure__ or ():
            try:
                self.add(cell.cell_contents)
            except ValueError:  # not filled yet
                self.mark("empty cell")

    def _code(self, code: types.CodeType, docstring: str | None) -> None:
        self.mark(f"code {code.co_argcount} {code.co_posonlyargcount} {code.co_kwonlyargcount} {code.co_flags}")
        self._bytes(b"c", code.co_code)
        self.add((code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars))
        for position, constant in enumerate(code.co_consts):
            if isinstance(constant, types.CodeType):
                self._code(constant, None)
            elif not (position == 0 and docstring is not None and constant == docstring):
                self.add(constant)

    # -- objects ------------------------------------------------------------------------------------------------------

    def _object(self, value: Any) -> None:
        """An object by its class and what pickle would keep of it; by its class alone where pickle keeps nothing."""
        self.add(type(value))
        try:
            reduced = value.__reduce_ex__(2)
        except Exception:  # locks, streams and other things of one process alone
            return
        if isinstance(reduced, str):
            self.mark(f"global {reduced}")
            return
        function, arguments, *rest = reduced
        self.add(function).add(arguments)
        for part in rest:
            if part is None or isinstance(part, dict | list | tuple):
                self.add(part)
            else:  # the members of what derives from a list or a dictionary
                self.add(list(part))


def _is_array(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return True
    torch = sys.modules.get("torch")  # whoever has a tensor has imported it; the core does not
    return torch is not None and isinstance(value, torch.Tensor)


def is_library(value: Any) -> bool:
    """Whether a class or function belongs to an installed library, whose code is known by its name."""
    module = getattr(value, "__module__", None) or "builtins"
    if module.partition(".")[0] in _OWN:
        return True
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    return file.startswith(_INSTALLED)


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def globals_read(code: types.CodeType) -> set[str]:
    """The names of the globals that code reads and does not write, in functions inside it too."""
    return _names(code, "LOAD_GLOBAL") - _names(code, "STORE_GLOBAL")


def _names(code: types.CodeType, operation: str) -> set[str]:
    """The names that code reads or writes as globals, in functions inside it too."""
    names = {str(each.argval) for each in dis.get_instructions(code) if each.opname == operation}
    return names.union(*(_names(each, operation) for each in code.co_consts if isinstance(each, types.CodeType)))

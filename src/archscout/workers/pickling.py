"""What is sent to workers and back: cloudpickle, with functions that still know their file.

Newer releases of cloudpickle name the file of all code that they send `<dynamic-code>`. A traceback from a function of
the user's own would then show neither its file nor its line. Modules with parametrized weights are sent as well.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import CodeType
from typing import Any

import cloudpickle


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, CodeType):
            make, arguments, *_ = self.dispatch_table[CodeType](value)
            return _code, (_absolute(value.co_filename), make, arguments)
        if (plain := _plain_class(value)) is not None:
            return _parametrized, (plain, tuple(value.parametrizations)), plain.__getstate__(value)
        return super().reducer_override(value)


def _plain_class(value: Any) -> Any:
    """The class that a module of PyTorch had before its weights were parametrized; None for everything else."""
    if not type(value).__name__.startswith("Parametrized") or "parametrizations" not in vars(value).get("_modules", ()):
        return None
    from torch.nn.utils import parametrize

    return parametrize.type_before_parametrizations(value)


def _parametrized(plain: Any, names: tuple[str, ...]) -> Any:
    """A module, yet without state, of the class that PyTorch makes anew for each parametrized one, and never sends."""
    from torch.nn.utils import parametrize

    module = plain.__new__(plain)
    parametrize._inject_new_class(module)
    for name in names:
        parametrize._inject_property(module, name)
    return module


def dumps(value: Any) -> bytes:
    """The bytes of a value, for `pickle.loads` in a process that can import Archscout."""
    stream = io.BytesIO()
    _Pickler(stream).dump(value)
    return stream.getvalue()


def _code(file: str, make: Callable[..., CodeType], arguments: tuple[Any, ...]) -> CodeType:
    return make(*arguments).replace(co_filename=file)


def _absolute(file: str) -> str:
    """The path of a source file, also for a process in another folder; other names (`<stdin>`) stay."""
    try:
        return str(Path(file).resolve()) if Path(file).is_file() else file
    except (OSError, ValueError):
        return file

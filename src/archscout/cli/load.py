"""`--load FILE.py`: a Python file of one's own is run first, so that the names that it registers can be used.

The file becomes a module by its name, as an import would make it. It lies in no package, so worker processes, which
could not import it, are sent its code.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import typer

from archscout.cli import output
from archscout.core.errors import ArchscoutError, UsageError


def load_files(context: typer.Context, files: Sequence[Path] | None) -> Sequence[Path] | None:
    """The callback of the option. Raises `UsageError` for a file that cannot be run."""
    if not context.resilient_parsing:
        with output.only_the_answer():
            for file in files or ():
                load_file(file)
    return files


def load_file(file: Path) -> ModuleType:
    """Run a Python file as the module of its name.

    Raises `UsageError` where there is none, its name is that of another module, or it fails: which line, and why.
    """
    name, place = file.stem, file.resolve()
    if not file.is_file():
        raise UsageError(f"--load {file}: there is no such file; name a Python file that registers what is yours.")
    if file.suffix != ".py" or not name.isidentifier():
        raise UsageError(f"--load {file}: this is no Python file; its name must be one word that ends in .py.")
    known = sys.modules.get(name)
    if known is not None and _lies_at(getattr(known, "__file__", None), place):
        return known
    if known is not None or _is_elsewhere(name, place):
        raise UsageError(f"--load {file}: there is another module '{name}' already; give the file another name.")
    spec = importlib.util.spec_from_file_location(name, place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    folder = str(place.parent)
    if folder not in sys.path:
        sys.path.append(folder)  # what lies beside it can be imported, here and in workers, which inherit the path
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever code of the user's own may raise, SystemExit included
        del sys.modules[name]
        raise UsageError(f"--load {file}: {_why(error, place)}.") from error
    import cloudpickle

    cloudpickle.register_pickle_by_value(module)
    return module


def _lies_at(file: str | None, place: Path) -> bool:
    return file is not None and Path(file).resolve() == place


def _is_elsewhere(name: str, place: Path) -> bool:
    """Whether an import of this name would bring another file."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return False
    return spec is not None and not _lies_at(spec.origin, place)


def _why(error: BaseException, place: Path) -> str:
    """What is wrong with the file, and in which of its lines."""
    if isinstance(error, SyntaxError):
        where = "" if _lies_at(error.filename, place) else f" of '{error.filename}'"
        return f"line {error.lineno}{where} is no Python ({error.msg}): mend it"
    own = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if _lies_at(frame.filename, place)]
    where = f"line {own[-1]} " if own else "it "
    if isinstance(error, SystemExit):
        return f"{where}ends the program: keep what a script does below 'if __name__ == \"__main__\":'"
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    if isinstance(error, ArchscoutError):
        return f"{where}fails: {said.rstrip('.')}"
    return f"{where}fails with {type(error).__name__}{f' ({output.shortened(said)})' if said else ''}: mend it"

"""The entry point: `archscout COMMAND ...`.

Two constraints shape it. Nothing heavy is imported before a command needs it, so that `archscout --help` is instant.
And whatever goes wrong ends in one plain sentence on stderr with the right exit code (0 done, 1 failed, 2 wrong usage,
130 interrupted), with a traceback only after `--debug`.
"""

from __future__ import annotations

import contextlib
import errno
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any

import typer

from archscout.cli import (
    ask,
    data,
    deploy,
    device,
    measure,
    output,
    predict,
    quantise,
    report,
    score,
    search,
    shrink,
    study,
    table,
    train,
)
from archscout.cli import list as list_command
from archscout.core.errors import ArchscoutError, DataError, DataNotice, UsageError, nearest

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130

app = typer.Typer(
    name="archscout",
    help="Find a good neural network for your data and your device before you pay for training.",
    epilog="A first search: archscout search --space nasbench201 --data digits --max latency=2ms --budget 2m",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


for name, function, summary in (
    ("list", list_command.list_names, "What there is: spaces, tasks, methods, ..."),
    ("search", search.search, "Find a network for your data within your limits."),
    ("score", score.score, "Score many architectures without training them."),
    ("shrink", shrink.shrink, "Make a trained network keep your limits, on your data."),
    ("train", train.train, "Train one architecture in full, and export it."),
    ("quantise", quantise.quantise, "The network of a run in integers, for int8 runtimes."),
    ("deploy", deploy.deploy, "The network of a run as C code for a microcontroller."),
    ("measure", measure.measure, "What one architecture costs, before any training."),
    ("report", report.report, "The page about a run."),
    ("predict", predict.predict, "Label images with the network of a run."),
    ("ask", ask.ask, "What to try next, where another program evaluates."),
    ("tell", ask.tell, "What came of it."),
):
    app.command(name, short_help=summary)(function)
app.add_typer(data.app, name="data", short_help="Your own data: what would be read, and what is odd.")
app.add_typer(study.app, name="study", short_help="Compare estimators or strategies on ground truth.")
app.add_typer(table.app, name="table", short_help="Tabular benchmarks: build, import, check and show them.")
app.add_typer(device.app)


def _version(wanted: bool) -> None:
    if wanted:
        import archscout

        output.print_text(f"archscout {archscout.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Options that stand before the command."""


def main() -> None:
    """The console script."""
    output.complete()
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Carry out one command line; returns the exit code."""
    debug = "--debug" in arguments
    with _terminate_as_interrupt(), warnings.catch_warnings():
        if not debug:
            warnings.simplefilter("ignore")
        warnings.simplefilter("always", DataNotice)
        warnings.showwarning = _notice(warnings.showwarning)
        try:
            _check_none_is_empty(arguments)
            command = typer.main.get_command(app)
            code = command.main(list(arguments) or ["--help"], prog_name="archscout", standalone_mode=False)
            if sys.stdout is not None:
                sys.stdout.flush()
        except BrokenPipeError:
            # Whoever read our output has gone (`archscout list | head`); nothing is left to say, also not at exit.
            sys.stdout = None
            return FAILED
        except (Exception, KeyboardInterrupt) as error:
            if debug:
                import traceback

                traceback.print_exception(error)
            message, code = explain(error)
            message = output.one_line(message.strip())
            message = message[:-1] if message.endswith("?.") else message  # a question that stands in a sentence
            output.say("Error: " + output.shortened(message + ("" if message.endswith((".", "?", "!")) else ".")))
            return code
    if code == INTERRUPTED:
        output.say("Error: stopped before it was done.")
    return int(code or DONE)


def _check_none_is_empty(arguments: Sequence[str]) -> None:
    """An empty word is a variable of a script that was not set, which no default may stand in for."""
    for before, word in zip(("archscout", *arguments), arguments, strict=False):
        option, sign, value = word.partition("=")
        if sign and option.startswith("--") and not value.strip():
            raise UsageError(f"{option} is empty: give a value, or leave it out.")
        if not word.strip():
            raise UsageError(f"what follows '{output.shortened(before)}' is empty: give a value, or leave it out.")


def _notice(otherwise: Callable[..., None]) -> Callable[..., None]:
    """Shows what data were read as in a plain line, and every other warning as before."""

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, DataNotice):
            output.say(output.one_line(f"Note: {message}"))
        else:
            otherwise(message, category, *place, **more)

    return show


def explain(error: BaseException) -> tuple[str, int]:
    """The sentence and the exit code for whatever went wrong."""
    match error:
        case KeyboardInterrupt():
            return "stopped before it was done.", INTERRUPTED
        case output.Stopped():
            return str(error), INTERRUPTED
        case UsageError() | DataError():
            return str(error), WRONG_USAGE
        case ArchscoutError():
            return str(error), FAILED
        case typer.TyperException():
            return _usage(error), error.exit_code
        case OSError() if error.strerror:
            place = f"'{error.filename}': " if error.filename else ""
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            advice = "free some space there, or write to another disk" if full else "name another file or folder"
            return f"{place}{error.strerror}; {advice}.", FAILED
        case MemoryError():
            said = f" ({error})" if str(error) else ""
            return f"out of memory{said}: use smaller data, networks or batches, or fewer --workers.", FAILED
    name = type(error).__name__
    return f"unexpected {name} ({error}): run the same command with --debug and report what it prints.", FAILED


def _usage(error: typer.TyperException) -> str:
    """Typer's message as one sentence that says where to look."""
    message = error.format_message().strip() or "a command is missing"
    context = getattr(error, "ctx", None)
    option = getattr(error, "option_name", None)
    if option is not None and context is not None:
        known = [name for parameter in context.command.get_params(context) for name in parameter.opts]
        if option not in known:
            message = f"there is no option '{option}': {nearest(option, known)}"
    message = message.rstrip(".")
    see = f"; see '{context.command_path} --help'." if context is not None else "."
    message = message[:1].lower() + message[1:]
    return " ".join(message.split()) + ("" if message.endswith("?") else see)


@contextlib.contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does: what is finished is kept, and the exit code is 130."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

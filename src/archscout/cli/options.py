"""Arguments and options that several commands share, and how their values are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from archscout.cli.load import load_files
from archscout.core.errors import UsageError
from archscout.core.options import LONGEST, shown

SpaceName = Annotated[
    str, typer.Argument(metavar="SPACE", help="A search space ('archscout list spaces').", show_default=False)
]
ArchitectureText = Annotated[
    str,
    typer.Argument(
        metavar="ARCH",
        help="An architecture as text, in quotes, or the name of a reference design, as 'resnet8' of space classic.",
        show_default=False,
    ),
]
Data = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="NAME|PATH",
        help="A built-in task ('archscout list tasks'), or your own: a folder of class folders, an .npz file, a "
        "list of pictures (.csv, .jsonl, .parquet), tar shards; 'archscout data check' shows what would be read.",
        show_default=False,
    ),
]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Leave unreadable images of your data out, and say so, instead of ending.")
]
RunNetwork = Annotated[
    str | None,
    typer.Option(
        "--network",
        metavar="PACKAGE.MODULE:FACTORY",
        help="Of a run that began with a network of your own: that network, once more.",
        show_default=False,
    ),
]

RunData = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="NAME|PATH",
        help="The data of the run; may be left out for built-in tasks.",
        show_default=False,
    ),
]
RangeExamples = Annotated[
    int, typer.Option("--examples", min=1, metavar="N", help="Training examples that ranges are taken from.")
]
Algorithm = Annotated[
    str,
    typer.Option(
        "--algorithm",
        metavar="NAME",
        help="nearest; adaround, brecq or qdrop, which learn rounding; or quantisation-aware training: lsq, lsq_plus, "
        "pact, dorefa, dsq, tqt, ste.",
    ),
]
AwareEpochs = Annotated[
    int | None,
    typer.Option(
        "--epochs", min=1, metavar="N", help="Of quantisation-aware training; 10 if not given.", show_default=False
    ),
]
Seed = Annotated[int, typer.Option("--seed", min=0, metavar="N", help="The same seed gives the same result.")]
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, metavar="N", help="Worker processes; as many as cores if not given.")
]
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="Where networks run: cpu, cuda, ...")]
Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON, and nothing else, on stdout.")]
# Commands take it so that their help has it; `archscout.cli.main.run` is who acts on it.
Debug = Annotated[bool, typer.Option("--debug", help="After a failure, print the traceback.")]
# Likewise: the file is run while the command line is read, before any name is looked up.
Load = Annotated[
    list[Path] | None,
    typer.Option(
        "--load",
        metavar="FILE.py",
        callback=load_files,
        is_eager=True,
        help="A Python file of your own that is run first: what it registers can be named.",
        show_default=False,
    ),
]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Set aside what lies there already, as NAME.old1 and so on, and begin anew.")
]
StudyOut = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="runs/study-... if not given.", show_default=False)
]
Precision = Annotated[
    str,
    typer.Option(
        "--precision",
        metavar="NAME",
        help="float32, or int8: quantised after training too ('archscout quantise').",
    ),
]
HowTrained = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="NAME|FIELD=VALUE,...",
        help="How networks are trained: a recipe ('archscout list recipes'), fields that are to be other "
        "(optimizer=adamw,lr=1e-3,batch=128), or both (sgd,lr=0.05); Archscout's choice if not given.",
        show_default=False,
    ),
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder that the run's own folder lies in.")]
Start = Annotated[
    str | None,
    typer.Option(
        "--start",
        metavar="FILE|RUN|TABLE",
        help="What is evaluated before all else: a file with one architecture a line (or a column 'architecture'), "
        "the best of an earlier search (its folder), or of a table.",
        show_default=False,
    ),
]


Metric = Annotated[
    str | None,
    typer.Option(
        "--metric",
        metavar="NAME",
        help="What networks are measured by: accuracy, balanced_accuracy, f1, ..., or a function: package:function.",
        show_default=False,
    ),
]


def readable(data: str, skip_bad: bool, metric: str | None = None) -> str:
    """The name of the data with what `--skip-bad` and `--metric` ask for.

    >>> readable("photos:size=32", True), readable("photos", False), readable("photos", False, "mine:dice")
    ('photos:size=32,skip_bad=true', 'photos', 'photos:metric=mine.dice')
    """
    asked = ["skip_bad=true"] * skip_bad + ([f"metric={metric.replace(':', '.')}"] if metric else [])
    if not asked:
        return data
    tail = data.rpartition(":")[2]
    return data + ("," if ":" in data and "=" in tail else ":") + ",".join(asked)


def check_precision(precision: str) -> bool:
    """Whether the network is wanted in integers too. Raises `UsageError`."""
    if precision not in ("float32", "int8"):
        raise UsageError(f"there is no precision '{precision}': use float32 or int8.")
    return precision == "int8"


def split_names(texts: Sequence[str]) -> list[str]:
    """The names in a comma-separated list, where a name may carry parameters that have commas between them too.

    >>> split_names(["naswot,epsilon:batch=3,seed=4,synflow"])
    ['naswot', 'epsilon:batch=3,seed=4', 'synflow']
    """
    names: list[str] = []
    for text in texts:
        for position, part in enumerate(text.split(",")):
            continues = position and ":" not in part and "=" in part and ":" in names[-1]
            if continues:
                names[-1] += f",{part}"
            elif part.strip():
                names.append(part.strip())
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"'{twice}' is named twice: name it once.")
    return names


def limits(texts: Sequence[str]) -> dict[str, str]:
    """The constraints of `--max COST=VALUE`, each as the user wrote it. Raises `UsageError`.

    >>> limits(["latency=2ms", "params=1.5M"])
    {'latency': '2ms', 'params': '1.5M'}
    """
    maximum: dict[str, str] = {}
    for text in texts:
        # The last sign separates, for the name may carry parameters: latency:backend=onnx=2ms.
        cost, sign, value = text.rpartition("=")
        if not sign or not cost.strip() or not value.strip():
            raise UsageError(f"'--max {text}' is not of the form COST=VALUE: write, for example, --max latency=2ms.")
        if cost.strip() in maximum:
            raise UsageError(f"--max {cost.strip()} is given twice: give one limit for each cost.")
        maximum[cost.strip()] = value.strip()
    return maximum


def by_device(texts: Sequence[str]) -> dict[str, str]:
    """The files of `--times DEVICE=CSV`. Raises `UsageError`.

    >>> by_device(["board=times.csv"])
    {'board': 'times.csv'}
    """
    files: dict[str, str] = {}
    for text in texts:
        device, sign, file = text.partition("=")
        if not sign or not device.strip() or not file.strip():
            raise UsageError(f"'--times {text}' is not of the form DEVICE=CSV: write, say, --times board=times.csv.")
        if device.strip() in files:
            raise UsageError(f"--times {device.strip()} is given twice: give one file for each device.")
        files[device.strip()] = file.strip()
    return files


def on_device(cost: str, device: str) -> str:
    """The name of a cost on a named device; what does not depend on the device stays as it is.

    >>> on_device("latency", "pixel3"), on_device("params", "pixel3")
    ('latency@pixel3', 'params')
    """
    from archscout.core.registry import names

    name, colon, parameters = cost.partition(":")
    return f"{name}@{device}{colon}{parameters}" if f"{name}@DEVICE" in names("cost") else cost


def run_folder(run: str) -> Path:
    """The folder of a run that is named by its path, or by its name in `runs/`. Raises `UsageError`."""
    from archscout.core.errors import nearest

    for folder in (Path(run), Path("runs") / run):
        if run.strip() and folder.is_dir():
            return folder
    known = [folder.name for folder in Path("runs").glob("*/")] if Path("runs").is_dir() else []
    raise UsageError(f"there is no run '{run}', as a folder or in runs/: {nearest(run, known)}")


def numbers_of(text: str) -> tuple[int, ...]:
    """The whole numbers in a comma-separated list, each once, in order. Raises `UsageError`."""
    return tuple(sorted({count_of(part) for part in text.split(",") if part.strip()} or {count_of(text)}))


def count_of(text: str) -> int:
    """A whole number of the command line. Raises `UsageError`."""
    if not (text.strip().isdecimal() and len(text) <= LONGEST):
        raise UsageError(
            f"{shown(text)} is no whole number: write --train-sizes 10,50,100, and --test or --sample 1000, or all."
        )
    return int(text)

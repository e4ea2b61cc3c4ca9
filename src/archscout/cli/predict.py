"""`archscout predict`: labels for images, recordings or series, by the network of a run."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archscout.cli import output
from archscout.cli.options import Debug, Json, Load, run_folder
from archscout.core.errors import ArchscoutError, DataError, UsageError
from archscout.core.files import replacing

if TYPE_CHECKING:
    import numpy as np

_BATCH = 256


def predict(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder or name.", show_default=False)],
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            help="Files of images or recordings, folders of them, or .npy and .npz arrays (images: N x H x W x C).",
            show_default=False,
        ),
    ],
    top: Annotated[
        int, typer.Option("--top", min=1, metavar="K", help="How many labels of each, likeliest first.")
    ] = 1,
    csv_file: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Write the labels to a CSV file instead.", show_default=False),
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave unreadable files out, and say so, instead of ending.")
    ] = False,
    as_json: Json = False,
    load: Load = None,
    debug: Debug = False,
) -> None:
    """Label images or recordings with the network that a run found; what differs in size, rate or length is brought
    to what it was trained on."""
    folder = run_folder(run)
    if not all(name.strip() for name in images):
        raise UsageError("one of the names of files is empty (write . for the folder that you are in).")
    with output.only_the_answer():
        import torch

        from archscout.finished.network import load_for_answers
        from archscout.tasks import inputs

        torch.set_num_threads(1)
        network = load_for_answers(folder)
        if not inputs.takes_files(network.task):  # type: ignore[arg-type]
            raise UsageError(f"the network of '{folder}' takes no images: load it with archscout.load.")
        files = [file for named in images for file in _files(Path(named), network.task)]
        answers = [answer for names, block in _batches(network.task, files, skip_bad)
                   for answer in _label(network, names, block, top)]  # fmt: skip
    headings, rows = _cells(answers)
    if csv_file is not None:
        _write(csv_file, headings, rows)
    if as_json:
        output.print_json(answers)
    elif csv_file is not None:
        output.print_text(str(csv_file))
    else:
        output.print_table(
            [heading.replace("_", " ") for heading in headings],
            [[f"{cell:.1%}" if heading.startswith("probability") else _text(cell)
              for heading, cell in zip(headings, row, strict=True)] for row in rows],
        )  # fmt: skip


def _files(named: Path, task: Any) -> list[Path]:
    from archscout.tasks import inputs

    if named.is_dir():
        return inputs.files_below(named, task)
    if not named.exists():
        noun = inputs.noun(task)
        raise DataError(
            f"there is no {noun} '{named}': name {noun} files, folders, or .npy and .npz arrays of {noun}s."
        )
    return [named]


def _batches(task: Any, files: Sequence[Path], skip_bad: bool) -> Iterator[tuple[list[str], np.ndarray]]:
    """Names and images, many at a time; what was converted or left out is said."""
    import numpy as np

    from archscout.tasks import inputs
    from archscout.tasks.decode import shown

    names: list[str] = []
    waiting: list[np.ndarray] = []
    bad: list[str] = []
    for file in files:
        try:
            images, converted = inputs.read(file, task)
        except DataError as error:
            if not skip_bad:
                raise
            bad.append(str(error))
            continue
        if converted:
            output.say(f"Note: '{shown(file)}': {converted}, as the network was trained.")
        several = file.suffix.lower() in (*inputs.ARRAYS, *inputs.TABLES)
        for start in range(0, len(images), _BATCH):
            block = images[start : start + _BATCH]
            names += [f"{shown(file)}[{start + row}]" if several else shown(file) for row in range(len(block))]
            waiting.append(block)
            if len(names) >= _BATCH:
                yield names, np.concatenate(waiting)
                names, waiting = [], []
    if names:
        yield names, np.concatenate(waiting)
    if len(bad) == len(files):
        raise DataError(f"none of the {len(files)} {inputs.nouns(task)} can be read; the first: {bad[0]}")
    for sentence in bad:
        output.say(f"Note: left out: {sentence}")


def _label(network: Any, names: Sequence[str], images: np.ndarray, top: int) -> Iterator[dict[str, Any]]:
    import torch

    from archscout.networks.outputs import named
    from archscout.tasks import inputs

    with torch.no_grad():
        x = torch.from_numpy(images)
        outputs = network(x.permute(0, 3, 1, 2).contiguous() if x.ndim == 4 else x)
    if not all(output.isfinite().all() for output in named(outputs).values()):
        raise ArchscoutError(f"the network gives no finite answer for '{names[0]}' or one after it: train it again.")
    for name, said in zip(names, network.task.tell(outputs, top), strict=True):
        yield {inputs.noun(network.task): name, **said}


def _cells(answers: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    """What was said of each image as a table: of a class the likeliest labels, else a column for each thing said."""
    if "label" not in answers[0]:
        flat = [dict(_flat(answer)) for answer in answers]
        return list(flat[0]), [list(row.values()) for row in flat]
    noun, most = next(iter(answers[0])), len(answers[0].get("top", [None]))
    headings = [noun, "label", "probability"] + [
        f"{word}_{place}" for place in range(2, most + 1) for word in ("label", "probability")
    ]
    return headings, [
        [answer[noun], *(one[key] for one in answer.get("top", [answer]) for key in ("label", "probability"))]
        for answer in answers
    ]


def _flat(said: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in said.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name} ")
        else:
            yield f"{before}{name}", " ".join(value) if isinstance(value, list) else value


def _text(cell: Any) -> str:
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def _write(file: Path, headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """The answers as CSV; whole or not at all."""
    from archscout.core.cells import cell

    try:
        with replacing(file) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow([cell(heading) for heading in headings])
            writer.writerows([cell(value) for value in row] for row in rows)
    except OSError as error:
        raise UsageError(f"cannot write '{file}': {error.strerror}; name another file with --csv.") from error

"""Lists of trials: pairs of recordings, and whether they are of one speaker, as verification is measured in the field.

A line has two recordings and `target` or `nontarget` (or 1 or 0), which may stand first, as in the lists of VoxCeleb;
a CSV file with headings (`enrol,test,label`) does as well. Recordings are named by the ends of their paths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from archscout.core.errors import DataError, UsageError
from archscout.tasks.contents import Contents, Source
from archscout.tasks.decode import shown

SAME = {"target": True, "1": True, "same": True, "true": True,
        "nontarget": False, "0": False, "imposter": False, "different": False, "false": False}  # fmt: skip

MOST_BYTES = 2**28


@dataclass(frozen=True)
class Trial:
    """One line of a list."""

    line: int
    names: tuple[str, str]
    same: bool


@dataclass(frozen=True)
class TrialList:
    """The trials of a file; `source` is what messages call it."""

    source: str
    trials: tuple[Trial, ...]


def read_trials(named: str, beside: Path | None = None) -> TrialList:
    """The trials in a file, which may lie beside the data. Raises `UsageError` where there is none, or `DataError`."""
    file = Path(named).expanduser()
    if not file.is_file() and beside is not None:
        file = (beside if beside.is_dir() else beside.parent) / named
    if not file.is_file():
        raise UsageError(f"there is no file of trials '{named}': name one, as it lies here or beside the data.")
    source = f"'{shown(file)}'"
    if file.stat().st_size > MOST_BYTES:
        raise DataError(f"{source} has more than {MOST_BYTES:,} bytes: give a list of trials, two recordings a line.")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{source} is no text in UTF-8: save it as such.") from error
    trials = []
    for number, line in enumerate(text.splitlines(), start=1):
        cells = line.replace(",", " ").replace("\t", " ").split()
        if cells and not (number == 1 and not _labels(cells)):  # a line of headings
            trials.append(_trial(cells, number, source))
    if len({trial.same for trial in trials}) < 2:
        raise DataError(f"{source} needs trials of both sorts: target and nontarget, one a line.")
    return TrialList(source, tuple(trials))


def _labels(cells: Sequence[str]) -> list[int]:
    """Places of a line where a label may stand: the last, or the first."""
    return [place for place in (len(cells) - 1, 0) if cells[place].casefold() in SAME]


def _trial(cells: Sequence[str], number: int, source: str) -> Trial:
    if len(cells) != 3 or not _labels(cells):
        raise DataError(
            f"line {number} of {source} is no trial: write two recordings (paths without spaces) and target or "
            "nontarget."
        )
    place = _labels(cells)[0]
    first, second = (cell for other, cell in enumerate(cells) if other != place)
    return Trial(number, (first, second), SAME[cells[place].casefold()])


class Numbered:
    """The trials of a list over the recordings of some data, of which each has a number.

    Args:
        trials: the list.
        contents: the data; where they have no test split, the speakers that the list names become it.
        source: what messages call the data.

    `contents` are those data, `pairs` is T x 3 (two numbers of recordings, and 1 where they are of one speaker), and
    `numbers` has those of each split. Raises `DataError` for recordings that there are not, or that training knows, for
    labels that contradict the classes, and for a pair that is listed with both.
    """

    def __init__(self, trials: TrialList, contents: Contents, source: str) -> None:
        self.trials, self.source = trials, source
        self.places = self._found(contents)
        self.contents = contents if "test" in contents.splits else self._apart(contents)
        if self.contents is not contents:
            self.places = self._found(self.contents)
        starts = np.cumsum([0, *(len(part.x) for part in self.contents.splits.values())])
        start = dict(zip(self.contents.splits, starts.tolist(), strict=False))
        self.numbers = {split: start[split] + np.arange(len(part.x)) for split, part in self.contents.splits.items()}
        self.pairs = np.asarray([self._pair(trial, start) for trial in trials.trials], np.int64)

    def left_out(self, numbers: Mapping[str, np.ndarray]) -> list[str]:
        """What is to be told of trials whose recordings could not be read, where `numbers` has those that could.

        Raises `DataError` where a split is left with trials of one sort.
        """
        left = 0
        for split, read in numbers.items():
            pairs = self.pairs[np.isin(self.pairs[:, :2], self.numbers.get(split, self.numbers["train"])).all(1)]
            readable = np.isin(pairs[:, :2], read).all(1)
            left += 0 if split == "train" else int((~readable).sum())
            if len(pairs) and split in self.numbers and len(np.unique(pairs[readable, 2])) < 2:
                raise DataError(f"{self.trials.source} has trials of one sort for the {split} split: give both.")
        return [f"{left} trials of {self.trials.source} are of recordings that are left out."] if left else []

    def _found(self, contents: Contents) -> dict[str, tuple[str, int]]:
        """The split and row of each recording that the list names."""
        wanted = {name for trial in self.trials.trials for name in trial.names}
        ends: dict[str, list[tuple[str, int]]] = {}
        for split, part in contents.splits.items():
            if isinstance(part.x, np.ndarray) or not all(isinstance(each, Source) for each in part.x):
                raise DataError(f"{self.source} has recordings without names: trials need files of recordings.")
            for row, each in enumerate(part.x):
                path = each.name.strip("'").replace("\\", "/")
                parts = path.split("/")
                for depth in range(1, len(parts) + 1):
                    end = "/".join(parts[-depth:])
                    for name in {end, end.rpartition(".")[0]} & wanted:
                        ends.setdefault(name, []).append((split, row))
        for trial in self.trials.trials:
            for name in trial.names:
                count = len(ends.get(name, []))
                if count != 1:
                    what = "no recording" if not count else f"{count} recordings"
                    do = "name one of the data" if not count else "write more of its path"
                    raise DataError(
                        f"line {trial.line} of {self.trials.source} names '{shown(name)}', which is {what} of "
                        f"{self.source}: {do}."
                    )
        return {name: where[0] for name, where in ends.items()}

    def _apart(self, contents: Contents) -> Contents:
        """The data with the speakers that the list names as their test split."""
        train = contents.splits["train"]
        tested = np.unique([train.y[row] for split, row in self.places.values() if split == "train"])
        of_test = np.isin(train.y, tested)
        if of_test.all():
            raise DataError(
                f"{self.trials.source} names recordings of every speaker of {self.source}: leave speakers to learn "
                "from, or give splits."
            )
        parts = {"train": train.take(np.flatnonzero(~of_test)), "test": train.take(np.flatnonzero(of_test))}
        return replace(contents, splits={**contents.splits, **parts})

    def _pair(self, trial: Trial, start: Mapping[str, int]) -> tuple[int, int, int]:
        (split, row), (other, second) = (self.places[name] for name in trial.names)
        where = f"line {trial.line} of {self.trials.source}"
        if "train" in (split, other) or split != other:
            name = trial.names[0] if split == "train" else trial.names[1]
            what = "of the train split" if "train" in (split, other) else "of another split than the first"
            raise DataError(f"{where} names '{shown(name)}', a recording {what}: trials are within valid or test.")
        if (split, row) == (other, second):
            raise DataError(f"{where} compares '{shown(trial.names[0])}' with itself: leave it out.")
        labels = self.contents.splits[split].y
        if bool(labels[row] == labels[second]) != trial.same:
            says = "target" if trial.same else "nontarget"
            raise DataError(f"{where} says {says} of recordings whose labels say otherwise: repair one of them.")
        return start[split] + row, start[split] + second, int(trial.same)

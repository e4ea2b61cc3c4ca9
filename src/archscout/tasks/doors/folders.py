"""A folder of class folders with pictures or recordings in them, perhaps below folders of splits."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from archscout.core.errors import DataError
from archscout.tasks import sound
from archscout.tasks.contents import Contents, MediumName, Raw, Source
from archscout.tasks.decode import SUFFIXES, file_source, shown
from archscout.tasks.splits import ALIASES, by_split

_NOBODYS = frozenset(
    {"thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found"}
)
"""Files and folders that systems leave behind, of which nothing need be said."""

_OF_SPLITS = frozenset(
    {"trn", "tst", "trainset", "testset", "valset", *(name for all_ in ALIASES.values() for name in all_)}
)


def read_folder(path: Path, *, links: bool = False, own_classes: bool = False) -> Contents:
    """The splits and classes of a folder; a picture belongs to the class folder that it lies in, at any depth.

    Where there are no pictures, recordings are read.

    Args:
        path: the folder.
        links: whether links that lead out of the folder are followed; they are refused otherwise.
        own_classes: whether a split may have classes that the others lack.

    Raises `DataError` for a folder that has no such order.
    """
    medium: MediumName = "audio" if _has_recordings(path) else "images"
    what, suffixes = ("recordings", sound.SUFFIXES) if medium == "audio" else ("images", SUFFIXES)
    walk = _Walk(path, links, suffixes, "pictures" if medium == "images" else what)
    below = walk.folders(path)
    contents = Contents({}, medium=medium)
    splits = _splits(path, below, walk, contents)
    names = _names(walk.folders(splits["train"]))
    if not names:
        raise DataError(
            f"'{shown(splits['train'])}' has no folders: put the {what} of each class into a folder of its own."
        )
    if own_classes:
        names = sorted(_names(folder for split in splits.values() for folder in walk.folders(split)))
    for split, folder in splits.items():
        sources: list[Source] = []
        labels: list[int] = []
        for class_folder in walk.folders(folder):
            if (name := _name(class_folder)) not in names:
                raise DataError(
                    f"class folder '{shown(class_folder)}' has no counterpart in '{shown(splits['train'])}': add it "
                    "there."
                )
            pictures = walk.pictures(class_folder)
            if not pictures:
                raise DataError(
                    f"class folder '{shown(class_folder)}' has no {what} ({', '.join(sorted(suffixes))})"
                    f"{': convert its recordings to .wav first' if medium == 'audio' else ''}."
                )
            sources += pictures
            labels += [names.index(name)] * len(pictures)
        if not sources:
            raise DataError(
                f"'{shown(folder)}' has no class folders: put the {what} of each class into a folder of its own."
            )
        called = f"'{shown(folder)}'"
        contents.splits[split] = Raw(sources, np.asarray(labels), called, called)
        walk.strays(folder)
    contents.class_names = names
    contents.notices += _deeper(path, names, splits["train"])
    contents.bad += walk.bad
    contents.notices += walk.notices()
    return contents


def _name(folder: Path) -> str:
    """Of the class of a folder. Systems write an é as one character or as two: both are one name."""
    return unicodedata.normalize("NFC", folder.name)


def _names(folders: Iterable[Path]) -> list[str]:
    return list(dict.fromkeys(map(_name, folders)))


def _splits(path: Path, below: list[Path], walk: _Walk, contents: Contents) -> dict[str, Path]:
    """The folder of each split; all is `train` where no folder is one."""
    by_name = {folder.name: folder for folder in below}
    splits = {split: by_name[name] for split, name in by_split(list(by_name), f"'{shown(path)}'", "folders").items()}
    if not splits or not any(walk.folders(folder) for folder in splits.values()):
        # Train, bus and car may well be classes: what makes a folder one of a split is that it has class folders.
        _check_classes(path, below)
        return {"train": path}
    if "train" not in splits:
        raise DataError(
            f"'{shown(path)}' has {' and '.join(folder.name for folder in splits.values())}, but no folder 'train': "
            "add it, or leave the splits out to have them drawn."
        )
    others = [shown(folder.name) for folder in below if folder not in splits.values()]
    if others:
        contents.notices.append(
            f"'{shown(path)}' has folders beside its splits that are not used: {', '.join(others)}."
        )
    return splits


def _check_classes(path: Path, below: list[Path]) -> None:
    """Raises `DataError` for what look like splits by other names (`train_set`, `test_set`) instead of classes."""
    if len(below) == 1 and len(_inner(below[0])) > 1:
        raise DataError(
            f"'{shown(path)}' has nothing but the folder {shown(below[0].name)}, with the folders "
            f"{', '.join(map(shown, _inner(below[0])[:3]))}: name '{shown(below[0])}', whose folders are the classes."
        )
    named = [folder.name for folder in below if not _OF_SPLITS.isdisjoint(re.findall("[a-z]+", folder.name.casefold()))]
    inner = [set(_inner(folder)) for folder in below]
    if named and len(below) > 1 and all(each == inner[0] and len(each) > 1 for each in inner):
        raise DataError(
            f"'{shown(path)}' has the folders {shown(named[0])} and others, each with the folders "
            f"{', '.join(map(shown, sorted(inner[0])[:3]))}, and may mean them as splits: name those train, valid and "
            "test, or put the images of each class right into its folder."
        )


def _deeper(path: Path, names: list[str], folder: Path) -> list[str]:
    """What is to be told of class folders with several folders in them, which may be meant as classes."""
    below = {_name(each): _inner(each) for each in folder.iterdir() if _name(each) in names}
    inner = [f"{name}/{each}" for name, folders in below.items() for each in folders if len(folders) > 1]
    if not inner:
        return []
    named = ", ".join(map(shown, inner[:3])) + (", ..." if len(inner) > 3 else "")
    return [f"the classes of '{shown(path)}' are its outer folders; what lies in those below them ({named}) is theirs."]


def _inner(folder: Path) -> list[str]:
    """The names of the folders in a class folder; what is not there in some split is not there."""
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not _ignored(entry.name))


def _has_recordings(path: Path) -> bool:
    """Whether a folder has recordings and no picture."""
    recordings = False
    for _, folders, files in os.walk(path):
        folders[:] = [name for name in folders if not _ignored(name)]
        endings = {Path(name).suffix.lower() for name in files if not _ignored(name)}
        if not endings.isdisjoint(SUFFIXES):
            return False
        recordings = recordings or not endings.isdisjoint(sound.SUFFIXES | sound.OTHERS)
    return recordings


class _Walk:
    """Goes through folders; remembers what it could not use."""

    def __init__(self, root: Path, links: bool, suffixes: frozenset[str], what: str) -> None:
        self.root, self.links, self.suffixes, self.what = root.resolve(), links, suffixes, what
        self.bad: list[tuple[str, str]] = []
        self.others: Counter[str] = Counter()
        self._seen: set[Path] = set()

    def folders(self, path: Path) -> list[Path]:
        try:
            entries = sorted(entry for entry in path.iterdir() if not _ignored(entry.name))
        except OSError as error:
            raise DataError(f"folder '{shown(path)}' cannot be read: {error.strerror}.") from error
        for entry in entries:
            if entry.is_symlink() and not entry.exists() and entry not in self._seen:
                self._seen.add(entry)
                self.bad.append((f"'{shown(entry)}'", "is a broken link"))
        return [entry for entry in entries if entry.is_dir() and self._allowed(entry)]

    def pictures(self, folder: Path) -> list[Source]:
        """The pictures below a class folder, in the order of their paths."""
        return [file_source(file) for file in sorted(self._files(folder, (self.root, folder.resolve())))]

    def strays(self, folder: Path) -> None:
        """Count the files that lie beside the class folders."""
        for entry in folder.iterdir():
            if entry.is_file() and not _ignored(entry.name):
                self.others[entry.suffix.lower() or "no ending"] += 1

    def notices(self) -> list[str]:
        if not self.others:
            return []
        total = sum(self.others.values())
        kinds = ", ".join(f"{shown(ending)}: {count}" for ending, count in self.others.most_common(8))
        files = "1 file was" if total == 1 else f"{total} files were"
        return [f"{files} left alone below '{shown(self.root)}', no {self.what} by their place or ending ({kinds})."]

    def _files(self, folder: Path, above: tuple[Path, ...]) -> list[Path]:
        files: list[Path] = []
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            raise DataError(f"folder '{shown(folder)}' cannot be read: {error.strerror}.") from error
        for entry in entries:
            path = Path(entry.path)
            if _ignored(entry.name):
                continue
            if entry.is_dir():
                if not self._allowed(path):
                    continue
                target = path.resolve()
                if target in above:
                    raise DataError(f"'{shown(path)}' is a link that leads back to a folder around it: remove it.")
                files += self._files(path, (*above, target))
            elif path.suffix.lower() not in self.suffixes:
                self.others[path.suffix.lower() or "no ending"] += 1
            elif entry.is_symlink() and not path.exists():
                self.bad.append((f"'{shown(path)}'", "is a broken link"))
            elif not entry.is_file():
                self.bad.append((f"'{shown(path)}'", "is no plain file"))
            elif self._allowed(path):
                files.append(path)
        return files

    def _allowed(self, path: Path) -> bool:
        """Raises `DataError` for a link out of the folder, unless those are followed."""
        if path.is_symlink() and not self.links and not path.resolve().is_relative_to(self.root):
            raise DataError(
                f"'{shown(path)}' is a link that leads out of '{shown(self.root)}': add links=true to follow such, "
                "or copy the pictures."
            )
        return True


def _ignored(name: str) -> bool:
    return name.startswith(".") or name.lower() in _NOBODYS

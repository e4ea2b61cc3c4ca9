"""From what a door found to a task, by one road: checked, divided, limited, decoded, resized."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from archscout.core.errors import DataError, DataNotice, UsageError, nearest
from archscout.core.options import shown
from archscout.core.task import Split, Task
from archscout.tasks import checks, splits, targets
from archscout.tasks.contents import Contents
from archscout.tasks.contents import Raw as Raw
from archscout.tasks.media import audio, images
from archscout.tasks.media.audio import Audio
from archscout.tasks.media.images import Images
from archscout.tasks.media.images import resize as resize
from archscout.tasks.media.lines import Lines
from archscout.tasks.media.medium import Medium
from archscout.tasks.media.rows import Rows
from archscout.tasks.media.series import Series
from archscout.tasks.pictures import Watch
from archscout.tasks.trial_list import Numbered, TrialList

MEDIA: dict[str, type[Medium]] = {medium.name: medium for medium in (Images, Audio, Series, Lines, Rows)}


FEW_CLASSES = 8
"""Of a split of verification: fewer are hardly representative of others."""

FEW_CHANNELS, LONG, SHORTEST = 8, 4, 8
"""N x C x L is series and no grey images where there are so few channels, and so many times as many values; N x L where
there are so many values."""


def check_options(
    *,
    train: int | None = None,
    size: int | None = None,
    flip: bool | None = None,
    mirrored: bool | None = None,
    fit: str = "stretch",
    background: str = "white",
    channels: int | None = None,
    skip_bad: bool = False,
    cache: bool | None = None,
    kind: str | None = None,
    medium: str | None = None,
    balance: bool = False,
    unlabelled: int | None = None,
    rate: int | None = None,
    seconds: float | None = None,
    mels: int | None = None,
    hop: float | None = None,
    speeds: bool | None = None,
    length: int | None = None,
    links: bool = False,
    path: str | None = None,
    label: str | None = None,
    target: str | None = None,
    split: str | None = None,
    group: str | None = None,
    weight: str | None = None,
    trials: str | None = None,
    order: str | Sequence[str] | None = None,
) -> None:
    """Raises `UsageError` for parameters of a task that cannot be, whatever its data are."""
    for name, count in (("train", train), ("length", length)):
        if count is not None:
            checks.count(count, name)
    for name, switch in (
        ("flip", flip),
        ("mirrored", mirrored),
        ("skip_bad", skip_bad),
        ("cache", cache),
        ("links", links),
        ("balance", balance),
        ("speeds", speeds),
    ):
        if switch is not None and not (isinstance(switch, int | float | np.bool_) and switch in (0, 1)):
            raise UsageError(f"the parameter {name} of a task must be true or false, not {shown(switch)}.")
    targets.check_kind(kind)
    if medium is not None and not (isinstance(medium, str) and medium in MEDIA):
        raise UsageError(f"the parameter medium of a task cannot be {shown(medium)}: {nearest(str(medium), MEDIA)}")
    if unlabelled is not None and (isinstance(unlabelled, bool) or not isinstance(unlabelled, int | np.integer)):
        raise UsageError(f"the parameter unlabelled of a task must be a whole number, not {shown(unlabelled)}.")
    for name, column in (("path", path), ("label", label), ("target", target), ("split", split), ("group", group),
                         ("weight", weight)):  # fmt: skip
        if column is not None and not isinstance(column, str):
            raise UsageError(f"the parameter {name} of a task must be the name of a column, not {shown(column)}.")
    if order is not None and (isinstance(order, bytes) or not isinstance(order, str | Sequence)):
        raise UsageError(f"the parameter order of a task must be names with | between them, or a list, not {order!r}.")
    if order is not None and kind != "ordinal":
        raise UsageError("the parameter order is of classes in order: say kind=ordinal, or leave it out.")
    if trials is not None and not isinstance(trials, str):
        raise UsageError(f"the parameter trials of a task must be the path of a file, not {trials!r}.")
    images.reading({"size": size, "fit": fit, "background": background, "channels": channels})
    audio.listening({"rate": rate, "seconds": seconds, "mels": mels, "hop": hop})


def assemble(
    name: str,
    source: str,
    contents: Contents | dict[str, Raw],
    *,
    train: int | None = None,
    drawn: Mapping[str, int] | None = None,
    skip_bad: bool = False,
    kind: str | None = None,
    medium: str | None = None,
    balance: bool = False,
    watch: Watch | None = None,
    trials: TrialList | None = None,
    order: str | Sequence[str] | None = None,
    **options: Any,
) -> Task:
    """The task of these splits (`train`, perhaps `valid` and `test`; what is missing is drawn from `train`).

    Args:
        name: of the task.
        source: what messages call the data, for example its file.
        contents: what a door found, or only its splits.
        train: how many training examples to keep, in the proportions of the classes; all where None.
        drawn: how many examples a split has that is drawn from `train`; a fifth of them where not given.
        skip_bad: whether unreadable examples are left out, and told, instead of refused.
        kind: of targets, one of `targets.KINDS`; where None, as they look.
        medium: what arrays hold, one of `MEDIA`; where None, as they look.
        balance: whether all classes weigh alike in the loss, however rare they are.
        watch: is told how many examples are decoded.
        trials: of verification, the pairs that it is measured on, where a split has any; else on all pairs.
        order: of ordinal targets, the classes from the lowest on: a list, or a text with | between them.
        options: those of the medium (`Medium.OPTIONS`), as `check_options` takes them.

    Raises:
        DataError: for data that cannot be used.
        UsageError: for parameters that do not fit the data.

    What is read otherwise than it is written is told by `DataNotice` warnings.
    """
    options = {key: value for key, value in options.items() if value is not None}
    check_options(train=train, skip_bad=skip_bad, kind=kind, medium=medium, balance=balance, order=order, **options)
    for key, count in (drawn or {}).items():
        checks.count(count, key)
    contents = contents if isinstance(contents, Contents) else Contents(contents)
    listed = None
    if trials is not None:
        if (kind or contents.kind) not in targets.VERIFIED:
            raise UsageError(f"trials are for verification: say kind=verification, or leave {trials.source} out.")
        listed = Numbered(trials, contents, source)
        contents = listed.contents
    instance = _medium(contents, source, medium, options, kind or contents.kind)
    parts = {
        key: replace(part, x=instance.taken(part.x, part.images, contents.rate))
        if isinstance(part.x, np.ndarray)
        else part
        for key, part in contents.splits.items()
    }
    arrays = {key: part.x for key, part in parts.items() if isinstance(part.x, np.ndarray)}
    if "train" in arrays:
        instance.alike_given(arrays)
    labels = targets.read(
        parts, contents.class_names, source, kind=kind or contents.kind, unlabelled=options.get("unlabelled"),
        noun=instance.noun, nouns=instance.nouns, heads=contents.heads,
        order=[name.strip() for name in order.split("|")] if isinstance(order, str) else list(map(str, order or ())),
    )  # fmt: skip
    instance.kind(labels.kind)
    contents.notices += labels.notices
    if labels.kind in ("classification", "multilabel", "segmentation", *targets.VERIFIED):
        contents.notices += checks.alike_names(labels.names, source)
        contents.notices += checks.missing_names(labels.names, source)
    groups = {key: part.groups for key, part in parts.items() if part.groups is not None}
    for key, values in groups.items():
        checks.groups(values, len(parts[key].x), parts[key].images)
    checks.groups_apart(groups, source)
    if "train" in groups:
        contents.notices += [
            f"the {key} split of {source} has no groups: whether they are others than those of training is not known."
            for key in parts
            if key not in groups
        ]

    names = labels.strata_names
    apart = labels.kind in targets.VERIFIED
    rows = (
        splits.by_class(labels.y, source)
        if apart
        else splits.complete(labels.strata, source, names, drawn, groups.get("train"))
    )
    if train is not None:
        strata = rows["train"].of(labels.strata["train"])
        rows["train"] = rows["train"].narrowed(_limited(strata, train, source, len(names)))
    y = {key: part.of(labels.y[part.part]) for key, part in rows.items()}
    data: dict[str, Split] = {}
    encoded = {}
    for key, part in rows.items():
        x = parts[part.part].x
        if isinstance(x, np.ndarray):
            data[key] = Split(instance.fitted(part.of(x)), y[key])
        else:
            encoded[key] = x if part.rows is None else [x[row] for row in part.rows]
    notices = list(contents.notices)
    if isinstance(instance, Series) and contents.medium is None and medium is None:
        shape = parts["train"].x[0].values.shape  # type: ignore[union-attr] # rows of an array
        notices.append(
            f"{parts['train'].images} is read as series of {shape[0]} channel{'s' * (shape[0] > 1)} and {shape[1]} "
            "values (medium=images for grey images)."
        )
    if labels.kind == "classification" and parts["train"].y.ndim == 2 and parts["train"].y.shape[1] > 1:
        notices.append(f"{parts['train'].labels} marks one class in each row, and is read so (or say kind=multilabel).")
    if apart:
        notices += _few_classes({key: y[key] for key in ("valid", "test") if key not in contents.splits}, source)
    if encoded or contents.bad:
        decoded = instance.decoded(encoded, contents.bad, skip_bad=skip_bad, watch=watch)
        notices += decoded.notices
        data |= {key: Split(decoded.examples[key], y[key][decoded.rows[key]]) for key in encoded}
    data = {key: data[key] for key in ("train", "valid", "test")}
    labels.check({key: split.y for key, split in data.items()}, source)
    instance.alike({key: split.x for key, split in data.items()})
    notices += checks.copies(data, instance.nouns, labels.kind == "classification" and instance.name != "rows")
    weights = {key: part.weights for key, part in parts.items() if part.weights is not None}
    if weights:
        if labels.kind != "classification":
            raise UsageError(f"weights of examples are for classes, and {source} has targets of kind {labels.kind}.")
        for key, split in data.items():
            part, kept = rows[key], decoded.rows[key] if key in encoded else slice(None)
            given = checks.weights(weights.get(part.part), len(parts[part.part].x), parts[part.part].labels)
            data[key] = Split(split.x, np.column_stack([split.y, part.of(given)[kept]]))
    if listed is not None:
        for key, split in data.items():
            part, kept = rows[key], decoded.rows[key] if key in encoded else slice(None)
            data[key] = Split(split.x, np.column_stack([split.y, part.of(listed.numbers[part.part])[kept]]))
        notices += listed.left_out({key: split.y[:, 1] for key, split in data.items()})
    for notice in notices:
        warnings.warn(notice, DataNotice, stacklevel=2)
    missing = tuple(key for key in ("valid", "test") if key not in contents.splits)
    if "train" in groups or apart:
        # Learned from in part, validation examples would divide groups, and tell what is known already.
        missing = tuple(key for key in missing if key != "valid")
    task: Task = instance.task(
        labels, data, encoded="train" in encoded, balance=balance, weighted=bool(weights), name=name, drawn=missing,
        **({} if listed is None else {"trials": listed.pairs}),
    )  # fmt: skip
    return task


def _medium(contents: Contents, source: str, asked: str | None, options: Mapping[str, Any], kind: str | None) -> Medium:
    """What the examples are: as the door found, as is asked for, or as the arrays look. Raises `UsageError`."""
    name = (
        contents.medium
        or asked
        or _look(
            contents.splits["train"].x,
            contents.splits["train"].images,
            kind == "lines" or contents.splits["train"].y.ndim > 2,
        )
    )
    if name == "images" and kind == "lines":
        name = "lines"
    if asked is not None and asked not in (name, "images" if name == "lines" else name):
        raise UsageError(f"{source} holds {name}: leave medium={asked} out.")
    known = MEDIA[name]
    for option in options:
        if option not in known.OPTIONS:
            about = " or ".join(other.name for other in MEDIA.values() if option in other.OPTIONS)
            raise UsageError(f"{source} holds {name}, and the parameter {option} is about {about}: leave it out.")
    instance = known(source, options, contents.shape)
    if isinstance(instance, Rows):
        instance.columns = contents.columns
    return instance


def _few_classes(y: Mapping[str, np.ndarray], source: str) -> list[str]:
    """What is to be told of splits that were drawn with few classes of their own."""
    counts = {key: len(np.unique(labels)) for key, labels in y.items()}
    few = " and ".join(f"{count} for {key}" for key, count in counts.items() if count < FEW_CLASSES)
    if not few:
        return []
    return [
        f"of the classes of {source}, some are kept apart from training ({few}): what is measured on so few depends on "
        f"which they are, and tells little of others (give {5 * FEW_CLASSES} classes or more, or your own splits)."
    ]


def _look(x: Any, called: str, pixels: bool) -> str:
    """What an array holds, by its shape: N x length, and N x few channels x many values, are no images.

    `pixels` says that it holds images by its targets. Raises `DataError` for N x many values x few channels.
    """
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "buif":
        return "images"
    if x.ndim == 2 and x.shape[1] >= SHORTEST:
        return "series"
    if x.ndim == 3 and x.shape[2] <= FEW_CHANNELS and x.shape[1] >= max(SHORTEST, LONG * x.shape[2]) and not pixels:
        raise DataError(
            f"{called} has shape {x.shape}: series are N x channels x length (numpy.moveaxis(x, 1, 2)); say "
            "medium=images if it holds grey images."
        )
    return "series" if x.ndim == 3 and x.shape[1] <= FEW_CHANNELS and x.shape[2] >= LONG * x.shape[1] else "images"


def _limited(y: np.ndarray, count: int, source: str, classes: int) -> np.ndarray:
    """The rows of `count` examples of these labels."""
    total = len(y)
    if count == total:
        return np.arange(total)
    if not classes <= count <= total - classes:
        raise UsageError(
            f"train={count} cannot be drawn from the {total} training examples of {source} in {classes} classes: "
            f"ask for {classes} to {total - classes}, or leave it out for all."
        )
    if np.bincount(y).min() < 2:
        raise UsageError(f"train={count} cannot be drawn from {source}, where a class has a single training example.")
    return splits.limit(y, count)

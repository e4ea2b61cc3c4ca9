"""All pictures of a set as arrays of one shape: decoded once, on all cores, and whatever is wrong said at once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from archscout.core.errors import DataError
from archscout.tasks.contents import Source
from archscout.tasks.decode import TRAITS, BadPicture, Reading, decode, header, quiet

Watch = Callable[[int, int], None]
"""Is told how many pictures of how many are decoded."""

LARGE, USUAL = 128, 64
"""Pictures whose shorter side is above the first are read at the second, unless a size is asked for: a search trains
hundreds of networks, and what it finds can be trained at a larger size."""

_BLOCK = 256
_NAMED = 10


class _Different(Exception):  # noqa: N818 - a finding that changes how all are read
    """A picture has another shape than the first."""


@dataclass
class Decoded:
    """The pictures of each split (N x H x W x C, uint8), which of its sources they are, and what is to be told."""

    images: dict[str, np.ndarray]
    rows: dict[str, np.ndarray]
    reading: Reading
    notices: list[str]


def decode_all(
    splits: Mapping[str, Sequence[Source]],
    reading: Reading,
    *,
    bad: Sequence[tuple[str, str]] = (),
    skip_bad: bool = False,
    watch: Watch | None = None,
) -> Decoded:
    """Every picture of every split, by the same reading.

    Args:
        splits: the pictures.
        reading: how; where it leaves shape or channels open and the pictures differ, both are chosen for all, and told.
        bad: what is known to be unreadable already.
        skip_bad: whether unreadable pictures are left out, and told.
        watch: is told how far it is.

    Raises `DataError` for unreadable pictures, all of them named.
    """
    sources = [source for part in splits.values() for source in part]
    told: list[str] = []
    asked = reading.channels
    with quiet(), ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        if reading.shape is None or reading.channels is None:
            # Most sets are alike, and are decoded without having been looked through for shapes and colours before.
            try:
                images, results = _decode(sources, reading, pool, watch, alike=True)
            except _Different:
                reading, told = _survey(sources, reading, pool)
                images, results = _decode(sources, reading, pool, watch)
        else:
            images, results = _decode(sources, reading, pool, watch)
    found = [(source.name, str(result)) for source, result in zip(sources, results, strict=True)
             if isinstance(result, BadPicture)]  # fmt: skip
    told += _refused([*bad, *found], len(sources) + len(bad), skip_bad)
    traits = Counter(trait for result in results if not isinstance(result, BadPicture) for trait in result)
    for trait, text in TRAITS.items():
        if traits[trait] and not (trait == "grey" and asked is not None):
            told.append(f"{_number(traits[trait])} {text.format(background=reading.background)}.")
    readable = np.asarray([not isinstance(result, BadPicture) for result in results], bool)
    decoded = Decoded({}, {}, reading, told)
    start = 0
    for split, part in splits.items():
        end = start + len(part)
        kept = np.flatnonzero(readable[start:end])
        decoded.rows[split] = kept
        whole = images[start:end]
        decoded.images[split] = whole if len(kept) == len(part) else whole[kept]
        start = end
    return decoded


def _decode(
    sources: Sequence[Source], reading: Reading, pool: ThreadPoolExecutor, watch: Watch | None, *, alike: bool = False
) -> tuple[np.ndarray, list[frozenset[str] | BadPicture]]:
    """All pictures, and of each its traits or what is wrong with it. Raises `_Different`, with `alike`."""
    results: list[frozenset[str] | BadPicture] = []
    images = np.empty((0, 0, 0, 0), np.uint8)
    first = 0
    while first < len(sources) and not images.size:
        # The first readable picture has the shape of all.
        try:
            pixels, traits = decode(sources[first], reading)
            if alike and reading.shape is None and min(pixels.shape[:2]) > LARGE:
                raise _Different
            images = np.empty((len(sources), *pixels.shape), np.uint8)
            images[first] = pixels
            results.append(traits)
        except BadPicture as error:
            results.append(error)
        first += 1

    def one(row: int) -> frozenset[str] | BadPicture:
        try:
            pixels, traits = decode(sources[row], reading)
        except BadPicture as error:
            return error
        if pixels.shape != images.shape[1:]:
            raise _Different
        images[row] = pixels
        return traits

    for start in range(first, len(sources), _BLOCK):
        results += pool.map(one, range(start, min(start + _BLOCK, len(sources))))
        if watch is not None:
            watch(len(results), len(sources))
    return images, results


def _survey(sources: Sequence[Source], reading: Reading, pool: ThreadPoolExecutor) -> tuple[Reading, list[str]]:
    """The reading that suits all pictures, and what is to be told of it."""

    def look(source: Source) -> tuple[tuple[int, int], bool] | None:
        try:
            return header(source)
        except BadPicture:
            return None

    looks: Iterable[tuple[tuple[int, int], bool] | None] = pool.map(look, sources)
    known = [found for found in looks if found is not None]
    told: list[str] = []
    if reading.channels is None:
        reading = replace(reading, channels=3 if any(colour for _, colour in known) else 1)
    if reading.shape is None:
        sizes = sorted({size for size, _ in known}, key=lambda size: (size[0] * size[1], size))
        shorter = int(np.median([min(size) for size, _ in known]))
        if len(sizes) == 1 and shorter <= LARGE:
            return replace(reading, shape=sizes[0]), told
        side = max(1, min(shorter, USUAL)) if shorter > LARGE or len(sizes) > 1 else shorter
        reading = replace(reading, shape=(side, side))
        smallest, largest = (f"{height} x {width}" for height, width in (sizes[0], sizes[-1]))
        how = {"stretch": "stretched", "crop": "cropped", "pad": "padded"}[reading.fit]
        are = f"are {largest} pixels" if len(sizes) == 1 else f"differ in size ({smallest} to {largest} pixels)"
        told.append(
            f"the images {are}: all are {how} to {side} x {side} (size=N for another size, fit=stretch, crop or pad)."
        )
    return reading, told


def _refused(bad: Sequence[tuple[str, str]], total: int, skip_bad: bool) -> list[str]:
    """The notice about pictures that are left out. Raises `DataError` where none may be."""
    if not bad:
        return []
    if skip_bad and len(bad) < total:
        return [f"{len(bad)} of {total} images are left out, for they cannot be read: {_list(bad)}."]
    if len(bad) == 1 and total > 1:
        name, reason = bad[0]
        raise DataError(f"{name} {reason}: repair or remove it, or add skip_bad=true to go on without it.")
    advice = "repair or remove them" + (", or add skip_bad=true to go on without them" if len(bad) < total else "")
    raise DataError(f"{len(bad)} of {total} images cannot be read: {_list(bad)}; {advice}.")


def _list(bad: Sequence[tuple[str, str]]) -> str:
    few = ", ".join(f"{name} {reason}" for name, reason in bad[:_NAMED])
    return few + (f", and {len(bad) - _NAMED} more" if len(bad) > _NAMED else "")


def _number(count: int) -> str:
    return "1 image has" if count == 1 else f"{count:,} images have"

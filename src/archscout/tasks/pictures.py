"""All pictures of a set as arrays of one shape: decoded once, on all cores, and whatever is wrong said at once."""

from __future__ import annotations

import contextlib
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from archscout.core.cores import usable_cores
from archscout.core.errors import DataError
from archscout.tasks import cache
from archscout.tasks.contents import Source
from archscout.tasks.decode import TRAITS, BadPicture, Reading, decode, decoded, header, quiet

Watch = Callable[[int, int], None]
"""Is told how many pictures of how many are decoded."""

LARGE, USUAL = 128, 64
"""Pictures whose shorter side is above the first are read at the second, unless a size is asked for: a search trains
hundreds of networks, and what it finds can be trained at a larger size."""

_HANDFUL, _BYTES = 32, 2**20
"""Pictures that one thread reads before it hands them over, the most in number and in bytes: small ones are decoded
faster than they are handed around."""

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


_Some = tuple[bytes, list[frozenset[str] | BadPicture]]
"""The pixels of the readable ones of some pictures, one behind the other, and what each was like."""


@dataclass
class _Pass:
    """One way through all pictures: what each was like, and where the pixels of those that are readable went."""

    results: list[frozenset[str] | BadPicture]
    memory: np.ndarray
    writer: cache.Writer | None = None


def decode_all(
    splits: Mapping[str, Sequence[Source]],
    reading: Reading,
    *,
    bad: Sequence[tuple[str, str]] = (),
    skip_bad: bool = False,
    cached: bool | None = None,
    watch: Watch | None = None,
) -> Decoded:
    """Every picture of every split, by the same reading.

    Args:
        splits: the pictures.
        reading: how; where it leaves shape or channels open and the pictures differ, both are chosen for all, and told.
        bad: what is known to be unreadable already.
        skip_bad: whether unreadable pictures are left out, and told.
        cached: whether the pixels are kept on the disk (`cache.py`); where None, if memory is small for them.
        watch: is told how far it is.

    Raises `DataError` for unreadable pictures, all of them named.
    """
    sources = [source for part in splits.values() for source in part]
    key = cache.name([f"{split} {source.stamp}" for split, part in splits.items() for source in part], reading)
    known = None if cached is False else cache.read(key)
    if known is not None and (skip_bad or not (bad or known[1]["bad"])):
        return _from_cache(splits, bad, *known)
    notices: list[str] = []
    asked = reading.channels
    with quiet(), ThreadPoolExecutor(usable_cores()) as pool:
        way = _Way(sources, pool if usable_cores() > 1 else None, key, cached, watch)
        if reading.shape is None or reading.channels is None:
            # Most sets are alike, and are decoded without having been looked through for shapes and colours before.
            try:
                done = way.go(reading, alike=True)
            except _Different:
                reading, notices = _survey(sources, reading, pool)
                done = way.go(reading)
        else:
            done = way.go(reading)
    faults = [(source.name, str(result)) for source, result in zip(sources, done.results, strict=True)
             if isinstance(result, BadPicture)]  # fmt: skip
    try:
        left_out = refused([*bad, *faults], len(sources) + len(bad), skip_bad)
    except DataError:
        if done.writer is not None:
            done.writer.drop()
        raise
    traits = Counter(trait for result in done.results if not isinstance(result, BadPicture) for trait in result)
    for trait, text in TRAITS.items():
        if traits[trait] and not (trait == "grey" and asked is not None):
            notices.append(f"{_number(traits[trait])} {text.format(background=reading.background)}.")
    readable = np.asarray([not isinstance(result, BadPicture) for result in done.results], bool)
    ends = np.cumsum([len(part) for part in splits.values()])[:-1]
    rows = {split: np.flatnonzero(kept) for split, kept in zip(splits, np.split(readable, ends), strict=True)}
    counts = {split: len(kept) for split, kept in rows.items()}
    if done.writer is None:
        places = np.cumsum([0, *counts.values()])
        images = {split: done.memory[places[i] : places[i + 1]] for i, split in enumerate(splits)}
    else:
        shape = [sum(counts.values()), *done.memory.shape[1:]]
        missing = np.flatnonzero(~readable).tolist()
        bad_rows = {str(row): str(done.results[row]) for row in missing}
        notes = {"shape": shape, "counts": counts, "bad": bad_rows, "told": notices, "reading": asdict(reading)}
        images = cache.parts(done.writer.finish(notes), shape, counts)
    return Decoded(images, rows, reading, [*notices, *left_out])


def _from_cache(
    splits: Mapping[str, Sequence[Source]], bad: Sequence[tuple[str, str]], pixels: Path, notes: dict[str, Any]
) -> Decoded:
    sources = [source for part in splits.values() for source in part]
    faults = [(sources[int(row)].name, reason) for row, reason in notes["bad"].items()]
    readable = np.ones(len(sources), bool)
    readable[[int(row) for row in notes["bad"]]] = False
    ends = np.cumsum([len(part) for part in splits.values()])[:-1]
    rows = {split: np.flatnonzero(kept) for split, kept in zip(splits, np.split(readable, ends), strict=True)}
    reading = Reading(**(notes["reading"] | {"shape": tuple(notes["reading"]["shape"] or ()) or None}))
    left_out = refused([*bad, *faults], len(sources) + len(bad), True)
    return Decoded(cache.parts(pixels, notes["shape"], notes["counts"]), rows, reading, [*notes["told"], *left_out])


class _Way:
    """How to go through all pictures; in this thread where there is no pool."""

    def __init__(
        self,
        sources: Sequence[Source],
        pool: ThreadPoolExecutor | None,
        key: str,
        cached: bool | None,
        watch: Watch | None,
    ) -> None:
        self.sources, self.pool, self.key, self.cached, self.watch = sources, pool, key, cached, watch

    def go(self, reading: Reading, *, alike: bool = False) -> _Pass:
        """Decode all. Raises `_Different` where one has another shape than the first, which `alike` expects of none."""
        done = _Pass([], np.empty((0, 0, 0, 0), np.uint8))
        try:
            self._go(reading, alike, done)
        except BaseException:
            if done.writer is not None:
                done.writer.drop()
            raise
        return done

    def _go(self, reading: Reading, alike: bool, done: _Pass) -> None:
        shape = self._first(reading)
        if shape and alike and reading.shape is None and min(shape[:2]) > LARGE:
            raise _Different
        if shape:
            on_disk = cache.too_large(len(self.sources), shape) if self.cached is None else self.cached
            done.writer = cache.Writer(self.key) if on_disk else None
            done.memory = np.empty((0 if on_disk else len(self.sources), *shape), np.uint8)
        size = max(1, min(_HANDFUL, _BYTES // max(1, math.prod(shape))))
        handfuls = (self.sources[row : row + size] for row in range(0, len(self.sources), size))
        filled = 0
        for pixels, results in self._in_order(partial(_some, reading, shape), handfuls):
            count = len(results) - sum(isinstance(result, BadPicture) for result in results)
            if done.writer is not None:
                done.writer.add(pixels)
            elif count:
                done.memory[filled : filled + count] = np.frombuffer(pixels, np.uint8).reshape(count, *shape)
            filled += count
            done.results += results
            if self.watch is not None:
                self.watch(len(done.results), len(self.sources))

    def _first(self, reading: Reading) -> tuple[int, ...]:
        """The shape of the first readable picture, which is that of all; empty where there is none."""
        for source in self.sources:
            with contextlib.suppress(BadPicture):
                return decode(source, reading)[0].shape
        return ()

    def _in_order(
        self, work: Callable[[Sequence[Source]], _Some], parts: Iterable[Sequence[Source]]
    ) -> Iterator[_Some]:
        """What comes of each part: no core waits for another one, and no more lies about than they work on."""
        if self.pool is None:
            yield from map(work, parts)
            return
        waiting: deque[Future[_Some]] = deque()
        try:
            for part in parts:
                waiting.append(self.pool.submit(work, part))
                if len(waiting) > 2 * usable_cores():
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _some(reading: Reading, shape: tuple[int, ...], sources: Sequence[Source]) -> _Some:
    """Some pictures, in one thread. Raises `_Different` where one has another shape."""
    form = (*shape[1::-1], *shape[2:])
    pixels: list[bytes] = []
    results: list[frozenset[str] | BadPicture] = []
    for source in sources:
        try:
            image, traits = decoded(source, reading)
        except BadPicture as error:
            results.append(error)
            continue
        if (*image.size, len(image.mode)) != form:  # "L", or "RGB"
            raise _Different
        pixels.append(image.tobytes())
        results.append(traits)
    return b"".join(pixels), results


def _survey(sources: Sequence[Source], reading: Reading, pool: ThreadPoolExecutor) -> tuple[Reading, list[str]]:
    """The reading that suits all pictures, and what is to be told of it."""

    def look(source: Source) -> tuple[tuple[int, int], bool] | None:
        try:
            return header(source)
        except BadPicture:
            return None

    looks: Iterable[tuple[tuple[int, int], bool] | None] = pool.map(look, sources)
    known = [each for each in looks if each is not None]
    notices: list[str] = []
    if reading.channels is None:
        reading = replace(reading, channels=3 if any(colour for _, colour in known) else 1)
    if reading.shape is None:
        sizes = sorted({size for size, _ in known}, key=lambda size: (size[0] * size[1], size))
        shorter = int(np.median([min(size) for size, _ in known]))
        if len(sizes) == 1 and shorter <= LARGE:
            return replace(reading, shape=sizes[0]), notices
        side = max(1, min(shorter, USUAL)) if shorter > LARGE or len(sizes) > 1 else shorter
        reading = replace(reading, shape=(side, side))
        smallest, largest = (f"{height} x {width}" for height, width in (sizes[0], sizes[-1]))
        how = {"stretch": "stretched", "crop": "cropped", "pad": "padded"}[reading.fit]
        are = f"are {largest} pixels" if len(sizes) == 1 else f"differ in size ({smallest} to {largest} pixels)"
        notices.append(
            f"the images {are}: all are {how} to {side} x {side} (size=N for another size, fit=stretch, crop or pad)."
        )
    return reading, notices


def refused(bad: Sequence[tuple[str, str]], total: int, skip_bad: bool, what: str = "images") -> list[str]:
    """The notice about examples that are left out. Raises `DataError` where none may be."""
    if not bad:
        return []
    if skip_bad and len(bad) < total:
        return [f"{len(bad)} of {total} {what} are left out, for they cannot be read: {_list(bad)}."]
    if len(bad) == 1 and total > 1:
        name, reason = bad[0]
        raise DataError(f"{name} {reason}: repair or remove it, or add skip_bad=true to go on without it.")
    advice = "repair or remove them" + (", or add skip_bad=true to go on without them" if len(bad) < total else "")
    raise DataError(f"{len(bad)} of {total} {what} cannot be read: {_list(bad)}; {advice}.")


def _list(bad: Sequence[tuple[str, str]]) -> str:
    few = ", ".join(f"{name} {reason}" for name, reason in bad[:_NAMED])
    return few + (f", and {len(bad) - _NAMED} more" if len(bad) > _NAMED else "")


def _number(count: int) -> str:
    return "1 image has" if count == 1 else f"{count:,} images have"

"""Recordings as arrays of one rate and length: one place decides about channels, depth, rate and length.

WAV files of any depth are read (SciPy's reader). What cannot be read is listed with its reason; what is read otherwise
than it is written is told.
"""

from __future__ import annotations

import math
import struct
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from archscout.core.errors import DataError, UsageError
from archscout.tasks import cache, checks
from archscout.tasks.contents import Clip, Source
from archscout.tasks.pictures import Watch, refused

SUFFIXES = frozenset({".wav", ".wave"})
OTHERS = frozenset({".aac", ".aif", ".aiff", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".wma"})
"""Endings of recordings in other forms, which are not read."""

USUAL_RATE = 16_000
"""Recordings of more samples a second are read at this, unless a rate is asked for: speech needs no more."""

LONGEST = 10.0
"""Seconds: longer recordings are cut to this, unless a length is asked for."""

COVERED = 0.95
"""The share of recordings that is not cut, where lengths differ and none is asked for."""

_LOUDEST = 8.0
"""A sample of floating point is from -1 to 1; somewhat more is overdriven, far more is of another scale."""

_HANDFUL = 64

_PLAIN, _EXTENSIBLE = (1, 3), 0xFFFE
"""Tags of WAV files whose samples are whole or floating-point numbers, and of those that name their form further on."""

_COMPRESSED = {2: "ADPCM", 6: "A-law", 7: "mu-law", 0x11: "IMA ADPCM", 0x31: "GSM 6.10", 0x50: "MPEG", 0x55: "MP3"}
"""Tags of those that telephones and dictaphones write."""

SAMPLES = "<f4"
"""How samples are kept."""


class BadSound(Exception):  # noqa: N818 - a finding, which the caller collects
    """A recording that cannot be used; its text is the predicate of a sentence ("is no readable WAV file")."""


@dataclass(frozen=True)
class Listening:
    """How recordings become arrays of one shape.

    Args:
        rate: samples a second; where None, that of most recordings, 16,000 at most.
        seconds: the length of all, by cutting and padding with silence at both ends alike; where None, that of which
            95 % are not longer, 10 s at most.
    """

    rate: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.rate is not None:
            checks.count(self.rate, "rate")
        if self.seconds is not None and not (
            isinstance(self.seconds, int | float) and not isinstance(self.seconds, bool) and 0 < self.seconds < 3600
        ):
            raise UsageError(
                f"the parameter seconds of a task must be a number above zero, below 3600, not {self.seconds!r}."
            )


@dataclass
class Heard:
    """The recordings of each split (N x samples, float32, -1 to 1), which of its sources they are, and what is told."""

    sounds: dict[str, np.ndarray]
    rows: dict[str, np.ndarray]
    rate: int
    notices: list[str]


def hear_all(
    splits: Mapping[str, Sequence[Source | Clip]],
    listening: Listening,
    *,
    bad: Sequence[tuple[str, str]] = (),
    skip_bad: bool = False,
    cached: bool | None = None,
    watch: Watch | None = None,
) -> Heard:
    """Every recording of every split, at one rate and of one length.

    Args:
        splits: the recordings.
        listening: how; what it leaves open is chosen for all, and told.
        bad: what is known to be unreadable already.
        skip_bad: whether unreadable recordings are left out, and told.
        cached: whether the samples are kept on the disk (`cache.py`); where None, if memory is small for them.
        watch: is told how far it is.

    Raises `DataError` for unreadable recordings, all of them named.
    """
    sources = [source for part in splits.values() for source in part]
    stamps = [f"{split} {source.stamp}" for split, part in splits.items() for source in part
              if isinstance(source, Source)]  # fmt: skip
    # Recordings of an array are in memory already.
    key = cache.name(stamps, "recordings", listening) if len(stamps) == len(sources) and cached is not False else ""
    known = cache.read(key) if key else None
    values, notes = known or _decoded(splits, listening, key, cached, bad=bad, skip_bad=skip_bad, watch=watch)
    faults = [(sources[int(row)].name, reason) for row, reason in notes["bad"].items()]
    left_out = refused([*bad, *faults], len(sources) + len(bad), skip_bad, "recordings")
    good = np.ones(len(sources), bool)
    good[[int(row) for row in notes["bad"]]] = False
    ends = np.cumsum([len(part) for part in splits.values()])[:-1]
    rows = {split: np.flatnonzero(part) for split, part in zip(splits, np.split(good, ends), strict=True)}
    counts = {split: len(part) for split, part in rows.items()}
    if isinstance(values, Path):
        sounds = cache.parts(values, notes["shape"], counts, notes["dtype"])
    else:
        sounds = dict(zip(splits, np.split(values, np.cumsum(list(counts.values()))[:-1]), strict=True))
    return Heard(sounds, rows, int(notes["rate"]), [*notes["told"], *left_out])


def _decoded(
    splits: Mapping[str, Sequence[Source | Clip]],
    listening: Listening,
    key: str,
    cached: bool | None,
    *,
    bad: Sequence[tuple[str, str]],
    skip_bad: bool,
    watch: Watch | None,
) -> tuple[np.ndarray | Path, dict[str, Any]]:
    """All readable recordings, in an array or a file of the cache, and what is to be known of them."""
    sources = [source for part in splits.values() for source in part]
    with ThreadPoolExecutor() as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # unknown chunks, which are skipped; what is cut off is found by its length
        looks = list(pool.map(_look, sources))
        faults = {row: look for row, look in enumerate(looks) if isinstance(look, str)}
        refused([*bad, *((sources[row].name, fault) for row, fault in faults.items())], len(sources) + len(bad),
                skip_bad, "recordings")  # fmt: skip
        known = [look for look in looks if not isinstance(look, str)]
        listening, notices = _settled(known, listening)
        assert listening.rate is not None
        assert listening.seconds is not None
        several = sum(look.channels > 1 for look in known)
        if several:
            notices.append(f"{_number(several)} several channels, which are mixed down to one (their mean).")
        shape = (len(known), max(1, round(listening.rate * listening.seconds)))
        notes = {"shape": shape, "dtype": SAMPLES, "bad": {str(row): fault for row, fault in faults.items()},
                 "told": notices, "rate": listening.rate}  # fmt: skip
        on_disk = bool(key) and (cache.too_large(len(known), (4 * shape[1],)) if cached is None else cached)
        good = [source for source, look in zip(sources, looks, strict=True) if not isinstance(look, str)]
        blocks = _told_of_silence(_blocks(good, listening, pool, watch), notices)
        if not on_disk:
            array = np.empty(shape, np.float32)
            for start, block in blocks:
                array[start : start + len(block)] = block
            return array, notes
        writer = cache.Writer(key)
        try:
            for _, block in blocks:
                writer.add(block)
        except BaseException:
            writer.drop()
            raise
        return writer.finish(notes), notes


def _blocks(
    sources: Sequence[Source | Clip], listening: Listening, pool: ThreadPoolExecutor, watch: Watch | None
) -> Iterator[tuple[int, np.ndarray]]:
    """Recordings by the handful, and where each handful begins."""
    for start in range(0, len(sources), _HANDFUL):
        some = sources[start : start + _HANDFUL]
        block = np.stack(list(pool.map(lambda source: fitted(*hear(source), listening), some)))
        yield start, block.astype(SAMPLES, copy=False)
        if watch is not None:
            watch(start + len(some), len(sources))


def _told_of_silence(blocks: Iterable[tuple[int, np.ndarray]], notices: list[str]) -> Iterator[tuple[int, np.ndarray]]:
    """The blocks as they are; at their end, recordings in which nothing is to be heard are told."""
    silent = 0
    for start, block in blocks:
        silent += int((~block.any(1)).sum())
        yield start, block
    if silent:
        recordings = "1 recording is" if silent == 1 else f"{silent:,} recordings are"
        notices.append(
            f"{recordings} silent from end to end (channels that differ in sign cancel where they are mixed)."
        )


def hear(source: Source | Clip) -> tuple[np.ndarray, int]:
    """The samples of a recording (float32, one channel, -1 to 1), and how many there are a second.

    Raises `BadSound`.
    """
    samples, rate = _stored(source)
    if samples.ndim == 2:
        samples = samples.mean(1, dtype=np.float64 if samples.dtype.kind == "f" else None)
    return samples.astype(np.float32), rate


def fitted(samples: np.ndarray, rate: int, listening: Listening) -> np.ndarray:
    """Samples at the rate and of the length of `listening`, both of which it has."""
    assert listening.rate is not None
    assert listening.seconds is not None
    if rate != listening.rate:
        from scipy.signal import resample_poly

        common = math.gcd(rate, listening.rate)
        samples = resample_poly(samples, listening.rate // common, rate // common).astype(np.float32)
    return _brought(samples, max(1, round(listening.rate * listening.seconds)))


def _brought(samples: np.ndarray, length: int) -> np.ndarray:
    """So many samples: of longer recordings the middle, of shorter ones with silence around them."""
    if len(samples) >= length:
        start = (len(samples) - length) // 2
        return samples[start : start + length]
    before = (length - len(samples)) // 2
    return np.pad(samples, (before, length - len(samples) - before))


def at_speed(sounds: np.ndarray, tenths: int) -> np.ndarray:
    """Recordings (N x samples) played at so many tenths of their speed, as long as they were: pitch changes, too."""
    from scipy.signal import resample_poly

    return np.stack([_brought(resample_poly(sound, 10, tenths), len(sound)) for sound in sounds]).astype(np.float32)


@dataclass(frozen=True)
class _Look:
    rate: int
    seconds: float
    channels: int


def _look(source: Source | Clip) -> _Look | str:
    """What a recording is like; what is wrong with it, where something is."""
    try:
        samples, rate = _stored(source)
    except BadSound as error:
        return str(error)
    return _Look(rate, len(samples) / rate, 1 if samples.ndim == 1 else samples.shape[1])


def _stored(source: Source | Clip) -> tuple[np.ndarray, int]:
    """Samples (samples, or samples x channels) as numbers of -1 to 1, and their rate. Raises `BadSound`."""
    samples, rate = (source.samples, source.rate) if isinstance(source, Clip) else _wav(source)
    if samples.ndim == 2 and samples.shape[1] == 0:
        raise BadSound("has no channels")
    if not len(samples):
        raise BadSound("has no samples")
    if not 0 < rate <= 10_000_000:
        raise BadSound(f"declares {rate} samples a second")
    if samples.dtype.kind == "u":
        half = 2.0 ** (8 * samples.dtype.itemsize - 1)
        return (samples.astype(np.float32) - half) / half, rate
    if samples.dtype.kind == "i":
        return samples / np.float32(2.0 ** (8 * samples.dtype.itemsize - 1)), rate
    if samples.dtype.kind != "f":
        raise BadSound(f"holds values of type {samples.dtype}, which are no samples")
    loudest = float(np.abs(samples).max())
    if not math.isfinite(loudest):
        raise BadSound("has samples that are NaN or infinite")
    if loudest > _LOUDEST:
        raise BadSound(f"has samples up to {loudest:.3g}, where floating point ones go from -1 to 1")
    return samples, rate


def check_depth(array: np.ndarray, called: str) -> None:
    """Raises `DataError` for samples of 16 bits in an array of larger whole numbers: they would be next to silence."""
    if array.dtype.kind != "i" or array.dtype.itemsize <= 2 or not array.size:
        return
    loudest = max(int(array.max()), -int(array.min()))
    if 0 < loudest <= 2**15:
        raise DataError(
            f"{called} is {array.dtype} with samples up to {loudest:,}, as 16 bits have them: store it as int16, or as "
            "numbers from -1 to 1."
        )


def _wav(source: Source) -> tuple[np.ndarray, int]:
    from scipy.io import wavfile

    try:
        with source.open() as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tag, short = _header(file)
            if tag not in (None, *_PLAIN):
                raise BadSound(
                    f"is compressed ({_COMPRESSED.get(tag or 0, f'WAV format {tag}')}), which is not read (ffmpeg -i "
                    "FILE -c:a pcm_s16le OTHER.wav writes plain samples)"
                )
            file.seek(0)
            rate, samples = wavfile.read(file)
    except BadSound:
        raise
    except OSError as error:
        raise BadSound(f"cannot be read: {error.strerror}" if error.strerror else "is no readable WAV file") from error
    except Exception as error:  # SciPy's reader fails on damaged bytes in many ways
        raise BadSound("is no readable WAV file") from error
    if short:
        raise BadSound("is cut off")
    return samples, int(rate)


def _header(file: IO[bytes]) -> tuple[int | None, bool]:
    """Of a RIFF file: the tag of the form of its samples, and whether these are said to be longer than the file is.

    SciPy warns of the latter, but warnings cannot be told apart by threads. Programs that write a stream leave the
    length open.
    """
    order = {b"RIFF": "<", b"RIFX": ">"}.get(file.read(4))
    length, place = file.seek(0, 2), 12
    tag: int | None = None
    while order is not None and place + 8 <= length:
        file.seek(place)
        name, size = struct.unpack(f"{order}4sI", file.read(8))
        if name == b"data":
            return tag, size not in (0, 0xFFFFFFFF) and place + 8 + size > length
        if name == b"fmt " and 16 <= size <= length - place - 8:
            tag = struct.unpack(f"{order}H", file.read(2))[0]
            if tag == _EXTENSIBLE and size >= 26:
                file.seek(place + 8 + 24)
                tag = struct.unpack(f"{order}H", file.read(2))[0]
        place += 8 + size + size % 2
    return tag, False


def _settled(looks: Sequence[_Look], listening: Listening) -> tuple[Listening, list[str]]:
    """A listening with rate and length, and what is to be told of them."""
    notices: list[str] = []
    rates = Counter(look.rate for look in looks)
    rate = listening.rate or min(rates.most_common(1)[0][0], USUAL_RATE)
    if set(rates) != {rate}:
        are = f"have {_listed(rates)} samples a second"
        notices.append(f"the recordings {are}: all are resampled to {rate} (rate=N for another rate).")
    lengths = sorted(look.seconds for look in looks)
    if listening.seconds is not None:
        seconds = float(listening.seconds)
    elif lengths[0] == lengths[-1]:
        seconds = min(lengths[-1], LONGEST)
    else:
        covered = lengths[min(len(lengths) - 1, math.ceil(COVERED * len(lengths)) - 1)]
        seconds = min(math.ceil(round(20 * covered, 6)) / 20, LONGEST)
    cut, padded = (sum(round(rate * length) > round(rate * seconds) for length in lengths),
                   sum(round(rate * length) < round(rate * seconds) for length in lengths))  # fmt: skip
    if cut or padded:
        notices.append(
            f"the recordings last {lengths[0]:.3g} to {lengths[-1]:.3g} s: all are brought to {seconds:.3g} s, {cut:,} "
            f"by cutting both ends and {padded:,} by silence around them (seconds=N for another length)."
        )
    return replace(listening, rate=rate, seconds=seconds), notices


def _listed(rates: Iterable[int]) -> str:
    numbers = sorted(rates)
    return str(numbers[0]) if len(numbers) == 1 else f"{', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def _number(count: int) -> str:
    return "1 recording has" if count == 1 else f"{count:,} recordings have"


def one(source: Source | Clip, rate: int, samples: int) -> np.ndarray:
    """A single recording at a rate and of so many samples (1 x samples). Raises `DataError`."""
    try:
        return fitted(*hear(source), Listening(rate, samples / rate))[None]
    except BadSound as error:
        raise DataError(f"{source.name} {error}: repair or remove it.") from error

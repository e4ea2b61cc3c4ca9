"""Audio: recordings that are decoded, or arrays of samples; networks see their log-mel spectrograms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from archscout.core.errors import DataError, UsageError
from archscout.core.task import Split
from archscout.networks.log_mel import frames
from archscout.tasks import checks
from archscout.tasks.contents import Clip
from archscout.tasks.media.medium import Decoded, Medium
from archscout.tasks.pictures import Watch
from archscout.tasks.sound import Listening, at_speed, check_depth, hear_all
from archscout.tasks.targets import Targets

MELS = 40
HOP = 0.016
"""Seconds from one frame of the spectrogram to the next, each of twice that."""

MOST_FRAMES = 256
"""Of long recordings, frames are further apart, so that there are no more."""

LEAST_FRAMES = 8

SPEEDS = (9, 11)
"""Tenths of the speed at which copies of recordings stand for speakers of their own (`speeds=true`)."""


class Audio(Medium):
    """Recordings as N x samples, float32, -1 to 1."""

    name = "audio"
    noun = "recording"
    nouns = "recordings"
    OPTIONS = ("rate", "seconds", "mels", "hop", "speeds", "cache")
    KINDS: ClassVar[Mapping[str, str]] = {
        "classification": "audio classification",
        "ordinal": "ordinal audio",
        "regression": "audio regression",
        "verification": "speaker verification",
    }

    def __init__(self, source: str, options: Mapping[str, Any], shape: tuple[int, int] | None = None) -> None:
        super().__init__(source, options, shape)
        self.listening = listening(options)
        self.rate = self.listening.rate

    def taken(self, x: np.ndarray, called: str, rate: int | None) -> list[Clip]:
        """The recordings of an array (N x samples, or N x channels x samples), at the rate that is known or asked for.

        Raises `DataError` for other arrays, and where no rate is known.
        """
        rate = rate or self.listening.rate
        if rate is None:
            raise DataError(f"{called} does not say how many samples a second it has: add rate=N.")
        if x.ndim not in (2, 3) or x.dtype.kind not in "iuf" or 0 in x.shape:
            raise DataError(f"{called} is {x.dtype} of shape {x.shape}: recordings are N x samples, one or more each.")
        check_depth(x, called)
        return [Clip(f"row {row} of {called}", sound if sound.ndim == 1 else sound.T, rate)
                for row, sound in enumerate(x)]  # fmt: skip

    def decoded(
        self,
        encoded: Mapping[str, Sequence[Any]],
        bad: Sequence[tuple[str, str]],
        *,
        skip_bad: bool,
        watch: Watch | None,
    ) -> Decoded:
        cached = self.options.get("cache")
        heard = hear_all(encoded, self.listening, bad=bad, skip_bad=skip_bad, cached=cached, watch=watch)
        self.rate = heard.rate
        return Decoded(heard.sounds, heard.rows, heard.notices)

    def alike(self, x: Mapping[str, np.ndarray]) -> None:
        checks.varied(x, self.source, "recordings")

    def task(self, targets: Targets, data: Mapping[str, Split], **common: Any) -> Any:
        """With `speeds`, every speaker of training is three: played slower and faster, a voice is another one
        (Yamamoto et al. 2019, Interspeech, "Speaker augmentation and bandwidth extension")."""
        if self.options.get("speeds"):
            if targets.kind != "verification":
                raise UsageError(f"speeds=true makes speakers, and {self.source} has targets of kind {targets.kind}.")
            x, y = data["train"].x, data["train"].y
            copies = [at_speed(x, tenths) for tenths in SPEEDS]
            step = len(targets.names) if y.ndim == 1 else np.asarray([len(targets.names), 0])
            numbers = [y + step * (place + 1) for place in range(len(SPEEDS))]
            data = {**data, "train": Split(np.concatenate([x, *copies]), np.concatenate([y, *numbers]))}
        return super().task(targets, data, **common)

    def fields(self, targets: Targets, data: Mapping[str, Split], encoded: bool) -> dict[str, Any]:
        assert self.rate is not None
        samples = data["train"].x.shape[1]
        wished = self.options.get("hop")
        hop = max(
            1, round(wished / 1000 * self.rate) if wished else max(round(HOP * self.rate), samples // MOST_FRAMES)
        )
        count, mels = frames(samples, 2 * hop, hop), self.options.get("mels") or MELS
        if count < LEAST_FRAMES:
            raise DataError(
                f"the recordings of {self.source} last {samples / self.rate:.2g} s, which are {count} frames of a "
                f"spectrogram where {LEAST_FRAMES} are needed: give longer ones, or seconds=N or a smaller hop "
                "(milliseconds)."
            )
        if mels > hop:
            raise UsageError(
                f"mels={mels} bands cannot be told apart in frames of {2 * hop} samples: ask for {hop} at most, or a "
                "larger hop."
            )
        return {
            "input_shape": (1, mels, count),
            "rate": self.rate,
            "samples": samples,
            "window": 2 * hop,
            "hop": hop,
            # What numbers measure may change with the recording.
            "shift": 0 if targets.kind == "regression" else max(1, count // 10),
            "bands": 0 if targets.kind == "regression" else mels // 8,
        }


def listening(options: Mapping[str, Any]) -> Listening:
    """How recordings are read, by the parameters of a task. Raises `UsageError`."""
    mels, hop = options.get("mels"), options.get("hop")
    if mels is not None and checks.count(mels, "mels") < LEAST_FRAMES:
        raise UsageError(f"the parameter mels of a task must be {LEAST_FRAMES} or more, not {mels}.")
    if hop is not None and not (isinstance(hop, int | float) and not isinstance(hop, bool) and 0 < hop < 10_000):
        raise UsageError(f"the parameter hop of a task must be milliseconds, above 0, not {hop!r}.")
    return Listening(options.get("rate"), options.get("seconds"))

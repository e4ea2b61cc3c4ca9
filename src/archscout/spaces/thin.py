"""A small member of a space's family of networks: the same architectures with fewer channels and cells."""

from __future__ import annotations

import inspect

from archscout.core.errors import UsageError
from archscout.core.space import Space


def cell_alone(space: Space) -> Space | None:
    """The same architectures as one cell (or one of each kind) on the input, without stem; None where there is none."""
    whole = getattr(space, "whole", space)
    return whole.cell_alone() if hasattr(whole, "cell_alone") else None


def thin(space: Space, **sizes: int) -> Space:
    """The space with these of its sizes changed (`width=3, cells=1`), as far as it has such parameters and takes them.

    What is part of a space (the networks of a table) is thinned as the whole.

    >>> from archscout.spaces.nasbench201 import NASBench201
    >>> thin(NASBench201(), width=3, cells=1).width
    3
    """
    space = getattr(space, "whole", space)
    parameters = inspect.signature(type(space)).parameters
    changed = {name: value for name, value in sizes.items() if name in parameters}
    if not changed or not all(hasattr(space, name) for name in parameters):
        return space
    try:
        return type(space)(**{name: getattr(space, name) for name in parameters} | changed)
    except UsageError:  # a size that this space does not come in
        return space

"""What becomes of labels (`archscout.networks.labels`) where an operator combines elements along a dimension."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from archscout.networks.labels import Labelling
from archscout.networks.memory import tensors_in


def together(labelling: Labelling, labels: Tensor, dims: Sequence[int], reason: str) -> None:
    """What an operator combines along some dimensions: branches that lie side by side are tied, channel by channel;
    channels themselves stay, with the reason."""
    if not labelling.varies(labels, dims):
        return
    first = labels
    for dim in dims:
        first = first.narrow(dim, 0, 1)
    if labelling.varies(first, range(labels.ndim)):
        labelling.tie(first, labels)
    else:
        labelling.fix(labels, reason)


def reduce(labelling: Labelling, name: str, args: Any, kwargs: Any, outputs: Any) -> None:
    """A sum or its like over channels, over branches that are stacked, or over places."""
    x = args[0]
    labels = labelling.of(x)
    if labels is None:
        return
    given = args[1] if len(args) > 1 else kwargs.get("dim")
    dims = range(x.ndim) if given is None else [given] if isinstance(given, int) else given
    dims = sorted({dim % x.ndim for dim in dims}) or list(range(x.ndim))
    together(labelling, labels, dims, f"{name} is taken over all channels")
    for dim in dims:
        labels = labels.narrow(dim, 0, 1)
    for result in tensors_in((outputs,)):
        kept = labels
        if result.ndim != x.ndim:
            for dim in reversed(dims):
                kept = kept.squeeze(dim)
        labelling.give(result, kept)


def along_one(labelling: Labelling, name: str, args: Any, kwargs: Any, outputs: Any) -> None:
    """Softmax and its like, along channels, branches or places."""
    x, dim = args[0], args[1] if len(args) > 1 else kwargs.get("dim", -1)
    labels = labelling.of(x)
    if labels is None:
        return
    together(labelling, labels, [dim % x.ndim], f"{name} is taken over all channels")
    for result in tensors_in((outputs,)):
        if result.shape == x.shape:
            labelling.give(result, labels)


def glu(labelling: Labelling, name: str, args: Any, kwargs: Any, output: Tensor) -> None:
    """The second half of the channels gates the first: they are tied."""
    labels = labelling.of(args[0])
    if labels is None:
        return
    first, second = labels.chunk(2, args[1] if len(args) > 1 else kwargs.get("dim", -1))
    labelling.tie(first, second)
    labelling.give(output, first)


def vector_norm(labelling: Labelling, name: str, args: Any, kwargs: Any, outputs: Any) -> None:
    """Its dimensions come after its order."""
    reduce(labelling, name, (args[0], *args[2:]), kwargs, outputs)

"""A real graph that needs no file: which handwritten digits look alike."""

from __future__ import annotations

import numpy as np

from archscout.core.errors import UsageError
from archscout.core.registry import register
from archscout.core.task import Split
from archscout.tasks import checks, splits
from archscout.tasks.nodes import NodeClassification


@register("task", "digits_graph")
def digits_graph(*, train: int = 200, neighbours: int = 8) -> NodeClassification:
    """The 1,797 digits of scikit-learn as a graph: each is joined to the 8 most alike; 200 labels are known.

    Nodes have 64 features, the pixels (0 to 1); an edge joins two images if either is among the nearest of the other
    (Euclidean distance of the pixels; of equally near ones, those that come first). A fifth of the nodes each are for
    validation and test; of the rest, `train` are labelled, in the proportions of the classes. The images are real; that
    the edges are computed from them makes this an easier graph than one of citations.

    Args:
        train: how many training nodes.
        neighbours: how many a node chooses.
    """
    from sklearn.datasets import load_digits  # a second of import, which other tasks can do without

    checks.count(train, "train")
    checks.count(neighbours, "neighbours")
    bunch = load_digits()
    pixels = bunch.data.astype(np.int64)
    count = len(pixels)
    if neighbours >= count:
        raise UsageError(f"neighbours={neighbours} is more than the {count - 1} other digits: ask for fewer.")
    squares = (pixels**2).sum(1)
    distances = squares[:, None] + squares - 2 * pixels @ pixels.T
    np.fill_diagonal(distances, np.iinfo(np.int64).max)
    joined = np.zeros((count, count), bool)
    np.put_along_axis(joined, distances.argsort(1, kind="stable")[:, :neighbours], True, 1)
    edges = np.argwhere(joined | joined.T)

    names = tuple(str(digit) for digit in range(10))
    labels = bunch.target.astype(np.int64)
    parts = splits.complete({"train": labels}, "task 'digits_graph'", names)
    nodes = {name: part.of(np.arange(count)) for name, part in parts.items()}
    if not len(names) <= train <= len(nodes["train"]) - len(names):
        raise UsageError(
            f"train={train} cannot be drawn from {len(nodes['train'])} nodes in 10 classes: ask for 10 to "
            f"{len(nodes['train']) - len(names)}."
        )
    fitted = nodes["train"][splits.limit(labels[nodes["train"]], train)]
    return NodeClassification(
        name="digits_graph",
        input_shape=(1,),
        outputs=len(names),
        train=Split(fitted[:, None], labels[fitted]),
        valid=Split(nodes["valid"][:, None], labels[nodes["valid"]]),
        test=Split(nodes["test"][:, None], labels[nodes["test"]]),
        class_names=names,
        features=(pixels / 16).astype(np.float32),
        edges=edges,
    )

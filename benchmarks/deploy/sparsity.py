"""N:M sparsity: what is left of the accuracy at 2:4 and 1:4, by how the weights that stay are chosen.

    python -m benchmarks.deploy.sparsity [--data-root DATA]

Digits (1,797 images of 8 x 8); with `--data-root`, 3,000 training and 1,000 test images of CIFAR-10, too
(`images/cifar10.npz`). Residual networks whose first layer, of one or three channels, stays dense, SGD, five seeds.
Every way has the same epochs. `dense`: all weights. `sr_ste`, `ste`: sparse from the first step, chosen anew in each.
`magnitude`: the dense network, with its smallest weights set to zero afterwards. `asp`: dense for half of the epochs,
then the smallest weights at zero for good and another half, each half a training of its own (Mishra et al. 2021, arXiv
2104.08378, with half of its epochs). `changes`: of each epoch, how many weights a step let in or threw out, of 1,000
that take part (the divergence of Zhou et al. 2021, arXiv 2102.04010). Every sparse network is checked to have exactly
N of M. One thread. Rows go to docs/results/sparsity.json, and a run that was stopped goes on.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

import archscout
from archscout.core.errors import ArchscoutError
from archscout.core.registry import create
from archscout.core.task import Split, Task
from archscout.networks.pick import build
from archscout.study.quantisation import metric_of
from archscout.study.summary import interval
from archscout.tasks.images import ImageClassification
from archscout.training.objective import Objective
from archscout.training.recipe import Recipe, sparsity_of
from archscout.training.sparsity import Sparsity, density, mask, sparse_layers
from archscout.training.trainer import train
from benchmarks.common import RESULTS, Rows, arguments, machine
from benchmarks.deploy.quantisation import NETWORKS

FILE = RESULTS / "sparsity.json"
DATA = {
    "digits": (NETWORKS["residual"], 12),
    "cifar10": ("stem16k3s2_residual16x1k3-stride_residual32x1k3-stride_residual64x1", 10),
}
"""By name, the network and its epochs."""

TRAIN, TEST, SEEDS = 3_000, 1_000, 5
PATTERNS = ("2:4", "1:4")
DENSE = "dense"
CHOSEN = ("sr_ste", "ste")
WAYS = (*CHOSEN, "asp", "magnitude")
WITHIN = 0.5
"""Points that 2:4 is said to lose at most."""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--results", type=Path, default=FILE)
    options = parser.parse_args()
    torch.set_num_threads(1)
    about = {"version": archscout.__version__, **machine()}
    rows = Rows(options.results, ("data", "pattern", "way", "seed"), about)
    tasks = {"digits": archscout.task("digits")}
    if options.data_root is not None:
        tasks["cifar10"] = images(options.data_root)
    for data, task in tasks.items():
        for seed in range(options.seeds):
            wanted = [
                (pattern, way)
                for pattern in PATTERNS
                for way in WAYS
                if not rows.has(data=data, pattern=pattern, way=way, seed=seed)
            ]
            if wanted:
                for row in measured(task, *DATA[data], seed, wanted):
                    rows.add({"data": data, "seed": seed, **row})


def images(root: Path) -> ImageClassification:
    with np.load(root / "images" / "cifar10.npz", allow_pickle=False) as arrays:
        parts = [(arrays[f"x_{split}"][:most], arrays[f"y_{split}"][:most].ravel().astype(np.int64))
                 for split, most in (("train", TRAIN), ("test", TEST))]  # fmt: skip
    (x, y), test = parts
    few = 100
    return ImageClassification(
        name="cifar10", input_shape=(3, 32, 32), outputs=10, flip=True, shift=4,
        train=Split(x[few:], y[few:]), valid=Split(x[:few], y[:few]), test=Split(*test),
    )  # fmt: skip


def measured(
    task: Task, architecture: str, epochs: int, seed: int, wanted: Sequence[tuple[str, str]]
) -> Iterator[dict[str, Any]]:
    space = create("space", "classic")
    fresh = build(space, space.parse(architecture), task, seed=seed)

    def trained(start: nn.Module, epochs: int, term: Sparsity | None = None) -> tuple[nn.Module, float]:
        """A copy that was trained, and the processor seconds it took."""
        network, began = copy.deepcopy(start), time.process_time()
        objective = Objective() if term is None else Objective(term)
        train(network, task, recipe(task, epochs), seed=seed, objective=objective)
        return network.eval(), time.process_time() - began

    def row(pattern: str, way: str, network: nn.Module, seconds: float, term: Sparsity | None = None) -> dict[str, Any]:
        if pattern:
            check(network, *sparsity_of(pattern))
        return {
            "pattern": pattern, "way": way, "accuracy": metric_of(task, network), "density": density(network),
            "changes": None if term is None else by_epoch(term, network, epochs), "seconds": seconds,
        }  # fmt: skip

    dense, seconds = trained(fresh, epochs)
    yield row("", DENSE, dense, seconds)
    half = trained(fresh, epochs // 2) if any(way == "asp" for _, way in wanted) else None
    for pattern, way in wanted:
        n, m = sparsity_of(pattern)
        if way in CHOSEN:
            term = Sparsity(n, m, rule=way)
            yield row(pattern, way, *trained(fresh, epochs, term), term)
        elif way == "asp":
            assert half is not None
            network, more = trained(half[0], epochs - epochs // 2, Sparsity(n, m, rule="one_shot"))
            yield row(pattern, way, network, half[1] + more)
        else:
            yield row(pattern, way, without_smallest(dense, n, m), seconds)


def recipe(task: Task, epochs: int) -> Recipe:
    """SGD, the last epoch; in numbers that do not hang on what is quicker here. Half a training augments as a whole."""
    return dataclasses.replace(
        Recipe.named("sgd", task, epochs),
        batch_size=64,
        augment=True,
        fit_on="train+valid",
        precision="float32",
        layout="contiguous",
    )


def without_smallest(network: nn.Module, n: int, m: int) -> nn.Module:
    network = copy.deepcopy(network)
    with torch.no_grad():
        for _, layer in sparse_layers(network):
            assert isinstance(layer.weight, Tensor)
            layer.weight.mul_(mask(layer.weight, n, m))
    return network


def check(network: nn.Module, n: int, m: int) -> None:
    """Exactly N of every M consecutive input channels are not zero; what is left over is dense. Counted, not masked."""
    for name, layer in sparse_layers(network):
        assert isinstance(layer.weight, Tensor)
        rows = layer.weight.detach().movedim(1, -1) != 0
        whole = rows.shape[-1] // m * m
        counts = rows[..., :whole].reshape(-1, m).sum(1)
        if not bool((counts == n).all()) or not bool(rows[..., whole:].all()):
            raise ArchscoutError(f"layer {name} does not keep exactly {n} of {m} weights.")


def by_epoch(term: Sparsity, network: nn.Module, epochs: int) -> list[float]:
    """Changes a step, of 1,000 weights in whole groups."""
    weights = [layer.weight for _, layer in sparse_layers(network)]
    groups = sum(w.numel() // w.shape[1] * (w.shape[1] // term.m) for w in weights if isinstance(w, Tensor))
    parts = np.array_split(np.array([float(count) for count in term.changes]), epochs)
    return [round(float(1000 * part.mean() / (groups * term.m)), 3) for part in parts]


def section(result: Mapping[str, Any]) -> list[str]:
    """What the page says of it; nothing where nothing was measured."""
    rows: Sequence[Mapping[str, Any]] = result.get("rows", [])
    if not rows:
        return []
    parts = [
        "## N of every M weights",
        "Residual networks whose first layer stays dense, by SGD, as many epochs in every way, by "
        "`benchmarks.deploy.sparsity`. `asp` has half of them dense and half with zeros that stay; `magnitude` sets "
        "weights of the dense network to zero and trains nothing after. Points, with 95 % intervals over seeds. "
        "Changes: weights that a step lets in or throws out, of 1,000. Every sparse network was counted to have "
        "exactly N of M. No time is gained: processors and microcontrollers compute all products, and only hardware "
        "made for it leaves them out.",
    ]
    said = {
        "digits": "Digits (360 test images, so that one is 0.28 points)",
        "cifar10": f"{TRAIN:,} training images of CIFAR-10, {TEST:,} test images, so that one is 0.1 points",
    }
    for data, (_, epochs) in DATA.items():
        own = [row for row in rows if row["data"] == data]
        if not own:
            continue
        lines = [
            f"{said[data]}, {epochs} epochs:",
            "",
            "| pattern | way | test accuracy | below dense | changes, first epoch | half-way | last epoch | n |",
            "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
            *(entry(own, pattern, way) for pattern, way in (("", DENSE), *((p, w) for p in PATTERNS for w in WAYS))),
        ]
        parts += ["\n".join(lines), "\n".join(f"- {line}" for line in claims(own))]
    return parts


def of(rows: Sequence[Mapping[str, Any]], pattern: str, way: str) -> dict[int, Mapping[str, Any]]:
    """By seed."""
    return {row["seed"]: row for row in rows if (row["pattern"], row["way"]) == (pattern, way)}


def apart(rows: Sequence[Mapping[str, Any]], pattern: str, first: str, second: str) -> list[float]:
    """Points that one way is above another, by seed."""
    one, other = (of(rows, "" if way == DENSE else pattern, way) for way in (first, second))
    return [100 * (one[seed]["accuracy"] - other[seed]["accuracy"]) for seed in sorted(set(one) & set(other))]


def entry(rows: Sequence[Mapping[str, Any]], pattern: str, way: str) -> str:
    own = list(of(rows, pattern, way).values())
    below = "" if way == DENSE else told(apart(rows, pattern, DENSE, way))
    changes = [row["changes"] for row in own if row["changes"]]
    places = [np.mean([row[place] for row in changes]) for place in (0, len(changes[0]) // 2, -1)] if changes else []
    cells = [
        pattern, way, told([100 * row["accuracy"] for row in own]), below,
        *([f"{place:.2f}" for place in places] or [""] * 3), str(len(own)),
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def told(values: Sequence[float]) -> str:
    mean, low, high = interval(values)
    return f"{mean:.2f} ({low:.2f} to {high:.2f})"


def claims(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was published, and what came out."""
    said = []
    lost = apart(rows, "2:4", DENSE, "sr_ste")
    if lost:
        _, low, high = interval(lost)
        held = "holds" if high <= WITHIN else "does not hold" if low > WITHIN else "not shown: the interval has both"
        said.append(f"2:4 by SR-STE is within {WITHIN} points of dense: {held}; it loses {told(lost)}.")
    for pattern in PATTERNS:
        for other in WAYS[1:]:
            gained = apart(rows, pattern, "sr_ste", other)
            if gained:
                _, low, high = interval(gained)
                held = "holds" if low > 0 else "the other way round" if high < 0 else "not told apart"
                said.append(
                    f"SR-STE is above {other} at {pattern}: {held}; {told(gained)} points, above it in "
                    f"{sum(value > 0 for value in gained)} of {len(gained)} seeds."
                )
    return said + divergence(rows)


def divergence(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Whether fewer changes go with a higher accuracy: between the two rules, and among networks of one rule."""
    said = []
    for pattern in PATTERNS:
        rules = [of(rows, pattern, way) for way in CHOSEN]
        seeds = sorted(set(rules[0]) & set(rules[1]))
        if len(seeds) < 3:
            continue
        ratio = [float(np.mean(rules[0][s]["changes"]) / np.mean(rules[1][s]["changes"])) for s in seeds]
        late = [float(rules[0][s]["changes"][-1] / rules[1][s]["changes"][-1]) for s in seeds]
        gained = apart(rows, pattern, *CHOSEN)
        _, low, _ = interval(gained)
        settles = interval(ratio)[2] < 1
        judged = (
            "consistent with the divergence as the reason" if settles and low > 0
            else "the divergence is smaller and accuracy is not higher: it does not explain the accuracy" if settles
            else "SR-STE's choice does not settle sooner, so that the divergence explains nothing here"
        )  # fmt: skip
        said.append(
            f"At {pattern} SR-STE's choice changes {told(ratio)} times as often as STE's in the whole training and "
            f"{told(late)} times in the last epoch, for {told(gained)} points: {judged}."
        )
    both = [row for way in CHOSEN for pattern in PATTERNS for row in of(rows, pattern, way).values()]
    if len(both) >= 6:
        groups = {(row["pattern"], row["way"]) for row in both}
        ranks = []
        for group in sorted(groups):
            own = [row for row in both if (row["pattern"], row["way"]) == group]
            ranks.append(float(spearmanr([np.mean(r["changes"]) for r in own], [r["accuracy"] for r in own]).statistic))
        said.append(
            "Among the seeds of one pattern and rule, the rank correlation of changes and accuracy is "
            f"{', '.join(f'{rank:+.2f}' for rank in ranks)}."
        )
    return said


if __name__ == "__main__":
    main()

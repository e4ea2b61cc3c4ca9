"""Bits by layer: each method against the best of all 1,296 choices, and against uniform bits at equal bytes.

    python -m benchmarks.deploy.mixed_precision

`four`: a network of four layers on digits (1,797 images of 8 x 8), of which each choice of 2, 3, 4, 5, 6 and 8 bits is
measured. `loss` is that on the 256 examples; regret, how much it is above that of the best choice that is known.
`residual` and `depthwise` are the networks of `benchmarks.deploy.quantisation`. `lost`
are points of accuracy on the test split, of the network in integers with biases corrected. Limits are the bytes of all
weights at so many bits; `both` limits bit operations at the same bits, too, which chooses the bits of activations as
well. Three trainings of each; processor seconds of one thread. Rows go to docs/results/mixed_precision.json, and a run
that was stopped goes on.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import archscout
from archscout.core.registry import create
from archscout.core.task import Task
from archscout.deploy.program import Program
from archscout.deploy.quantise import Quantisation, homes, quantise
from archscout.deploy.reading import read
from archscout.finished.examples import calibration_split, span, stored
from archscout.networks.pick import build
from archscout.shrink.bits.hessian import layer_bytes, weighted
from archscout.shrink.bits.limits import bit_operations, weight_bytes
from archscout.shrink.bits.methods import METHODS
from archscout.shrink.bits.problem import BitProblem, Choice
from archscout.study.summary import interval
from archscout.training.recipe import Recipe
from archscout.training.trainer import train
from benchmarks.common import RESULTS, Rows, arguments, machine
from benchmarks.deploy.quantisation import NETWORKS

FILE = RESULTS / "mixed_precision.json"
KEYS = ("network", "seed", "limited", "bits", "method")
FOUR = "four"
LIMITS = {
    FOUR: (("bytes", 3), ("bytes", 4)),
    "residual": (("bytes", 3), ("both", 4)),
    "depthwise": (("bytes", 3), ("both", 4)),
}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=list(LIMITS), action="append")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin nothing after so many")
    parser.add_argument("--results", type=Path, default=FILE)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = Rows(options.results, KEYS, {"version": archscout.__version__, **machine(), "task": "digits"}, sort=True)
    task, ends = archscout.task("digits"), time.time() + 60 * options.minutes
    for name in options.only or LIMITS:
        network = functools.cache(functools.partial(trained, name, task))
        for limited, bits in LIMITS[name]:
            for seed in range(options.seeds):
                known = rows.has(network=name, seed=seed, limited=limited, bits=bits, method="uniform")
                if not known and time.time() < ends:
                    for row in measured(network(seed), task, limited, bits, seed, all_choices=name == FOUR):
                        rows.add({"network": name, "seed": seed, "limited": limited, "bits": bits, **row})


def trained(name: str, task: Task, seed: int) -> nn.Module:
    if name == FOUR:
        torch.manual_seed(seed)
        network: nn.Module = nn.Sequential(
            *layer(1, 8, 1),
            *layer(8, 12, 2),
            *layer(12, 24, 2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(24, 10),
        )
    else:
        space = create("space", "classic")
        network = build(space, space.parse(NETWORKS[name]), task, seed=seed)
    train(network, task, Recipe.default(task, 12), seed=seed)
    deployed: nn.Module = task.deploy(network.eval())
    return deployed.eval()


def layer(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def measured(
    network: nn.Module, task: Task, limited: str, bits: int, seed: int, *, all_choices: bool
) -> Iterator[dict[str, Any]]:
    program, split = read(network, task.input_shape), calibration_split(task, 256, seed)
    examples, targets = stored(task, split), task.tensors(split)[1]

    def problem() -> BitProblem:
        limits = [weight_bytes(program, sum(layer_bytes(o, bits) for o in weighted(program)))]
        if limited == "both":
            home = homes(program)
            reads = [8 if home[o.inputs[0]] == 0 else bits for o in weighted(program)]  # pixels have 8 bits
            most = sum(program.macs_of(o) * bits * read for o, read in zip(weighted(program), reads, strict=True))
            limits.append(bit_operations(program, most))
        how, ends = Quantisation(), span(task)
        return BitProblem(program, examples, lambda outputs: task.loss(outputs, targets), how, limits, span=ends)

    accuracy = tested(program, task, examples)
    known = {}
    for method in METHODS if all_choices else [name for name in METHODS if name != "exhaustive"]:
        own = problem()
        began = time.process_time()
        choice = METHODS[method](own, seed)
        seconds, count = time.process_time() - began, len(own.known)
        known[method] = {
            "loss": own.loss_of(choice), "measured": count, "seconds": seconds, "choice": shown(own, choice),
            "lost": 100 * (accuracy(None) - accuracy(own.quantisation(choice))),
        }  # fmt: skip
    own = problem()
    uniform = own.uniform()
    known["uniform"] = {
        "loss": own.loss_of(uniform), "measured": 1, "seconds": 0.0, "choice": shown(own, uniform),
        "lost": 100 * (accuracy(None) - accuracy(own.quantisation(uniform))),
    }  # fmt: skip
    for method, row in known.items():
        yield {"method": method, **row}


def shown(problem: BitProblem, choice: Choice) -> str:
    return " ".join(str(problem.bits[position]) for position in choice)


def tested(program: Program, task: Task, examples: Tensor) -> Callable[[Quantisation | None], float]:
    """Of a quantisation, the accuracy on the test split; in floating point where None."""
    assert task.test is not None
    x, y = stored(task, task.test), torch.from_numpy(task.test.y)

    def accuracy(how: Quantisation | None) -> float:
        with torch.no_grad():
            outputs = program.run(x) if how is None else quantise(program, examples, how, span=span(task)).run(x)
        return float((outputs.argmax(1) == y).float().mean())

    return accuracy


def section(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the page says of it; nothing where nothing was measured."""
    if not rows:
        return []
    parts = [
        "## Bits by layer",
        "Bits of 2, 3, 4, 5, 6 and 8 within the bytes that all weights take at so many bits (`both`: and within the "
        "bit operations, so that what layers read is chosen, too), by `benchmarks.deploy.mixed_precision`. Regret: "
        "the loss on the examples above that of the best choice that is known; "
        "of the network of four layers that is the best of all 1,296 choices. Lost: points on the test images, of the "
        "integers. With 95 % intervals over trainings.",
    ]
    best: dict[tuple[Any, ...], float] = {}
    for row in rows:
        key = tuple(row[name] for name in KEYS[:-1])
        best[key] = min(best.get(key, row["loss"]), row["loss"])
    rows = [{**row, "regret": row["loss"] - best[tuple(row[name] for name in KEYS[:-1])]} for row in rows]
    for network in LIMITS:
        own = [row for row in rows if row["network"] == network]
        if not own:
            continue
        said = {FOUR: "A network of four layers"}.get(network, f"The {network} network")
        lines = [
            f"{said}:", "",
            "| limited | at bits | method | regret | lost | measured | s | n |",
            "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
        ]  # fmt: skip
        for limited, bits in LIMITS[network]:
            for method in ("uniform", *METHODS):
                found = [r for r in own if (r["limited"], r["bits"], r["method"]) == (limited, bits, method)]
                if found:
                    lines.append(entry(limited, bits, method, found))
        parts.append("\n".join(lines))
    return parts


def entry(limited: str, bits: int, method: str, rows: Sequence[Mapping[str, Any]]) -> str:
    regret, lost = (interval([row[key] for row in rows]) for key in ("regret", "lost"))
    cells = [
        limited, str(bits), method, f"{regret[0]:.3f} ({regret[1]:.3f} to {regret[2]:.3f})",
        f"{lost[0]:.2f} ({lost[1]:.2f} to {lost[2]:.2f})", f"{np.mean([row['measured'] for row in rows]):.0f}",
        f"{np.mean([row['seconds'] for row in rows]):.1f}", str(len(rows)),
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()

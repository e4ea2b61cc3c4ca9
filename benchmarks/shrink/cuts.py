"""EfficientNet-Lite0 cut to shares of its own measured latency: accuracy after recovery, in one step or gradually.

    python -m benchmarks.shrink.cuts cifar10.npz --work runs/cuts --share 0.5

The backbone at 96 pixels is transferred once (`--transfer` seconds; kept in the folder of work). `once` chooses cuts
and recovers; `gradually` does so twice within the same seconds, first at the geometric mean of the limit and what the
backbone takes. Seconds are of the processor. Each network is then measured again `AGAIN` times: how often
does it keep its limit? Rows go to docs/results/shrink_cuts.json; `page.py` writes the page.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from archscout.backbones.adapted import Adapted
from archscout.core.registry import create
from archscout.core.task import Task
from archscout.costs.latency import Latency
from archscout.shrink.limits import latency
from archscout.shrink.record import Record
from archscout.shrink.transfer import transfer, transfer_plan
from archscout.spaces.trained import BackboneSpace
from archscout.tasks.load import load
from benchmarks.common import RESULTS, Rows, arguments, machine
from benchmarks.shrink.common import accuracy, begun, cut_to

FILE = RESULTS / "shrink_cuts.json"
SIDE = 96
AGAIN = 5
WAYS = ("once", "gradually")


def transferred(folder: Path, task: Task, seconds: float, seed: int) -> tuple[Adapted, BackboneSpace, Record]:
    """The backbone on the task, from the folder where it was transferred before."""
    record = begun(folder, task, seconds, seed)
    backbone = create("backbone", "efficientnet_lite0")
    plan = transfer_plan(record, backbone, SIDE, {}, {})
    space = BackboneSpace(backbone, SIDE)
    network = space.adapted(task)
    assert isinstance(network, Adapted)
    transfer(record, network, backbone, plan, 1.0)
    return network.eval(), space, record


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--share", type=float, required=True, help="of the backbone's latency")
    parser.add_argument("--how", choices=WAYS, nargs="+", default=WAYS)
    parser.add_argument("--seconds", type=float, default=100)
    parser.add_argument("--transfer", type=float, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("runs/cuts"))
    parser.add_argument("--results", type=Path, default=FILE)
    options = parser.parse_args()
    torch.set_num_threads(1)
    task, seed = load(options.data), options.seed
    network, space, record = transferred(options.work / f"transfer-{seed}", task, options.transfer, seed)
    cost = create("cost", "latency")
    assert isinstance(cost, Latency)
    whole = latency(cost, network, task, "cpu").value
    original, limit = accuracy(network, task), options.share * whole
    for how in options.how:
        folder = options.work / f"{how}-{options.share:g}-{seed}"
        began = time.process_time()
        deep = 0.0 if how == "once" else 1.0
        result = cut_to(folder, network, space, task, limit, options.seconds, seed, record.mode, deep)
        took = time.process_time() - began
        again = [latency(cost, result.network, task, "cpu").value for _ in range(AGAIN)]
        row: dict[str, Any] = {
            "data": options.data.name, "share": options.share, "how": how, "seed": seed, "seconds": options.seconds,
            "original": original, "test": accuracy(result.network, task), "original_ms": whole, "limit_ms": limit,
            "measured_ms": again, "params": sum(p.numel() for p in result.network.parameters()),
            "harm": result.report["harm"], "cpu_seconds": took, "conditions": machine(),
        }  # fmt: skip
        Rows(options.results, ("data", "share", "how", "seed", "seconds"), sort=True).add(row)


if __name__ == "__main__":
    main()

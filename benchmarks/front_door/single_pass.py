"""What the second pass adds: networks that a search delivered in the mirrored form, with it and without it, on test.

    python -m benchmarks.front_door.single_pass --work runs/value --cell cifar10-3000@4m --contender 'search<5ms'

Of the runs that `value.py` left in `--work`, with the data that it made there. A network that was delivered in the form
of one pass is measured in both forms too. Rows go to docs/results/single_pass.json; `value_page.py` writes the means.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import archscout
from archscout.tasks.image_task import Mirrored
from benchmarks.common import RESULTS, Rows, arguments

FILE = RESULTS / "single_pass.json"
BATCH = 200


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/value"), help="where value.py left its runs")
    parser.add_argument("--cell", default="cifar10-3000@4m")
    parser.add_argument("--contender", default="search<5ms")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with np.load(options.work / "data" / f"{options.cell.partition('@')[0]}.npz", allow_pickle=False) as arrays:
        x, y = torch.from_numpy(arrays["x_test"]).permute(0, 3, 1, 2).float(), torch.from_numpy(arrays["y_test"])
    rows = Rows(FILE, ("cell", "contender", "seed"), sort=True)
    folder = f"{options.cell}-{options.contender}".replace("@", "-").replace("<", "-")
    for run in sorted(options.work.glob(f"{folder}-*")):
        network = archscout.load(run)
        delivered = any(isinstance(module, Mirrored) for module in network.modules())
        network = _one_pass(network)
        once = _answers(network, x)
        twice = (once + _answers(network, x.flip(3))) / 2
        rows.add({
            "cell": options.cell, "contender": options.contender, "seed": int(run.name.rpartition("-")[2]),
            "mirrored": delivered, "one_pass": _accuracy(once, y), "two_passes": _accuracy(twice, y),
        })  # fmt: skip


def _one_pass(network: nn.Module) -> nn.Module:
    if isinstance(network, Mirrored):
        return network.network
    for name, module in list(network.named_modules()):
        if isinstance(module, Mirrored):
            network.set_submodule(name, module.network)
    return network


def _answers(network: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([network(batch).float() for batch in torch.split(x, BATCH)])


def _accuracy(outputs: Tensor, y: Tensor) -> float:
    return round(float((outputs.argmax(1) == y).float().mean()), 4)


if __name__ == "__main__":
    main()

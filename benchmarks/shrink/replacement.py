"""Blocks of EfficientNet-Lite0 against the single convolutions that could stand for them (RAN-explicit).

    python -m benchmarks.shrink.replacement --data cifar10.npz

Each inverted residual of the backbone at 96 pixels, and a 3 x 3 convolution fitted to it on images: milliseconds of
both in ONNX Runtime (one thread, one image), and how far the backbone's answers move when it is replaced (KL divergence
over ImageNet's classes, before any training). Writes docs/results/shrink_replacement.json.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F

from archscout.core.registry import create
from archscout.costs.latency import QUICK, measure_module
from archscout.deploy.form import form
from archscout.shrink.replacement import candidates
from archscout.tasks.load import load
from benchmarks.common import RESULTS, arguments, machine, write_result

SIDE, EXAMPLES = 96, 64


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, default=RESULTS / "shrink_replacement.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    backbone = create("backbone", "efficientnet_lite0")
    network = form(backbone.network(), (3, SIDE, SIDE), checked=False)
    pixels = torch.as_tensor(load(options.data).train.head(2 * EXAMPLES).x).permute(0, 3, 1, 2).float()
    mean, std = (torch.tensor([*values]).view(-1, 1, 1) for values in (backbone.mean, backbone.std))
    x = F.interpolate((pixels - mean) / std, (SIDE, SIDE), mode="bilinear", align_corners=False)
    rows = []

    def clock(module: torch.nn.Module, shape: tuple[int, ...]) -> float:
        return measure_module(form(module, shape), shape, runtime="onnxruntime", protocol=QUICK).value

    def layers(module: torch.nn.Module, shape: tuple[int, ...]) -> float:
        return float(sum(1 for _ in module.modules()))

    # By this clock every block is a candidate: those that are not quicker are to be seen, too.
    for each in candidates(network, x[:EXAMPLES], x[EXAMPLES:], layers):
        block = network.get_submodule(each.name)
        before, after = clock(block, each.shape), clock(each.replacement.collapsed(), each.shape)
        rows.append({"block": each.name, "shape": each.shape, "before": before, "after": after, "harm": each.harm})
        print(rows[-1], flush=True)
    whole = clock(network, (3, SIDE, SIDE))
    write_result(options.out, {"conditions": machine(), "side": SIDE, "whole": whole, "rows": rows})


if __name__ == "__main__":
    main()

"""What maps side by side save the gradient of a kernel: `archscout.training.quick` against PyTorch.

    python -m benchmarks.training.narrow

Convolutions of 3 x 3 in bfloat16, 64 examples, channels last, one thread; processor milliseconds of the gradient of the
kernel alone, the least of some runs, in turns. Written to docs/results/narrow.json: by columns of the maps, inputs and
outputs, and whether the rule (`quick.NARROW`) has them laid side by side.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from archscout.training import quick
from benchmarks.common import RESULTS, Rows, arguments, machine

FILE = RESULTS / "narrow.json"
EXAMPLES, RUNS = 64, 12
COLUMNS = (2, 4, 5, 7, 8, 10, 16)
WIDTHS = ((16, 16), (32, 32), (64, 64), (64, 256), (128, 128), (256, 256), (512, 512))


def measured(columns: int, inputs: int, outputs: int) -> dict[str, float | int | bool]:
    """The row of one convolution."""
    torch.manual_seed(0)
    x, gradient, weight = (
        torch.randn(shape).bfloat16().contiguous(memory_format=torch.channels_last)
        for shape in (
            (EXAMPLES, inputs, columns, columns),
            (EXAMPLES, outputs, columns, columns),
            (outputs, inputs, 3, 3),
        )
    )
    ways: dict[str, Callable[[], object]] = {
        "pytorch": lambda: torch.ops.aten.convolution_backward(
            gradient, x, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [False, True, False]
        ),
        "side_by_side": lambda: quick.narrow_kernel_gradient(x, gradient, weight, (1, 1)),
    }
    least = dict.fromkeys(ways, float("inf"))
    for run in range(RUNS + 1):
        for name, way in ways.items():
            began = time.process_time()
            way()
            if run:  # the first prepares kernels
                least[name] = min(least[name], 1000 * (time.process_time() - began))
    taken = quick.is_narrow(x, weight)
    milliseconds = {name: round(value, 3) for name, value in least.items()}
    return {"columns": columns, "inputs": inputs, "outputs": outputs, **milliseconds, "taken": taken}


def main() -> None:
    arguments(__doc__).parse_args()
    torch.set_num_threads(1)
    rows = Rows(FILE, ("columns", "inputs", "outputs"), machine(), sort=True)
    for columns in COLUMNS:
        for inputs, outputs in WIDTHS:
            if not rows.has(columns=columns, inputs=inputs, outputs=outputs):
                rows.add(measured(columns, inputs, outputs))


if __name__ == "__main__":
    main()

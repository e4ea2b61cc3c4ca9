"""How fast training-free scores are: fast forms against literal ones, scores together, whole spaces, memory.

    python -m benchmarks.zero_cost.speed --data cifar10.npz
    python -m benchmarks.zero_cost.speed --data cifar10.npz --only literal,memory

Networks are those of NAS-Bench-201 at the published size. The literal forms are those of the tests, on the network
that public code builds (operations that are dead too), one thread, both in one run and in turn. Parts: `literal`
(ratios, and the time of a part that stays), `ranks` (what the passes of the tangent kernel have in common), `together`,
`family`, `nasgraph`, `share` and `everything` (all 15,625 epsilon scores: from a part, and by two workers), `memory`
and `lean` (processes of their own, on Linux: a batch of 256, and each score alone at a batch of 64). Writes
docs/results/zero_cost_speed.json and .md; parts that are not asked for stay.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F

from archscout.core.architecture import Architecture
from archscout.core.estimator import Setting
from archscout.core.files import write_text
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.estimators.zero_cost import kernel
from archscout.estimators.zero_cost.harness import Batch, Subject, draw, score
from archscout.estimators.zero_cost.layers import following
from archscout.estimators.zero_cost.passes import Passes
from archscout.methods.pruning import gates
from archscout.methods.te_nas import supernet
from archscout.spaces.nasbench201 import CHOICES, OPERATIONS
from archscout.study import scoring
from archscout.tasks.load import load
from archscout.training.contexts import frozen
from archscout.workers.engines import engine
from benchmarks.common import RESULTS, ROOT, arguments, write_result

FAMILY = ["grad_norm", "snip", "plain", "fisher", "knas"]
TEN = [*FAMILY, "jacob_cov", "epe_nas", "naswot:batch=64", "das:batch=64", "near"]
PARTS = ("literal", "ranks", "together", "family", "nasgraph", "share", "everything", "memory", "lean")

SHARE = 200
"""Architectures whose processor seconds stand for those of the space."""

KERNEL, CLASSES = 72, 10
"""Examples of the tangent kernel; classes of CIFAR-10."""

TARGETS = {"epsilon, batch 256": 100, "gradsign, batch 128": 10, "te_nas_ntk, batch 72, one draw": 5}
"""How many times as fast as the literal form was aimed at."""

ALONE = (
    "synflow", "snip", "grad_norm", "jacob_cov", "fisher", "naswot:batch=64", "zen", "epe_nas", "grasp",
    "epsilon:batch=64",
)  # fmt: skip
"""Scores whose seconds and memory are told one by one, of batches of 64."""

MEMORY = {
    "epsilon": ["epsilon:batch=256"],
    "the SNIP family, jacob_cov, epe_nas, naswot, near": [
        f"{name}:batch=256" for name in (*FAMILY, "jacob_cov", "epe_nas", "naswot", "near")
    ],
    "gradsign, zen, synflow": ["gradsign:batch=256", "zen:batch=256", "synflow"],
    "grasp": ["grasp:batch=256"],
}


def literal_forms() -> ModuleType:
    spec = importlib.util.spec_from_file_location("literal", ROOT / "tests/estimators/zero_cost/literal.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def seconds(run: Callable[..., Any], *arguments: Any) -> float:
    began = time.process_time()
    run(*arguments)
    return time.process_time() - began


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--count", type=int, default=4, help="architectures")
    parser.add_argument("--only", default="", help=f"parts, with commas between them, of: {', '.join(PARTS)}")
    parser.add_argument("--report", action="store_true", help="only write the page of what is there")
    parser.add_argument("--peak", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    file = RESULTS / "zero_cost_speed.json"
    made: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    made = {part: made[part] for part in PARTS if part in made}
    if options.report:
        write_text(file.with_suffix(".md"), page(made))
        return
    setting = Setting(create("space", "nasbench201"), load(options.data).sealed())
    if options.peak:
        print(peak(setting, options.peak.split("+")))
        return
    drawn = (setting.space.sample(stream(0, "speed", number)) for number in itertools.count())
    # Two networks, even if the texts differ, are measured once; what has no path at all is no network.
    some = {setting.space.canonical(each): each for each in itertools.islice(drawn, 4 * options.count)}
    architectures = [each for form, each in some.items() if form.strip()][: options.count]
    for part in options.only.split(",") if options.only else PARTS:
        found: Any
        if part == "literal":
            found = against_literal(setting, architectures, partial(keep, file, made, part))
        elif part == "ranks":
            found = ranks(setting, architectures)
        elif part == "together":
            found = together(setting, architectures)
        elif part == "family":
            found = family(setting, architectures)
        elif part == "nasgraph":
            found = graphs(setting)
        elif part == "share":
            found = share(setting)
        elif part == "everything":
            found = everything(setting)
        else:
            command = [sys.executable, "-m", "benchmarks.zero_cost.speed", "--data", options.data, "--peak"]
            groups = MEMORY if part == "memory" else {name: [name] for name in ALONE}
            found = {title: int(subprocess.check_output([*command, "+".join(each)])) for title, each in groups.items()}
        keep(file, made, part, found)
        print(part, json.dumps(found, indent=1), flush=True)


def keep(file: Path, made: dict[str, Any], part: str, found: Any) -> None:
    """Write what there is."""
    made[part] = found
    write_result(file, made)
    write_text(file.with_suffix(".md"), page(made))


# -- parts ------------------------------------------------------------------------------------------------------------


def against_literal(
    setting: Setting, architectures: list[Architecture], save: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Seconds an architecture of the fast and the literal forms, in turn, and of what cannot be done without."""
    literal, task = literal_forms(), setting.task
    warm = [f"{name}:batch=16" for name in ("epsilon", "snip", "jacob_cov", "gradsign", "grasp", "te_nas_ntk")]
    score([setting.space.sample(stream(0, "warm"))], [*warm, "synflow", "swap:repeats=1"], setting)
    score(architectures, ["synflow"], setting)  # which operators networks run is looked up once a process
    batches: dict[int, Batch] = {}

    def batch(size: int) -> Batch:
        if size not in batches:
            x, y = draw(setting, size)
            batches[size] = x.contiguous(), y
        return batches[size]

    def public(architecture: Architecture) -> torch.nn.Module:
        network: torch.nn.Module = literal.nasbench201(architecture.text, 16, 5, task.input_shape[0], CLASSES)
        return network

    def once(size: int) -> Callable[[Architecture], Any]:
        """One forward and one backward pass of the network that the library builds."""

        def run(architecture: Architecture) -> None:
            network = Subject(architecture, setting, {}, {}).network
            x, y = batch(size)
            F.cross_entropy(network(x.contiguous(memory_format=torch.channels_last)), y).backward()

        return run

    def built(architecture: Architecture) -> torch.nn.Module:
        return Subject(architecture, setting, {}, {}).network

    def thin(architecture: Architecture) -> torch.nn.Module:
        return kernel.thin_network(Subject(architecture, setting, {}, {}))

    forms: dict[str, tuple[str, Callable[[Architecture], Any], Callable[[Architecture], Any] | None]] = {
        "epsilon, batch 256": ("epsilon", lambda a: literal.epsilon(public(a), batch(256)[0]), None),
        "gradsign, batch 128": ("gradsign", lambda a: literal.gradsign(public(a), *batch(128)), once(128)),
        "te_nas_ntk, batch 72, one draw": (
            "te_nas_ntk:repeats=1",
            lambda a: literal.tangent_kernel(
                literal.nasbench201(a.text, 3, 1, task.input_shape[0], CLASSES), batch(KERNEL)[0]
            ),
            lambda a: least_kernel(thin(a), batch(KERNEL)[0]),
        ),
        "synflow": ("synflow", lambda a: literal.synflow(public(a), task.input_shape), built),
        "synflow, expected (literal: of one draw)": (
            "synflow:expected=true",
            lambda a: literal.synflow(public(a), task.input_shape),
            None,
        ),
        "swap, one draw": ("swap:repeats=1", lambda a: literal.swap(public(a), batch(16)[0]), None),
        "grad_norm": ("grad_norm", lambda a: literal.grad_norm(public(a), *batch(64)), None),
        "snip": ("snip", lambda a: literal.snip(public(a), *batch(64)), None),
        "fisher": ("fisher", lambda a: literal.fisher(public(a), *batch(64)), None),
        "grasp": ("grasp", lambda a: literal.grasp(public(a), *batch(64)), once(64)),
        "jacob_cov": ("jacob_cov", lambda a: literal.jacob_cov(public(a), batch(64)[0]), None),
    }
    made: dict[str, Any] = {"architectures": len(architectures), "load": os.getloadavg()[0], "forms": {}}
    for title, (name, slow, least) in forms.items():
        quick = long = floor = 0.0
        # In turn, two at a time: other programs disturb both alike, and lists share what they share in use.
        for begin in range(0, len(architectures), 2):
            few = architectures[begin : begin + 2]
            quick += seconds(score, few, [name], setting)
            for architecture in few:
                long += seconds(slow, architecture)
                if least is not None:
                    floor += seconds(least, architecture)
        row = {"seconds": quick / len(architectures), "literal": long / len(architectures), "ratio": long / quick}
        made["forms"][title] = row | ({"least": floor / len(architectures)} if least is not None else {})
        save(made)
    made["forms"]["the kernel of TE-NAS's supernet, batch 72"] = of_supernet(setting, literal, batch(KERNEL)[0])
    made["channels"] = by_channels()
    return made


def by_channels() -> dict[str, float]:
    """Seconds of a convolution of 3 x 3 on the maps of a stage of the thin network, by its channels; equal products."""
    made = {}
    for channels, side in ((3, 32), (6, 16), (12, 8)):
        x, weight = torch.ones((4 * KERNEL, channels, side, side)), torch.ones((channels, channels, 3, 3))
        runs = [seconds(F.conv2d, x, weight, None, 1, 1) for _ in range(20)]
        made[str(channels)] = min(runs)
    return made


def least_kernel(network: torch.nn.Module, x: torch.Tensor) -> None:
    """The products alone of convolutions: the weights' gradients for all examples, and what is handed on."""
    with frozen(network), following(network) as calls:
        network(x.clone().requires_grad_())
        kept = list(calls)
    with torch.no_grad():
        for layer, inputs, outputs in kept:
            weigh = kernel.weighing(layer, inputs.detach())
            further = Passes(outputs, {} if inputs.grad_fn is None else {inputs.grad_fn: lambda gradient: None})
            gradient = outputs.detach()[:, None].expand(-1, 4, *outputs.shape[1:]).contiguous()
            for _ in range(0, len(x), 4):
                weigh(gradient)
                further.run(gradient)


def ranks(setting: Setting, architectures: list[Architecture]) -> dict[str, list[int]]:
    """Dimensions that the gradients of all outputs but one span at that one's example, by channels: of each layer."""
    x, _ = draw(setting, KERNEL)
    made: dict[str, list[int]] = {}
    for architecture in architectures:
        network = kernel.thin_network(Subject(architecture, setting, {}, {})).double()
        with frozen(network), following(network) as calls:
            outputs = network(x.double().contiguous().requires_grad_()).sum(1)
        maps = [y for _, _, y in calls if y.ndim == 4 and y.requires_grad]
        passes = [torch.autograd.grad(outputs[other], maps, retain_graph=True) for other in range(1, KERNEL)]
        for y, gradients in zip(maps, zip(*passes, strict=True), strict=True):
            rows = torch.stack([gradient[0].flatten() for gradient in gradients])
            made.setdefault(str(y.shape[1]), []).append(int(torch.linalg.matrix_rank(rows, rtol=1e-9)))
    return made


def of_supernet(setting: Setting, literal: ModuleType, x: torch.Tensor) -> dict[str, float]:
    """The kernel that TE-NAS measures most often: all operations but `none` on all edges."""
    network = supernet(setting, 3, 0)
    gated = network.gate(gates(network.space.choices, {name: list(OPERATIONS[1:]) for name in CHOICES}))
    quick = seconds(kernel.gram, gated, x)
    long = seconds(literal.tangent_kernel, gated, x)
    return {"seconds": quick, "literal": long, "ratio": long / quick}


def together(setting: Setting, architectures: list[Architecture]) -> dict[str, Any]:
    """Scores asked for together against one by one, and each alone."""

    def fast(*names: str) -> float:
        return seconds(score, architectures, names, setting) / len(architectures)

    alone = sum(fast(name) for name in TEN)
    return {
        "ten scores": {"together": fast(*TEN), "one by one": alone},
        "alone": {name: fast(name) for name in ALONE},
        "load": os.getloadavg()[0],
    }


def family(setting: Setting, architectures: list[Architecture]) -> dict[str, float]:
    """The scores that one backward pass gives, and one of them alone: the best of three, in turn."""
    many, one = [], []
    for _ in range(3):
        many.append(seconds(score, architectures, FAMILY, setting) / len(architectures))
        one.append(seconds(score, architectures, ["snip"], setting) / len(architectures))
    return {"together": min(many), "snip alone": min(one)}


def graphs(setting: Setting) -> dict[str, float]:
    """Average degrees of 200 architectures."""
    many = [setting.space.sample(stream(0, "speed", "nasgraph", number)) for number in range(200)]
    return {
        title: seconds(score, many, [name], setting)
        for title, name in (("expected", "nasgraph:expected=true"), ("as published", "nasgraph"))
    }


def everything(setting: Setting) -> dict[str, Any]:
    """Epsilon of all architectures of the space, by two workers, as `archscout score --workers 2` does it."""
    space, all_of_them = setting.space, every_cell(setting)
    made: dict[str, Any] = {"architectures": len(all_of_them), "load": os.getloadavg()[0]}
    name = "epsilon:batch=256"
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        with engine("local", 2, (space, setting.task, "cpu")) as pool:
            scores = scoring.score(space, setting.task, [name], all_of_them, file=Path(folder) / "all.csv", engine=pool)
        made[name] = {"clock": time.monotonic() - began, "undefined": scores.undefined[name]}
    return made


def every_cell(setting: Setting) -> list[Architecture]:
    texts = itertools.product(OPERATIONS, repeat=len(CHOICES))
    return [setting.space.architecture(dict(zip(CHOICES, chosen, strict=True))) for chosen in texts]


def share(setting: Setting) -> dict[str, float]:
    """Processor seconds of epsilon, batch 256, of some of the different networks of the space, in this process.

    Equal networks are scored once; which are equal has to be found out for all.
    """
    began = time.process_time()
    different = list({setting.space.canonical(cell): cell for cell in every_cell(setting)}.values())
    telling = time.process_time() - began
    chosen = stream(0, "speed", "share").choice(len(different), SHARE, replace=False)
    took = seconds(score, [different[place] for place in chosen], ["epsilon:batch=256"], setting)
    return {"networks": len(different), "scored": SHARE, "telling them apart": telling, "processor": took}


def peak(setting: Setting, names: list[str]) -> int:
    """The most memory that this process has held, in bytes, once these scores are made of the largest cell."""
    largest = setting.space.architecture(dict.fromkeys(CHOICES, "nor_conv_3x3"))
    score([largest], names, setting)
    # What `resource` tells of a process begins with the peak of the one that started it.
    (held,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(held) * 1024


# -- the page ---------------------------------------------------------------------------------------------------------


def page(made: Mapping[str, Any]) -> str:
    """Markdown."""
    lines = [
        "# How fast training-free scores are",
        "",
        "Made by `benchmarks/zero_cost/speed.py`: networks of NAS-Bench-201 at the published size, CIFAR-10 images, "
        "one thread, processor seconds an architecture, on a machine that other programs use as well (ratios are of "
        "one run, both sides in turn). Each fast form equals the literal one in the tests.",
    ]
    if "literal" in made:
        lines += _literal(made["literal"], made.get("ranks", {}))
    if "together" in made:
        lines += _together(made["together"], made.get("family"), made.get("lean", {}))
    lines += ["", "## Whole spaces, and memory", "", "| what | aim | measured | |", "| --- " * 4 + "|"]
    if "everything" in made:
        row, load_then = made["everything"]["epsilon:batch=256"], made["everything"]["load"]
        lines.append(
            f"| epsilon, batch 256, of all {made['everything']['architectures']:,}, two workers | below 60 s | "
            f"{row['clock']:.0f} s by the clock, at a load of {load_then:.1f} on two cores; {row['undefined']:,} "
            f"undefined | {_holds(row['clock'] < 60)} |"
        )
    if "share" in made:
        part = made["share"]
        scaled = (part["telling them apart"] + part["processor"] / part["scored"] * part["networks"]) / 2
        lines.append(
            f"| the same, processor seconds of each of two cores: from {part['scored']} of {part['networks']:,} "
            f"different networks, drawn at random | below 60 s | {scaled:.0f} s | {_holds(scaled < 60)} |"
        )
    for title, took in made.get("nasgraph", {}).items():
        aim = "below 1 s; 217 s in the paper"
        lines.append(f"| NASGraph, {title}, 200 architectures | {aim} | {took:.2f} s | {_holds(took < 1)} |")
    for title, held in made.get("memory", {}).items():
        lines.append(
            f"| peak memory, batch 256, largest cell: {title} | below 2 GB | {held / 1e9:.2f} GB | "
            f"{_holds(held < 2e9)} |"
        )
    if "memory" in made:
        lines += [
            "",
            "Memory is that of a whole process: the interpreter, PyTorch and the images of the task are in it.",
        ]
    return "\n".join([*lines, ""])


def _holds(held: bool) -> str:
    return "holds" if held else "missed"


def _literal(made: Mapping[str, Any], ranks: Mapping[str, Sequence[int]]) -> list[str]:
    lines = [
        "", "## Against literal forms", "",
        f"Means over {made['architectures']} architectures, at a load of {made['load']:.1f}. `least` is the time of "
        "a part that our forms do not do without: for `gradsign` and `grasp` one forward and one backward pass of the "
        "same batch, for `synflow` building the network, for the tangent kernel what convolutions take to make the "
        "gradients of their weights and those that they hand on. `at most` is the ratio that a form would have which "
        "did nothing else.",
        "", "| score | seconds | literal | ratio | aim | | least | at most |", "| --- " * 8 + "|",
    ]  # fmt: skip
    for name, row in made["forms"].items():
        aim = TARGETS.get(name, TARGETS["te_nas_ntk, batch 72, one draw"] if "kernel" in name else None)
        cells = [
            name, f"{row['seconds']:.3f}", f"{row['literal']:.3f}", f"{row['ratio']:.1f}",
            "" if aim is None else f"{aim}", "" if aim is None else _holds(row["ratio"] >= aim),
            *((f"{row['least']:.3f}", f"{row['literal'] / row['least']:.1f}") if "least" in row else ("", "")),
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    if "channels" in made:
        lines += ["", *_why(made["channels"], ranks)]
    return lines


def _why(channels: Mapping[str, float], ranks: Mapping[str, Sequence[int]]) -> list[str]:
    """What stands between the aims that are missed and an exact form."""
    narrow = channels["3"] / channels["12"]
    spans = [
        f"{min(each)}{'' if min(each) == max(each) else f' to {max(each)}'} where there are {width} channels"
        for width, each in ranks.items()
    ]
    common = (
        f" At one example the gradients of the {KERNEL - 1} other outputs span so many dimensions, layer by layer "
        f"(these architectures, float64): {', '.join(spans)}; {KERNEL - 1} where no smaller number of passes has them "
        "all."
        if spans
        else ""
    )
    return [
        "What keeps GradSign and the tangent kernel from their aims:",
        "",
        "- GradSign takes three products a layer: the forward pass, the gradient that is handed on, and the weights' "
        "gradients of each example. The literal form takes the same products, an example at a time, and wastes only "
        "what small calls waste. A form of nothing but one forward and one backward pass of the batch would be "
        "`at most` as fast.",
        f"- Through batch normalisation each of the {KERNEL} outputs depends on all {KERNEL} examples, so that "
        f"{KERNEL} x {KERNEL} feature maps go back through each layer of a stage.{common} Layers have 3, 6 and 12 "
        f"channels; of 3 channels a convolution takes {narrow:.1f} times as long as one of 12 with as many products, "
        "in the kernels that there are. Normalisation takes its sums from the weights' gradients, and these are one "
        "convolution for all passes; what remains are mostly the convolutions.",
    ]


def _together(made: Mapping[str, Any], family: Mapping[str, float] | None, lean: Mapping[str, int]) -> list[str]:
    ten = made["ten scores"]
    share = ten["together"] / ten["one by one"]
    lines = [
        "", "## Together", "", "| what | aim | measured | |", "| --- " * 4 + "|",
        f"| ten scores together, of one by one | below 40 % | {100 * share:.0f} % ({ten['together']:.2f} s of "
        f"{ten['one by one']:.2f} s) | {_holds(share < 0.4)} |",
    ]  # fmt: skip
    if family is not None:
        price = family["together"] / family["snip alone"]
        lines.append(
            f"| {', '.join(FAMILY)} together, of `snip` alone | the price of one, within 15 % | {100 * price:.0f} % "
            f"({family['together']:.2f} s of {family['snip alone']:.2f} s) | {_holds(price < 1.15)} |"
        )
    lines += [
        "", "## Each alone", "",
        f"Batch 64, at a load of {made['load']:.1f}; memory is that of a whole process on the largest cell. There is "
        "no comparison with public code here: a ratio counts only where both sides ran in one go, and public code has "
        "not been run beside ours by this script. (The literal forms above are our own writing of what it does.)",
        "", "| score | seconds | GiB |", "| --- " * 3 + "|",
    ]  # fmt: skip
    for name in ALONE:
        memory = f"{lean[name] / 2**30:.2f}" if name in lean else ""
        lines.append(f"| `{name}` | {made['alone'][name]:.3f} | {memory} |")
    return lines


if __name__ == "__main__":
    main()

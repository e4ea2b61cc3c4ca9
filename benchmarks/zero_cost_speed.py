"""How much faster the fast forms of training-free scores are than the literal ones of the tests.

    python benchmarks/zero_cost_speed.py --data cifar10.npz
    python benchmarks/zero_cost_speed.py --data digits --count 1

Writes docs/results/zero_cost_speed.json: for each score the mean processor seconds (one thread) an architecture
of the fast and of the literal form in one run, their ratio, and the seconds of ten scores asked for together and one
by one.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.estimators.zero_cost.harness import Subject, score
from archscout.estimators.zero_cost.kernel import thin_network
from archscout.networks.pick import build
from archscout.tasks.load import load

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "docs" / "results" / "zero_cost_speed.json"
FAMILY = ["grad_norm", "snip", "plain", "fisher", "knas"]
TEN = [*FAMILY, "jacob_cov", "epe_nas", "naswot:batch=64", "das:batch=64", "near"]


def literal_forms() -> ModuleType:
    spec = importlib.util.spec_from_file_location("literal", ROOT / "tests/estimators/zero_cost/literal.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def seconds(run: Callable[[], Any]) -> float:
    began = time.process_time()
    run()
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--space", default="nasbench201")
    parser.add_argument("--count", type=int, default=4, help="architectures")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    literal = literal_forms()
    space, task = create("space", options.space), load(options.data).sealed()
    setting = Setting(space, task)
    architectures = [space.sample(stream(0, "speed", number)) for number in range(options.count)]
    score(architectures[:1], ["epsilon:batch=16", "synflow", "snip:batch=16", "jacob_cov:batch=16"], setting)

    def fast(*names: str) -> float:
        return seconds(lambda: score(architectures, names, setting)) / len(architectures)

    def slow(name: str, *, batch: int = 64, labels: bool = False) -> float:
        def run() -> None:
            for architecture in architectures:
                x, y = (t.contiguous() for t in Subject(architecture, setting, {}, {}).inputs(batch))
                network = literal.train_mode(build(space, architecture, task))
                getattr(literal, name)(network, *((x, y) if labels else (x,)))

        return seconds(run) / len(architectures)

    def slow_flow() -> None:
        for architecture in architectures:
            literal.synflow(literal.train_mode(build(space, architecture, task)), task.input_shape)

    def slow_kernel() -> None:
        for architecture in architectures:
            subject = Subject(architecture, setting, {}, {})
            network = thin_network(subject).to(memory_format=torch.contiguous_format)
            literal.tangent_kernel(network, subject.inputs(72)[0].contiguous())

    pairs = {
        "epsilon, batch 256": (fast("epsilon"), slow("epsilon", batch=256)),
        "synflow": (fast("synflow"), seconds(slow_flow) / len(architectures)),
        "gradsign, batch 128": (fast("gradsign"), slow("gradsign", batch=128, labels=True)),
        "te_nas_ntk, one draw": (fast("te_nas_ntk:repeats=1"), seconds(slow_kernel) / len(architectures)),
        "swap, one draw": (fast("swap:repeats=1"), slow("swap", batch=16)),
        "grad_norm": (fast("grad_norm"), slow("grad_norm", labels=True)),
        "snip": (fast("snip"), slow("snip", labels=True)),
        "fisher": (fast("fisher"), slow("fisher", labels=True)),
        "grasp": (fast("grasp"), slow("grasp", labels=True)),
        "jacob_cov": (fast("jacob_cov"), slow("jacob_cov")),
    }
    made: dict[str, Any] = {
        name: {"seconds": quick, "literal": long, "ratio": long / quick} for name, (quick, long) in pairs.items()
    }
    alone, together = sum(fast(name) for name in TEN), fast(*TEN)
    made["ten scores"] = {"together": together, "one by one": alone, "share": together / alone}
    made["the SNIP family"] = {"together": fast(*FAMILY), "snip alone": fast("snip")}
    many = [space.sample(stream(0, "speed", "nasgraph", number)) for number in range(200)]
    made["nasgraph in expectation, 200 architectures"] = {
        "seconds": seconds(lambda: score(many, ["nasgraph:expected=true"], setting))
    }
    made["peak memory, bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    made["conditions"] = {"space": space.name, "data": task.name, "architectures": len(architectures), "threads": 1}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(made, indent=1))


if __name__ == "__main__":
    main()

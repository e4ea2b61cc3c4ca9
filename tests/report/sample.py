"""A finished search as it could have been: a report and its trials, made up, always the same.

`python tests/report/sample.py FOLDER` writes the page about it, to look at.
"""

from __future__ import annotations

import base64
import io
import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.networks.tracing import trace_architecture
from archscout.store.store import StoredTrial
from archscout.testing.tasks import tiny_task

EPOCHS = 18
LIMIT = 0.45


def graph_of(space_name: str, text: str = "", shape: tuple[int, int, int] = (1, 8, 8)) -> dict[str, Any]:
    """The graph of an architecture (of the first sample, without a text) as `report.json` has it."""
    space = create("space", space_name)
    architecture = space.parse(text) if text else space.sample(stream(0, "graph"))
    graph = trace_architecture(space, architecture, tiny_task(shape, classes=10, examples=10))
    return {
        "nodes": [{"label": n.label, "group": n.group, "size": n.size, "macs": n.macs} for n in graph.nodes],
        "edges": [list(edge) for edge in graph.edges],
    }


def sample() -> tuple[dict[str, Any], list[StoredTrial]]:
    """The report and its trials: 200 scored, 64 trained for 2 epochs, 22 for 6, 7 to the end; two fail."""
    space = create("space", "nasbench201")
    rng = stream(7, "sample")
    merit = {}
    while len(merit) < 200:
        architecture = space.sample(rng)
        convolutions = sum(
            3.0 if "3x3" in str(o) and "conv" in str(o) else 1.2 if "1x1" in str(o) else 0
            for o in architecture.values()
        )
        if convolutions:
            merit[architecture.text] = convolutions
    texts = list(merit)
    size = np.asarray([merit[text] for text in texts])
    quality = 1 - np.exp(-0.45 * size) + rng.normal(0, 0.10, len(texts))
    costs = [
        {
            "params": float(round(2500 + 5100 * s + rng.normal(0, 200))),
            "macs": float(round(9e4 + 6.5e4 * s)),
            "latency_ms": float(0.13 + 0.034 * s + abs(rng.normal(0, 0.02))),
        }
        for s in size
    ]
    trials: list[StoredTrial] = []
    clock = 3.1

    def add(
        i: int, estimator: str, fidelity: int | None, value: float, seconds: float, phase: str, reason: str = ""
    ) -> None:
        nonlocal clock
        clock += seconds / 2 + 0.002
        trials.append(
            StoredTrial(
                key=f"{estimator}@{fidelity}|{texts[i]}",
                number=len(trials),
                architecture=texts[i],
                canonical=texts[i],
                estimator=estimator,
                fidelity=fidelity,
                status="failed" if reason else "completed",
                value=math.nan if reason else value,
                costs=costs[i],
                seconds=seconds,
                phase=phase,
                reason=reason,
                extra={"at": round(clock, 3)},
            )
        )

    score = quality + rng.normal(0, 0.12, len(texts))
    for i in range(len(texts)):
        add(i, "naswot", None, float(180 + 60 * score[i]), 0.011, "zero-cost scores")
    fits = [i for i in np.argsort(-score) if costs[i]["latency_ms"] <= 0.95 * LIMIT]
    chosen = list(fits[:64])
    rungs = {}
    for epochs, count, ceiling, noise in ((2, 64, 0.90, 0.02), (6, 22, 0.965, 0.006), (EPOCHS, 7, 0.990, 0.003)):
        values = {}
        phase = "final training" if epochs == EPOCHS else f"training, {epochs} epochs"
        for place, i in enumerate(chosen[:count]):
            failed = "the loss became NaN in epoch 1" if (epochs, place) in ((2, 11), (2, 40)) else ""
            value = ceiling - 0.25 * (1 - quality[i]) ** 2 * 4 / epochs + rng.normal(0, noise)
            value = min(269 / 270, round(270 * value) / 270)
            add(i, "trained", epochs, float(value), 1.1 * epochs * (0.7 + 0.05 * size[i]), phase, failed)
            if not failed:
                values[i] = value
        rungs[epochs] = values
        chosen = sorted(values, key=lambda i: -values[i])
    won = chosen[0]
    finalists = [
        {"architecture": texts[i], "value": float(rungs[EPOCHS][i]), "costs": costs[i], "meets": True}
        for i in chosen[:3]
    ]
    confusion = np.diag(rng.multinomial(356, np.full(10, 0.1))).astype(int)
    for true, said in ((8, 1), (9, 4), (3, 5), (8, 2)):
        confusion[true, said] += 1
    winner_costs = costs[won] | {"peak_memory_bytes": 6144.0}
    report = {
        "run": "demo", "space": "nasbench201", "task": "digits", "metric": "accuracy", "method": "cascade",
        "estimator": "trained", "seed": 0, "version": "0.1.0", "budget": "180 s", "epochs": EPOCHS,
        "objectives": ["accuracy"],
        "constraints": [{"name": "latency", "key": "latency_ms", "limit": LIMIT}],
        "conditions": {
            "cpu": "x86_64", "cores": 2, "threads": 1, "workers": 2, "device": "cpu",
            "torch": "2.6.0", "python": "3.11.9",
        },
        "winner": {
            "architecture": texts[won], "costs": winner_costs, "spread": {"latency_ms": 0.021},
            "valid_accuracy": rungs[EPOCHS][won], "test_accuracy": 356 / 360,
            "graph": graph_of("nasbench201", texts[won]), "curve": _curve(rng, rungs[EPOCHS][won]),
        },
        "finalists": finalists,
        "pareto": [
            {"architecture": texts[i], "value": float(v), "costs": costs[i]} for i, v in list(rungs[EPOCHS].items())[:4]
        ],
        "class_names": [str(digit) for digit in range(10)],
        "confusion": confusion.tolist(),
        "mistakes": _mistakes(),
        "notes": {
            "rungs": [
                _rung("naswot", "trained@2", 0.61, 0.40, 0.76, 62, 0.011),
                _rung("trained@2", "trained@6", 0.72, 0.41, 0.88, 22, 2.1),
                _rung("trained@6", f"trained@{EPOCHS}", 0.83, 0.17, 0.99, 7, 6.4),
            ],
            "weight_sharing": {
                "steps": 30, "paths": 480, "seconds": 41.5, "candidates": [texts[won]],
                "warning": "plain connections are the most probable option",
                "history": [
                    {
                        "step": step, "entropy": 9.0 - step / 10, "samples": 16.0 - step / 3, "loss": 2.0 - step / 20,
                        "probabilities": {"skip_connect": 0.2 + step / 60, "nor_conv_3x3": 0.8 - step / 60},
                    }
                    for step in (10, 20, 30)
                ],
            },
            "finished": True,
        },
        "seconds": {
            "prepare": 2.2, "feasibility": 0.9, "zero-cost scores": 3.4, "costs": 6.1, "training, 2 epochs": 71.0,
            "training, 6 epochs": 66.4, "final training": 68.7, "finish": 4.2, "total": 222.9,
        },
        "feasibility": {"sampled": 48, "meeting": 31, "share": 31 / 48, "closest": texts[0], "closest_costs": {}},
        "trials": 93, "scored": 200, "failed_trials": 2, "rejected": 38,
        "failures": [{"reason": "the loss became NaN in epoch 1", "count": 2}],
    }  # fmt: skip
    return report, trials


def hostile() -> tuple[dict[str, Any], list[StoredTrial]]:
    """The sample with markup, scripts and links in every text that comes from outside."""
    report, trials = sample()
    evil = """</script><script>window.harmed=1</script><img src="https://example.org/x" onerror="window.harmed=2">"""
    link = '<a href="https://example.org">{{ 7 * 7 }}</a>'
    report |= {"run": evil, "task": evil, "space": link, "method": evil, "version": evil, "budget": link}
    report["class_names"] = [f"{evil}{digit}" for digit in range(10)]
    report["failures"] = [{"reason": evil, "count": 2}]
    report["conditions"] = {evil: evil}
    report["seconds"][evil] = 3.0
    for rung in report["notes"]["rungs"]:
        rung["against"] = evil
    report["notes"]["weight_sharing"]["warning"] = evil
    for row in report["notes"]["weight_sharing"]["history"]:
        row["probabilities"] = {evil: 1.0}
    for row in [report["winner"], *report["finalists"], *report["pareto"]]:
        row["architecture"] = evil + row["architecture"]
    for node in report["winner"]["graph"]["nodes"]:
        node["label"] = node["group"] = link
    report["mistakes"] = [{"image": '" onerror="window.harmed=3', "true": evil, "predicted": link, "confidence": 1.0}]
    changes = {"phase": evil, "reason": evil}
    trials = [replace(trial, architecture=evil + trial.architecture, **changes) for trial in trials]
    return report, trials


def many(count: int) -> list[StoredTrial]:
    """So many trials of different networks, trained for 2 epochs, with costs."""
    rng = stream(3, "many")
    values, costs, seconds = rng.beta(8, 2, count), rng.lognormal(12, 1, count), rng.uniform(0.5, 2, count)
    return [
        StoredTrial(
            key=f"k{i}",
            number=i,
            architecture=f"|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|none~1|none~2| {i}",
            canonical=f"network {i}",
            estimator="trained",
            fidelity=2,
            status="completed",
            value=float(values[i]),
            costs={"params": float(costs[i]), "macs": float(costs[i] * 7), "latency_ms": float(costs[i] / 1e5)},
            seconds=float(seconds[i]),
            phase="search",
            extra={"at": float(i)},
        )
        for i in range(count)
    ]


def _rung(below: str, above: str, middle: float, low: float, high: float, count: int, seconds: float) -> dict[str, Any]:
    return {
        "estimator": below, "against": above, "spearman": middle, "low": low, "high": high, "count": count,
        "seconds_each": seconds,
    }  # fmt: skip


def _curve(rng: np.random.Generator, best: float) -> list[dict[str, float]]:
    rows = []
    for epoch in range(1, EPOCHS + 1):
        rest = math.exp(-epoch / 3.2)
        rows.append(
            {
                "epoch": epoch,
                "train_loss": 0.55 + 1.5 * rest + float(rng.normal(0, 0.01)),
                "valid_loss": 0.52 + 1.4 * rest + float(rng.normal(0, 0.015)),
                "valid_accuracy": min(best, best - 0.8 * rest * (1 - 0.2 * rng.random())) if epoch < EPOCHS else best,
                "learning_rate": 0.05 * (1 + math.cos(math.pi * epoch / EPOCHS)),
                "seconds": 1.1,
            }
        )
    return rows


def _mistakes() -> list[dict[str, Any]]:
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    found = []
    for index, said, sure in ((5, 9, 0.93), (905, 2, 0.71), (1553, 1, 0.66), (818, 7, 0.52)):
        picture = io.BytesIO()
        Image.fromarray((digits.images[index] * 15.9).astype(np.uint8)).save(picture, "PNG")
        image = base64.b64encode(picture.getvalue()).decode()
        found.append({"image": image, "true": str(digits.target[index]), "predicted": str(said), "confidence": sure})
    return found


if __name__ == "__main__":
    from archscout.report.page import write

    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    report, trials = sample()
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    for name in ("network.onnx", "network.safetensors", "architecture.json", "metrics.json"):
        (folder / name).touch()
    print(write(folder, trials=trials))

"""A small transformer that predicts in context, trained on made-up laws: is it better than scout where little is known?

    python -m benchmarks.predictors.pfn train
    python -m benchmarks.predictors.pfn compare --nasbench201 tables/nasbench201.parquet
    python -m benchmarks.predictors.pfn compare --report

A prior-data fitted network (Mueller et al. 2022, arXiv 2112.10510; TabPFN, Hollmann et al. 2023, arXiv 2207.01848)
learns nothing when it predicts: the known networks and their values are its input, beside those that are asked for, and
one pass gives the posterior under the prior that its training tasks were drawn from. Here a task is a random law on the
features of the pruned graph (`live`) of real cells of NAS-Bench-201: a Gaussian process with a relevance for each kind
of feature, or random trees, or a random network of two layers, or the sum of two of these, and noise. No accuracy is
seen in training. The gate: to be a default it must be .01 of Kendall's tau above scout at 50 known networks or fewer.

Training goes on where it was stopped, and comes to the same weights; 1,000 steps are a minute or two of one thread.
Clean protocol (`archscout.study`). Writes docs/results/predictors_pfn.md and .json.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from scipy.special import ndtri
from torch import Tensor, nn

import archscout
from archscout.core.files import write_text
from archscout.core.registry import create, register
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.estimators.encodings.encode import encode, widths
from archscout.estimators.predictors.base import Predictor
from archscout.estimators.predictors.learned import Learned
from archscout.estimators.predictors.targets import Scale
from archscout.estimators.predictors.training import randomness
from archscout.study.estimators import Plan, compare
from archscout.study.summary import interval, paired
from archscout.tables.table import Table
from benchmarks.common import RESULTS, arguments, write_result

WEIGHTS = Path("runs/predictors_pfn/weights.safetensors")
METRICS = {"CIFAR-100": "c100_test_200", "ImageNet16-120": "in16_test_200"}
"""Those that scout was not developed on."""
SIZES = (10, 25, 50)
GATE = 0.01
POOL, TASKS, QUERIES = 3000, 8, 48
"""Cells that laws are of; tasks a step; what is asked for in a task."""
KNOWN = (5, 60)
SPREAD = 1.5
"""The deviation of values of tasks, on the scale of the ranks of the known."""
BINS, RATE, WARM, CHECKPOINT = 64, 1e-3, 50, 20.0


class InContext(nn.Module):
    """From features and values of known ones, and features of others, to a distribution of the value of each of these.

    All attend to the known ones only, so that what is said of one does not depend on what else is asked.

    Args:
        features: numbers of one architecture; standardised inside, by `middle` and `stretch`.
        width, layers, heads: of the transformer.
    """

    def __init__(self, features: int, width: int = 128, layers: int = 4, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.middle = nn.Buffer(torch.zeros(features))
        self.stretch = nn.Buffer(torch.ones(features))
        self.features, self.value = nn.Linear(features, width), nn.Linear(1, width)
        self.asked = nn.Parameter(torch.zeros(width))
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm": nn.LayerNorm(width), "query": nn.Linear(width, width), "both": nn.Linear(width, 2 * width),
                    "out": nn.Linear(width, width), "between": nn.LayerNorm(width),
                    "perceptron": nn.Sequential(
                        nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
                    ),
                }
            )
            for _ in range(layers)
        )  # fmt: skip
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, BINS))
        for layer in self.layers:
            # Who is alike is looked at from the beginning: a smoothing kernel, from which training departs.
            with torch.no_grad():
                layer["query"].weight.mul_(2)
                layer["both"].weight[:width].copy_(layer["query"].weight)

    def forward(self, known: Tensor, values: Tensor, asked: Tensor) -> Tensor:
        """Logits of bins, (tasks, asked, bins), from (tasks, known, features), (tasks, known), (tasks, asked, ...)."""
        there = self.features((known - self.middle) * self.stretch) + self.value(values[..., None])
        state = torch.cat([there, self.features((asked - self.middle) * self.stretch) + self.asked], dim=1)
        count = known.shape[1]
        for layer in self.layers:
            seen = layer["norm"](state)
            split = (*seen.shape[:1], -1, self.heads, seen.shape[2] // self.heads)
            query = layer["query"](seen).reshape(split).transpose(1, 2)
            key, value = (
                part.reshape(split).transpose(1, 2) for part in layer["both"](seen[:, :count]).chunk(2, dim=2)
            )
            attended = nn.functional.scaled_dot_product_attention(query, key, value)
            state = state + layer["out"](attended.transpose(1, 2).flatten(2))
            state = state + layer["perceptron"](layer["between"](state))
        return self.head(state[:, count:])


EDGES = torch.from_numpy(SPREAD * ndtri(np.arange(1, BINS) / BINS).astype(np.float32))
"""Between bins that are about equally likely."""
CENTRES = torch.from_numpy(SPREAD * ndtri((np.arange(BINS) + 0.5) / BINS).astype(np.float32))


def loss_of(network: InContext, known: Tensor, values: Tensor, asked: Tensor, truth: Tensor) -> Tensor:
    """The cross-entropy of the bins of what was asked for."""
    return nn.functional.cross_entropy(
        network(known, values, asked).flatten(0, 1), torch.bucketize(truth, EDGES).flatten()
    )


# -- the prior ------------------------------------------------------------------------------------------------------


def law(x: np.ndarray, blocks: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """The values of a random function at standardised points (T, D), of which `blocks` columns belong together."""
    relevance = np.repeat(rng.normal(size=len(blocks)) * 1.5, blocks) + 0.5 * rng.normal(size=x.shape[1])
    weights = np.exp(relevance)
    weights /= weights.sum()
    made = []
    for kind in rng.choice(["process", "trees", "network"], size=rng.integers(1, 3), p=[0.4, 0.35, 0.25]):
        f = {"process": process, "trees": trees, "network": perceptron}[kind](x, weights, rng)
        made.append((f - f.mean()) / max(float(f.std()), 1e-9) * rng.uniform(0.3, 1))
    total = np.sum(made, axis=0)
    spread = float(total.std())
    if spread < 1e-3:  # trees may say the same of all
        spread = 1.0
    return total + rng.normal(size=len(x)) * spread * np.exp(rng.uniform(math.log(0.01), math.log(0.5)))


def process(x: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    scaled = x * np.sqrt(weights) / np.exp(rng.uniform(math.log(0.3), math.log(3)))
    squares = (scaled**2).sum(axis=1)
    apart = np.maximum(squares[:, None] + squares[None] - 2 * scaled @ scaled.T, 0)
    if rng.random() < 0.5:
        kernel = np.exp(-apart / 2)
    else:
        far = np.sqrt(5 * apart)
        kernel = (1 + far + far**2 / 3) * np.exp(-far)
    return np.linalg.cholesky(kernel + 1e-4 * np.eye(len(x))) @ rng.normal(size=len(x))


def trees(x: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A sum of trees whose nodes of one depth ask the same question."""
    total = np.zeros(len(x))
    for _ in range(int(np.exp(rng.uniform(0, math.log(20))))):
        depth = int(rng.integers(1, 6))
        columns = rng.choice(x.shape[1], size=depth, p=weights)
        leaf = (x[:, columns] > x[rng.integers(len(x), size=depth), columns]) @ (1 << np.arange(depth))
        total += rng.normal(size=1 << depth)[leaf]
    return total


def perceptron(x: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    hidden = int(rng.integers(4, 33))
    inner = x * np.sqrt(weights) @ rng.normal(size=(x.shape[1], hidden)) * rng.uniform(0.5, 3)
    inner += rng.normal(size=hidden)
    return (np.tanh(inner) if rng.random() < 0.5 else np.maximum(inner, 0)) @ rng.normal(size=hidden)


def tasks_of_step(
    pool: np.ndarray, standard: np.ndarray, blocks: tuple[int, ...], step: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The tasks of a training step: known ones, their values, others, theirs; values by the ranks of the known."""
    rng = stream(0, "pfn", "task", step)
    count = round(float(np.exp(rng.uniform(*np.log(KNOWN)))))
    parts: tuple[list[np.ndarray], ...] = ([], [], [], [])
    for _ in range(TASKS):
        rows = rng.permutation(len(pool))[: count + QUERIES]
        y = law(standard[rows], blocks, rng)
        scale = Scale(y[:count])
        z = np.clip(scale.up(y), -4, 4)
        for part, values in zip(parts, (pool[rows[:count]], z[:count], pool[rows[count:]], z[count:]), strict=True):
            part.append(values)
    known, values, asked, truth = (torch.from_numpy(np.stack(part).astype(np.float32)) for part in parts)
    return known, values, asked, truth


# -- training -------------------------------------------------------------------------------------------------------


def cells() -> tuple[np.ndarray, np.ndarray, tuple[int, ...], np.ndarray, np.ndarray]:
    """Features of random cells, the same standardised, blocks of columns, and what they are standardised by."""
    space, rng = create("space", "nasbench201"), stream(0, "pfn", "cells")
    pool = np.unique(encode("live", space, [space.sample(rng) for _ in range(POOL)]), axis=0).astype(np.float64)
    middle, spread = pool.mean(axis=0), pool.std(axis=0)
    stretch = np.where(spread > 1e-9, 1 / np.maximum(spread, 1e-9), 0.0)
    return pool, (pool - middle) * stretch, widths("live", space), middle, stretch


def train(file: Path, steps: int) -> None:
    """Train for so many steps in all, from where `file` left off."""
    torch.set_num_threads(1)
    pool, standard, blocks, middle, stretch = cells()
    with randomness(0, "pfn"):
        network = InContext(pool.shape[1])
    network.middle.copy_(torch.from_numpy(middle))
    network.stretch.copy_(torch.from_numpy(stretch))
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=1e-4, fused=True)
    step, spent, mean = resume(file, network, optimizer)
    start = time.process_time() - spent
    saved = time.process_time()
    while step < steps:
        rate = RATE * (1 + math.cos(math.pi * step / steps)) / 2
        optimizer.param_groups[0]["lr"] = rate * min(1, (step + 1) / WARM)
        optimizer.zero_grad()
        value = loss_of(network, *tasks_of_step(pool, standard, blocks, step))
        torch.autograd.backward(value)
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        mean += (float(value.detach()) - mean) * max(0.01, 1 / (step + 1))
        step += 1
        if step == steps or time.process_time() - saved > CHECKPOINT:
            saved = time.process_time()
            save(file, network, optimizer, step, saved - start, mean)
            print(f"step {step}, {(saved - start) / 60:.1f} minutes, loss {mean:.4f}", flush=True)


def save(
    file: Path, network: InContext, optimizer: torch.optim.Optimizer, step: int, spent: float, mean: float
) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    state = dict(network.state_dict())
    for name, parameter in network.named_parameters():
        state |= {f"{part}/{name}": value for part, value in optimizer.state[parameter].items()}
    about = {"step": step, "spent": spent, "loss": mean, "features": network.features.in_features}
    part = file.with_suffix(".part")
    save_file({k: v.contiguous() for k, v in state.items()}, part, {"pfn": json.dumps(about)})
    part.replace(file)


def resume(file: Path, network: InContext, optimizer: torch.optim.Optimizer) -> tuple[int, float, float]:
    if not file.is_file():
        return 0, 0.0, 0.0
    about = restore(file, network)
    with safe_open(file, "pt") as stored:
        for name, parameter in network.named_parameters():
            optimizer.state[parameter] = {
                part: stored.get_tensor(f"{part}/{name}") for part in ("step", "exp_avg", "exp_avg_sq")
            }
    return about["step"], about["spent"], about["loss"]


def restore(file: Path, network: InContext) -> dict[str, Any]:
    with safe_open(file, "pt") as stored:
        network.load_state_dict({name: stored.get_tensor(name) for name in network.state_dict()})
        about: dict[str, Any] = json.loads(stored.metadata()["pfn"])
    return about


# -- prediction -----------------------------------------------------------------------------------------------------


class PFN(Predictor):
    """The trained network: nothing is learned, what is known is looked at."""

    usual: ClassVar[str] = "live"

    def __init__(
        self, space: Space | None = None, encoding: str | None = None, seed: int = 0, weights: str = str(WEIGHTS)
    ) -> None:
        super().__init__(space, encoding, seed)
        self.weights = weights

    def _fit(self, matrix: np.ndarray, y: np.ndarray) -> None:
        self.network_ = InContext(matrix.shape[1]).eval()
        restore(Path(self.weights), self.network_)
        self.scale_ = Scale(y)
        self.known_ = torch.from_numpy(matrix.astype(np.float32))[None]
        self.values_ = torch.from_numpy(np.clip(self.scale_.up(y), -4, 4).astype(np.float32))[None]

    @torch.no_grad()
    def _predict(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows, places = np.unique(matrix, axis=0, return_inverse=True)
        said = []
        for part in np.array_split(rows, -(-len(rows) // 2048)):
            logits = self.network_(self.known_, self.values_, torch.from_numpy(part.astype(np.float32))[None])[0]
            said.append(torch.softmax(logits, dim=1))
        chance = torch.cat(said)
        mean = chance @ CENTRES
        std = torch.sqrt((chance * (CENTRES - mean[:, None]) ** 2).sum(dim=1))
        low, middle, high = (
            self.scale_.down(part.numpy().astype(np.float64)) for part in (mean - std, mean, mean + std)
        )
        return middle[places.ravel()], ((high - low) / 2)[places.ravel()]


@register("estimator", "mini_pfn")
def mini_pfn(encoding: str = "default", scores: str = "", weights: str = str(WEIGHTS), seed: int = 0) -> Learned:
    """A small transformer that predicts in context."""
    return Learned("mini_pfn", PFN(seed=seed, weights=weights), encoding, scores)


# -- comparison -----------------------------------------------------------------------------------------------------


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("what", choices=("train", "compare"))
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--nasbench201", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs/predictors_pfn"))
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--report", action="store_true", help="run nothing: the page of what is there in --runs")
    options = parser.parse_args()
    if options.what == "train":
        train(options.weights, options.steps)
        return
    if not options.report:
        table = Table.open(options.nasbench201)
        plan = Plan((f"mini_pfn:weights={options.weights}", "scout"), SIZES, options.repeats)
        for metric in METRICS.values():
            compare(table, plan, options.runs / metric, metric=metric)
    about = restore(options.weights, network := InContext(features_in(options.weights)))
    found = {
        "version": archscout.__version__, "parameters": sum(p.numel() for p in network.parameters()),
        "tasks": about["step"] * TASKS, "cpu_minutes": about["spent"] / 60, "loss": about["loss"],
        "entries": [entry for title, metric in METRICS.items() for entry in entries(title, options.runs / metric)],
    }  # fmt: skip
    write_result(RESULTS / "predictors_pfn.json", found)
    write_text(RESULTS / "predictors_pfn.md", report(found))


def features_in(file: Path) -> int:
    with safe_open(file, "pt") as stored:
        return int(json.loads(stored.metadata()["pfn"])["features"])


def entries(title: str, folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for line in lines for row in json.loads(line)[2]]
    made = []
    for size in SIZES:
        ours, scout = (
            {
                row["repeat"]: row["kendall"]
                for row in rows
                if row["train"] == size and row["estimator"].startswith(name)
            }
            for name in ("mini_pfn", "scout")
        )
        both = sorted(set(ours) & set(scout))
        first, second = (np.asarray([of[repeat] for repeat in both]) for of in (ours, scout))
        difference, low, high = interval(first - second)
        made.append(
            {
                "data": title, "train": size, "repeats": len(both), "pfn": float(first.mean()),
                "scout": float(second.mean()), "difference": difference, "low": low, "high": high,
                "p": paired(first, second),
            }
        )  # fmt: skip
    return made


def report(found: dict[str, Any]) -> str:
    passed = all(entry["difference"] >= GATE for entry in found["entries"])
    lines = [
        "# A transformer that predicts in context, and its gate",
        "",
        f"Made by `benchmarks/predictors/pfn.py`. {found['parameters']:,} parameters, {found['tasks']:,} made-up tasks "
        f"on cells of NAS-Bench-201, {found['cpu_minutes']:.1f} CPU minutes of one thread; no accuracy was seen in "
        f"training. Cross-entropy of {BINS} bins at the end: {found['loss']:.3f}; a guess has {math.log(BINS):.3f}.",
        "",
        "Kendall's tau, clean protocol, 1,000 predicted; the difference with its 95 % bootstrap interval over repeats.",
        "",
        "| NAS-Bench-201 | known | n | mini-PFN | scout | difference | p |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(
            f"| {e['data']} | {e['train']} | {e['repeats']} | {e['pfn']:.3f} | {e['scout']:.3f} | "
            f"{e['difference']:+.3f} [{e['low']:+.3f}, {e['high']:+.3f}] | {e['p']:.2g} |"
            for e in found["entries"]
        ),
        "",
        f"The gate, at least {GATE} above scout at {SIZES[-1]} known networks or fewer, is "
        + ("passed." if passed else "not passed: no weights come with the package, and scout stays the default."),
        "",
        "Such networks are usually trained on far more tasks (`train --steps`); of those this says nothing.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()

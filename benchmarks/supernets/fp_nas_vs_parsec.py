"""How many sampled architectures probabilistic searches need for equal quality: FP-NAS, PARSEC, and balanced samples.

    python -m benchmarks.supernets.fp_nas_vs_parsec --table accuracy.parquet

Nothing is trained: an architecture's reward is a number that is looked up, plus noise, so that only the updates of the
distribution are compared, over many seeds. Two landscapes:

- `table`: NAS-Bench-201; reward: validation accuracy after 200 epochs (half of CIFAR-10, percent), truth: test
  accuracy; `--table` is a Parquet file with the columns `arch`, `c10v_valid_200` and `c10v_test_200`;
- `blocks`: four blocks of five choices (3, 2, 2, 6 and 10 options: 720 combinations a block), drawn anew for each
  seed: effects of options and of pairs within a block, in points with standard deviations of 1 and 0.5.

Four rules, each over a grid of samples a step and steps, with equal reach of logits (`methods/parsec.py`): PARSEC (so
many samples a step), FP-NAS (in proportion to the entropy), and both with balanced samples (`Distribution.sample`).
What is compared:

- as published: PARSEC with 16 samples and 400 steps against FP-NAS that starts with 16, as many steps;
- the fair control: the least samples with which each rule, over its grid, reaches the quality of PARSEC's 6,400.

The searches run side by side in NumPy; at the end some of them run with the library's own parts, which must agree.
Writes docs/results/fp_nas_vs_parsec.json.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.common import RESULTS, arguments, write_result

if TYPE_CHECKING:
    import torch

    from archscout.core.architecture import Architecture
    from archscout.supernets.distributions import Distribution
    from archscout.supernets.step import Step

TEMPERATURE, REACH, BETAS = 2.0, 24.0, (0.5, 0.999)
SAMPLES, STEPS = (4, 8, 16), (50, 71, 100, 141, 200, 283, 400)
NOISES = (0.0, 1.0, 2.0, 4.0, 8.0)
RULES = {
    "PARSEC": {"adaptive": False, "balanced": False},
    "FP-NAS": {"adaptive": True, "balanced": False},
    "PARSEC, balanced": {"adaptive": False, "balanced": True},
    "FP-NAS, balanced": {"adaptive": True, "balanced": True},
}
OPTIONS = (3, 2, 2, 6, 10)
BLOCKS = 4


class Landscape:
    """Rewards of architectures given as positions of options, S searches x D choices x K samples."""

    def __init__(self, sizes: tuple[int, ...], groups: list[list[int]]) -> None:
        self.sizes, self.groups = sizes, groups


class TableLandscape(Landscape):
    """NAS-Bench-201, the same for all seeds."""

    def __init__(self, path: str) -> None:
        import pyarrow.parquet as parquet

        from archscout.spaces.nasbench201 import CHOICES, OPERATIONS, NASBench201

        super().__init__((5,) * 6, [[0], [1, 2], [3, 4, 5]])
        rows = parquet.read_table(path, columns=["arch", "c10v_valid_200", "c10v_test_200"]).to_pydict()
        self.space, self.names = NASBench201(), CHOICES
        places = [[OPERATIONS.index(str(a[name])) for name in CHOICES] for a in map(self.space.parse, rows["arch"])]
        numbers = np.ravel_multi_index(np.asarray(places).T, self.sizes)
        self.seen, self.true = np.empty(len(numbers)), np.empty(len(numbers))
        self.seen[numbers], self.true[numbers] = rows["c10v_valid_200"], rows["c10v_test_200"]

    def reward(self, drawn: np.ndarray) -> np.ndarray:
        return self.seen[np.ravel_multi_index(np.moveaxis(drawn, 1, 0), self.sizes)]

    def regret(self, modes: np.ndarray) -> np.ndarray:
        """Points of test accuracy below the best, of S x D modes."""
        return self.true.max() - self.true[np.ravel_multi_index(modes.T, self.sizes)]


class BlockLandscape(Landscape):
    """Blocks of interacting choices; what blocks give adds up."""

    def __init__(self, searches: int, seed: int) -> None:
        each = len(OPTIONS)
        super().__init__(OPTIONS * BLOCKS, [list(range(b * each, (b + 1) * each)) for b in range(BLOCKS)])
        rng = np.random.default_rng(seed)
        grid = np.indices(OPTIONS).reshape(each, -1)
        self.values = np.zeros((searches, BLOCKS, grid.shape[1]))
        for k, n in enumerate(OPTIONS):
            self.values += rng.standard_normal((searches, BLOCKS, n))[:, :, grid[k]]
            for other in range(k):
                pairs = rng.standard_normal((searches, BLOCKS, n, OPTIONS[other]))
                self.values += 0.5 * pairs[:, :, grid[k], grid[other]]
        self.values *= 3.0 / self.values.sum(1).std()  # points, over a space whose best is many deviations away

    def reward(self, drawn: np.ndarray) -> np.ndarray:
        total = np.zeros((len(drawn), *drawn.shape[2:]))
        for b, group in enumerate(self.groups):
            numbers = np.ravel_multi_index(np.moveaxis(drawn[:, group], 1, 0), OPTIONS)
            total += np.take_along_axis(self.values[:, b], numbers.reshape(len(drawn), -1), 1).reshape(total.shape)
        return total

    def regret(self, modes: np.ndarray) -> np.ndarray:
        return self.values.max(2).sum(1) - self.reward(modes[:, :, None])[:, 0]


def searches(
    landscape: Landscape, count: int, samples: int, steps: int, noise: float, seed: int, *,
    adaptive: bool, balanced: bool, joint_from: float = 1.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """`count` searches side by side.

    Args:
        landscape: what is searched.
        samples: a step; at the start where they are `adaptive`.
        steps: of Adam.
        noise: standard deviation of rewards, in points.
        balanced: see `archscout.supernets.distributions.Distribution.sample`.
        joint_from: the share of the steps after which choices of a group are one variable.

    Returns:
        Of each search the samples drawn, the different architectures evaluated (one drawn twice in a step counts
        once), and the regret of the mode.
    """
    rng = np.random.default_rng([seed, samples, steps, round(100 * noise), adaptive, balanced])
    groups = landscape.groups if joint_from <= 0 else [[place] for place in range(len(landscape.sizes))]
    state = _start(landscape, groups, count)
    whole = sum(math.log(n) for n in landscape.sizes)
    drawn_total, run_total = np.zeros(count), np.zeros(count)
    since = 0
    for step in range(steps):
        if 0 < joint_from < 1 and step == round(joint_from * steps):
            logs = [np.log(_softmax(logits)) for logits, _, _ in state]
            groups, since = landscape.groups, step
            state = _start(landscape, groups, count)
            for (logits, _, _), group in zip(state, groups, strict=True):
                places = np.unravel_index(np.arange(logits.shape[1]), [landscape.sizes[place] for place in group])
                for place, options in zip(group, places, strict=True):
                    logits += logs[place][:, options]
        p = [_softmax(logits) for logits, _, _ in state]
        number = np.full(count, samples)
        if adaptive:
            entropy = -sum((each * np.log(each + 1e-30)).sum(1) for each in p)
            number = np.maximum(2, np.ceil(samples * entropy / whole - 1e-6)).astype(int)
        most = int(number.max())
        real = np.arange(most) < number[:, None]
        drawn = np.empty((count, len(landscape.sizes), most), dtype=int)
        taken = []
        for each, group in zip(p, groups, strict=True):
            u = rng.random((count, most))
            if balanced:  # a random order of the real ones, and one offset for all
                order = np.where(real, u, 2.0).argsort(1).argsort(1)
                u = (order + rng.random((count, 1))) / number[:, None]
            positions = _positions(each, u)
            taken.append(positions)
            places = np.unravel_index(positions, [landscape.sizes[place] for place in group])
            for place, options in zip(group, places, strict=True):
                drawn[:, place] = options
        rewards = (landscape.reward(drawn) + noise * rng.standard_normal((count, most))) / TEMPERATURE
        rewards = np.where(real, rewards, -np.inf)
        weights = np.exp(rewards - rewards.max(1, keepdims=True))
        weights /= weights.sum(1, keepdims=True)
        for (logits, first, second), each, positions in zip(state, p, taken, strict=True):
            places = np.arange(count)[:, None] * each.shape[1] + positions
            taken_weight = np.bincount(places.ravel(), weights.ravel(), each.size).reshape(each.shape)
            gradient = each - taken_weight
            first[:] = BETAS[0] * first + (1 - BETAS[0]) * gradient
            second[:] = BETAS[1] * second + (1 - BETAS[1]) * gradient**2
            t = step - since + 1
            scale = np.sqrt(second / (1 - BETAS[1] ** t)) + 1e-8
            logits -= REACH / steps * first / (1 - BETAS[0] ** t) / scale
        drawn_total += number
        run_total += _different(drawn, real)
    modes = np.empty((count, len(landscape.sizes)), dtype=int)
    for (logits, _, _), group in zip(state, groups, strict=True):
        places = np.unravel_index(logits.argmax(1), [landscape.sizes[place] for place in group])
        for place, options in zip(group, places, strict=True):
            modes[:, place] = options
    return drawn_total, run_total, landscape.regret(modes)


def _start(landscape: Landscape, groups: list[list[int]], count: int) -> list[tuple[np.ndarray, ...]]:
    sizes = [math.prod(landscape.sizes[place] for place in group) for group in groups]
    return [tuple(np.zeros((count, size)) for _ in range(3)) for size in sizes]


def _softmax(logits: np.ndarray) -> np.ndarray:
    values = np.exp(logits - logits.max(1, keepdims=True))
    return values / values.sum(1, keepdims=True)


def _positions(p: np.ndarray, u: np.ndarray) -> np.ndarray:
    """The options that numbers from 0 to 1 fall on (S x K), by probabilities (S x n)."""
    steps = p.cumsum(1)
    rows = np.arange(len(p))[:, None]
    found = np.searchsorted((steps / steps[:, -1:] + rows).ravel(), u + rows, side="right") - rows * p.shape[1]
    return np.clip(found, 0, p.shape[1] - 1)


def _different(drawn: np.ndarray, real: np.ndarray) -> np.ndarray:
    """How many different architectures there are among the real ones of each search."""
    mix = np.random.default_rng(0).integers(1, 2**62, drawn.shape[1])
    keys = np.where(real, (drawn * mix[None, :, None]).sum(1), -1)
    keys.sort(1)
    return 1 + (np.diff(keys, axis=1) != 0).sum(1) - (~real).any(1)


def grid(run: Callable[..., tuple[np.ndarray, ...]]) -> dict[str, list[dict]]:
    """Every rule at every number of samples and steps."""
    cells = {}
    for name, rule in RULES.items():
        cells[name] = []
        for samples in SAMPLES:
            for steps in STEPS:
                drawn, different, regret = run(samples=samples, steps=steps, **rule)
                cells[name].append(
                    {"samples": samples, "steps": steps, "drawn": drawn, "different": different, "regret": regret}
                )
    return cells


def least(cells: list[dict], target: float, rows: np.ndarray, what: str = "drawn") -> float:
    """The least samples with which a rule's mean regret is no more than the target, between steps of the grid by the
    logarithm; infinite where it never is."""
    found = math.inf
    for samples in SAMPLES:
        own = [cell for cell in cells if cell["samples"] == samples]
        costs = np.asarray([cell[what][rows].mean() for cell in own])
        regrets = np.asarray([cell["regret"][rows].mean() for cell in own])
        # From which steps on it stays at or below the target.
        above = np.flatnonzero(regrets > target)
        start = int(above[-1]) + 1 if len(above) else 0
        if start == len(own):
            continue
        if start == 0:
            found = min(found, float(costs[0]))
            continue
        a, b = regrets[start - 1], regrets[start]
        share = (a - target) / (a - b)
        found = min(found, float(np.exp(np.log(costs[start - 1]) * (1 - share) + np.log(costs[start]) * share)))
    return found


def compare(cells: dict[str, list[dict]], count: int, margin: float) -> dict:
    """As published, and against the fair control, with bootstrap intervals over searches."""

    def of(name: str, samples: int, steps: int) -> dict:
        return next(cell for cell in cells[name] if (cell["samples"], cell["steps"]) == (samples, steps))

    reference, adaptive = of("PARSEC", SAMPLES[-1], STEPS[-1]), of("FP-NAS", SAMPLES[-1], STEPS[-1])
    total = adaptive["drawn"].mean()
    fair = min(
        (cell for cell in cells["PARSEC"] if cell["drawn"].mean() <= 1.05 * total), key=lambda c: c["regret"].mean()
    )
    better = of("FP-NAS, balanced", SAMPLES[-1], STEPS[-1])
    rng = np.random.default_rng(0)
    draws = [np.arange(count)] + [rng.integers(0, count, count) for _ in range(200)]
    needs = {
        name: {
            what: [least(own, reference["regret"][rows].mean() + margin, rows, what) for rows in draws]
            for what in ("drawn", "different")
        }
        for name, own in cells.items()
    }
    control = needs["PARSEC"]
    return {
        "as_published": {
            "parsec": _cell(reference),
            "fp_nas": _cell(adaptive),
            "parsec_of_equal_total": _cell(fair),
            "fp_nas_balanced": _cell(better),
            "fewer_samples": 1 - total / reference["drawn"].mean(),
        },
        "to_equal_quality": {
            name: {
                what: {
                    "needed": _interval(values),
                    "fewer_than_parsec": _interval([_fewer(v, c) for v, c in zip(values, control[what], strict=True)]),
                }
                for what, values in found.items()
            }
            for name, found in needs.items()
        },
    }


def _cell(cell: dict) -> dict:
    error = cell["regret"].std(ddof=1) / math.sqrt(len(cell["regret"]))
    return {
        "samples": cell["samples"], "steps": cell["steps"], "drawn": float(cell["drawn"].mean()),
        "different": float(cell["different"].mean()), "regret": float(cell["regret"].mean()), "error": float(error),
    }  # fmt: skip


def _interval(values: list[float]) -> dict:
    """The value, and what 95 % of the resamples lie between; null where the quality is not reached."""
    low, high = np.quantile(values[1:], [0.025, 0.975], method="inverted_cdf")
    return {
        name: (float(value) if math.isfinite(value) else None)
        for name, value in zip(("value", "low", "high"), (values[0], low, high), strict=True)
    }


def _fewer(need: float, control: float) -> float:
    """The share of samples saved; none where neither reaches the quality."""
    return 0.0 if math.isinf(need) and math.isinf(control) else 1 - need / control


def library(landscape: TableLandscape, samples: int, steps: int, noise: float, seed: int, **rule: bool) -> float:
    """The regret of one search made of the library's own parts."""
    from archscout.supernets.plans import Samples, SamplesByEntropy

    first = TableSearch(landscape, seed, noise)
    plan = Samples(samples, balanced=rule["balanced"])
    if rule["adaptive"]:
        plan = SamplesByEntropy(samples / first.whole, balanced=rule["balanced"])
    distribution = first.run(plan, steps)
    return float(landscape.regret(first.places([distribution.mode()])[:, :, 0])[0])


class TableSearch:
    """The library's own update of a distribution, rewarded by the table."""

    def __init__(self, landscape: TableLandscape, seed: int, noise: float) -> None:
        from archscout.supernets.distributions import Distribution

        self.landscape, self.seed, self.noise = landscape, seed, noise
        self.distribution = Distribution(landscape.space)
        self.whole = float(self.distribution.entropy().detach())

    def places(self, architectures: Sequence[Architecture]) -> np.ndarray:
        """1 x D x K positions of options."""
        choices = self.landscape.space.choices
        return np.asarray([[c.index(a[c.name]) for c in choices] for a in architectures]).T[None]

    def run(self, plan: Callable, steps: int, kind: str = "Importance", **charge: Any) -> Distribution:
        """The distribution after so many steps of an update; `charge` is what the update says of cost."""
        import torch

        from archscout.core.seeds import stream
        from archscout.supernets import importance

        search = self

        class Looked(getattr(importance, kind)):
            def losses(self, step: Step, architectures: Sequence[Architecture]) -> torch.Tensor:
                rewards = search.landscape.reward(search.places(architectures))[0]
                noise = stream(search.seed, "noise", step.number).standard_normal(len(architectures))
                return -torch.tensor(rewards + search.noise * noise)

        update = Looked(REACH / steps, BETAS, temperature=TEMPERATURE, **charge)
        optimizer = update.optimizer(self.distribution)
        for number in range(steps):
            step = SimpleNamespace(
                number=number, distribution=self.distribution, valid=(None, [0]),
                rng=lambda purpose, n=number: stream(self.seed, purpose, n),
            )  # fmt: skip
            step.jobs = plan(step)
            update(step, optimizer)
        return self.distribution


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--table", required=True)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--check", type=int, default=16, help="searches that the library's own parts repeat")
    parser.add_argument("--out", type=Path, default=RESULTS / "fp_nas_vs_parsec.json")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    count, fewer = options.seeds, max(4, options.seeds // 4)
    table, blocks = TableLandscape(options.table), BlockLandscape(fewer, 0)
    results: dict = {
        "seeds": count, "seeds_of_blocks": fewer, "temperature": TEMPERATURE, "reach": REACH,
        "table": {}, "blocks": {}, "curves": {}, "check": {},
    }  # fmt: skip
    if options.out.is_file():  # a stopped run goes on
        before = json.loads(options.out.read_text())
        if before["seeds"] != count:
            parser.error(f"'{options.out}' has {before['seeds']} seeds, not {count}: delete it, or give another --out")
        results = before

    def sweep(landscape: Landscape, number: int, noise: float, margin: float, **more: float) -> tuple[dict, dict]:
        cells = grid(lambda **named: searches(landscape, number, noise=noise, seed=1, **named, **more))
        return compare(cells, number, margin), {name: [_cell(cell) for cell in own] for name, own in cells.items()}

    def keep(part: str, name: str, found: dict) -> None:
        results[part][name] = found
        write_result(options.out, results)
        print(part, name, json.dumps(found.get("as_published", found)), flush=True)

    for noise in map(str, NOISES):
        if noise not in results["table"]:
            found, results["curves"][noise] = sweep(table, count, float(noise), 0.02)
            keep("table", noise, found)
    for name, joint_from in (("factorised", 1.0), ("joint", 0.0), ("factorised, then joint", 0.5)):
        if name not in results["blocks"]:
            keep("blocks", name, sweep(blocks, fewer, 1.0, 0.1, joint_from=joint_from)[0])
    for name, rule in RULES.items():
        if name not in results["check"]:
            _, _, regret = searches(table, count, 8, 100, 1.0, 1, **rule)
            own = [library(table, 8, 100, 1.0, seed, **rule) for seed in range(options.check)]
            found = {
                "side_by_side": [float(regret.mean()), float(regret.std(ddof=1) / math.sqrt(count))],
                "library": [float(np.mean(own)), float(np.std(own, ddof=1) / math.sqrt(len(own)))],
            }
            keep("check", name, found)


if __name__ == "__main__":
    main()

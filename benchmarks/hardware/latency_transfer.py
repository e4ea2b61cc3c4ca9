"""How well latency models predict a device from ten or twenty measurements, on the published tables of 27 devices.

    python -m benchmarks.hardware.latency_transfer --data ../shared/data          # everything; goes on where it stopped
    python -m benchmarks.hardware.latency_transfer --data ../shared/data --parts split,write
    python -m benchmarks.hardware.latency_transfer --data ../shared/data --tune   # what the defaults were chosen by

Parts: `split` (HELP's devices: models that know the nine training devices, tested on the others), `leave` (each of the
27 devices left out, alone or with its family), `search` (the most accurate cell under a latency limit with ten
measurements), `noise` (what no model explains), `proxy` (what OneProxy claims), `speed`, and `write`, which makes
docs/results/latency.md and .json of the rows that the others append to --rows. The protocol is HELP's: models learn
from the first 900 cells of NAS-Bench-201 (4,000 of FBNet) and are judged on the next 1,000, all of them and the middle
80 % by latency.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from scipy.stats import spearmanr

from archscout.core.architecture import Architecture
from archscout.core.seeds import derive, stream
from archscout.core.space import Space
from archscout.costs.models import bayesian
from archscout.costs.models.base import LEAST, LatencyModel, Measured
from archscout.costs.models.bayesian import BayesianLatency
from archscout.costs.models.boosted import BoostedLatency
from archscout.costs.models.gcn import GCNLatency
from archscout.costs.models.help import HELPLatency
from archscout.costs.models.linear import LinearLatency
from archscout.costs.models.nasflat import DeviceEmbeddingLatency
from archscout.costs.models.oneproxy import MONOTONE, OneProxyLatency, adapt, monotonicity
from archscout.costs.models.prior import Prior, learn
from archscout.costs.models.within_limit import within_limit
from benchmarks.common import RESULTS, arguments
from benchmarks.hardware.latency_report import write
from benchmarks.hardware.latency_tables import TABLES, accuracy, table

BATCHES = {"nasbench201": (1, 32, 256), "fbnet": (1, 32, 64)}
POOL = {"nasbench201": 900, "fbnet": 4000}
TESTED = 1000
CANDIDATES = 300
"""Of the pool, what a seed may choose its measurements among."""

PHONES = ("samsung_a50", "samsung_s7", "essential_ph_1")
TRAINING = ("silver_4114", "silver_4210r", "pixel3", *PHONES)
VALIDATION = ("gold_6240",)
TEST = {
    "nasbench201": ("titan_rtx_256", "gold_6226", "fpga", "pixel2", "raspi4", "eyeriss"),
    "fbnet": ("fpga", "raspi4", "eyeriss"),
}

METRICS = ("c10_test_200", "c100_test_200")
"""Accuracies by which a search under a limit looks for the best cell."""

Row = dict[str, Any]


def training(name: str) -> list[str]:
    """HELP's training devices."""
    return [*(f"1080ti_{batch}" for batch in BATCHES[name]), *TRAINING]


def validation(name: str) -> list[str]:
    """HELP's validation devices."""
    return [*(f"titanx_{batch}" for batch in BATCHES[name]), *VALIDATION]


def family(device: str) -> str:
    """Devices of one family differ little: graphics cards of one maker, server processors, phones, and so on."""
    if "ti" in device.partition("_")[0] and "_" in device:
        return "nvidia"
    if device.startswith(("silver", "gold")):
        return "xeon"
    if device in ("pixel3", "raspi4"):
        return "tensorflow lite"
    return "phone" if device in (*PHONES, "pixel2") else device


@dataclass(frozen=True)
class World:
    """One table, with HELP's parts of it."""

    name: str
    space: Space
    architectures: list[Architecture]
    ms: dict[str, np.ndarray]
    prior: Prior
    useless: np.ndarray

    @property
    def pool(self) -> int:
        return POOL[self.name]

    @cached_property
    def numbers(self) -> dict[Architecture, int]:
        return {architecture: number for number, architecture in enumerate(self.architectures)}

    def one_hot(self, architectures: Sequence[Architecture]) -> np.ndarray:
        return self.space.encode(architectures)

    def known(self, devices: Sequence[str]) -> list[Measured]:
        return [Measured(d, self.architectures[: self.pool], self.ms[d][: self.pool]) for d in devices]

    def candidates(self, seed: int) -> np.ndarray:
        """What seed number `seed` may measure."""
        good = np.flatnonzero(~self.useless[: self.pool])
        return stream(seed, "candidates").permutation(good)[:CANDIDATES]


@cache
def world(name: str, data: Path) -> World:
    space, architectures, ms = table(name, data)
    pool = POOL[name]
    known = [Measured(device, architectures[:pool], times[:pool]) for device, times in sorted(ms.items())]
    prior = learn(space, known, dead_operations=True)
    return World(name, space, architectures, ms, prior, space.constant(architectures))


def judge(w: World, device: str, predicted: np.ndarray, deviation: np.ndarray) -> Row:
    """The scores of predictions for the tested architectures."""
    test = slice(w.pool, w.pool + TESTED)
    truth, alive = w.ms[device][test], ~w.useless[test]
    order = np.argsort(truth, kind="stable")
    middle = order[int(0.1 * TESTED) : int(0.9 * TESTED)]
    error = np.abs(predicted / truth - 1)[alive]
    row: Row = {
        "spearman": float(spearmanr(predicted, truth).statistic),
        "spearman_middle": float(spearmanr(predicted[middle], truth[middle]).statistic),
        "within_5": float((error <= 0.05).mean()),
        "within_10": float((error <= 0.10).mean()),
    }
    if np.isfinite(deviation).all():
        surprise = np.abs(np.log(truth / predicted) / deviation)[alive]
        row["inside_90"] = float((surprise <= 1.645).mean())
    return row


def tested(w: World, model: LatencyModel, device: str, measured: Sequence[int]) -> Row:
    """Fit to the measured architectures of a device, and judge."""
    began = time.perf_counter()
    model.fit(w.space, [w.architectures[i] for i in measured], w.ms[device][list(measured)])
    fitted = time.perf_counter() - began
    return {**judge(w, device, *model.predict(w.architectures[w.pool : w.pool + TESTED])), "fit_seconds": fitted}


def chosen(w: World, prior: Prior, seed: int, count: int) -> list[int]:
    """What the model itself wants measured among the candidates of a seed."""
    numbers = {w.architectures[i]: int(i) for i in w.candidates(seed)}
    picked = BayesianLatency(prior, dead_operations=True).choose(w.space, list(numbers), count)
    return [numbers[architecture] for architecture in picked]


# -- parts --------------------------------------------------------------------------------------------------------


def split(options: argparse.Namespace) -> Iterator[tuple[Row, Callable[[], Row]]]:
    """HELP's split: what nine devices teach about the test devices."""
    for name in TABLES:
        yield from _split(world(name, options.data), options)


def _split(w: World, options: argparse.Namespace) -> Iterator[tuple[Row, Callable[[], Row]]]:
    name = w.name
    devices = training(name)
    prior, known = w.prior.only(devices), w.known(devices)
    cheap: dict[str, Callable[[int, str, list[int]], LatencyModel]] = {
        "bayesian": lambda seed, device, measured: BayesianLatency(prior, dead_operations=True),
        "linear": lambda seed, device, measured: LinearLatency(w.one_hot),
        "proxy as it is": lambda seed, device, measured: OneProxyLatency(
            _nearest(known, w, device, measured), threshold=-1.0, seed=seed
        ),
        "proxy adapted": lambda seed, device, measured: OneProxyLatency(
            _nearest(known, w, device, measured), threshold=MONOTONE, seed=seed
        ),
    }
    for seed in range(options.seeds):
        picked = chosen(w, prior, seed, 20)
        random = [int(i) for i in w.candidates(seed)]
        for device in TEST[name]:
            for count in (10, 20):
                for how, pool in (("chosen", picked), ("random", random)):
                    for method, make in cheap.items():
                        if how == "chosen" and method != "bayesian":
                            continue
                        key = _key("split", name, device, method, seed, count=count, measured=how)
                        yield key, lambda m=make, s=seed, d=device, p=pool[:count]: tested(w, m(s, d, p), d, p)
            key = _key("split", name, device, "proxy adapted", seed, count=70, measured="random")
            yield key, lambda s=seed, d=device, p=random[:70]: tested(w, cheap["proxy adapted"](s, d, p), d, p)
    for device in TEST[name]:
        yield _key("split", name, device, "multiply-adds", 0, count=0), lambda d=device: _macs(w, d)
        for method, model in (("linear", LinearLatency(w.one_hot)), ("boosted", BoostedLatency(w.one_hot))):
            key = _key("split", name, device, method, 0, count=900, measured="random")
            yield key, lambda m=model, d=device: tested(w, m, d, range(900))
        rest = [i for i in range(len(w.architectures)) if not w.pool <= i < w.pool + TESTED]
        yield (
            _key("split", name, device, "boosted", 0, count=len(rest), measured="random"),
            lambda d=device, r=rest: tested(w, BoostedLatency(w.one_hot), d, r),
        )
    for seed in range(options.network_seeds):
        networks: dict[str, LatencyModel] = {
            f"HELP, {options.episodes:,} episodes": HELPLatency(
                known, episodes=options.episodes, seed=derive(seed, "help")
            ),
            "device embeddings": DeviceEmbeddingLatency(known, seed=derive(seed, "nasflat")),
        }
        if options.published:
            networks["HELP, published settings"] = HELPLatency(
                known, episodes=2000, rate=1e-4, seed=derive(seed, "help")
            )
            if name == "nasbench201":
                networks["device embeddings, 150 epochs"] = DeviceEmbeddingLatency(
                    known, steps=150 * len(known) * w.pool // 64, seed=derive(seed, "nasflat")
                )
        for method, network in networks.items():
            for device in TEST[name]:
                for count in (10, 20):
                    key = _key("split", name, device, method, seed, count=count, measured="random")
                    yield key, lambda m=network, s=seed, d=device, c=count: tested(w, m, d, _references(w, m, s, c))
        graph_networks: dict[str, Callable[[int], LatencyModel]] = {}
        if options.graph_network:
            graph_networks["graph network"] = GCNLatency
        if options.published:
            graph_networks["graph network, published settings"] = partial(GCNLatency, 600, batch=1, rate=4e-4)
        for method, make in graph_networks.items():
            for device in TEST[name]:
                key = _key("split", name, device, method, seed, count=900, measured="random")
                yield key, lambda m=make, s=seed, d=device: tested(w, m(seed=derive(s, "gcn")), d, range(900))


def leave(options: argparse.Namespace) -> Iterator[tuple[Row, Callable[[], Row]]]:
    """Each device left out, alone or with its family; everything that is said of it comes from the others."""
    for name in TABLES:
        w = world(name, options.data)
        seeds = options.seeds if name == "nasbench201" else options.fbnet_seeds
        for device in w.prior.devices:
            kin = {d for d in w.prior.devices if family(d) == family(device)}
            for left, without in (("device", {device}), ("family", kin)):
                for seed in range(seeds):
                    key = _key("leave", name, device, "bayesian", seed, left_out=left, measured="chosen")
                    yield key, partial(_left_out, w, w.prior.without(without), device, seed)


def _left_out(w: World, prior: Prior, device: str, seed: int) -> Row:
    picked = chosen(w, prior, seed, 20)
    model = BayesianLatency(prior, dead_operations=True)
    return {str(count): tested(w, model, device, picked[:count]) for count in (10, 20)}


def search(options: argparse.Namespace) -> Iterator[tuple[Row, Callable[[], Row]]]:
    """The most accurate cell under a limit, from ten and twenty measurements; accuracies are those of the table."""
    w = world("nasbench201", options.data)
    help_prior = w.prior.only(training("nasbench201"))
    settings = [("help", device, help_prior, options.search_seeds) for device in TEST["nasbench201"]]
    settings += [("leave", d, w.prior.without({d}), options.search_leave_seeds) for d in w.prior.devices]
    for metric in METRICS:
        accuracies = accuracy(options.data, metric)
        for part, device, prior, seeds in settings:
            for seed in range(seeds):
                for quantile in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
                    limit = float(np.quantile(w.ms[device][~w.useless], quantile))
                    key = _key("search", "nasbench201", device, part, seed, quantile=quantile, accuracy=metric)
                    case = partial(_searched, w, prior, device, limit, accuracies, seed)
                    yield key, case
                    if part == "help":
                        yield {**key, "budget": 20}, partial(case, budget=20)


def proxy(options: argparse.Namespace) -> Iterator[tuple[Row, Callable[[], Row]]]:
    """OneProxy's claims: rankings agree, re-using a proxy costs nothing from .9 on, adapting repairs the rest."""
    w = world("nasbench201", options.data)
    accuracies = accuracy(options.data, "c100_test_200")
    for first in w.prior.devices:
        yield _key("proxy", "nasbench201", first, "pairs", 0), lambda d=first: {"pairs": _pairs(w, d, accuracies)}


def noise(options: argparse.Namespace) -> Iterator[tuple[Row, Callable[[], Row]]]:
    """What a linear model of 900 measurements leaves unexplained, and how alike that is in the order of the tables."""
    w = world("nasbench201", options.data)
    for device in w.prior.devices:
        yield _key("noise", "nasbench201", device, "linear", 0), lambda d=device: _noise(w, d)


def _noise(w: World, device: str) -> Row:
    first = np.flatnonzero(~w.useless[: w.pool])
    model = BayesianLatency(w.prior.without({device}), dead_operations=True)
    model.fit(w.space, [w.architectures[i] for i in first], w.ms[device][first])
    rest = np.flatnonzero(~w.useless)
    left = np.log(w.ms[device][rest] / model.predict([w.architectures[i] for i in rest])[0]).clip(-0.5, 0.5)
    return {
        "error": float(np.sqrt(np.mean(left**2))),
        "alike": float(np.corrcoef(left[:-1], left[1:])[0, 1]),
    }


def speed(options: argparse.Namespace) -> Iterator[tuple[Row, Callable[[], Row]]]:
    """Seconds to fit ten measurements and to predict all cells."""
    w = world("nasbench201", options.data)
    prior = w.prior.only(training("nasbench201"))
    for seed in range(options.seeds):

        def timed(seed: int = seed) -> Row:
            picked = chosen(w, prior, seed, 10)
            model = BayesianLatency(prior, dead_operations=True)
            few, times = [w.architectures[i] for i in picked], w.ms["gold_6240"][picked]
            began, busy = time.perf_counter(), time.process_time()
            model.fit(w.space, few, times)
            fitted, fitted_busy = time.perf_counter(), time.process_time()
            model.predict(w.architectures)
            return {
                "fit_seconds": fitted - began,
                "predict_seconds": time.perf_counter() - fitted,
                "fit_cpu_seconds": fitted_busy - busy,
                "predict_cpu_seconds": time.process_time() - fitted_busy,
            }

        yield _key("speed", "nasbench201", "gold_6240", "bayesian", seed), timed


PARTS = {"split": split, "leave": leave, "search": search, "noise": noise, "proxy": proxy, "speed": speed}


# -- inside the parts ---------------------------------------------------------------------------------------------


def _key(part: str, table: str, device: str, method: str, seed: int, **more: Any) -> Row:
    return {"part": part, "table": table, "device": device, "method": method, "seed": seed, **more}


def _nearest(known: Sequence[Measured], w: World, device: str, measured: Sequence[int]) -> Measured:
    """The known device whose latencies rank the measured architectures most like the new one."""
    numbers, truth = list(measured), w.ms[device][list(measured)]
    return max(known, key=lambda one: monotonicity(one.ms[numbers], truth))


def _references(w: World, model: LatencyModel, seed: int, count: int) -> list[int]:
    """What a network is fitted to: the references that HELP needs, and random architectures up to `count`."""
    first: list[int] = []
    if isinstance(model, HELPLatency):
        numbers = {architecture: i for i, architecture in enumerate(w.architectures[: w.pool])}
        first = [numbers[architecture] for architecture in model.references]
    return [*first, *(int(i) for i in w.candidates(seed) if int(i) not in first)][:count]


def _macs(w: World, device: str) -> Row:
    """The ranking by multiply-adds, of which HELP gives a row: convolutions of the published networks."""
    asked = w.architectures[w.pool : w.pool + TESTED]
    if w.name == "fbnet":
        share = w.space.operator_counts(asked)["totals"][:, :2]
        macs = share @ [0.95, 0.05]
    else:
        macs = w.space.operator_counts(asked, dead_operations=True)["operators"] @ [0.0, 4.36224, 35.81952, 1.29024]
    return {k: v for k, v in judge(w, device, macs + 1e-9, np.array([np.nan])).items() if k.startswith("spearman")}


def _searched(
    w: World, prior: Prior, device: str, limit: float, accuracies: np.ndarray, seed: int, *, budget: int = 10
) -> Row:
    """What measuring finds (`within_limit`), and what predicting does: the best cell that keeps the limit with 95 %."""
    numbers, times = w.numbers, w.ms[device]
    found = within_limit(
        w.space, w.architectures, accuracies, limit, lambda a: times[numbers[a]], budget=budget,
        model=BayesianLatency(prior, dead_operations=True),
        first=[w.architectures[i] for i in chosen(w, prior, seed, LEAST)],
    )  # fmt: skip
    row = {"measuring": _short(w, device, limit, accuracies, numbers[found.architecture])}
    if budget == 10 and seed == 0:
        best = within_limit(
            w.space, w.architectures, accuracies, limit, lambda a: times[numbers[a]], budget=budget,
            model=_knowing(w, prior, device), first=[w.architectures[i] for i in chosen(w, prior, seed, 1)],
        )  # fmt: skip
        row["knowing"] = _short(w, device, limit, accuracies, numbers[best.architecture])
    if budget == 10:
        measured = chosen(w, prior, seed, budget)
        model = BayesianLatency(prior, dead_operations=True)
        model.fit(w.space, [w.architectures[i] for i in measured], times[measured])
        sure = model.within(w.architectures, limit)
        sure[w.useless] = 0
        allowed = np.flatnonzero(sure >= 0.95)
        answer = int(allowed[accuracies[allowed].argmax()]) if allowed.size else int(sure.argmax())
        row["predicting"] = _short(w, device, limit, accuracies, answer)
    return row


class _Knowing(BayesianLatency):
    """A model that has learned all that it ever will."""

    done = False

    def fit(self, space: Space, architectures: Sequence[Architecture], ms: Sequence[float] | np.ndarray) -> Self:
        if not self.done:
            super().fit(space, architectures, ms)
            self.done = True
        return self


_KNOWING: dict[tuple[str, ...], _Knowing] = {}


def _knowing(w: World, prior: Prior, device: str) -> _Knowing:
    """A model that learned the device from 900 measurements: what ten are spared, and what no search can know."""
    key = (device, *prior.devices)
    if key in _KNOWING:
        return _KNOWING[key]
    first = np.flatnonzero(~w.useless[: w.pool])
    model = _KNOWING[key] = _Knowing(prior, dead_operations=True)
    return model.fit(w.space, [w.architectures[i] for i in first], w.ms[device][first])


def _short(w: World, device: str, limit: float, accuracies: np.ndarray, answer: int) -> Row:
    best = accuracies[w.ms[device] <= limit].max()
    return {"short": float(best - accuracies[answer]), "violates": bool(w.ms[device][answer] > limit)}


def _pairs(w: World, first: str, accuracies: np.ndarray) -> list[Row]:
    rows = []
    alive = np.flatnonzero(~w.useless)
    for second in w.prior.devices:
        if second == first:
            continue
        own, new = w.ms[first][alive], w.ms[second][alive]
        row: Row = {"target": second, "spearman": monotonicity(own, new)}
        front = _pareto(own, accuracies[alive])
        reached = _volume(new[front], accuracies[alive][front], new)
        row["volume"] = reached / _volume(new, accuracies[alive], new)
        if row["spearman"] < MONOTONE:
            order = stream(0, "adapt", first, second).permutation(len(alive))[:70]
            few = [w.architectures[alive[i]] for i in order]
            proxy_ = Measured(first, w.architectures[: w.pool], w.ms[first][: w.pool])
            model = OneProxyLatency(proxy_).fit(w.space, few, new[order])
            asked = alive[:2000]
            predicted = model.predict([w.architectures[i] for i in asked])[0]
            row["adapted"] = monotonicity(predicted, w.ms[second][asked])
            design = np.hstack([w.space.encode(few), np.ones((70, 1))])
            whole = np.hstack([w.space.encode(w.architectures[: w.pool]), np.ones((w.pool, 1))])
            weights = np.linalg.lstsq(whole, w.ms[first][: w.pool] / 1e3, rcond=None)[0]
            row["unchanged"] = not adapt(design, weights, new[order] / 1e3, 1.0)[1].any()
        rows.append(row)
    return rows


def _pareto(cost: np.ndarray, worth: np.ndarray) -> np.ndarray:
    """Positions of what nothing else beats in both."""
    order = np.lexsort((-worth, cost))
    best = np.maximum.accumulate(worth[order])
    first = np.concatenate([[True], best[1:] > best[:-1]])
    return order[first]


def _volume(cost: np.ndarray, worth: np.ndarray, scale: np.ndarray) -> float:
    """The area under the front, from the largest cost of `scale` down, in accuracy above 0."""
    front = _pareto(cost, worth)
    ends = np.append(cost[front][1:], scale.max())
    return float(((ends - cost[front]) * worth[front]).sum())


# -- running ------------------------------------------------------------------------------------------------------


def tune(options: argparse.Namespace) -> None:
    """HELP's training and validation devices, each left out with its family: what the settings were chosen by."""
    settings: dict[str, dict[str, Any]] = {
        "as it is": {},
        "smaller noises": {"NOISES": (0.01, 0.02, 0.04, 0.08, 0.16)},
        "larger noises": {"NOISES": (0.03, 0.06, 0.12, 0.24)},
        "looser": {
            "LOOSENESS": {
                n: x._replace(independent=min(1.0, 2 * x.independent), own=3 * x.own)
                for n, x in bayesian.LOOSENESS.items()
            }
        },
        "stiffer": {
            "LOOSENESS": {
                n: x._replace(independent=x.independent / 2, own=x.own / 3) for n, x in bayesian.LOOSENESS.items()
            }
        },
    }
    for name in TABLES:
        w = world(name, options.data)
        seen = training(name) + validation(name)
        for setting, changes in settings.items():
            before = {attribute: getattr(bayesian, attribute) for attribute in changes}
            for attribute, value in changes.items():
                setattr(bayesian, attribute, value)
            rows = []
            for device in seen:
                prior = w.prior.only(d for d in seen if family(d) != family(device))
                for seed in range(3):
                    picked = chosen(w, prior, seed, 20)
                    model = BayesianLatency(prior, dead_operations=True)
                    rows += [{"count": count, **tested(w, model, device, picked[:count])} for count in (10, 20)]
            for count in (10, 20):
                means = {
                    k: np.mean([r[k] for r in rows if r["count"] == count]).round(3)
                    for k in ("spearman", "spearman_middle", "within_10", "inside_90")
                }
                print(name, setting, count, means, flush=True)
            for attribute, value in before.items():
                setattr(bayesian, attribute, value)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder of published tables")
    parser.add_argument("--parts", default="split,leave,search,noise,proxy,speed,write")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--fbnet-seeds", type=int, default=20, help="of leaving out devices on FBNet, which is slow")
    parser.add_argument("--search-seeds", type=int, default=20, help="of the search on HELP's devices")
    parser.add_argument(
        "--search-leave-seeds", type=int, default=20, help="of the search on all devices, each left out"
    )
    parser.add_argument("--network-seeds", type=int, default=1, help="seeds of the three neural models")
    parser.add_argument("--episodes", type=int, default=100, help="of HELP's meta-training")
    parser.add_argument("--graph-network", action="store_true", help="also BRP-NAS's, which takes minutes more")
    parser.add_argument(
        "--published", action="store_true", help="also the networks trained as long as published, which takes two hours"
    )
    parser.add_argument("--rows", type=Path, default=Path("runs/latency_transfer.jsonl"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--tune", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.tune:
        tune(options)
        return
    options.rows.parent.mkdir(parents=True, exist_ok=True)
    lines = options.rows.read_text().splitlines() if options.rows.exists() else []
    done = {json.dumps(row["key"], sort_keys=True): row for row in map(json.loads, lines)}
    for part in options.parts.split(","):
        if part == "write":
            write(list(done.values()), options.out)
            continue
        with options.rows.open("a") as file:
            for key, work in PARTS[part](options):
                text = json.dumps(key, sort_keys=True)
                if text not in done:
                    done[text] = {"key": key, "result": work()}
                    file.write(json.dumps(done[text]) + "\n")
                    file.flush()


if __name__ == "__main__":
    main()

"""Writes docs/results/latency.md and latency.json from the rows of `latency_transfer.py`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from archscout.core.files import write_text
from benchmarks.common import write_result

Row = dict[str, Any]

HELP_NB201 = {
    "titan_rtx_256": 0.987, "gold_6226": 0.989, "pixel2": 0.802, "raspi4": 0.890, "eyeriss": 0.940, "fpga": 0.985,
}  # fmt: skip
HELP_FBNET = {"raspi4": 0.887, "eyeriss": 0.943, "fpga": 0.892}
PUBLISHED = {"nasbench201": HELP_NB201, "fbnet": HELP_FBNET}
MEANS = {"nasbench201": 0.932, "fbnet": 0.910}
OTHERS = {
    "nasbench201": (("multiply-adds", "0", 0.787), ("BRP-NAS", "900", 0.789), ("BRP-NAS", "3,200", 0.805)),
    "fbnet": (("MAML", "10", 0.736), ("Meta-SGD", "10", 0.806)),
}
TITLES = {"nasbench201": "NAS-Bench-201", "fbnet": "FBNet"}


INTRODUCTION = """\
# Latency of a new device from ten measurements

Written by `benchmarks/hardware/latency_transfer.py`; figures of this project unless another source is
named beside them. The tables are those of HELP (Lee et al. 2021, arXiv 2106.08630; github.com/HayeonLee/HELP), which
take in those of HW-NAS-Bench (arXiv 2103.10584): 27 devices, all 15,625 cells of NAS-Bench-201 and 5,000 FBNets.

Protocol, HELP's: models may learn from the first 900 cells (4,000 FBNets) on known devices, measure among the same on
the new one, and are judged by Spearman's rank correlation on the next 1,000: on *all* of them, and on the *middle* 80 %
by latency, which is what HELP reports. Within 10 %, and inside the model's own 90 % interval: shares of those whose
output depends on their input. ± is the standard deviation over seeds of the mean over devices. Settings were chosen on
HELP's training and validation devices, each left out with its family (`--tune`).

Where the output of a cell does not depend on its input (341 of 15,625), the source has times near zero: 183 cells on
`pixel3` and 128 on `raspi4` are below 0.05 ms, because TensorFlow Lite leaves nothing of such a network. The default
model is not fitted to such cells; they are among *all* above. (One thing was seen of test devices before features were
chosen, while these values were looked into: the times of `fpga` and `eyeriss` are functions of the numbers of
operations. On the training devices, those numbers were the best of ten sets of features by themselves.)
"""

SPLIT_NOTE = """\
*bayesian, chosen*: the default, which chooses what to measure among 300 random candidates of the pool; *random*: it
gets what the others get. *proxy*: OneProxy with the known device that ranks the measured architectures most alike;
*adapted* where it ranks them below .9. *HELP*, *graph network* (BRP-NAS's) and *device embeddings* (after NASFLAT,
without all of its parts) are this project's own implementations. *Published settings* (`--published`): 2,000 episodes
of HELP at its learning rate; a graph network of width 600 in batches of one. 150 epochs of device embeddings are what
FLAN, whose network NASFLAT's is, trains for. What is trained less neither reproduces nor refutes what is published.
*linear* and *boosted* know the new device only; with most of the table measured they say how much is noise: most phones
were timed in whole milliseconds. *HELP, as published* is its README's table. Its ten measurements are ten reference
architectures and, in its code, ten more, drawn from the middle 80 % of 900 by the new device's own latency and scaled
to their range: neither is known after ten measurements. Linear models and graph networks of 900 measurements rank far
better than what HELP's table gives for BRP-NAS with 900: that row does not hold for the method, and is no ceiling. With
2,000 episodes, one seed of HELP comes within .01 of its published mean on FBNet: reproduced. On NAS-Bench-201 it comes
to what it publishes on `pixel2` and `raspi4` and stays below on the other four, with 20 measurements too. The range of
the new device, which its code is given, and its choice of the best episode by validation devices are not here, so that
this does not reproduce the published mean of .932, and does not refute it. The graph network as published (width 600)
was not trained to the end here.
"""

LEAVE_NOTE = "Families: NVIDIA cards; Xeon; phones; `pixel3` and `raspi4` (TensorFlow Lite); `fpga`; `eyeriss`.\n"

SEARCH_NOTE = """\
## The most accurate cell under a latency limit

Test accuracy from the table (the ranking is known; what is unknown is the latency); limits at the nine deciles of a
device's latencies. *measuring*: ten measurements (or twenty) by `archscout.costs.models.within_limit`: three teach the
model the device, each other one goes to the cell with the greatest expected gain in accuracy; the answer is the best
measured cell that keeps the limit. *predicting*: ten measurements teach the model; the answer is the most accurate cell
that keeps the limit with a probability of 95 %, and is not measured. *knowing*: as *measuring*, with a model that has
learned the device from 900 measurements before: what it misses is noise of single times that no such model explains. A
search counts as *within .3 points* of the best cell that keeps the limit only if its answer keeps the limit too. The
procedure was chosen on HELP's training and validation devices.
"""

NOISE_NOTE = """\
(.3 points are harder to meet on CIFAR-100, where the best cells differ more.) What is missed is mostly noise: of the
many cells near a limit, the best that keeps it is often one whose published time happens to be low. Below, how far the
times lie from what a linear model of 900 measurements says; and the correlation of that between a cell and the next one
in the tables, whose order is random: where it is high, the device drifted while it was measured.
"""

PROXY_NOTE = """\
## What OneProxy claims (Lu et al. 2022, arXiv 2111.01203)

All ordered pairs of the 27 devices on NAS-Bench-201, 341 cells left out. *Area kept*: the area under the front of
accuracy against latency on the target, of the cells that are on the proxy's front, as a share of that of the true
front. The claims: rankings agree often; from a Spearman correlation of .9 on, the proxy's front serves the target
without loss; adapting the proxy to a few tens of measurements repairs the rest.
"""

UNCHANGED = """\
Rankings agree as the claim needs in a quarter of the pairs; from .9 on little is lost, but not nothing; adapting
repairs most of the rest, with 70 measurements. With latencies in seconds and a penalty of 1, as in the published
notebook, the exact minimiser leaves every weight of the proxy as it is in {share} of the pairs that need adapting: the
penalty is steeper than the loss. What the notebook gains there (Spearman .69 to .87, on other tables) may then hang on
the tolerance of its solver. Here latencies are divided by their mean first.
"""


def write(rows: Sequence[Row], out: Path) -> None:
    """Everything that the rows say, as a page and as JSON."""
    flat = [{**row["key"], **row["result"]} for row in rows]
    results: dict[str, Any] = {}
    page = [INTRODUCTION]
    for part in (_split, _leave, _search, _proxy, _speed):
        lines, found = part(flat)
        page += lines
        results.update(found)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "latency.md", "\n".join(page).rstrip() + "\n")
    write_result(out / "latency.json", results)


def _over(rows: Iterable[Row], value: str) -> tuple[float, float, dict[str, float]]:
    """The mean over devices, its deviation over seeds, and the mean of each device. Undefined scores are refused."""
    by_seed: dict[int, list[float]] = {}
    by_device: dict[str, list[float]] = {}
    for row in rows:
        if value in row:
            by_seed.setdefault(row["seed"], []).append(row[value])
            by_device.setdefault(row["device"], []).append(row[value])
    devices = {device: float(np.mean(values)) for device, values in by_device.items()}
    if not devices:
        return float("nan"), float("nan"), devices
    return float(np.mean(list(devices.values()))), float(np.std([np.mean(v) for v in by_seed.values()])), devices


def _number(value: float, digits: int = 3) -> str:
    return "" if np.isnan(value) else f"{value:.{digits}f}"


def _percent(value: float) -> str:
    return "" if np.isnan(value) else f"{100 * value:.0f} %"


def _table(head: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    return [*lines, *("| " + " | ".join(cells) + " |" for cells in body), ""]


def _split(rows: Sequence[Row]) -> tuple[list[str], dict[str, Any]]:
    page, results = [], {}
    for table, published in PUBLISHED.items():
        mine = [row for row in rows if row["part"] == "split" and row["table"] == table]
        if not mine:
            continue
        devices = list(published)
        page += [f"## {TITLES[table]}: the devices that HELP tests on, known: the nine that it trains on", ""]
        kinds: dict[tuple[str, int, str], list[Row]] = {}
        for row in mine:
            kinds.setdefault((row["method"], row["count"], row.get("measured", "")), []).append(row)
        order = sorted(kinds, key=lambda kind: (kind[1], kind[0] != "bayesian", kind[0], kind[2]))
        body, found = [], {}
        for method, count, measured in order:
            some = kinds[method, count, measured]
            middle, spread, each = _over(some, "spearman_middle")
            whole, _, _ = _over(some, "spearman")
            near, inside = (_over(some, value)[0] for value in ("within_10", "inside_90"))
            if set(each) != set(devices):  # a mean over some of the devices compares with none
                middle = whole = near = inside = spread = float("nan")
            seeds = len({row["seed"] for row in some})
            name = f"{method}, {measured}" if method == "bayesian" else method
            name = f"**{name}**" if (method, measured) == ("bayesian", "chosen") else name
            deviation = f" ± {spread:.3f}" if seeds > 1 and not np.isnan(middle) else ""
            body.append([
                name, f"{count:,}", str(seeds), _number(middle) + deviation, _number(whole), _percent(near),
                _percent(inside), *(_number(each.get(device, float("nan"))) for device in devices),
            ])  # fmt: skip
            found[f"{method}/{measured or 'none'}/{count}"] = {
                "seeds": seeds, "spearman_middle": middle, "spearman_middle_std": spread, "spearman": whole,
                "within_10": near, "inside_90": inside, "devices_middle": each,
            }  # fmt: skip
        means = [f"*{value:.3f}*" for value in (MEANS[table], *published.values())]
        body.append(["*HELP, as published*", "10 (20)", "", means[0], "", "", "", *means[1:]])
        for name, count, value in OTHERS[table]:
            body.append([f"*{name}, as HELP publishes it*", count, "", f"*{value:.3f}*", *[""] * (3 + len(devices))])
        head = ["model", "measured", "seeds", "middle", "all", "within 10 %", "inside 90 %", *devices]
        page += _table(head, body)
        results[f"split_{table}"] = found
    if page:
        page.append(SPLIT_NOTE)
    return page, results


def _leave(rows: Sequence[Row]) -> tuple[list[str], dict[str, Any]]:
    page, results = [], {}
    for table in PUBLISHED:
        mine = [row for row in rows if row["part"] == "leave" and row["table"] == table]
        if not mine:
            continue
        page += [f"## {TITLES[table]}: each of the 27 devices left out, alone or with its family", ""]
        found: dict[str, Any] = {}
        body = []
        for left in ("device", "family"):
            for count in ("10", "20"):
                some = [{**row, **row[count]} for row in mine if row["left_out"] == left]
                values = {v: _over(some, v) for v in ("spearman_middle", "spearman", "within_10", "inside_90")}
                worst = min(values["spearman"][2], key=lambda d, v=values: v["spearman"][2][d])
                body.append([
                    left, count, str(len({row["seed"] for row in some})),
                    *(_number(values[v][0]) for v in ("spearman_middle", "spearman")),
                    *(_percent(values[v][0]) for v in ("within_10", "inside_90")),
                    f"{worst} {values['spearman'][2][worst]:.3f}",
                ])  # fmt: skip
                found[f"{left}/{count}"] = {v: {"mean": m, "devices": d} for v, (m, _, d) in values.items()}
        head = ["left out", "measured", "seeds", "middle", "all", "within 10 %", "inside 90 %", "worst device (all)"]
        page += _table(head, body)
        results[f"leave_{table}"] = found
    if page:
        page.append(LEAVE_NOTE)
    return page, results


def _search(rows: Sequence[Row]) -> tuple[list[str], dict[str, Any]]:
    mine = [row for row in rows if row["part"] == "search"]
    if not mine:
        return [], {}
    found: dict[str, Any] = {}
    body = []
    for part, title in (("help", "HELP's six test devices"), ("leave", "27 devices, each left out")):
        for metric, data in (("c10_test_200", "CIFAR-10"), ("c100_test_200", "CIFAR-100")):
            for how, count in (("measuring", 10), ("measuring", 20), ("knowing", 10), ("predicting", 10)):
                devices: dict[str, list[Row]] = {}
                for row in mine:
                    asked = (row["method"], row["accuracy"], row.get("budget", 10))
                    if asked == (part, metric, count) and how in row:
                        devices.setdefault(row["device"], []).append({"seed": row["seed"], **row[how]})
                if not devices:
                    continue
                near = {d: float(np.mean([_right(one) for one in some])) for d, some in devices.items()}
                short = float(np.mean([np.mean([one["short"] for one in some]) for some in devices.values()]))
                broken = float(np.mean([np.mean([one["violates"] for one in some]) for some in devices.values()]))
                worst = min(near, key=near.__getitem__)
                every = [one for some in devices.values() for one in some]
                seeds = len({one["seed"] for one in every})
                body.append([
                    title, data, how, str(count), str(seeds), f"{len(every):,}",
                    _percent(float(np.mean(list(near.values())))), f"{worst} {_percent(near[worst])}", f"{short:.2f}",
                    f"{100 * broken:.1f} %",
                ])  # fmt: skip
                found[f"{part}/{metric}/{how}/{count}"] = {
                    "seeds": seeds, "within_0.3": near, "mean_short": short, "violations": broken,
                }  # fmt: skip
    head = [
        "devices", "accuracy", "how", "measured", "seeds", "searches", "within .3 points", "worst device",
        "mean points short", "break the limit",
    ]  # fmt: skip
    page = [SEARCH_NOTE, *_table(head, body)]
    noise = [row for row in rows if row["part"] == "noise"]
    if noise:
        lines = [
            [row["device"], f"{100 * row['error']:.1f} %", f"{row['alike']:.2f}"]
            for row in sorted(noise, key=lambda row: -row["error"])
        ]
        page += [NOISE_NOTE, *_table(["device", "error (root mean square)", "correlation with the next cell"], lines)]
        found["noise"] = {row["device"]: {"error": row["error"], "alike": row["alike"]} for row in noise}
    return page, {"search": found}


def _right(answer: Row) -> bool:
    return answer["short"] <= 0.3 and not answer["violates"]


def _proxy(rows: Sequence[Row]) -> tuple[list[str], dict[str, Any]]:
    pairs = [pair for row in rows if row["part"] == "proxy" for pair in row["pairs"]]
    if not pairs:
        return [], {}
    bins = ((0.95, 1.01), (0.9, 0.95), (0.8, 0.9), (0.7, 0.8), (-1.0, 0.7))
    body, found = [], {"pairs": len(pairs)}
    for low, high in bins:
        some = [pair for pair in pairs if low <= pair["spearman"] < high]
        if not some:
            continue
        kept = [pair["volume"] for pair in some]
        adapted = [pair["adapted"] for pair in some if "adapted" in pair]
        name = f"{low:.2f} and more" if high > 1 else f"below {high:.2f}" if low < 0 else f"{low:.2f} to {high:.2f}"
        body.append([
            name, _percent(len(some) / len(pairs)), f"{100 * np.mean(kept):.1f} %", f"{100 * np.min(kept):.1f} %",
            _number(float(np.mean([pair["spearman"] for pair in some]))),
            _number(float(np.mean(adapted))) if adapted else "",
            _percent(float(np.mean(np.array(adapted) >= 0.9))) if adapted else "",
        ])  # fmt: skip
        found[name] = {
            "share": len(some) / len(pairs), "area_mean": float(np.mean(kept)), "area_least": float(np.min(kept)),
            "before": float(np.mean([pair["spearman"] for pair in some])),
            "adapted": float(np.mean(adapted)) if adapted else None,
        }  # fmt: skip
    head = ["Spearman", "pairs", "area kept, mean", "least", "before", "adapted with 70", "of them .9 and more"]
    page = [PROXY_NOTE, *_table(head, body)]
    unchanged = [pair["unchanged"] for pair in pairs if "unchanged" in pair]
    if unchanged:
        found["unchanged_at_penalty_1_in_seconds"] = float(np.mean(unchanged))
        page.append(UNCHANGED.format(share=_percent(float(np.mean(unchanged)))))
    return page, {"proxy": found}


def _speed(rows: Sequence[Row]) -> tuple[list[str], dict[str, Any]]:
    mine = [row for row in rows if row["part"] == "speed"]
    if not mine:
        return [], {}
    found: dict[str, Any] = {"runs": len(mine)}
    parts = []
    for what, title in (("fit", "fitting ten measurements"), ("predict", "predicting all 15,625 cells")):
        wall, cpu = (1e3 * np.array([row[f"{what}{kind}_seconds"] for row in mine]) for kind in ("", "_cpu"))
        found |= {f"{what}_ms": float(np.median(wall)), f"{what}_cpu_ms": float(np.median(cpu))}
        found[f"{what}_cpu_ms_most"] = float(cpu.max())
        parts.append(
            f"{title} {np.median(cpu):.1f} ms of processor time (at most {cpu.max():.1f}), {np.median(wall):.1f} ms by "
            "the clock"
        )
    text = f"Median of {len(mine)} runs on one core, which other programs shared: {'; '.join(parts)}."
    return ["## Speed", "", text, ""], {"speed": found}

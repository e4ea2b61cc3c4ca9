"""What the prior (`archscout.estimators.prior`) is worth on data sets that it has not seen: docs/results/prior.md.

    python -m benchmarks.predictors.prior_page                 the page
    python -m benchmarks.predictors.prior_page --tune          and which scales of the covariance would be better

Every data set is left out in turn, with those that share images with it. For several budgets in processor seconds,
each network that was trained there counts with its longest training that fits, if that fills a quarter of the budget
(in a search it would fill it, and be better than it was here); the prior, which knows the times but no accuracy of that
data set, says which to take. Regret is how much accuracy is lost against the best choice. Planning uses the prior where
it is better than the rule of thumb, paired over data sets.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from archscout.core.files import write_text
from archscout.core.seeds import stream
from archscout.estimators.prior import Data, Network, Prior, Record, Scales, read, rule
from archscout.study.summary import interval, paired
from benchmarks.common import RESULTS, arguments
from benchmarks.predictors.prior_table import ORIGIN, TABLE

PAGE = RESULTS / "prior.md"
BUDGETS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
FILLED = 0.25
"""Of a budget, what a training must take to stand for what its network would be with all of it."""
FEWEST = 6
"""Networks among which a choice is one."""

SURE = 0.05
"""A paired test that gives less tells two ways of choosing apart."""

Row = Mapping[str, Any]
Choice = Sequence[float]
"""Of each network, how promising it is."""


@dataclasses.dataclass(frozen=True)
class Contest:
    """A data set and a budget: of each network, the longest training that fits, and how long one epoch took."""

    data: str
    budget: float
    records: tuple[Record, ...]
    seconds: tuple[float, ...]

    @property
    def accuracies(self) -> np.ndarray:
        return np.array([record.accuracy for record in self.records])


def contests(rows: Sequence[Row], records: Sequence[Record]) -> list[Contest]:
    """All with networks enough, of which the best is not a matter of taste."""
    found = []
    for source in sorted({record.source for record in records}):
        for budget in BUDGETS:
            longest: dict[str, tuple[Record, float]] = {}
            for row, record in zip(rows, records, strict=True):
                if record.source == source and row["cpu_seconds"] <= budget:
                    before = longest.get(row["network"])
                    if before is None or record.epochs > before[0].epochs:
                        longest[row["network"]] = record, row["cpu_seconds"] / row["epochs"]
            longest = {name: (r, s) for name, (r, s) in longest.items() if r.epochs * s >= FILLED * budget}
            if len(longest) >= FEWEST:
                chosen, seconds = zip(*longest.values(), strict=True)
                found.append(Contest(source.partition(":")[0], budget, chosen, seconds))
    return found


def leave_out(all_contests: Sequence[Contest], records: Sequence[Record], scales: Scales) -> list[np.ndarray]:
    """For each contest, what a prior expects that has seen no training on its data set, nor on the same images."""
    priors = {}
    for origin in {origin_of(contest.data) for contest in all_contests}:
        priors[origin] = Prior([r for r in records if origin_of(r.source.partition(":")[0]) != origin], scales)
    return [
        priors[origin_of(contest.data)].expected(
            contest.records[0].data, [r.network for r in contest.records], [r.epochs for r in contest.records]
        )
        for contest in all_contests
    ]


def origin_of(data: str) -> str:
    """What a data set is drawn from."""
    return ORIGIN.get(data, data)


def judged(all_contests: Sequence[Contest], choices: Sequence[Choice]) -> dict[str, np.ndarray]:
    """Regret in points of accuracy, and rank correlation, of each contest."""
    regret, correlation = [], []
    for contest, choice in zip(all_contests, choices, strict=True):
        values = contest.accuracies
        regret.append(100 * (values.max() - values[int(np.argmax(choice))]))
        varied = np.ptp(values) > 0 and np.ptp(choice) > 0
        correlation.append(float(spearmanr(values, choice).statistic) if varied else 0.0)
    return {"regret": np.array(regret), "correlation": np.array(correlation)}


def rivals(contest: Contest) -> dict[str, list[float]]:
    """Other ways of choosing."""
    data: Data = contest.records[0].data
    networks: list[Network] = [record.network for record in contest.records]
    return {
        "most multiply-adds": [network.macs for network in networks],
        "most parameters": [network.params for network in networks],
        "fewest multiply-adds": [-network.macs for network in networks],
        "most epochs": [record.epochs for record in contest.records],
        "rule of thumb": [rule(data, record.network, record.epochs) for record in contest.records],
    }  # fmt: skip


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--tune", type=int, nargs="?", const=200, default=0, help="how many scales to try")
    options = parser.parse_args()
    if options.tune:
        text = options.table.read_text()
        records = read(text)
        tune(contests(json.loads(text)["rows"], records), records, options.tune)
    text = page(options.table)
    write_text(PAGE, text)
    print(text)


def page(table: Path) -> str:
    """The page about a table of trainings."""
    text = table.read_text()
    rows, records = json.loads(text)["rows"], read(text)
    games = contests(rows, records)
    results = {"prior": judged(games, leave_out(games, records, Scales()))}
    others = [rivals(game) for game in games]
    for name in others[0]:
        results[name] = judged(games, [other[name] for other in others])
    chance = {
        "regret": np.array([100 * float((g.accuracies.max() - g.accuracies).mean()) for g in games]),
        "correlation": np.zeros(len(games)),
    }
    return write(rows, games, results | {"by lot": chance})


def write(rows: Sequence[Row], games: Sequence[Contest], results: Mapping[str, Mapping[str, np.ndarray]]) -> str:
    by_data: defaultdict[str, list[int]] = defaultdict(list)
    for place, game in enumerate(games):
        by_data[game.data].append(place)
    sets = sorted(by_data)
    lines = [
        "# What the prior is worth",
        "",
        "Made by `benchmarks/predictors/prior_page.py` from the table that comes with the package "
        f"(`archscout/estimators/data/prior.json`, made by `benchmarks/predictors/prior_table.py`: "
        f"{len(rows)} trainings of {len({r['network'] for r in rows})} networks, "
        f"{sum(r['cpu_seconds'] for r in rows) / 3600:.1f} core-hours).",
        "",
        "Each data set is left out in turn, at all its sizes, with all that are drawn from the same images; for "
        f"several budgets of processor seconds ({BUDGETS[0]:g} to {max(g.budget for g in games):g}), the networks "
        f"count with their longest training that fits, if it fills at least {FILLED:.0%} of the budget. Regret: points "
        "of validation accuracy lost against the best choice; intervals are 95 %, bootstrap over data sets and "
        "budgets, which are not independent.",
        "",
        verdict(*(means(results[name]["regret"], by_data) for name in ("prior", "rule of thumb"))),
        "",
        f"| choice | mean regret | rank correlation | {' | '.join(sets)} |",
        f"| --- | ---: | ---: | {' | '.join('---:' for _ in sets)} |",
    ]
    for name, of in sorted(results.items(), key=lambda item: float(item[1]["regret"].mean())):
        mean, low, high = interval(of["regret"])
        cells = [f"{of['regret'][by_data[data]].mean():.1f}" for data in sets]
        lines.append(
            f"| {name} | {mean:.1f} [{low:.1f}, {high:.1f}] | {of['correlation'].mean():.2f} | {' | '.join(cells)} |"
        )
    lines += ["", f"{len(games)} contests of {min(map(count, games))} to {max(map(count, games))} networks."]
    return "\n".join(lines) + "\n"


def means(regret: np.ndarray, by_data: Mapping[str, Sequence[int]]) -> list[float]:
    """The mean of each data set, in the order of their names."""
    return [float(regret[by_data[data]].mean()) for data in sorted(by_data)]


def verdict(prior: Sequence[float], by_rule: Sequence[float]) -> str:
    """Which of the two planning is to use: the prior where it is better, by a paired test over data sets."""
    p = paired(prior, by_rule)
    better = sum(a < b for a, b in zip(prior, by_rule, strict=True))
    worse = sum(a > b for a, b in zip(prior, by_rule, strict=True))
    found = (
        f"Against the rule of thumb, the prior loses less on {better} of {len(prior)} data sets and more on {worse} "
        f"(means {np.mean(prior):.1f} and {np.mean(by_rule):.1f}; Wilcoxon's signed rank test over data sets, "
        f"p = {p:.2f}): "
    )
    if p < SURE and np.mean(prior) < np.mean(by_rule):
        return found + "planning takes the prior."
    return found + "that is not better for sure, and planning takes the rule."


def count(game: Contest) -> int:
    return len(game.records)


def tune(games: Sequence[Contest], records: Sequence[Record], tries: int) -> None:
    """Scales by random search on data sets left out; printed, best first."""
    rng = stream(0, "prior", "tune")
    score: Callable[[Scales], tuple[float, float]] = lambda scales: _score(games, records, scales)  # noqa: E731
    tried = [(score(Scales()), Scales())]
    for _ in range(tries):
        base = min(tried, key=lambda item: item[0])[1]
        start = base if rng.random() < 0.7 else Scales()
        scales = Scales(**{
            field.name: getattr(start, field.name) * math.exp(0.5 * rng.standard_normal())
            for field in dataclasses.fields(Scales)
        })  # fmt: skip
        tried.append((score(scales), scales))
    for (loss, regret), scales in sorted(tried, key=lambda item: item[0])[:5]:
        print(f"{loss:.3f} (regret {regret:.2f})  {scales}")


def _score(games: Sequence[Contest], records: Sequence[Record], scales: Scales) -> tuple[float, float]:
    """How far the expected logits are from the real ones within a contest: smoother than regret, and of one mind."""
    loss = []
    expectations = leave_out(games, records, scales)
    for game, expected in zip(games, expectations, strict=True):
        chance = 1 / game.records[0].data.classes
        share = ((game.accuracies - chance) / (1 - chance)).clip(0.05, 0.995)
        error = np.log(share / (1 - share)) - expected
        loss.append(float(np.std(error)))
    return float(np.mean(loss)), float(judged(games, expectations)["regret"].mean())


if __name__ == "__main__":
    main()

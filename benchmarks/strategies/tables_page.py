"""The page docs/results/strategies.md, of what `on_tables.py` measured.

python -m benchmarks.strategies.tables_page
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from archscout.core.files import write_text
from archscout.study.strategies import SURE
from benchmarks.common import RESULTS, arguments, read_result
from benchmarks.strategies.on_tables import DEFAULT, GROUNDS, LENGTHS, TRIED

Ground = dict[str, Any]
COLUMNS = (
    "search", "tables", "repeats", "mean", "default", "best", "worst", "worse than random", "better than the default",
)  # fmt: skip


def page(grounds: Sequence[Ground]) -> str:
    short, long = ([ground for ground in grounds if ground["trials"] == trials] for trials in LENGTHS)
    lines = [
        "# Searches on published tables",
        "",
        "Made by `benchmarks/strategies/on_tables.py` and `tables_page.py`: trainings answered from a table. Searches "
        "see what regret is about: validation accuracy, or what the title says where a table has no other. Regret: "
        "points of accuracy between the best network so far and the best of the table, mean over repeats with its 95 % "
        "bootstrap interval; *area*: its mean over all trainings, the one number to compare by; p: paired Wilcoxon "
        f"test of the area against `{DEFAULT}`, in the repeats that both have (with six, the least that it can say is "
        "0.03, with three 0.25); *found*: repeats that found the best network, and after how many trainings on average "
        f"(of these alone). `{DEFAULT}` is what `archscout search` does where nothing is named; where trainings are "
        "counted it is the guided search. Scores are columns of the table: naswot, zen and params of NAS-Bench-201, "
        "zen and params of NAS-Bench-101, params of Macro and digits, none of others; what a table lacks is undefined.",
        *together(short),
        *winner_map(short),
    ]
    for ground in short:
        lines += detail(ground)
    if long:
        lines += ["", f"## {LENGTHS[1]} trainings", "", "The same with a longer budget, of some searches."]
        lines += winner_map(long, level="###")
        for ground in long:
            lines += detail(ground, level="###")
    return "\n".join(lines) + "\n"


def together(grounds: Sequence[Ground]) -> list[str]:
    """The mean over grounds of areas as shares of random search's: where the default was tuned, and where not."""
    titles = [title for _, _, title in GROUNDS[:TRIED]]
    parts = {
        "Tables that settings of the default were tried out on": [g for g in grounds if g["title"] in titles],
        "Tables that it was not tuned on": [g for g in grounds if g["title"] not in titles],
    }
    lines = [
        "",
        "## All tables together",
        "",
        "Area of regret as a share of random search's in the same repeats: mean over the tables that a search was run "
        f"on, best and worst of them; *default*: the mean of `{DEFAULT}` on the same tables in the same repeats. "
        f"*Worse than random*: tables on which it has more area than random search, beyond noise (p below {SURE}); "
        f"*better than the default*: tables on which it has less area than `{DEFAULT}`, beyond noise, and after the "
        "comma on how many it has less at all.",
    ]
    for part, some in parts.items():
        pairs: dict[str, list[tuple[str, dict[str, Any]]]] = {}
        for ground in some:
            for entry in ground["entries"]:
                pairs.setdefault(entry["estimator"], []).append((ground["title"], entry))
        lines += [
            "",
            f"### {part} ({len(some)})",
            "",
            f"| {' | '.join(COLUMNS)} |",
            f"| {' | '.join('---' for _ in COLUMNS)} |",
        ]
        for name in sorted(pairs, key=lambda name: _mean(entry["of_default"] for _, entry in pairs[name])):
            entries = [entry for _, entry in pairs[name]]
            shares, repeats = [entry["of_random"] for entry in entries], [entry["repeats"] for entry in entries]
            default = _mean(entry["of_random"] / entry["of_default"] for entry in entries)
            worse = ", ".join(title for title, entry in pairs[name] if is_worse(entry)) or "none"
            better = ", ".join(title for title, entry in pairs[name] if is_better(entry)) or "none"
            less = sum(entry["of_default"] < 1 for entry in entries)
            numbers = (_mean(shares), default, min(shares), max(shares))
            cells = [name, len(entries), _span(repeats), *(f"{one:.2f}" for one in numbers), worse]
            lines.append(f"| {' | '.join(map(str, cells))} | {better}{f', {less}' if less else ''} |")
    return lines


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


def _span(counts: Sequence[int]) -> str:
    """From the least to the most of some counts.

    >>> _span([3, 2, 3])
    '2 to 3'
    """
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def is_worse(entry: dict[str, Any]) -> bool:
    """Whether a search has more area than random search, beyond noise."""
    return bool(entry["of_random"] > 1 and entry["p_against_random"] < SURE)


def is_better(entry: dict[str, Any]) -> bool:
    """Whether a search has less area than the default, beyond noise."""
    return bool(entry["of_default"] < 1 and entry["p_against_default"] < SURE)


def winner_map(grounds: Sequence[Ground], level: str = "##") -> list[str]:
    """Who has the least regret after so many trainings, table by table, and where the default stands."""
    mapped = [ground for ground in grounds if ground["winners"]]
    if not mapped:
        return []
    budgets = [str(winner["trainings"]) for winner in mapped[0]["winners"]]
    lines = [
        "",
        f"{level} Who wins at which budget",
        "",
        "The least mean regret after so many trainings, in the repeats that all searches of the table have; in bold "
        f"where it is `{DEFAULT}`, alone or with others. Else in brackets whether `{DEFAULT}` is surely worse (paired "
        f"test, p below {SURE}) or not. Few repeats tell little: the tables below have all of them.",
        "",
        "| table | repeats | " + " | ".join(f"after {budget}" for budget in budgets) + " |",
        "| --- | --- |" + " --- |" * len(budgets),
    ]
    for ground in mapped:
        cells = [winner_cell(winner) for winner in ground["winners"]]
        lines.append(f"| {ground['title']} | {ground['common']} | " + " | ".join(cells) + " |")
    return lines


def winner_cell(winner: dict[str, Any]) -> str:
    if winner["winner"] == DEFAULT:
        return f"**{DEFAULT}**"
    return f"{winner['winner']} ({'not surely' if DEFAULT in winner['equal'] else 'surely worse'})"


def detail(ground: Ground, level: str = "##") -> list[str]:
    """The table of one ground."""
    counts = list(ground["entries"][0]["after"])
    lines = [
        "",
        f"{level} {ground['title']}",
        "",
        f"| search | n | {' | '.join(f'after {count}' for count in counts)} | area | p | found | trainings to it |",
        "| --- | --- | " + "--- | " * len(counts) + "--- | --- | --- | --- |",
    ]
    for entry in sorted(ground["entries"], key=lambda entry: entry["mean_regret"]):
        cells = [points(*entry["after"][count]) for count in counts]
        area = points(*(entry[key] for key in ("mean_regret", "mean_regret_low", "mean_regret_high")))
        p = "" if entry["estimator"] == DEFAULT else f"{entry['p_against_default']:.2g}"
        reached = [entry[key] for key in ("to_optimum", "to_optimum_low", "to_optimum_high")]
        trainings = "{:.0f} [{:.0f}, {:.0f}]".format(*reached) if entry["found"] else ""
        lines.append(
            f"| {entry['estimator']} | {entry['repeats']} | " + " | ".join(cells)
            + f" | {area} | {p} | {entry['found']:.0%} | {trainings} |"
        )  # fmt: skip
    return lines


def points(mean: float, low: float, high: float) -> str:
    return f"{100 * mean:.2f} [{100 * low:.2f}, {100 * high:.2f}]"


def main() -> None:
    arguments(__doc__).parse_args()
    write_text(RESULTS / "strategies.md", page(read_result(RESULTS / "strategies.json")["grounds"]))


if __name__ == "__main__":
    main()

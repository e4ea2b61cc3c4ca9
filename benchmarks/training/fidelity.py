"""What a short training, or a score, tells of full training: the reason for how the cascade ranks its rungs.

    python -m benchmarks.training.fidelity --space nasbench201 --data digits --architectures 24

Draws architectures, takes zero-cost scores, trains each for a few epochs and, with other seeds, twice in full; prints
Spearman's coefficient of each with the mean accuracy of the two full trainings, with 95 % bootstrap intervals, beside
the agreement of the two full trainings (what no estimator can beat by much). Results are kept as they come. Writes
docs/results/fidelity_<space>_<data>.json and .md.
"""

from __future__ import annotations

import numpy as np
import torch

from archscout.core import seeds
from archscout.core.estimator import Setting
from archscout.core.files import write_text
from archscout.core.registry import create
from archscout.core.trial import Trial
from archscout.estimators.zero_cost.harness import score
from archscout.methods.cascade import correlation, fidelities
from archscout.tasks.load import load
from archscout.training.trainer import default_epochs
from benchmarks.common import RESULTS, Rows, arguments

SCORES = ("naswot", "synflow", "params", "macs")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--space", default="nasbench201")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--architectures", type=int, default=24)
    options = parser.parse_args()
    torch.set_num_threads(1)
    space, task = create("space", options.space), load(options.data).sealed()
    file = RESULTS / f"fidelity_{options.space.partition(':')[0]}_{task.name}.json"
    *short, full = fidelities(default_epochs(task), 3)
    rows = Rows(file, about={"space": options.space, "task": task.name, "full": full})
    trained = create("estimator", "trained")
    rng = seeds.stream(0, "fidelity")
    for number in range(options.architectures):
        architecture = space.simplify(space.sample(rng))
        if number < len(rows.rows):
            continue
        setting = Setting(space, task)
        row: dict[str, object] = {"architecture": architecture.text}
        row |= {name: estimates[0].value for name, estimates in score([architecture], SCORES, setting).items()}
        for label, epochs, seed in [(f"{e} epochs", e, 0) for e in short] + [("full 1", full, 1), ("full 2", full, 2)]:
            estimate = trained.estimate([architecture], Setting(space, task, seed=seed), fidelity=epochs)[0]
            loss = Trial(0, architecture, "", "trained", epochs, "completed", curve=estimate.curve).loss
            row[label] = {"accuracy": estimate.value, "loss": loss, "seconds": estimate.seconds}
        rows.add(row)
    text = table(options.space, task.name, full, short, rows.rows)
    write_text(file.with_suffix(".md"), text)
    print(text)


def table(space: str, task: str, full: int, short: list[int], rows: list[dict]) -> str:
    truth = [(row["full 1"]["accuracy"] + row["full 2"]["accuracy"]) / 2 for row in rows]
    lines = [
        f"# What tells full training ({full} epochs) on {task}: {len(rows)} architectures of {space}",
        "",
        "Made by `benchmarks/training/fidelity.py`. Spearman's coefficient with the mean validation accuracy of two "
        "full trainings, 95 % bootstrap interval over architectures.",
        "",
        "| estimator | Spearman | seconds |",
        "| --- | --- | --- |",
    ]
    candidates = {name: ([row[name] for row in rows], None) for name in SCORES}
    for epochs in short:
        cells = [row[f"{epochs} epochs"] for row in rows]
        seconds = np.mean([cell["seconds"] for cell in cells])
        candidates[f"accuracy after {epochs} epochs"] = ([cell["accuracy"] for cell in cells], seconds)
        candidates[f"minus loss after {epochs} epochs"] = ([-cell["loss"] for cell in cells], seconds)
    for name, (values, seconds) in candidates.items():
        note = correlation(name, "", list(zip(np.nan_to_num(values, nan=-1e30), truth, strict=True)), 0.0)
        lines.append(f"| {name} | {shown(note)} | {'' if seconds is None else f'{seconds:.2f}'} |")
    twins = [(row["full 1"]["accuracy"], row["full 2"]["accuracy"]) for row in rows]
    seconds = np.mean([row["full 1"]["seconds"] for row in rows])
    lines.append(f"| one full training and the other | {shown(correlation('', '', twins, 0.0))} | {seconds:.2f} |")
    lines += ["", f"Full accuracy: mean {np.mean(truth):.2%}, standard deviation {np.std(truth):.2%}; between the two "
              f"trainings of one network {np.std([a - b for a, b in twins]) / 2**0.5:.2%}."]  # fmt: skip
    return "\n".join(lines) + "\n"


def shown(note: dict) -> str:
    return (
        "undefined" if note["spearman"] is None else f"{note['spearman']:.2f} [{note['low']:.2f}, {note['high']:.2f}]"
    )


if __name__ == "__main__":
    main()

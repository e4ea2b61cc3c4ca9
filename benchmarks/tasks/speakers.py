"""Speaker verification where speakers are few: how much of the error rate is the pair of voices, how much the recipe.

    python -m benchmarks.tasks.speakers --data-root DATA

Of the six speakers of `audio/spoken_digits.npz`, two are tested with and four are left, of which a search must keep
some apart to choose by. Six pairs, in which each speaker is twice, and contenders of equal numbers of passes:

- `statistics`: mean and standard deviation of each mel band, standardised over the others; nothing is trained.
- `hand_made`: a small x-vector in plain PyTorch (`hand_made.py`), softmax over four speakers.
- `two`, `four`: the reference `tdnn_small` by the recipe of the house, with two and with all four of the others.
- `speeds`: as `four`, with copies at 0.9 and 1.1 of the speed as speakers of their own (`speeds=true`).

Rows are added to docs/results/speakers.json as they come; a row that is there is not measured again.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import RESULTS, Rows, arguments, machine

FILE = RESULTS / "speakers.json"
PAIRS = ((0, 3), (3, 1), (1, 2), (2, 4), (4, 5), (5, 0))
CONTENDERS = ("statistics", "two", "four", "speeds", "hand_made")
PASSES = 4_000
"""Of training examples."""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--contenders", default=",".join(CONTENDERS))
    parser.add_argument("--passes", type=int, default=PASSES)
    parser.add_argument("--results", type=Path, default=FILE)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = Rows(options.results, ("pair", "contender"), about={"machine": machine(), "passes": options.passes})
    for pair in PAIRS:
        for contender in options.contenders.split(","):
            if not rows.has(pair=list(pair), contender=contender):
                started = time.process_time()
                error = measured(options, pair, contender)
                seconds = round(time.process_time() - started, 1)
                rows.add({"pair": list(pair), "contender": contender, "equal_error_rate": error, "seconds": seconds})


def measured(options: argparse.Namespace, pair: tuple[int, int], contender: str) -> float:
    """The equal error rate on a pair of speakers of what knows none of them."""
    others = [speaker for speaker in range(6) if speaker not in pair]
    # Those that stay when a validation pair is drawn, too.
    chosen = others[1:3] if contender == "two" else others
    task = part(options.data_root, chosen, pair, speeds=contender == "speeds")
    if contender == "statistics":
        return by_statistics(task)
    epochs = max(1, round(options.passes / len(task.train)))
    if contender == "hand_made":
        from benchmarks.tasks.hand_made import verified

        return verified(task, epochs, seed=0)
    import archscout
    from archscout.networks.pick import build
    from archscout.training.recipe import Recipe
    from archscout.training.trainer import train

    space = archscout.space("tdnn")
    network = build(space, space.references()["tdnn_small"], task, seed=0)
    outcome = train(network, task, Recipe.default(task, epochs), seed=0)
    return float(outcome.curve[-1][f"valid_{task.metric}"])


def part(root: Path, chosen: list[int], pair: tuple[int, int], speeds: bool) -> Any:
    """The task of learning from some speakers, whose validation split is a pair of others."""
    import archscout
    from archscout.core.errors import DataNotice

    with np.load(root / "audio" / "spoken_digits.npz") as file:
        data = dict(file)
    sounds = [data["audio"][a:b] for a, b in zip(data["offsets"][:-1], data["offsets"][1:], strict=True)]
    speaker, rate = data["speaker"], int(data["sample_rate"])
    x = np.zeros((len(sounds), rate // 2), np.float32)
    for row, sound in zip(x, sounds, strict=True):
        row[: len(sound)] = sound[: len(row)] / 32768
    splits = {}
    for name, members in (("train", chosen), ("valid", pair), ("test", pair)):
        rows = np.isin(speaker, members)
        splits |= {f"x_{name}": x[rows], f"y_{name}": speaker[rows].astype(np.int64)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataNotice)
        return archscout.task(splits, medium="audio", rate=rate, kind="verification", speeds=speeds)


def by_statistics(task: Any) -> float:
    def statistics(split: Any) -> torch.Tensor:
        x, _ = task.tensors(split)
        return torch.cat([x.mean(3).flatten(1), x.std(3).flatten(1)], 1)

    known, z = statistics(task.train), statistics(task.valid)
    z = (z - known.mean(0)) / known.std(0)
    outputs = torch.cat([torch.nn.functional.pad(z, (0, task.embedding - z.shape[1])), z.new_zeros(len(z), 0)], 1)
    return float(task.measure(outputs, torch.from_numpy(task.valid.y)))


if __name__ == "__main__":
    main()

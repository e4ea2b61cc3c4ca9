"""How well shared weights rank NAS-Bench-201: inherited scores against the table over its 6,466 published classes.

    python -m benchmarks.supernets.ranking --data cifar10_jpeg.npz --table accuracy.parquet --seeds 5

Data: CIFAR-10 reduced to 16 x 16. Supernet: narrow, one cell a stage by default. Truth: the table's CIFAR-10 test
accuracy after 200 epochs (width 16, five cells a stage, 32 x 32), so that what is reported is how well the ranking
carries over. Scores: minus the mean loss on validation images, each batch with an architecture's own statistics; of
the classes, 4,999 are different networks, and each of these is scored once.

For each seed and each kind of training (`--paths`: uniform is SPOS; fair; scattered; grouped; fixed, which is grouped
around a random backbone: see `archscout.study.supernets.PATHS`) one supernet is trained and ranked, and one that is
untrained; parameters, multiply-adds and chance are the other controls. With `--classes` a part of the classes, evenly
spread, is ranked. Results are kept as they come, and a run that was stopped goes on. Writes
docs/results/supernets_ranking.json.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import torch

from archscout.core.registry import create
from archscout.study.supernets import CONTROLS, Supernets, control, inherited_scores, trained_supernet
from archscout.supernets.ranking import rank_report
from benchmarks.common import RESULTS, Rows, arguments
from benchmarks.supernets.common import read_table, small_cifar


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--table", required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--paths", default="fixed,untrained")
    parser.add_argument("--passes", type=int, default=1500, help="batches through each supernet")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rate", type=float, default=0.2)
    parser.add_argument("--examples", type=int, default=1024, help="of validation, for the scores")
    parser.add_argument("--space", default="nasbench201:width=4,cells=1")
    parser.add_argument("--classes", type=int, default=6466, help="of the published ones, how many are ranked")
    parser.add_argument("--out", type=Path, default=RESULTS / "supernets_ranking.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    space, task = create("space", options.space), small_cifar(options.data)
    truth, classes = read_table(options.table)
    texts = classes[:: max(1, len(classes) // options.classes)][: options.classes]
    architectures = [space.parse(text) for text in texts]
    forms = [space.canonical(architecture) for architecture in architectures]
    different = dict(zip(reversed(forms), reversed(architectures), strict=True))
    true = [truth[text] for text in texts]
    rows = Rows(options.out, about={"task": task.name})

    def keep(paths: str, seed: int, passes: int, scores: list[float], trained: float, ranked: float) -> None:
        found = dict(zip(different, scores, strict=True))
        report = asdict(rank_report(architectures, [found[form] for form in forms], true))
        rows.add(
            {"paths": paths, "seed": seed, "passes": passes, "batch": options.batch, "space": options.space,
             "rate": options.rate, "examples": options.examples, "networks": len(different),
             "train_seconds": trained, "rank_seconds": ranked}
            | report
        )  # fmt: skip

    for name in CONTROLS:
        if not rows.has(paths=name, space=options.space, count=len(texts)):
            keep(name, 0, 0, control(name, space, task, list(different.values()), 0), 0.0, 0.0)
    for seed in range(options.seeds):
        for name in options.paths.split(","):
            passes = 0 if name == "untrained" else options.passes
            setting = {"space": options.space, "rate": options.rate, "batch": options.batch, "count": len(texts),
                       "examples": options.examples}  # fmt: skip
            if rows.has(paths=name, seed=seed, passes=passes, **setting):
                continue
            plan = Supernets(
                (name,), passes, options.batch, 1, "c10_test_200", examples=options.examples, rate=options.rate
            )
            began = time.process_time()
            supernet = trained_supernet(space, task, plan, name, seed)
            trained = time.process_time()
            scores = inherited_scores(supernet, list(different.values()), options.examples)
            keep(name, seed, passes, scores, trained - began, time.process_time() - trained)


if __name__ == "__main__":
    main()

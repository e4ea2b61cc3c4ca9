"""Zero-cost scores that a table lacks, computed before a comparison where the table says what it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from archscout.core.digest import digest
from archscout.core.errors import ArchscoutError
from archscout.core.options import folder_name
from archscout.core.progress import Progress, Silent
from archscout.core.registry import create, names, parse_name
from archscout.study.problem import lacking
from archscout.study.scoring import score
from archscout.tables.table import Table
from archscout.tasks.load import load
from archscout.workers.engines import engine


def compute_missing(
    table: Table,
    contenders: Sequence[str],
    folder: Path,
    *,
    metric: str | None = None,
    scores: Sequence[Path] = (),
    workers: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Path]:
    """Compute the scores that contenders need and that the table has not, or has for few of its architectures.

    Args:
        table: computed is what can be, where its task is a registered one.
        contenders: names of scores, or of predictors that learn from scores.
        folder: gets a file of `archscout.study.scoring`, named by all that the scores follow from: the same call goes
            on with it, and so do other studies of the table.
        metric: of the architectures that have a value of it.
        scores: files of scores that are there.
        workers: processes that compute; 0 computes in this one.
        seed: of the scores.
        progress: who is told how it goes.

    Returns:
        All files of scores, the new one before the others.
    """
    watch = progress or Silent()
    if parse_name(table.task)[0] not in names("task"):
        return list(scores)
    wanted = [
        name
        for name in lacking(table, contenders, metric=metric, scores=scores)
        if parse_name(name)[0] in names("estimator") and not create("estimator", name).needs & {"history", "training"}
    ]
    if not wanted:
        return list(scores)
    task = load(table.task).sealed()
    try:
        table.space.check_task(task)
    except ArchscoutError as error:
        watch.say(f"{', '.join(wanted)} cannot be computed on task '{table.task}' ({error})")
        return list(scores)
    texts = list(dict.fromkeys(table.architectures))
    made_of = digest(table.space.digest, task.digest, wanted, seed, texts)
    file = folder / f"{folder_name(f'scores-{table.name}-{made_of[:12]}')}.csv"
    watch.say(f"computing {', '.join(wanted)} for {len(texts):,} architectures on task '{table.task}'.")
    with engine("local", workers, (table.space, task, "cpu")) as pool:
        score(
            table.space, task, wanted, [table.space.parse(text) for text in texts], file=file, engine=pool, seed=seed,
            progress=watch,
        )  # fmt: skip
    return [file, *scores]

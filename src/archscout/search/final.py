"""What time is left at the end goes into the winner: trained anew, for longer, on all that may be learned from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from archscout.core.estimator import TRAINING, is_cross_validation
from archscout.core.metric import Metric
from archscout.core.panel import Table
from archscout.core.trial import Trial
from archscout.estimators.final import FINAL, FinalTraining
from archscout.search.planning import LONGER
from archscout.search.run import SearchRun
from archscout.store.store import StoredTrial
from archscout.training.recipe import full_epochs
from archscout.training.timing import time_job

_SAFE = 0.97
"""Share of the time that is left which a training is planned to take: at half-way, what is left of it becomes as long
as the time is."""

_WORTH = 1.3
"""By what factor a final training must be longer than the winner's own to be worth the time."""


def train_winner(run: SearchRun, winner: Trial) -> Trial | None:
    """The winner's final training; None where none is worth it, or it failed."""
    run.final = 0.0
    everything = "valid" in run.task.drawn
    planned = run.decide("final training", lambda: _planned(run, winner, everything))
    epochs, seconds = int(planned["epochs"]), float(planned["seconds"])
    folded = is_cross_validation(winner.estimator)
    own = winner.fidelity or 0 if winner.curve and not folded else 0
    if epochs < 1 or (own and epochs < (1.0 if everything else _WORTH) * own):
        return None
    run.say(f"training the winner for {epochs} epochs, about {min(seconds, epochs * planned['epoch']):.0f} s.")
    estimator = FinalTraining(seconds, everything, winner if folded else None, most=LONGER * full_epochs(run.task))
    trials = run.evaluate([winner.architecture], estimator, fidelity=epochs, phase=FINAL)
    trained = next((trial for trial in trials if trial.defined), None)
    if trained is None:
        reason = next((trial.reason for trial in trials if trial.reason), "it was stopped")
        run.say(f"the final training came to nothing ({reason}): the best network of the search is taken.")
    return trained


def _planned(run: SearchRun, winner: Trial, everything: bool) -> dict[str, float]:
    known = {run.space.canonical(c.architecture): c.seconds for c in run.candidates if c.timed}
    epoch = known.get(winner.canonical)
    if epoch is None:
        epoch = float(run.engine.submit(time_job, winner.architecture, run.seed).result())
    if everything:
        epoch *= (len(run.task.train) + 0.8 * len(run.task.valid)) / len(run.task.train)
    left = run.seconds_left()
    return {"epochs": _fitting(run, _SAFE * left, epoch), "seconds": left, "epoch": epoch}


def _fitting(run: SearchRun, seconds: float, epoch: float) -> int:
    """Epochs that fit into a time, as far as they pay."""
    return min(LONGER * full_epochs(run.task), int(seconds / max(epoch, 1e-9)))


def training_summary(run: SearchRun, winner: Trial) -> dict[str, Any]:
    """How the network that is shipped was trained, and whether longer would have paid."""
    epochs = int(winner.extra.get("epochs", len(winner.curve)))
    enough = full_epochs(run.task)
    return {
        "epochs": epochs,
        "planned_epochs": winner.extra.get("planned_epochs", winner.fidelity),
        "examples": winner.extra.get("examples", len(run.task.train)),
        "valid_examples": winner.extra.get("valid_examples", len(run.task.valid)),
        "cross_validated": bool(winner.extra.get("cross_validated")),
        "seconds": winner.seconds,
        "short": epochs < 0.6 * enough,
        "advised_epochs": enough,
        "trainings": run.trainings if run.planned else None,
        "unused_seconds": max(0.0, run.seconds_left()) if run.planned else None,
        "references": _references(run),
    }


def _references(run: SearchRun) -> list[dict[str, Any]]:
    """What was known before the search, with what each came to in the longest training that it had within it."""
    longest: dict[str, StoredTrial] = {}
    trained = (
        trial
        for trial in run.store.trials(run.name)
        if (trial.estimator == TRAINING or is_cross_validation(trial.estimator)) and trial.status == "completed"
    )
    for trial in sorted(trained, key=lambda trial: trial.fidelity or 0):
        longest[trial.canonical] = trial
    rows = []
    for each in run.candidates:
        row = {"name": each.name, "architecture": each.architecture.text, "epoch_seconds": each.seconds}
        known = longest.get(run.space.canonical(each.architecture))
        if known is not None:
            row |= {"epochs": known.fidelity, "value": run.task.metric.oriented(known.value)}
            row |= {"folds": known.extra["folds"]} if "folds" in known.extra else {}
        rows.append(row)
    return rows


def training_panel(training: Mapping[str, Any], metric: Metric, form: Mapping[str, Any] | None = None) -> Table:
    """For the report: how the winner was trained, in which form it answers (`costs/mirroring.py`) where that was a
    question, and the reference designs that were considered."""
    rows: list[tuple[str, str]] = [
        ("epochs", f"{training['epochs']} of {training['planned_epochs']} planned"),
        ("examples learned from", f"{training['examples']:,}"),
        (
            "examples that tell the validation value",
            f"{training['valid_examples']:,}" + ", by cross-validation" * bool(training.get("cross_validated")),
        ),
    ]
    if training["short"]:
        rows.append(("a short training", f"about {training['advised_epochs']} epochs pay: give more time"))
    if form is not None:
        answers = f"an image alone: {form['reason']}"
        if form["chosen"]:
            alone, both = (metric.text(form[f"valid_{metric}"][name]) for name in ("alone", "mirrored"))
            answers = f"the mean over an image and its mirror image: {both} of validation, {alone} for the image alone"
        rows.append(("answers for", answers))
    for each in training["references"]:
        text = f"{each['epoch_seconds']:.2g} s an epoch"
        if "value" in each:
            text += f"; {metric.text(each['value'])} of validation after {each['epochs']} epochs in this search"
            text += f" ({each['folds']} folds)" if "folds" in each else ""
        rows.append((each["name"], text))
    return Table("How the network was trained", ("", ""), rows)

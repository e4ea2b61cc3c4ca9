"""A method from outside with something of its own to show."""

from archscout.core.method import Method
from archscout.core.panel import Bars


class Shortlist(Method):
    """A few networks drawn at random and trained, with a panel that says how good each was."""

    name = "shortlist"

    def search(self, run):
        rng = run.rng("shortlist")
        chosen = run.admit((run.space.sample(rng) for _ in range(100)), int(min(3, run.trials_left())))
        trials = run.evaluate(chosen, run.estimator, fidelity=run.epochs)
        measured = [run.task.metric.oriented(trial.value) for trial in trials]
        labels = [f"network {place}" for place in range(1, len(trials) + 1)]
        run.note("panels", [Bars("The shortlist", run.task.metric.title, labels, measured).as_json()])
        return sorted((trial for trial in trials if trial.defined), key=lambda trial: trial.rank)

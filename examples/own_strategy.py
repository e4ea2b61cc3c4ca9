"""A strategy of your own, compared with others on real trainings that were looked up.

    python examples/own_strategy.py                 some seconds

It climbs: a mutant of the best network so far, and once in four times any network. `propose` sees its arguments alone,
so that a search which was stopped goes on as if it had not been.
"""

import tempfile
from pathlib import Path

import archscout
from archscout.core.strategy import Strategy, unseen
from archscout.study.strategies import Races, race, summary


@archscout.register("strategy", "climber")
class Climber(Strategy):
    """Mutants of the best so far, and once in four times any network."""

    name = "climber"

    def propose(self, space, history, rng):
        best = max((trial for trial in history if trial.defined), key=lambda trial: trial.value, default=None)
        if best is None or rng.random() < 0.25:
            return unseen(lambda: space.sample(rng), space, history)
        return unseen(lambda: space.mutate(best.architecture, rng), space, history)


if __name__ == "__main__":
    races = Races(("climber", "random", "evolution"), budget="60trials", repeats=5, metric="valid_accuracy")
    with tempfile.TemporaryDirectory() as folder:
        entries = summary(race(archscout.table("nasbench201-digits"), races, Path(folder)))
    for entry in entries:
        print(f"{entry['estimator']:10s} mean regret {entry['mean_regret']:.4f}")

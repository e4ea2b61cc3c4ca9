"""A predictor of your own, compared with the others on real trainings.

    python examples/own_predictor.py                 three rivals, some seconds
    python examples/own_predictor.py all             every predictor that is installed, and every reader of curves

It asks the nearest known architectures, counting the choices that differ, and trusts the nearer ones more.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

import archscout
from archscout.estimators.predictors.base import Predictor
from archscout.estimators.predictors.learned import Learned
from archscout.study.estimators import Plan, compare
from archscout.study.problem import comparable
from archscout.study.summary import summary


class Neighbours(Predictor):
    """The mean of what is known, weighted by how many choices are the same."""

    usual = "choices"

    def _fit(self, matrix, y):
        self.known_, self.y_ = matrix, y

    def _predict(self, matrix):
        differ = np.abs(matrix[:, None] - self.known_[None]).sum(axis=2) / 2
        weights = np.exp(-2 * differ)
        mean = weights @ self.y_ / weights.sum(axis=1)
        return mean, np.full(len(mean), np.nan)


@archscout.register("estimator", "neighbours")
def neighbours(seed=0):
    """The mean of what is known, weighted by how many choices are the same."""
    return Learned("neighbours", Neighbours(seed=seed))


if __name__ == "__main__":
    table = archscout.table("nasbench201-digits")
    rivals = comparable(table)[0] if "all" in sys.argv[1:] else ["scout", "rf", "bayes_lin_reg"]
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(tuple(dict.fromkeys(["neighbours", *rivals])), sizes=(10, 50), repeats=2, test=300)
        entries = summary(compare(table, plan, Path(folder)))
    for entry in sorted(entries, key=lambda entry: (entry["train"], entry["epochs"], -entry["kendall"])):
        print(f"{entry['train']:4d} learned {entry['epochs']:3d} epochs  {entry['kendall']:.3f}  {entry['estimator']}")

"""A search method of your own from existing parts: fair paths for the weights, entropy-adaptive samples for the choice.

    python examples/fair_entropy.py

FairNAS trains every option equally often; FP-NAS draws as many architectures as it is undecided. Together: the weights
cannot favour what the distribution already likes, and the distribution still gets cheaper to train as it decides.
"""

import itertools
import sys
import tempfile

import archscout
from archscout.methods.weight_sharing import WeightSharing, adam_rate
from archscout.supernets import plans
from archscout.supernets.phases import Phase
from archscout.supernets.terms import Mean
from archscout.supernets.updates import Importance


class Adaptive(Importance):
    """Importance weights over its own samples, whatever paths the weights were trained on."""

    def gradients(self, step):
        step.jobs, fair = plans.SamplesByEntropy(1.0)(step), step.jobs
        told = super().gradients(step) | {"drawn": len(step.jobs)}
        step.jobs = fair
        return told


@archscout.register("method", "fair_entropy")
class FairEntropy(WeightSharing):
    """Fair paths for the weights, entropy-adaptive samples for the distribution."""

    name = "fair_entropy"

    def phases(self, run, supernet, steps):
        return [Phase(plan=plans.fair, objective=Mean(), update=Adaptive(adam_rate(8.0, steps), temperature=8.0))]


if __name__ == "__main__":
    steps = next(itertools.chain(sys.argv[1:], ["60"]))
    with tempfile.TemporaryDirectory() as folder:
        result = archscout.search(
            "nasbench201:width=4,cells=1", "digits", method=f"fair_entropy:steps={steps},finalists=1",
            budget="1trials", epochs=2, workers=0, out=folder,
        )  # fmt: skip
    print(result.metrics["architecture"])
    print(f"{result.metrics['valid_accuracy']:.1%} on validation")

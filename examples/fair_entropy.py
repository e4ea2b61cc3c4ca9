"""A search method of your own from existing parts: fair paths for the weights, entropy-adaptive samples for the choice.

    python examples/fair_entropy.py

FairNAS trains every option equally often; FP-NAS draws as many architectures as it is undecided. Together: the weights
cannot favour what the distribution already likes, and the distribution still gets cheaper to train as it decides.
"""

import sys
import tempfile

import archscout
from archscout.methods.weight_sharing import WeightSharing, adam_rate
from archscout.supernets import importance, phases, plans


class Adaptive(importance.Importance):
    def gradients(self, step):  # over its own samples, whatever paths the weights were trained on
        step.jobs, fair = plans.SamplesByEntropy(1.0, balanced=True)(step), step.jobs
        told, step.jobs = super().gradients(step) | {"drawn": len(step.jobs)}, fair
        return told


@archscout.register("method", "fair_entropy")
class FairEntropy(WeightSharing):
    """Fair paths for the weights, entropy-adaptive samples for the distribution."""

    name = "fair_entropy"

    def phases(self, run, supernet, steps):
        return [phases.Phase(plan=plans.fair, update=Adaptive(adam_rate(8.0, steps), temperature=8.0))]


if __name__ == "__main__":
    method = f"fair_entropy:steps={(sys.argv[1:] or ['60'])[0]},finalists=1"
    with tempfile.TemporaryDirectory() as folder:
        space, limits = "nasbench201:width=4,cells=1", {"budget": "1trials", "epochs": 2, "workers": 0}
        result = archscout.search(space, "digits", method=method, out=folder, **limits)
    print(f"{result.metrics['architecture']}\n{result.metrics['valid_accuracy']:.1%} on validation")

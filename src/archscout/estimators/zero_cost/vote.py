"""Several scores as one, by majority."""

from __future__ import annotations

from archscout.core.registry import register
from archscout.estimators.zero_cost.harness import Ensemble
from archscout.estimators.zero_cost.ranks import majority


@register("estimator", "vote")
class Vote(Ensemble):
    """Vote: how much of a reference sample an architecture beats by two of synflow, jacob_cov and snip.

    score = share of the reference architectures that at least two of the three scores put below this one.

    Source: Abdelfattah, Mehrotra, Dudziak, Lane 2021, "Zero-Cost Proxies for Lightweight NAS", arXiv 2101.08134, who
    compare candidates pairwise so.

    Args:
        reference: architectures drawn to compare with.
    """

    members = ("synflow", "jacob_cov", "snip")

    def __init__(self, reference: int = 64) -> None:
        self.name = "vote"
        self.reference = reference

    combine = staticmethod(majority)

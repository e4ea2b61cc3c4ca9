"""When the trainings of a run that failed end it."""

import pytest

from archscout.search.failures import hopeless
from archscout.store.store import StoredTrial
from archscout.testing.store import plain_trial


def rows(*trials: tuple[str, str, str]) -> list[StoredTrial]:
    """Trials of a run from the network, the estimator and why it failed; empty where it did not."""
    return [
        plain_trial(
            i, canonical=network, estimator=estimator, reason=reason, status="failed" if reason else "completed"
        )
        for i, (network, estimator, reason) in enumerate(trials)
    ]


A, B, C = ((network, "trained", "no kernel") for network in "abc")
ALIKE = "no network was trained: the first 3 trainings failed alike, with: no kernel"


@pytest.mark.parametrize(
    ("trials", "said"),
    [
        ([A, B, C], ALIKE),
        ([A, B], ""),
        ([A, A, B], ""),  # one network is no evidence against others, however often it fails
        ([("z", "trained", ""), A, B, C], ""),
        ([A, B, C, ("z", "trained", "")], ""),
        ([A, B, ("c", "trained", "no memory")], ""),
        ([A, B, C, ("z", "naswot", "")], ALIKE),  # a score tells nothing of trainings
        ([("a", "naswot", "x"), ("b", "naswot", "x"), ("c", "naswot", "x")], ""),
        ([A, ("b", "paused", "no kernel"), C], ALIKE),
        ([(n, "trained", "took longer than 5 s") for n in "abc"], ""),  # others may be quicker
        ([], ""),
    ],
)
def test_three_networks_that_fail_alike(trials, said: str) -> None:
    assert hopeless(rows(*trials), {"trained", "paused"}) == said

"""When the trainings of a run that failed tell that there is no use in going on."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from archscout.store.store import StoredTrial

_HOPELESS = 3
"""Different networks whose trainings all fail alike, after which a search ends."""

_TOO_LONG = "took longer"
"""How the reason of a training begins that was stopped for want of time, which others may not need."""


def hopeless(trials: Iterable[StoredTrial], estimators: Collection[str]) -> str:
    """Why nothing will come of a search whose trainings so far all failed alike, in one sentence; empty where it may.

    Trainings are the trials of the given estimators.
    """
    failed: list[StoredTrial] = []
    for trial in trials:
        if trial.estimator in estimators:
            if trial.status != "failed" or (failed and trial.reason != failed[0].reason):
                return ""
            failed.append(trial)
    networks = {trial.canonical for trial in failed}
    if len(networks) < _HOPELESS or failed[0].reason.startswith(_TOO_LONG):
        return ""
    return f"no network was trained: the first {len(networks)} trainings failed alike, with: {failed[0].reason}"

"""Every method of ours keeps the contract of methods; all but the quickest among the slow tests."""

import pytest

from archscout.core.method import Method
from archscout.core.registry import names
from archscout.methods.strategy import resolve_method
from archscout.testing import MethodConformance

SHARED = "steps=4,batch=16,finalists=2"
SCORED = f"{SHARED},evaluations=12"
SAMPLED = "samples=10,finalists=2"
KEPT = "samples=10,keep=4,finalists=2"

SETTINGS = {
    "cascade": "pool=20", "guided": "pool=20",
    "early_stopping": "whole=5",
    "surrogate_evolution": "population=3,batch=2,children=8", "freeze_thaw": "first=3,pool=4",
    "popnas": "keep=2,explore=1,first=3",
    "naswot": SAMPLED, "epsilon": SAMPLED, "nasgraph": SAMPLED, "az_nas": f"{SAMPLED},batch=16",
    "zen_nas": f"{SAMPLED},population=6", "ran": f"{SAMPLED},population=6",
    "knas": KEPT, "eigen_nas": KEPT, "das": f"{KEPT},steps=2,batch=16",
    "te_nas": "batch=8,repeats=1,number=3",
    "teg_nas": "steps=10,population=8,sample=4",
    "bignas": SCORED, "ofa": SCORED, "pgonas": SCORED, "pad_nas": f"{SCORED},samples=10", "prunet": SHARED,
    "random_sharing": SCORED, "spos": SCORED, "setn": SCORED, "bn_nas": SCORED, "en2as": SCORED,
    "darts": SHARED, "rf_darts": SHARED, "gdas": SHARED, "balenas": SHARED, "pc_darts": SHARED, "proxyless": SHARED,
    "parsec": f"{SHARED},samples=4", "fp_nas": f"{SHARED},samples=4", "balenas_tf": f"{SHARED},samples=6",
}  # fmt: skip
"""What makes each small enough for a dozen searches."""

QUICK = ("race", "random")

EVERY = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
    for name in sorted({*names("method"), *names("strategy")})
]


class TestOurs(MethodConformance):
    budget = 6
    sittings = 2

    @pytest.fixture(autouse=True, params=EVERY)
    def named(self, request: pytest.FixtureRequest) -> None:
        self.text = request.param
        # It looks at the signs of gradients on fixed weights, and draws nothing.
        self.draws = self.text != "freedarts"

    def method(self) -> Method:
        settings = SETTINGS.get(self.text, "")
        return resolve_method(f"{self.text}:{settings}" if settings else self.text, ())

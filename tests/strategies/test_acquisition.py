"""Acquisitions against integrals and numbers of many digits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from archscout.strategies.acquisition import Beliefs, improvement, log_improvement, upper_bound

RNG = np.random.default_rng(0)
MEANS, DEVIATIONS = np.array([-3.0, -0.5, 0.9, 1.0, 2.0]), np.array([2.0, 1.0, 0.1, 0.3, 0.7])
BELIEFS = Beliefs(MEANS, DEVIATIONS, best=1.0, lessons=3)


def test_expected_improvement_is_the_integral_of_what_is_gained() -> None:
    wanted = [
        quad(lambda y, m=mean, s=std: max(0.0, y - 1.0) * norm.pdf(y, m, s), 1.0, mean + 12 * std + 1)[0]
        for mean, std in zip(MEANS, DEVIATIONS, strict=True)
    ]
    assert improvement(BELIEFS, RNG) == pytest.approx(wanted, rel=1e-6)


def test_its_logarithm_is_the_same_on_both_sides_of_every_seam() -> None:
    z = np.array([-4.0, -2.5, -2.0, -1.5, -1.001, -1.0, -0.999, -0.5, 0.0, 1.0, 3.0])
    beliefs = Beliefs(1.0 + 0.4 * z, np.full(len(z), 0.4), best=1.0, lessons=3)
    assert log_improvement(beliefs, RNG) == pytest.approx(np.log(improvement(beliefs, RNG)), rel=1e-9)


@pytest.mark.parametrize(("z", "logarithm"), [(-10.0, -55.553131), (-40.0, -808.298569)])
def test_far_below_the_best_it_is_still_finite(z: float, logarithm: float) -> None:
    """phi(z) / z^2 (1 - 3 / z^2 + 15 / z^4 - ...), the series of the integral."""
    series = norm.logpdf(z) - 2 * np.log(-z) + np.log(1 - 3 / z**2 + 15 / z**4 - 105 / z**6)
    assert series == pytest.approx(logarithm, abs=1e-3)
    beliefs = Beliefs(np.array([z]), np.array([1.0]), best=0.0, lessons=1)
    assert log_improvement(beliefs, RNG)[0] == pytest.approx(series, abs=1e-4)
    assert np.isfinite(log_improvement(Beliefs(np.array([-1e6]), np.array([1.0]), 0.0, 1), RNG)).all()


def test_the_upper_bound_is_half_a_deviation_above() -> None:
    assert upper_bound(BELIEFS, RNG) == pytest.approx(MEANS + DEVIATIONS / 2)

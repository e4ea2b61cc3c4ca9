"""Settings of methods that make no sense are refused in one sentence, before anything is built or paid for."""

from __future__ import annotations

import inspect

import pytest

from archscout.core.errors import UsageError
from archscout.core.registry import create, factory, names

SENSELESS = {bool: ("7", "x"), int: ("-3", "2.5", "x"), float: ("-3", "x")}


@pytest.mark.parametrize("name", names("method"))
def test_a_setting_of_no_sense_is_refused_when_the_method_is_made(name: str) -> None:
    for setting, parameter in inspect.signature(factory("method", name)).parameters.items():
        for value in SENSELESS.get(type(parameter.default), ()):
            with pytest.raises(UsageError) as refused:
                create("method", f"{name}:{setting}={value}")
                pytest.fail(f"{name}:{setting}={value} was taken")
            assert "\n" not in str(refused.value)


@pytest.mark.parametrize("share", ["1", "1.5", "-0.1"])
def test_a_warm_up_leaves_steps_for_the_search(share: str) -> None:
    with pytest.raises(UsageError, match=r"the warm_up of method 'pc_darts' must be a share of the steps"):
        create("method", f"pc_darts:warm_up={share}")
    assert create("method", "pc_darts:warm_up=0").warm_up == 0


def test_the_joint_phase_lies_in_what_the_warm_up_leaves() -> None:
    with pytest.raises(UsageError, match=r"from 0 to the 0\.05 that its warm_up leaves, not 0\.08"):
        create("method", "fp_nas:warm_up=0.95")
    assert create("method", "fp_nas:warm_up=0.9,joint=0.1").joint == 0.1, "no step is left for options alone"


def test_a_margin_is_not_below_zero() -> None:
    with pytest.raises(UsageError, match=r"the margin of a stopping rule must be a number of 0 or more, not -0\.1"):
        create("method", "f_hyperband:margin=-0.1")

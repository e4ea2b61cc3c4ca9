"""Settings of methods that make no sense are refused in one sentence, before anything is built or paid for."""

from __future__ import annotations

import inspect

import pytest

from archscout.core.errors import UsageError
from archscout.core.registry import create, factory, names

ANY_SIGN = {("f_hyperband", "margin"), ("fp_nas", "joint")}
"""Numbers that may be below zero."""

SENSELESS = {bool: ("7", "x"), int: ("-3", "2.5", "x"), float: ("-3", "x")}


@pytest.mark.parametrize("name", names("method"))
def test_a_setting_of_no_sense_is_refused_when_the_method_is_made(name: str) -> None:
    for setting, parameter in inspect.signature(factory("method", name)).parameters.items():
        for value in SENSELESS.get(type(parameter.default), ()):
            if (name, setting) in ANY_SIGN and value == "-3":
                continue
            with pytest.raises(UsageError) as refused:
                create("method", f"{name}:{setting}={value}")
                pytest.fail(f"{name}:{setting}={value} was taken")
            assert "\n" not in str(refused.value)


@pytest.mark.parametrize("share", ["1", "1.5", "-0.1"])
def test_a_warm_up_leaves_steps_for_the_search(share: str) -> None:
    with pytest.raises(UsageError, match=r"the warm_up of method 'pc_darts' must be a share of the steps"):
        create("method", f"pc_darts:warm_up={share}")
    assert create("method", "pc_darts:warm_up=0").warm_up == 0

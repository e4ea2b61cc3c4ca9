"""Strict JSON with every float."""

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from archscout.core.errors import UsageError
from archscout.store import strict

KEYS = st.text(max_size=5) | st.sampled_from(["$float", "$$float", "$", "float"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("$float"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=10,
)


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


@given(VALUES)
def test_every_value_comes_back(value: Any) -> None:
    text = strict.dumps(value)
    json.loads(text, parse_constant=refuse)
    assert repr(strict.loads(text)) == repr(value)


def test_a_users_mark_is_not_mistaken_for_a_float() -> None:
    for value in ({"$float": "nan"}, {"$float": "hello"}, {"$$float": math.inf}, [{"$float": {"$float": math.nan}}]):
        assert repr(strict.loads(strict.dumps(value))) == repr(value)


def test_scalars_of_numpy_and_torch_become_numbers() -> None:
    value = {
        "a": np.float32(0.5),
        "b": np.int64(3),
        "c": np.bool_(True),
        "d": torch.tensor(2.0),
        "e": np.float64("nan"),
    }
    assert repr(strict.loads(strict.dumps(value))) == "{'a': 0.5, 'b': 3, 'c': True, 'd': 2.0, 'e': nan}"
    assert math.isnan(strict.loads(strict.dumps([np.float32("nan")]))[0])
    assert strict.loads(strict.dumps((1, (2, math.inf)))) == [1, [2, math.inf]]


@pytest.mark.parametrize("value", [object(), {1, 2}, np.zeros(3), b"bytes", {"a": [math.nan, object()]}])
def test_anything_else_is_refused_by_name(value: Any) -> None:
    with pytest.raises(UsageError, match="cannot be stored: turn it into"):
        strict.dumps(value)


def test_keys_that_json_has_not_are_refused() -> None:
    for value in ({(1, 2): 3}, {(1, 2): math.nan}):
        with pytest.raises(UsageError, match="turn the keys of its dicts into strings"):
            strict.dumps(value)


def test_a_circle_is_refused() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(UsageError, match="contains itself"):
        strict.dumps(circle)

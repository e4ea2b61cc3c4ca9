import copy
import pickle

import pytest

from archscout.core.architecture import Architecture

ONE = Architecture("a=1,b=x", (("a", 1), ("b", "x")))


def test_it_is_a_mapping():
    assert dict(ONE) == {"a": 1, "b": "x"}
    assert list(ONE) == ["a", "b"]
    assert len(ONE) == 2
    assert ONE["b"] == "x"
    assert ONE.get("c") is None
    assert {**ONE, "a": 2} == {"a": 2, "b": "x"}


def test_it_prints_as_its_text():
    assert str(ONE) == "a=1,b=x"
    assert repr(ONE) == "Architecture('a=1,b=x')"


def test_equality_is_that_of_the_text():
    same = Architecture("a=1,b=x", (("a", 1), ("b", "x")))
    assert same == ONE
    assert hash(same) == hash(ONE)
    assert Architecture("a=2,b=x", (("a", 2), ("b", "x"))) != ONE
    assert ONE != "a=1,b=x"
    assert ONE != {"a": 1, "b": "x"}


def test_it_cannot_be_changed():
    with pytest.raises(AttributeError, match="cannot be changed"):
        ONE.text = "other"
    with pytest.raises(TypeError):
        ONE["a"] = 2


def test_it_travels():
    for again in (copy.deepcopy(ONE), pickle.loads(pickle.dumps(ONE))):
        assert again == ONE
        assert dict(again) == dict(ONE)

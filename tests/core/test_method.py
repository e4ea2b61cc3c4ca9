"""What methods are promised: both kinds of run have all of it, with the same parameters."""

import inspect

import pytest

from archscout.core.method import Method, Run
from archscout.search.run import SearchRun
from archscout.study.simulated import SimulatedRun

CALLS = sorted(name for name, value in vars(Run).items() if inspect.isfunction(value) and not name.startswith("_"))
VALUES = sorted(Run.__annotations__)


def test_a_run_has_what_this_file_knows_of() -> None:
    assert {"evaluate", "score", "follow", "admit", "decide", "note", "rng", "trials_left"} <= set(CALLS)
    assert {"space", "task", "seed", "workers", "epochs", "candidates"} <= set(VALUES)


@pytest.mark.parametrize("kind", [SearchRun, SimulatedRun])
@pytest.mark.parametrize("name", CALLS)
def test_each_kind_of_run_has_every_call_with_the_same_parameters(kind: type, name: str) -> None:
    promised, kept = (inspect.signature(getattr(each, name)).parameters for each in (Run, kind))
    assert list(kept) == list(promised)
    for parameter in promised.values():
        assert kept[parameter.name].kind is parameter.kind, parameter.name
        has_default = parameter.default is not inspect.Parameter.empty
        assert (kept[parameter.name].default is not inspect.Parameter.empty) is has_default, parameter.name
        if has_default and parameter.default is not ...:
            assert kept[parameter.name].default == parameter.default, parameter.name


@pytest.mark.parametrize("kind", [SearchRun, SimulatedRun])
def test_each_kind_of_run_has_every_value(kind: type) -> None:
    source = inspect.getsource(kind)
    missing = [name for name in VALUES if f"self.{name}" not in source and not hasattr(kind, name)]
    assert missing == []


def test_a_method_must_say_how_it_searches() -> None:
    with pytest.raises(TypeError, match="search"):
        Method()  # type: ignore[abstract]
    assert Method.plans_final is False

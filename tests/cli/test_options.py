from pathlib import Path

import pytest

from archscout.cli.options import limits, run_folder, split_names
from archscout.core.errors import UsageError


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        ([], []),
        (["naswot"], ["naswot"]),
        (["naswot,synflow", " params "], ["naswot", "synflow", "params"]),
        (["epsilon:batch=3,seed=4,synflow"], ["epsilon:batch=3,seed=4", "synflow"]),
        (["a:x=1,b:y=2,z=3"], ["a:x=1", "b:y=2,z=3"]),
        (["a,,b,"], ["a", "b"]),
    ],
)
def test_names_are_split_outside_their_parameters(texts: list[str], names: list[str]) -> None:
    assert split_names(texts) == names


def test_a_name_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="'naswot' is named twice"):
        split_names(["naswot,synflow", "naswot"])


def test_limits_keep_what_was_written() -> None:
    assert limits(["latency=2ms", "params = 1.5M"]) == {"latency": "2ms", "params": "1.5M"}
    assert limits(["latency:backend=onnx=2ms"]) == {"latency:backend=onnx": "2ms"}


@pytest.mark.parametrize("text", ["latency", "=2ms", "latency=", "latency 2ms"])
def test_a_malformed_limit_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="COST=VALUE"):
        limits([text])


def test_two_limits_of_one_cost_are_refused() -> None:
    with pytest.raises(UsageError, match="twice"):
        limits(["latency=2ms", "latency=3ms"])


def test_a_run_is_found_by_path_and_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs" / "first").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert run_folder("runs/first") == Path("runs/first")
    assert run_folder("first") == Path("runs/first")
    with pytest.raises(UsageError, match=r"'frist'.*did you mean 'first'"):
        run_folder("frist")

"""The example that shrinks a network of one's own keeps its limit."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "shrink_own.py"


@pytest.mark.slow
def test_the_example_keeps_its_limit(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("shrink_own", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    metrics = example.main(budget="10s", out=str(tmp_path)).metrics
    assert metrics["costs"]["macs"] <= 0.5 * metrics["original"]["costs"]["macs"]

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_predictor.py"


@pytest.mark.slow
def test_the_example_runs(tmp_path):
    printed = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLE)], capture_output=True, text=True, check=True, cwd=tmp_path
    ).stdout
    rows = [line.split() for line in printed.splitlines()]
    assert [(row[0], row[-1]) for row in rows if row[-1] == "neighbours"] == [
        ("10", "neighbours"),
        ("50", "neighbours"),
    ]
    found = {(row[0], row[-1]): float(row[4]) for row in rows}
    assert len(found) == 8
    assert found["50", "neighbours"] > 0.1, "it has learned something"
    assert list(tmp_path.iterdir()) == []

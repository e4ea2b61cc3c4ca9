import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_strategy.py"


@pytest.mark.slow
def test_the_example_runs(tmp_path):
    printed = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLE)], capture_output=True, text=True, check=True, cwd=tmp_path
    ).stdout
    regrets = {line.split()[0]: float(line.split()[-1]) for line in printed.splitlines()}
    assert set(regrets) == {"climber", "random", "evolution"}
    assert regrets["climber"] < regrets["random"]
    assert list(tmp_path.iterdir()) == []

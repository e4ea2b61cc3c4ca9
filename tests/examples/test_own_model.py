import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_model.py"


def test_the_example_runs_and_counts_right(tmp_path):
    printed = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLE)], capture_output=True, text=True, check=True, cwd=tmp_path
    ).stdout
    # Width, activation and pooling; then one to three blocks of two plus three kernels each.
    assert f"{4 * 3 * 2 * (5 + 5**2 + 5**3):,} architectures of 13 choices" in printed
    assert printed.count("outputs (64, 10)") == 4
    assert printed.count("one mutation away") == 4
    assert list(tmp_path.iterdir()) == []

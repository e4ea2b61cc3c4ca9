import subprocess
import sys
from pathlib import Path

import pytest

from archscout.core.registry import create

EXAMPLE = Path(__file__).parents[2] / "examples" / "fair_entropy.py"


@pytest.mark.slow
def test_the_example_runs(tmp_path):
    printed = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLE), "2"], capture_output=True, text=True, check=True, cwd=tmp_path
    ).stdout
    text, accuracy = printed.splitlines()
    assert create("space", "nasbench201").parse(text).text == text
    assert accuracy.endswith("% on validation")
    assert list(tmp_path.iterdir()) == []

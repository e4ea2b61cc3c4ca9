"""Commands that are killed while they write: the same command again ends as one that nothing disturbed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("killing.py")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train", "quantise", "deploy", "shrink"])
def test_the_same_command_again_ends_the_same(name: str, data: Path, tmp_path: Path) -> None:
    place = tmp_path / "kills"
    done = subprocess.run(
        [sys.executable, SCRIPT, place, data, name, "5"], capture_output=True, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads((place / "told.json").read_text())
    whole = told["whole"]
    assert not [file for file in whole if ".partial" in file or ".probe" in file]
    for broken in told["broken"]:
        assert broken["ended"] == {"SIGKILL": -9, "SIGINT": 130}[broken["by"]]
        assert broken["code"] == 0, broken["said"]
        assert list(broken["found"]) == list(whole), f"killed at step {broken['step']}"
        if name != "shrink":  # which has so much time as is left
            assert broken["found"] == whole, f"killed at step {broken['step']}"

"""`archscout deploy` on a finished run."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archscout.deploy import toolchain

Call = Callable[..., Any]


@pytest.fixture
def run(trained: tuple[Path, Any], tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained[0], tmp_path / "runs" / "one"))


@pytest.mark.skipif(bool(toolchain.missing(toolchain.HOST)), reason="no make and cc")
def test_the_code_of_a_run(archscout: Call, run: Path, data: Path, tmp_path: Path) -> None:
    arguments = ("deploy", "one", "--device", "cortex-m4", "--out", "firmware", "--data", data)
    done = archscout(*arguments, "--vectors", "2", "--json")
    assert done.code == 0, done.err
    budget = json.loads(done.out)
    folder = tmp_path / "firmware"
    assert json.loads((folder / "budget.json").read_text()) == budget
    assert {"model.c", "model.h", "weights.h", "kernels.c", "selftest.c", "Makefile"} <= {
        f.name for f in folder.iterdir()
    }
    assert budget["selftest"]["vectors"] == 2
    assert budget["sram_bytes"] == budget["arena_bytes"] + budget["stack_bytes"]
    assert budget["flash_bytes"] > budget["constants_bytes"] > 0
    assert budget["verdicts"]["cortex-m4"]["verdict"] == "FITS"
    assert set(budget["verdicts"]) >= {"cortex-m0plus", "cortex-m4", "cortex-m7"}
    made = subprocess.run(["make", "-s", "CFLAGS=-O1"], cwd=folder, capture_output=True, text=True)
    assert made.stdout == "differ 0\n"
    again = archscout(*arguments)
    assert again.code == 0, "an earlier export is replaced"
    assert re.search(r"cortex-m4 +FITS", again.out)
    assert not list(tmp_path.glob(".*partial"))


def test_bad_input_is_one_sentence(archscout: Call, run: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    for device, out, said in (
        ("cortex-m5", "new", "there is no device 'cortex-m5'"),
        ("pixel3", "new", "nothing is known of the memory and processor of device 'pixel3': use one of cortex-m0plus"),
        ("cortex-m4", "full", "'full' holds something else than an export"),
        ("cortex-m4", "file", "'file' is a file"),
        ("cortex-m4", "file/code", "cannot write 'file/code', for "),
        (None, "new", "run 'one' was searched for no microcontroller: name one by --device"),
    ):
        named = () if device is None else ("--device", device)
        done = archscout("deploy", "one", *named, "--out", out, "--data", data)
        assert done.code == 2
        assert said in done.sentence
    assert sorted(tmp_path.rglob("*")) == before


def test_a_broken_limit_and_missing_tools(
    archscout: Call, run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archscout.deploy.toolchain.shutil.which", lambda _: None)
    arguments = ("deploy", "one", "--device", "cortex-m4", "--out", "firmware", "--data", data)
    done = archscout(*arguments)
    assert done.code == 0
    assert "no instructions: make and arm-none-eabi-gcc" in done.err
    assert "estimated" in done.out
    shutil.rmtree(tmp_path / "firmware")
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["constraints"] = [{"name": "flash", "key": "flash_bytes", "limit": 9000.0}]
    metrics["microcontroller"] = "cortex-m4"
    (run / "metrics.json").write_text(json.dumps(metrics))
    done = archscout(*(each for each in arguments if each not in ("--device", "cortex-m4")))
    assert done.code == 1
    assert re.search(r"breaks a limit of its search: flash_bytes is [\d,]+, above 9,000", done.sentence)
    assert not (tmp_path / "firmware").exists()

"""The share of other programs, from statistics that are made up and from a process that is really busy."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from archscout.costs import machine
from archscout.costs.machine import others, processor


def test_the_share_is_what_neither_rests_nor_is_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    second = os.sysconf("SC_CLK_TCK")
    file = tmp_path / "stat"
    monkeypatch.setattr(machine, "_STATISTICS", file)
    own = iter((1.0, 3.0))
    monkeypatch.setattr(machine.os, "times", lambda: os.times_result((next(own), 0.0, 0.0, 0.0, 0.0)))
    file.write_text(f"cpu  {100 * second} 0 0 {500 * second} 0 0 0 0 0 0\ncpu0 1 2 3 4\n")
    since = others()
    file.write_text(f"cpu  {104 * second} {1 * second} 0 {503 * second} {2 * second} 0 0 0 0 0\ncpu0 1 2 3 4\n")
    assert since() == pytest.approx((10 - 5 - 2) / 10)


@pytest.mark.parametrize("text", [None, "", "no numbers here", "cpu  1 2 3 4 5 6 7 8\n"])
def test_where_the_system_does_not_say(text: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "stat"
    monkeypatch.setattr(machine, "_STATISTICS", file)
    if text is not None:
        file.write_text(text)
    assert others()() is None


@pytest.mark.skipif(not Path("/proc/stat").is_file(), reason="the system has no /proc/stat")
def test_a_busy_program_is_seen() -> None:
    since = others()
    program = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.6)
        share = since()
    finally:
        program.kill()
        program.wait()
    assert share is not None
    assert share > 0.3 / (os.cpu_count() or 1)


def test_the_processor_has_a_name() -> None:
    assert processor().strip()

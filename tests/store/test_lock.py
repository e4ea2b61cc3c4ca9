"""One search at a time writes to a run."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from archscout.core.errors import UsageError
from archscout.store.lock import run_lock

HOLD = """
import sys
from pathlib import Path
from archscout.store.lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_second_search_is_told_who_holds_the_run(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    with pytest.raises(UsageError, match=rf"\(process {holder.pid}\) is writing to {tmp_path}") as caught:
        run_lock(tmp_path).__enter__()
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_it_is_free_again_when_the_holder_ends(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    holder.communicate(b"")
    with run_lock(tmp_path):
        pass


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_it_is_free_again_when_the_holder_is_killed(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    holder.kill()
    holder.wait()
    with run_lock(tmp_path):
        assert (tmp_path / ".lock-holder").read_text() == f"{os.getpid()}\n", "the name of the dead holder is replaced"


def test_one_process_cannot_hold_it_twice_and_another_run_is_another_lock(tmp_path: Path) -> None:
    with run_lock(tmp_path / "a"), run_lock(tmp_path / "b"):
        with pytest.raises(UsageError, match=f"process {os.getpid()}"), run_lock(tmp_path / "a"):
            pass
        with pytest.raises(UsageError), run_lock(tmp_path / "a"):  # being refused has not let it go
            pass


def test_it_is_let_go_when_the_block_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), run_lock(tmp_path):
        raise KeyboardInterrupt
    with run_lock(tmp_path):
        pass
    assert not (tmp_path / ".lock-holder").exists()


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"not a number"])
def test_a_damaged_note_of_the_holder_is_left_out(tmp_path: Path, damage: bytes) -> None:
    with run_lock(tmp_path):
        (tmp_path / ".lock-holder").write_bytes(damage)
        with pytest.raises(UsageError, match="another search is writing"), run_lock(tmp_path):
            pass


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(UsageError, match=r"cannot be written.*name another folder"),
        run_lock(tmp_path / "file" / "run"),
    ):
        pass

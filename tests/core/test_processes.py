import os
import subprocess
import sys

from archscout.core.processes import is_gone, machine


def test_only_of_this_machine_is_known_whether_a_process_is_gone() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert is_gone(machine(), ended.pid) == (os.name == "posix")
    assert not is_gone(machine(), os.getpid())
    assert not is_gone(f"not {machine()}", ended.pid)
    assert not is_gone(machine(), 10**30), "no number of a process"
    assert not is_gone(machine(), 1), "somebody else's, as a rule"

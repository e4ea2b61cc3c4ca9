"""Starting is cheap: nothing heavy is imported before it is needed."""

import os
import subprocess
import sys

import pytest

HEAVY = {"torch", "sklearn", "pandas", "plotly", "sqlalchemy", "onnx", "pymoo", "scipy", "PIL"}
HELP = "from archscout.cli.main import run; assert run(['--help']) == 0"
LIST = "from archscout.cli.main import run; assert run(['list', '--json']) == 0"


def loaded_after(code: str) -> set[str]:
    """The top-level modules in a fresh interpreter after some code."""
    report = f"{code}\nimport sys\nprint('MODULES', *sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def best_seconds(code: str) -> float:
    """Processor time of the best of several fresh interpreters: other work on the machine only ever adds."""
    seconds = []
    for _ in range(5):
        before = os.times()
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        after = os.times()
        seconds.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return min(seconds)


@pytest.mark.parametrize("code", ["import archscout", HELP, LIST])
def test_nothing_heavy_is_loaded(code: str) -> None:
    modules = loaded_after(code)
    assert "archscout" in modules
    assert not modules & HEAVY


def test_the_probe_sees_what_is_loaded() -> None:
    assert "torch" in loaded_after("import archscout; archscout.space('nasbench201')")


def test_import_is_quick() -> None:
    assert best_seconds("import archscout") - best_seconds("pass") < 0.3


def test_help_is_quick() -> None:
    """In seconds; on a machine that is slower at the moment, in those of a bare interpreter."""
    assert best_seconds(HELP) < max(0.6, 20 * best_seconds("pass"))

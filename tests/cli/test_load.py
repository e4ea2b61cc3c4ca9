import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from archscout.cli.load import load_file
from archscout.core import registry
from archscout.core.registry import create
from archscout.workers.engines import engine

Call = Callable[..., Any]

COST = '''
from archscout.core.cost import Cost, Measurement
from archscout.core.registry import register

print("this is no answer")


@register("cost", "letters")
class Letters(Cost):
    """How many letters the text has."""

    name = "letters"
    key = "letters"

    def measure(self, architecture, setting):
        return Measurement(float(len(architecture.text)))
'''


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What a test loads is not there for the next one."""
    modules, path, sent = set(sys.modules), list(sys.path), set(cloudpickle.list_registry_pickle_by_value())
    yield
    for name in set(cloudpickle.list_registry_pickle_by_value()) - sent:
        cloudpickle.unregister_pickle_by_value(sys.modules[name])
    own = {name for name in set(sys.modules) - modules if "pytest-" in str(getattr(sys.modules[name], "__file__", ""))}
    for key in [key for key, factory in registry._registered.items() if factory.__module__ in own]:
        del registry._registered[key]
    for name in own:
        del sys.modules[name]
    sys.path[:] = path


def test_what_a_file_registers_can_be_named(archscout: Call, tmp_path: Path) -> None:
    (tmp_path / "my_costs.py").write_text(COST)
    listed = archscout("list", "costs", "--load", "my_costs.py", "--json")
    assert [row for row in json.loads(listed.out) if row["name"] == "letters"] == [
        {"kind": "cost", "name": "letters", "summary": "How many letters the text has.", "source": "my_costs"}
    ]
    text = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
    done = archscout(
        "measure", "nasbench201", text, "--data", "digits", "--cost", "letters", "--load", "my_costs.py", "--json"
    )
    assert done.code == 0, done.err
    assert json.loads(done.out)["costs"]["letters"] == len(text)
    assert "this is no answer" in done.err or "this is no answer" in listed.err


def test_files_beside_a_loaded_one_can_be_imported_and_workers_have_its_names(tmp_path: Path) -> None:
    (tmp_path / "beside_it.py").write_text("LETTERS = 7\n")
    (tmp_path / "my_lengths.py").write_text(COST.replace("letters", "lengths") + "\nfrom beside_it import LETTERS\n")
    load_file(tmp_path / "my_lengths.py")
    with engine("local", 1, None) as pool:
        assert pool.submit(_units).result(60) == ["lengths"]


def _units(payload: object) -> list[str]:
    return [create("cost", "lengths").key]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("nowhere.py", None, "there is no such file"),
        ("notes.txt", "", "this is no Python file"),
        ("my-names.py", "", "must be one word"),
        ("json.py", "", "there is another module 'json' already"),
        ("decimal.py", "", "there is another module 'decimal' already"),
        ("cut.py", "x = 1\ndef f(:\n", "line 2 is no Python (invalid syntax)"),
        ("asks.py", "import archscout\narchscout.estimator('nasw')\n", "did you mean 'naswot'?"),
        ("raises.py", "x = 1\n\nx / 0\n", "line 3 fails with ZeroDivisionError (division by zero)"),
        ("imports.py", "import no_such_package\n", "line 1 fails with ModuleNotFoundError (No module named"),
        ("ends.py", "import sys\nsys.exit(3)\n", "line 2 ends the program"),
        ("odd.py", b"x = '\xff'\n", "is no Python"),
        (
            "again.py",
            "from archscout.core.registry import register\n\n@register('cost', 'params')\nclass Params: pass\n",
            "cost 'params' is one of archscout's own: give yours another name",
        ),
    ],
)
def test_a_file_that_cannot_be_loaded_is_told_in_a_sentence(
    archscout: Call, tmp_path: Path, name: str, content: str | bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    done = archscout("list", "costs", "--load", name)
    assert done.code == 2
    assert said in done.sentence
    assert f"--load {name}: " in done.sentence
    assert not done.sentence.endswith("?.")
    assert Path(name).stem not in sys.modules or name in ("json.py", "decimal.py")


def test_every_command_takes_a_file() -> None:
    import typer

    from archscout.cli.main import app

    def commands(group: typer.core.TyperGroup) -> Iterator[typer.core.TyperCommand]:
        for command in group.commands.values():
            if isinstance(command, typer.core.TyperGroup):
                yield from commands(command)
            else:
                yield command

    found = list(commands(typer.main.get_command(app)))
    assert len(found) > 20
    assert not [c.name for c in found if not any("--load" in parameter.opts for parameter in c.params)]

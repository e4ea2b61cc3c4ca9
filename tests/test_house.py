"""What each idea of the house has one place for, held against the source: steps, caches, trainings, spaces, panels."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TypeVar

import archscout

ROOT = Path(archscout.__file__).parent

OF_THEIR_OWN = ("costs/models/", "estimators/predictors/")
"""What is trained there are models of costs and accuracies, on rows of numbers: no network of a space."""

LINES, LONGEST = 3000, 400
"""Of the search: all of its files, and each."""


Node = TypeVar("Node", bound=ast.AST)


@cache
def modules() -> dict[str, list[ast.AST]]:
    """What stands in every file, by its place below the package."""
    files = {file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8") for file in sorted(ROOT.rglob("*.py"))}
    return {place: list(ast.walk(ast.parse(text))) for place, text in files.items()}


def nodes(kind: type[Node]) -> Iterator[tuple[str, Node]]:
    """Everything of a kind, with the file that it stands in."""
    return ((place, node) for place, every in modules().items() for node in every if isinstance(node, kind))


def test_weights_of_networks_take_their_steps_in_one_place() -> None:
    places = {
        place
        for place, call in nodes(ast.Call)
        if isinstance(call.func, ast.Attribute) and call.func.attr == "step" and not call.args
    }
    assert {place for place in places if not place.startswith(OF_THEIR_OWN)} == {"training/optimizers.py"}


def test_nothing_is_remembered_of_spaces_and_tasks_but_in_bounded_caches() -> None:
    """`functools.cache` knows its arguments by name or address, and keeps them for good."""
    unbounded = ("cache", "lru_cache(maxsize=None)")
    about = {"Space", "Task", "Setting", "Module", "Architecture", "Subject"}
    kept = [
        f"{place}: {function.name}"
        for place, function in nodes(ast.FunctionDef)
        if any(ast.unparse(each).removeprefix("functools.") in unbounded for each in function.decorator_list)
        for argument in function.args.args
        if argument.annotation is not None and ast.unparse(argument.annotation).rpartition(".")[2] in about
    ]
    assert kept == []


def test_nobody_compares_the_name_of_an_estimator_with_a_text_of_their_own() -> None:
    """Whether something is a training says `is_training`, or `TRAINING`, the name that stands in one place."""
    compared = []
    for place, node in nodes(ast.Compare):
        sides = [ast.unparse(side) for side in (node.left, *node.comparators)]
        if "'trained'" in sides and any(side.endswith(".estimator") for side in sides):
            compared.append(f"{place}:{node.lineno}")
    assert compared == []


def test_what_is_asked_of_a_space_is_a_method_of_it() -> None:
    """Outside of its own file nobody looks whether a space is a certain built-in one."""
    spaces = {
        node.name: "archscout." + place.removesuffix(".py").replace("/", ".")
        for place, node in nodes(ast.ClassDef)
        if any(ast.unparse(each).startswith("register('space'") for each in node.decorator_list)
    }
    assert len(spaces) > 15
    imported = {
        (place, alias.asname or alias.name)
        for place, node in nodes(ast.ImportFrom)
        for alias in node.names
        if spaces.get(alias.name) == node.module
    }
    asked = [
        f"{place}:{call.lineno}: {ast.unparse(call)}"
        for place, call in nodes(ast.Call)
        if ast.unparse(call.func) == "isinstance"
        for name in ast.walk(call.args[1])
        if isinstance(name, ast.Name) and (place, name.id) in imported
    ]
    assert asked == []


def test_the_report_knows_no_method() -> None:
    """What a method shows it says in panels: a method stays one file."""
    above = ("archscout.methods", "archscout.strategies", "archscout.supernets")
    imports = [
        f"{place}: {node.module}"
        for place, node in nodes(ast.ImportFrom)
        if place.startswith("report/") and str(node.module).startswith(above)
    ]
    assert imports == []


def test_the_search_stays_small() -> None:
    lengths = {file.name: len(file.read_text(encoding="utf-8").splitlines()) for file in (ROOT / "search").glob("*.py")}
    assert sum(lengths.values()) < LINES
    assert max(lengths.values()) <= LONGEST

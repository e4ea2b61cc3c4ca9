"""Imports have no circle: not even through those that are made inside functions, when they are first needed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import networkx as nx

import archscout

ROOT = Path(archscout.__file__).parent


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below, but those that only a type checker reads."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for other in child.orelse:
                yield other
                yield from statements(other)
        else:
            yield child
            yield from statements(child)


def graph(root: Path) -> nx.DiGraph:
    """An edge from each module of a package to each that it imports, wherever in it."""
    files = {".".join(("_", *file.relative_to(root).with_suffix("").parts)): file for file in root.rglob("*.py")}
    modules = {name.replace("_.", f"{root.name}.", 1).removesuffix(".__init__"): file for name, file in files.items()}
    edges = nx.DiGraph()
    edges.add_nodes_from(modules)
    for module, file in modules.items():
        for node in statements(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{file} has a relative import, which this test does not follow"
                imported = [
                    name if (name := f"{node.module}.{alias.name}") in modules else str(node.module)
                    for alias in node.names
                ]
            else:
                continue
            edges.add_edges_from((module, name) for name in imported if name in modules)
    return edges


def circles(edges: nx.DiGraph) -> list[list[str]]:
    """Groups of modules that reach each other, and modules that import themselves."""
    groups = [sorted(group) for group in nx.strongly_connected_components(edges) if len(group) > 1]
    return sorted([*groups, *([module] for module in nx.nodes_with_selfloops(edges))])


def test_no_modules_import_each_other() -> None:
    edges = graph(ROOT)
    assert len(edges) > 300
    assert edges.has_edge("archscout.api", "archscout.search.search"), "imports inside functions count"
    assert circles(edges) == []


def test_a_circle_is_seen(tmp_path: Path) -> None:
    root = tmp_path / "made"
    (root / "room").mkdir(parents=True)
    (root / "__init__.py").write_text("")
    (root / "room" / "__init__.py").write_text("")
    (root / "room" / "first.py").write_text("from typing import TYPE_CHECKING\n\nimport made.room.second\n")
    (root / "room" / "second.py").write_text(
        "import typing\n\nif typing.TYPE_CHECKING:\n    from made.room import first\n"
    )
    assert circles(graph(root)) == [], "what only a type checker reads makes no circle"
    (root / "room" / "second.py").write_text("def later():\n    from made.room import first\n")
    assert circles(graph(root)) == [["made.room.first", "made.room.second"]]

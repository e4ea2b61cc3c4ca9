"""The page of all files says of each what its docstring says, and misses none. `make files` writes it anew."""

from __future__ import annotations

import ast
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE, PAGE = ROOT / "src" / "archscout", ROOT / "docs" / "files.md"

HEAD = """# Files

One clause a file, from its first line; `make files` writes this page. What the rooms are for says
[architecture.md](architecture.md).
"""


def clause(file: Path) -> str:
    """The first line of a module's docstring, without the full stop."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0].rstrip(".")


def page() -> str:
    """All files by room, in the order of their names; files that only mark a package are left out."""
    files = [file.relative_to(SOURCE) for file in SOURCE.rglob("*.py") if file.name != "__init__.py"]
    parts = [HEAD]
    for room, members in groupby(
        sorted(files, key=lambda file: (file.parent, file.name)), key=lambda file: file.parent
    ):
        title = f"{room.as_posix()}/" if room.parts else "archscout/"
        rows = [f"| `{file.name}` | {clause(SOURCE / file).replace('|', '/')} |" for file in members]
        parts.append("\n".join([f"\n## {title}\n", "| file | what it is |", "| --- | --- |", *rows]) + "\n")
    return "".join(parts)


def test_the_page_of_files_is_that_of_the_source() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make files`"


def test_every_file_says_what_it_is() -> None:
    assert not [file for file in SOURCE.rglob("*.py") if file.name != "__init__.py" and not clause(file)]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

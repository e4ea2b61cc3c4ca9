"""Files are written whole or not at all; damaged ones are told in a sentence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from archscout.core.errors import DataError
from archscout.core.files import append_line, read_json, replacing, sweep, write_text


def test_a_file_is_replaced_and_nothing_else_stays(tmp_path: Path) -> None:
    file = tmp_path / "new" / "metrics.json"
    write_text(file, "old\n")
    write_text(file, "né\n")
    assert file.read_bytes() == "né\n".encode()
    assert [each.name for each in file.parent.iterdir()] == ["metrics.json"]


def test_what_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    write_text(file, "old")
    with pytest.raises(RuntimeError), replacing(file) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert file.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits of the size of files are a thing of Unix")
def test_on_a_full_disk_the_old_file_stays(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    write_text(file, "old")
    code = (
        "import resource, sys; from pathlib import Path; from archscout.core.files import write_text\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write_text(Path(sys.argv[1]), 'x' * 5000)\n"
        "except OSError as error: print(error.strerror)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "File too large"
    assert file.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["rows.json"]


def test_a_line_that_was_cut_off_is_ended_and_never_removed(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    append_line(file, "[1]")
    with file.open("a") as stream:
        stream.write("[2, 3")
    append_line(file, "[4]")
    append_line(file, "[5]")
    assert file.read_text() == "[1]\n[2, 3\n[4]\n[5]\n"


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".network.onnx.12345.partial").write_text("half")
    (tmp_path / ".lock").write_text("")
    (tmp_path / "mine.partial").write_text("")
    sweep(tmp_path)
    assert sorted(each.name for each in tmp_path.iterdir()) == [".lock", "mine.partial"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"[" * 200_000, "nested too deep"),
        (b'{"a":' + b"1" * 5000 + b"}", "too many digits"),
        (b'{"a": ', "line 1"),
        (b"", "line 1"),
        (b"\xff\xfe", "no text in UTF-8"),
        (b"\0" * 100, "line 1"),
    ],
    ids=["deep", "long number", "cut", "empty", "binary", "zeros"],
)
def test_damaged_json_is_told_in_a_sentence(tmp_path: Path, content: bytes, why: str) -> None:
    file = tmp_path / "metrics.json"
    file.write_bytes(content)
    with pytest.raises(DataError, match=why) as caught:
        read_json(file, "search again.")
    assert "damaged" in str(caught.value)
    assert str(caught.value).endswith("search again.")
    assert len(str(caught.value)) < 200 + len(str(file))

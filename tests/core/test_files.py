"""Files are written whole or not at all; damaged ones are told in a sentence."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from archscout.core.errors import DataError, UsageError
from archscout.core.files import (
    PARTIAL,
    _here,
    append_line,
    read_json,
    replacing,
    replacing_folder,
    sweep,
    well_formed,
    write_text,
)


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


def test_a_folder_is_replaced_whole_and_nothing_else_stays(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with replacing_folder(tmp_path / "c") as partial:
            (partial / content).write_text(content)
    assert [each.name for each in (tmp_path / "c").iterdir()] == ["new"]
    with pytest.raises(RuntimeError), replacing_folder(tmp_path / "c") as partial:
        raise RuntimeError
    (tmp_path / "link").symlink_to(tmp_path / "c")
    with replacing_folder(tmp_path / "link") as partial:
        (partial / "linked").write_text("")
    assert (tmp_path / "c" / "linked").is_file()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["c", "link"]


def test_of_two_who_replace_a_folder_one_stays_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process puts its folder into the place each time that it is empty, but the last."""
    replace, others = Path.replace, iter(range(3))

    def quicker(source: Path, target: Path) -> Path:
        if source.name.endswith(PARTIAL) and target.name == "c" and next(others, None) is not None:
            target.mkdir()
            (target / "theirs").write_text("")
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", quicker)
    with replacing_folder(tmp_path / "c") as partial:
        (partial / "ours").write_text("")
    assert [each.name for each in (tmp_path / "c").iterdir()] == ["ours"]
    assert [each.name for each in tmp_path.iterdir()] == ["c"]


def test_what_killed_processes_left_beside_a_folder_is_removed(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    here, elsewhere = _here(), "0" * 8  # another machine may have a process of this number in the same folder
    kept = {f".c.{here}-{os.getppid()}{PARTIAL}", f".c.{elsewhere}-{dead.pid}{PARTIAL}", f".c.notes{PARTIAL}"}
    for name in {f".c.{here}-{dead.pid}{PARTIAL}", f".c.old.{here}-{dead.pid}{PARTIAL}"} | kept:
        (tmp_path / name / "half").mkdir(parents=True)
    with replacing_folder(tmp_path / "c"):
        pass
    assert {each.name for each in tmp_path.iterdir()} == {"c"} | kept


def test_what_killed_processes_left_beside_a_file_is_removed(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    ours = f".s.csv.{_here()}-{dead.pid}{PARTIAL}"
    kept = {f".s.csv.{_here()}-{os.getppid()}{PARTIAL}", f".s.csv.{'0' * 8}-{dead.pid}{PARTIAL}", ".t.csv", "s.csv"}
    for name in {ours} | kept:
        (tmp_path / name).touch()
    write_text(tmp_path / "s.csv", "whole")
    assert {each.name for each in tmp_path.iterdir()} == kept


def test_the_folder_that_a_command_runs_in_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="is the folder that this command runs in"), replacing_folder(Path()):
        pass


@pytest.mark.parametrize(
    ("use", "why"),
    [
        (lambda value: value["gone"], "it has no 'gone'"),
        (lambda value: value["a"] + 1, "of another type"),
        (lambda value: value["a"].items(), "of another type"),
        (lambda value: int(float("inf")), "of another type"),
    ],
)
def test_values_that_are_missing_or_of_another_type_make_a_file_damaged(use: Any, why: str) -> None:
    with pytest.raises(DataError, match=rf"'a.json' is damaged \(.*{why}.*\): search again"):  # noqa: SIM117
        with well_formed(Path("a.json"), "search again."):
            use({"a": "text"})
    with pytest.raises(UsageError, match="as it is"), well_formed(Path("a.json"), "search again."):
        raise UsageError("as it is")

"""CSV files as spreadsheets write them."""

from pathlib import Path

import pytest

from archscout.core.cells import cell
from archscout.core.errors import DataError, DataNotice, UsageError
from archscout.core.sheet import parse_sheet, read_sheet

PLAIN = "cell,acc\na,93.5\nb,1\n"

FORMS = {
    "plain": PLAIN.encode(),
    "marked": b"\xef\xbb\xbf" + PLAIN.encode(),
    "utf-16": PLAIN.encode("utf-16"),
    "windows": PLAIN.replace("\n", "\r\n").encode(),
    "old": PLAIN.replace("\n", "\r").encode(),
    "blank": b"\n" + PLAIN.replace("\na", "\n\n,\na").encode() + b"\n\n",
    "quoted": PLAIN.replace("a,", '"a", ').replace("cell", '"cell"').encode(),
    "spaces": PLAIN.replace(",", " , ").encode(),
    "semicolons": PLAIN.replace(".", "#").replace(",", ";").replace("#", ",").encode(),
    "tabs": PLAIN.replace(",", "\t").encode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_read_alike(tmp_path: Path, form: str) -> None:
    (tmp_path / "a.csv").write_bytes(FORMS[form])
    sheet = read_sheet(tmp_path / "a.csv")
    assert sheet.headings == ("cell", "acc")
    assert sheet.column("cell") == ["a", "b"]
    assert [sheet.number(text) for text in sheet.column("acc")] == [93.5, 1.0]


def test_letters_of_windows_are_read_and_told(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("Gerät,acc\nx,1\n".encode("latin-1"))
    with pytest.warns(DataNotice, match=r"a.csv' is not in UTF-8: its letters are read as those of Windows"):
        assert read_sheet(tmp_path / "a.csv").headings == ("Gerät", "acc")


def test_rows_know_their_lines_and_keep_their_zeros() -> None:
    sheet = parse_sheet('code,note\n\n0012,"two\nlines"\n\n007,\n', Path("a.csv"))
    assert sheet.column("code") == ["0012", "007"]
    assert sheet.column("note") == ["two\nlines", ""]
    assert sheet.lines == (3, 6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,a\n1,2\n", "'x.csv' has 2 columns 'a': rename all but one"),
        ("b,c\n1,2\n", "'x.csv' has no column 'a': known: b, c"),
        ("a,b\n1,2\n1,2,3\n", "'x.csv', line 3: 3 cells below 2 headings"),
        ('a,b\n1,"2"3\n', "'x.csv', line 2: this is no CSV"),
        ("", "'x.csv' is no readable CSV file, for it is empty"),
    ],
)
def test_what_is_no_table_is_refused_by_line(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_sheet(text, Path("x.csv")).column("a")


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    for content in (b"a,b\n\x81\x8d\n", b"a,b\n1,\0\n", b"\xff\xfe\0", b"\x89PNG\x1a\xff"):
        (tmp_path / "a.csv").write_bytes(content)
        with pytest.raises(DataError, match=r"a.csv' is no CSV file, for it is no text"):
            read_sheet(tmp_path / "a.csv")
    with pytest.raises(UsageError, match=r"no file '.*b.csv'"):
        read_sheet(tmp_path / "b.csv")


def test_cells_are_no_formulas() -> None:
    assert [cell(text) for text in ("=1+1", "@x", "+cat", "-dog", "\tx")] == ["'=1+1", "'@x", "'+cat", "'-dog", "'\tx"]
    assert [cell(value) for value in ("cat", "-1.5", "+2e3", -3, 0.5, None)] == ["cat", "-1.5", "+2e3", -3, 0.5, None]

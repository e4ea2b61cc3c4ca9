import re
from pathlib import Path

from archscout.core import errors
from archscout.core.errors import ArchscoutError, DataError, UndefinedScore, UsageError, nearest


def test_the_nearest_name_is_suggested():
    assert nearest("nasbench21", ["mobile", "nasbench201"]) == "did you mean 'nasbench201'?"


def test_all_names_are_shown_where_none_is_near():
    assert nearest("zzz", ["mobile", "darts"]) == "known: darts, mobile"
    assert nearest("zzz", []) == "none is known"


def test_wrong_use_and_bad_data_are_also_wrong_values():
    for error in (UsageError, DataError):
        assert issubclass(error, ArchscoutError)
        assert issubclass(error, ValueError)
    assert not issubclass(UndefinedScore, ValueError)


def test_no_full_stop_follows_a_question() -> None:
    sources = (Path(errors.__file__).parents[1]).rglob("*.py")
    double = [file for file in sources if re.search(r"\{nearest\([^{}]*\)\}\.", file.read_text(encoding="utf-8"))]
    assert double == []

import pytest

from archscout.core.errors import UsageError
from archscout.store.folder import check_name, run_folder


@pytest.mark.parametrize(
    "name", ["", " ", " a", "a ", ".", "..", ".hidden", "-x", "--", "a/b", "/a", "a\nb", "a\0", "\ud800", 5, None, b"a"]
)
def test_what_cannot_be_the_name_of_a_run(tmp_path, name) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a run: use letters"):
        run_folder(tmp_path, name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["first", "a b", "caf\u00e9", "a.b-c=3", "7"])
def test_names_of_runs(name) -> None:
    check_name(name)

"""The store: the contract, and one sentence for whatever can be wrong with a file."""

import contextlib
import math
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from archscout.core.architecture import Architecture
from archscout.core.errors import ArchscoutError, DataError, UsageError
from archscout.core.trial import Trial
from archscout.store import database
from archscout.store.schema import SCHEMA_VERSION
from archscout.store.store import Store, StoredTrial
from archscout.testing.store import StoreConformance, plain_trial


class TestStore(StoreConformance):
    pass


@pytest.mark.skipif("ARCHSCOUT_TEST_POSTGRES" not in os.environ, reason="set ARCHSCOUT_TEST_POSTGRES to a URL")
class TestPostgres(StoreConformance):
    """The same contract in the database that the variable names; its tables of ours are dropped before each test."""

    def place(self, folder: Path) -> str:
        import psycopg

        url = os.environ["ARCHSCOUT_TEST_POSTGRES"]
        with psycopg.connect(url) as connection:
            for table in ("leases", "trials", "costs", "decisions", "notes", "spent", "runs", "meta"):
                connection.execute(f"DROP TABLE IF EXISTS archscout_{table}")
        return url

    def test_a_database_of_others_is_shared(self, tmp_path: Path) -> None:
        import psycopg

        url = self.place(tmp_path)
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS runs (theirs int)")
        with Store.open(url) as store:
            store.begin("run", {})
            assert store.runs() == ["run"]

    def test_an_unreachable_server_is_one_sentence_without_the_password(self) -> None:
        with pytest.raises(ArchscoutError) as caught:
            Store.open("postgresql://user:secret@localhost:1/none")
        assert "localhost:1" in str(caught.value)
        assert "secret" not in str(caught.value)


def one_sentence(error: BaseException) -> bool:
    return "\n" not in str(error) and str(error).endswith((".", "?"))


def test_a_stored_trial_becomes_a_trial() -> None:
    stored = StoredTrial(
        "key", 3, "a", "c", "trained", 2, "completed", 0.5, {"params": 7.0}, 1.5, 0.1, ({"epoch": 1.0},)
    )
    trial = stored.trial(Architecture("a", (("op", 1),)))
    assert trial == Trial(
        3,
        Architecture("a", (("op", 1),)),
        "c",
        "trained",
        2,
        "completed",
        0.5,
        {"params": 7.0},
        1.5,
        0.1,
        ({"epoch": 1.0},),
    )


@pytest.mark.parametrize("form", [str, Path, lambda path: f"sqlite:///{path}"])
def test_a_place_is_a_path_or_a_url(tmp_path: Path, form: type) -> None:
    path = tmp_path / "new folder" / "a store?.sqlite"
    with Store.open(form(path) if form is not str else str(path)) as store:
        store.begin("run", {})
    if form in (str, Path):
        assert path.read_bytes().startswith(b"SQLite format 3")
        assert [file.name for file in path.parent.iterdir()] == [path.name], "one file is left when it is closed"


def test_the_file_is_in_wal_mode_while_it_is_open(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store:
        store.begin("run", {})
        with sqlite3.connect(tmp_path / "s") as other:
            assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        other.close()


def test_values_can_be_asked_for_in_sql(tmp_path: Path) -> None:
    """The file is the user's: numbers are numbers in it, and JSON is JSON."""
    with Store.open(tmp_path / "s") as store:
        store.begin("run", {"budget": math.inf})
        store.add("run", [plain_trial(0, value=0.75, costs={"params": 3.0, "latency_ms": math.nan})])
    connection = sqlite3.connect(tmp_path / "s")
    query = "SELECT value, json_extract(costs, '$.params'), json_valid(costs) FROM archscout_trials"
    assert connection.execute(query).fetchall() == [(0.75, 3.0, 1)]
    connection.close()


def test_threads_may_share_a_store(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store:
        store.begin("run", {})

        def write(first: int) -> None:
            for number in range(first, first + 50):
                store.add("run", [plain_trial(number)])
                store.trials("run")

        threads = [threading.Thread(target=write, args=(100 * i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.count("run") == 200


# --- what can be wrong ------------------------------------------------------------------------------------------------


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    Store.open(tmp_path / "s").close()
    with sqlite3.connect(tmp_path / "s") as connection:
        connection.execute("UPDATE archscout_meta SET value = ?", (str(SCHEMA_VERSION + 1),))
    connection.close()
    before = (tmp_path / "s").read_bytes()
    with pytest.raises(UsageError, match=r"newer Archscout.*upgrade") as caught:
        Store.open(tmp_path / "s")
    assert one_sentence(caught.value)
    assert (tmp_path / "s").read_bytes() == before


@pytest.mark.parametrize("content", [b"x_train,y_train\n" * 500, b"SQLite", os.urandom(8192)])
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s").write_bytes(content)
    with pytest.raises(UsageError, match="no database") as caught:
        Store.open(tmp_path / "s")
    assert one_sentence(caught.value)
    assert (tmp_path / "s").read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == ["s"]


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "s").touch()
    with Store.open(tmp_path / "s") as store:
        assert store.runs() == []


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "s") as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()
    with pytest.raises(UsageError, match="another program"):
        Store.open(tmp_path / "s")
    connection = sqlite3.connect(tmp_path / "s")
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("bookmarks",)]
    connection.close()


def test_a_damaged_file_is_one_sentence(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store:
        store.begin("run", {})
        store.add("run", [plain_trial(number, reason="x" * 500) for number in range(2000)])
    content = bytearray((tmp_path / "s").read_bytes())
    content[40_000:-40_000] = bytes(len(content) - 80_000)
    (tmp_path / "s").write_bytes(content)
    with pytest.raises(DataError, match=r"damaged.*restore") as caught, Store.open(tmp_path / "s") as store:
        store.trials("run")
    assert one_sentence(caught.value)


def test_a_file_that_was_cut_off_is_one_sentence(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store:
        store.begin("run", {})
        store.add("run", [plain_trial(number) for number in range(2000)])
    content = (tmp_path / "s").read_bytes()
    (tmp_path / "s").write_bytes(content[: len(content) // 2 + 100])
    with pytest.raises(DataError, match="damaged") as caught, Store.open(tmp_path / "s") as store:
        store.trials("run")
    assert one_sentence(caught.value)


def test_a_store_that_says_no_version_is_refused(tmp_path: Path) -> None:
    Store.open(tmp_path / "s").close()
    with sqlite3.connect(tmp_path / "s") as connection:
        connection.execute("DELETE FROM archscout_meta")
    connection.close()
    with pytest.raises(DataError, match="does not say"):
        Store.open(tmp_path / "s")


def test_no_store_is_made_where_one_is_only_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no store"):
        Store.open(tmp_path / "folder" / "s", create=False)
    (tmp_path / "empty").touch()
    with pytest.raises(UsageError, match="holds no searches"):
        Store.open(tmp_path / "empty", create=False)
    assert not (tmp_path / "folder").exists()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"folder.*cannot be made") as caught:
        Store.open(tmp_path / "file" / "runs" / "s")
    assert one_sentence(caught.value)
    with pytest.raises(UsageError, match="is a folder"):
        Store.open(tmp_path)


READ_ONLY = """
import os, sys
from archscout.core.errors import UsageError
from archscout.store.store import Store
Store.open(sys.argv[1] + "/before").close()  # all that is imported on the way has been, and may lie in root's home
os.remove(sys.argv[1] + "/before")
os.chmod(sys.argv[1], 0o555)
if os.getuid() == 0:  # who may write anywhere
    os.setuid(65534)
try:
    Store.open(sys.argv[1] + "/s")
except UsageError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no modes there")
def test_a_read_only_folder_is_one_sentence() -> None:
    with tempfile.TemporaryDirectory() as folder:  # tmp_path is closed to others
        ran = subprocess.run([sys.executable, "-c", READ_ONLY, folder], capture_output=True, text=True)
        assert ran.stderr == ""
        assert f"{folder}/s cannot be written" in ran.stdout
        assert ran.stdout.count("\n") == 1
        assert list(Path(folder).iterdir()) == []


def test_a_full_disk_is_one_sentence_and_loses_nothing_committed(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store:
        store.begin("run", {})
        store.add("run", [plain_trial(0)])
        with store._engine.connect() as connection:  # SQLite's own way to say how large a file may grow
            connection.exec_driver_sql("PRAGMA max_page_count = 60")
        with pytest.raises(ArchscoutError, match=r"full.*free some space") as caught:
            store.add("run", [plain_trial(number, reason="x" * 1000) for number in range(1, 1000)])
        assert one_sentence(caught.value)
        assert not isinstance(caught.value, UsageError)
        assert store.trials("run") == [plain_trial(0)]
    with Store.open(tmp_path / "s") as store:
        assert store.trials("run") == [plain_trial(0)]


def test_a_store_held_by_another_program_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archscout.store.database.BUSY_SECONDS", 0.2)
    with Store.open(tmp_path / "s") as store:
        store.begin("run", {})
        other = sqlite3.connect(tmp_path / "s", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(ArchscoutError, match="held by another program") as caught:
            store.add("run", [plain_trial(0)])
        assert one_sentence(caught.value)
        assert store.trials("run") == [], "reading goes on"
        other.execute("ROLLBACK")
        other.close()
        store.add("run", [plain_trial(0)])


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mysql://host/base", "cannot be kept in 'mysql'"),
        ("nonsense://x", "nonsense"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("postgresql://host:port/base", "cannot be read"),
    ],
)
def test_another_url_is_refused(url: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        Store.open(url)
    assert one_sentence(caught.value)


def test_postgresql_without_its_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UsageError, match=r"archscout\[postgres\]"):
        Store.open("postgresql://localhost/base")


@contextlib.contextmanager
def filled_by_another(file: Path, monkeypatch: pytest.MonkeyPatch, seconds: float) -> Iterator[None]:
    """Another process makes the file just after we have seen that there is none, and begins to fill it."""
    real = database.connect
    rivals: list[sqlite3.Connection] = []

    def connect(url):
        rivals.append(sqlite3.connect(file, isolation_level=None, check_same_thread=False))
        rivals[0].execute("BEGIN IMMEDIATE")
        timers[0].start()
        return real(url)

    timers = [threading.Timer(seconds, lambda: rivals[0].execute("COMMIT"))]
    with monkeypatch.context() as patch:
        patch.setattr(database, "connect", connect)
        yield
    timers[0].join()
    rivals[0].close()


def test_two_who_open_a_new_store_at_once_wait_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite itself does not wait here: one of two was told at once that the database is locked."""
    file = tmp_path / "search.sqlite"
    with filled_by_another(file, monkeypatch, seconds=0.3), Store.open(file) as store:
        store.begin("first", {})
        assert store.runs() == ["first"]


def test_the_file_that_another_fills_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who gave up removed the other's file, which then had a disk I/O error."""
    file = tmp_path / "search.sqlite"
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.1)
    with filled_by_another(file, monkeypatch, seconds=0.6):
        with pytest.raises(ArchscoutError, match="held by another program"):
            Store.open(file)
        assert file.is_file()
    with Store.open(file) as store:
        assert store.runs() == []


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://joe:sEcReT@host/db",
        "postgresql://joe@host/db?password=sEcReT",
        "postgresql://joe@host/db?sslpassword=sEcReT&application_name=x",
        "postgresql://joe@host/db?passfile=sEcReT",
    ],
)
def test_no_message_shows_a_secret_of_the_url(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlalchemy

    monkeypatch.setattr(database, "connect", lambda url: sqlalchemy.create_engine("sqlite:////nonexistent/x.db"))
    with pytest.raises(ArchscoutError) as caught:
        Store.open(url)
    assert "host/db" in str(caught.value)
    assert "sEcReT" not in str(caught.value)


@pytest.mark.parametrize("cell", ["[" * 100_000, '{"a":', "1" * 5000, '{"$float": "x"}', '{"$float": []}', ""])
@pytest.mark.parametrize(("table", "column"), [("trials", "costs"), ("decisions", "value"), ("runs", "config")])
def test_a_damaged_cell_is_told_in_a_sentence(tmp_path: Path, cell: str, table: str, column: str) -> None:
    file = tmp_path / "search.sqlite"
    with Store.open(file) as store:
        store.begin("run", {"seed": 0})
        store.add("run", [plain_trial(0, costs={"params": 1.0})])
        store.decide("run", "epochs", 3)
    with sqlite3.connect(file) as connection:
        connection.execute(f"UPDATE archscout_{table} SET {column} = ?", (cell,))
    connection.close()
    with Store.open(file) as store:
        read = {"trials": store.trials, "decisions": store.decisions, "runs": store.config}[table]
        with pytest.raises(DataError, match="damaged") as caught:
            read("run")
        assert one_sentence(caught.value)

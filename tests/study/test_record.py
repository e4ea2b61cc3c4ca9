"""The finished jobs of a study: nothing finished is ever lost, and one process at a time writes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from archscout.core.errors import ArchscoutError, DataError, UsageError
from archscout.study.record import Record, carry_out

SETTING = {"study": "strategies", "seed": 0}


def fill(folder: Path, jobs: int = 3) -> Path:
    with Record.open(folder, SETTING) as record:
        for repeat in range(jobs):
            record.add("random", repeat, [{"regret": repeat / 8, "nothing": float("nan")}])
    return folder / "rows.jsonl"


def test_finished_jobs_come_back(tmp_path: Path) -> None:
    fill(tmp_path / "o")
    with Record.open(tmp_path / "o", SETTING) as record:
        assert sorted(record.done) == [("random", 0), ("random", 1), ("random", 2)]
        assert record.done["random", 2][0]["regret"] == 0.25


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_reading_never_shortens_the_file_and_a_cut_line_is_done_again(tmp_path: Path, cut: int) -> None:
    rows = fill(tmp_path / "o")
    content = rows.read_bytes()[:-cut]
    rows.write_bytes(content)
    with Record.open(tmp_path / "o", SETTING) as record:
        assert rows.read_bytes() == content
        missing = [job for job in [("random", 0), ("random", 1), ("random", 2)] if job not in record.done]
        for name, repeat in missing:
            record.add(name, repeat, [{"regret": repeat / 8}])
    assert rows.read_bytes().startswith(content)
    with Record.open(tmp_path / "o", SETTING) as record:
        assert len(record.done) == 3
        assert record.done["random", 2][0]["regret"] == 0.25


@pytest.mark.parametrize(
    "line", ["[" * 100_000, '["random", 0, 5]', '["random", 0, [5]]', "{}", "[" + "1" * 5000 + "]", "\x00"]
)
def test_a_damaged_line_is_done_again(tmp_path: Path, line: str) -> None:
    rows = fill(tmp_path / "o", 1)
    rows.write_text(line + "\n" + rows.read_text().replace('"random", 0', '"random", 7'))
    with Record.open(tmp_path / "o", SETTING) as record:
        assert ("random", 7) in record.done


@pytest.mark.parametrize(
    "row",
    [
        '{"regret_after": {"1": 0.5}}',
        '{"regret": "none", "regret_after": {"1": 0.5}}',
        '{"regret": true, "regret_after": {"1": 0.5}}',
        '{"regret": 0.5, "regret_after": [1]}',
        '{"regret": 0.5, "regret_after": {"1": "x"}}',
        '{"regret": 0.5, "regret_after": {"1": 0.5}}, {}',
    ],
)
def test_a_job_whose_rows_lack_a_value_is_done_again(tmp_path: Path, row: str) -> None:
    rows = fill(tmp_path / "o", 1)
    rows.write_text(f'["random", 0, [{row}]]\n["random", 1, [{{"regret": null, "regret_after": {{}}}}]]\n')
    asked: list[int] = []

    def measure(payload: object, name: str, repeat: int) -> list[dict]:
        asked.append(repeat)
        return [{"regret": 0.25, "regret_after": {"1": 0.25}}]

    with Record.open(tmp_path / "o", SETTING) as record:
        jobs = [("random", 0), ("random", 1)]
        columns = {"regret": float, "regret_after": dict}
        found = carry_out(record, jobs, None, measure, 0, lambda done, total: None, columns)
    assert asked == [0], "what is undefined is whole"
    assert found[0]["regret"] == 0.25


@pytest.mark.parametrize("begun", ["", '{"study": "str', "[]"])
def test_a_study_that_could_not_be_begun_begins(tmp_path: Path, begun: str) -> None:
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "study.json").write_text(begun)
    fill(tmp_path / "o")
    assert json.loads((tmp_path / "o" / "study.json").read_text()) == SETTING


def test_damage_beside_finished_jobs_is_told(tmp_path: Path) -> None:
    fill(tmp_path / "o")
    (tmp_path / "o" / "study.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match="damaged"), Record.open(tmp_path / "o", SETTING):
        pass


def test_contenders_may_be_added_but_not_change(tmp_path: Path) -> None:
    fill(tmp_path / "o")
    with Record.open(tmp_path / "o", SETTING, inputs={"random": "a", "slow": "b"}):  # begun before inputs were noted
        pass
    with (
        pytest.raises(UsageError, match="holds measurements of 'random' from other values"),
        Record.open(tmp_path / "o", SETTING, inputs={"random": "z"}),
    ):
        pass
    with Record.open(tmp_path / "o", SETTING, inputs={"slow": "z", "new": "c"}):  # nothing of 'slow' was measured
        pass
    begun = json.loads((tmp_path / "o" / "study.json").read_text())
    assert begun == {**SETTING, "inputs": {"random": "a", "slow": "z", "new": "c"}}


def test_two_studies_do_not_write_into_one_folder(tmp_path: Path) -> None:
    first, second = (Record.open(tmp_path / "o", SETTING) for _ in range(2))
    with first, pytest.raises(UsageError, match=r"another study .* is writing"), second:
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits of the size of files are a thing of Unix")
def test_a_full_disk_ends_a_study_in_a_sentence_and_loses_nothing(tmp_path: Path) -> None:
    rows = fill(tmp_path / "o", 4)
    before = rows.read_bytes()
    code = (
        "import resource, sys; from pathlib import Path; from archscout.study.record import Record\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)\n"
        "try:\n"
        f"    with Record.open(Path(sys.argv[1]), {SETTING!r}) as record:\n"
        "        record.add('random', 9, [{'regret': 0.5}])\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    for most in (0, 30, len(before) // 2, len(before) + 5):
        command = [sys.executable, "-c", code, str(tmp_path / "o"), str(most)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.startswith(("ArchscoutError the study in", "UsageError")), done.stdout
        assert rows.read_bytes().startswith(before)
    with Record.open(tmp_path / "o", SETTING) as record:
        record.add("random", 9, [{"regret": 0.5}])
    with Record.open(tmp_path / "o", SETTING) as record:
        assert sorted(repeat for _, repeat in record.done) == [0, 1, 2, 3, 9]


def killed_once(folder: Path, name: str, repeat: int) -> list[dict]:
    mark = folder / f"{name}-{repeat}"
    if name == "killed" and not mark.exists():
        mark.write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    return [{"regret": float(repeat)}]


def test_a_job_whose_worker_is_killed_is_tried_again(tmp_path: Path) -> None:
    jobs = [("killed", 0), ("well", 0), ("well", 1)]
    with Record.open(tmp_path / "o", SETTING) as record:
        carry_out(record, jobs, tmp_path, killed_once, 1, lambda done, total: None)
        assert sorted(record.done) == sorted(jobs)


def test_one_that_kills_its_worker_each_time_is_named_and_the_others_are_kept(tmp_path: Path) -> None:
    with Record.open(tmp_path / "o", SETTING) as record:
        with pytest.raises(ArchscoutError, match=r"'deadly' failed in repeat 0: its worker process ended"):
            carry_out(record, [("well", 0), ("deadly", 0)], tmp_path, killed_once, 1, lambda done, total: None)
        assert ("well", 0) in record.done

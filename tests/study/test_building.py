"""Building a table: what is in it, in which order, and that it goes on where it stopped."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from archscout.core.errors import DataError, UsageError
from archscout.core.seeds import derive
from archscout.networks.pick import build
from archscout.spaces.nasbench201 import NASBench201
from archscout.store.lock import run_lock
from archscout.study import building
from archscout.study.building import Plan, build_table, order_of, schedule
from archscout.tables.check import check
from archscout.testing import tiny_task
from archscout.training.trainer import Recipe, train
from archscout.workers.engines import InlineEngine

SPACE = NASBench201(width=4, cells=1)
TASK = tiny_task()
PLAN = Plan(epochs=2, seeds=2, several=3, networks=6)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "STACK", 3)
    forms = [SPACE.parse(f"|{a}~0|+|none~0|{b}~1|+|none~0|none~1|skip_connect~2|") for a in OPS for b in OPS]
    monkeypatch.setattr(NASBench201, "__iter__", lambda self: iter(forms))


OPS = ("skip_connect", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3", "none")


def made(file: Path, plan: Plan = PLAN, **more: object) -> building.Table:
    return build_table(SPACE, TASK, plan, file=file, engine=InlineEngine((SPACE, TASK, "cpu")), **more)  # type: ignore[arg-type]


def test_what_stands_in_the_table_is_what_the_trainer_measures(tmp_path: Path) -> None:
    table = made(tmp_path / "t.parquet", name="mine", source="here")
    assert (table.name, table.task, len(table), len(table.first_rows)) == ("mine", TASK.name, 9, 6)
    assert not [finding for finding in check(table) if finding.wrong]
    text = table.architectures[0]
    seed = derive(PLAN.seed, "table", 0)
    network = build(SPACE, SPACE.parse(text), TASK, seed=seed)
    outcome = train(network, TASK, Recipe.default(TASK, 2), seed=seed, measured={"test": TASK.test})
    for curve in building.curves(TASK):
        expected = [row[curve] for row in outcome.curve]
        assert table.curve_matrix(f"{curve}_curve")[0] == pytest.approx(expected, abs=1e-3)
        assert table.column(curve)[0] == table.curve_matrix(f"{curve}_curve")[0, -1]
    assert table.column("params")[0] == sum(p.numel() for p in network.parameters())
    assert 0 < table.seconds(text) < 60


def test_rows_do_not_depend_on_where_it_was_stopped(tmp_path: Path) -> None:
    whole = made(tmp_path / "whole.parquet")
    file = tmp_path / "t.parquet"

    class Dying(InlineEngine):
        jobs = 0

        def submit(self, *args, **more):  # type: ignore[no-untyped-def]
            self.jobs += 1
            if self.jobs == 3:
                raise KeyboardInterrupt
            return super().submit(*args, **more)

    with pytest.raises(KeyboardInterrupt):
        build_table(SPACE, TASK, PLAN, file=file, engine=Dying((SPACE, TASK, "cpu")))
    assert 0 < len(building.Table.open(file, SPACE)) < len(whole)
    again = made(file)
    for name in ("test_accuracy_curve", "train_loss_curve"):
        np.testing.assert_array_equal(again.curve_matrix(name), whole.curve_matrix(name))
    assert again.architectures == whole.architectures


def test_the_order_is_random_and_every_network_comes_once() -> None:
    first, other = (order_of(SPACE, Plan(seed=seed)) for seed in (0, 1))
    assert first == order_of(SPACE, Plan(seed=0)) != other
    forms = [SPACE.canonical(a) for a in first]
    assert len(set(forms)) == len(forms) == len({SPACE.canonical(a) for a in SPACE})
    assert order_of(SPACE, Plan(networks=4)) == first[:4]


def test_at_any_time_all_seeds_have_come_equally_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "STACK", 2)
    networks = order_of(SPACE, Plan())[:8]
    jobs = schedule(networks, Plan(seeds=3, several=4))
    trained = [(job.training_seed, a) for job in jobs for a in job.architectures]
    assert len(trained) == len(set(trained)) == 8 + 2 * 4
    assert {a for seed, a in trained if seed} == set(networks[:4])
    half = [job.training_seed for job in jobs[: len(jobs) // 2]]
    assert sorted(half) == [0, 0, 1, 2]


def test_costs_are_measured_once(tmp_path: Path) -> None:
    plan = dataclasses.replace(PLAN, networks=2, seeds=1)
    table = made(tmp_path / "t.parquet", plan, measured=["latency"])
    first = table.column("latency_ms")
    assert np.all((first > 0) & (first < 1000))
    again = made(tmp_path / "t.parquet", plan, measured=["latency"]).column("latency_ms")
    np.testing.assert_array_equal(first, again)


def test_a_diverged_training_is_a_row_without_values(tmp_path: Path) -> None:
    made(tmp_path / "t.parquet")
    part = next((tmp_path / "t.parquet.parts").glob("seed0-*.json"))
    rows = json.loads(part.read_text())
    for curve in (*building.curves(TASK), "seconds"):
        rows[0][curve] = rows[0][curve][:1]
    part.write_text(json.dumps(rows))
    (tmp_path / "t.parquet").unlink()
    table = made(tmp_path / "t.parquet")
    row = next(i for i, text in enumerate(table.architectures) if text == rows[0]["architecture"])
    assert np.isnan(table.column("test_accuracy")[[row, row + 1]]).sum() == 1
    assert not [finding for finding in check(table) if finding.wrong]


def test_the_table_alone_is_enough_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, plan = tmp_path / "t.parquet", dataclasses.replace(PLAN, networks=3, several=1, epochs=1)
    whole = made(file, plan, measured=["latency"])
    shutil.rmtree(tmp_path / "t.parquet.parts")
    trained: list[str] = []
    job = building.train_job

    def watched(payload, architectures, *rest):  # type: ignore[no-untyped-def]
        trained.extend(one.text for one in architectures)
        return job(payload, architectures, *rest)

    monkeypatch.setattr(building, "train_job", watched)
    again = made(file, plan)
    assert not trained
    for name in ("test_loss_curve", "seconds"):
        np.testing.assert_array_equal(again.curve_matrix(name), whole.curve_matrix(name))
    np.testing.assert_array_equal(again.column("latency_ms"), whole.column("latency_ms"))


def test_parts_of_another_plan_are_left_alone(tmp_path: Path) -> None:
    made(tmp_path / "t.parquet")
    with pytest.raises(UsageError, match="begun with epochs 2, not 3: delete it"):
        made(tmp_path / "t.parquet", dataclasses.replace(PLAN, epochs=3))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plan.json", "[]"),
        ("plan.json", "7"),
        ("seed0-00000.json", '[{"seed": 0}]'),
        ("seed0-00000.json", "{}5"),
        ("seed0-00000.json", "[1]"),
        ("cost-params.json", "[1]"),
        ("cost-params.json", '{"a": "x"}'),
    ],
)
def test_damaged_parts_are_told_in_a_sentence(tmp_path: Path, name: str, content: str) -> None:
    parts = tmp_path / "t.parquet.parts"
    plan = Plan(epochs=1, networks=1)
    made(tmp_path / "t.parquet", plan, measured=["params"])
    (tmp_path / "t.parquet").unlink()
    (parts / name).write_text(content)
    with pytest.raises(DataError, match=rf"{name}' is damaged .*: remove it, and the same command"):
        made(tmp_path / "t.parquet", plan, measured=["params"])


def test_a_table_that_another_process_builds_is_left_to_it(tmp_path: Path) -> None:
    with (
        run_lock(tmp_path / "t.parquet.parts", "build"),
        pytest.raises(UsageError, match=r"another build \(process \d+\) is writing to"),
    ):
        made(tmp_path / "t.parquet")
    assert not (tmp_path / "t.parquet").exists()
    assert len(made(tmp_path / "t.parquet")) == 9  # and afterwards it is built


def test_a_large_space_is_sampled_if_the_number_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "ENUMERATED", 10)
    with pytest.raises(UsageError, match="say how many"):
        order_of(SPACE, Plan())
    some = order_of(SPACE, Plan(networks=20))
    assert len({SPACE.canonical(a) for a in some}) == 20

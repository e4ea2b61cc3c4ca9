"""Whole searches on a tiny task: what lies in the folder, what is refused, what survives."""

import json
import math
import shutil

import numpy as np
import pytest
import torch

import archscout
from archscout.core.budget import Budget
from archscout.core.cost import Constraint, Cost, Measurement
from archscout.core.errors import ArchscoutError, UsageError
from archscout.core.estimator import Estimator
from archscout.core.progress import Silent
from archscout.core.registry import create, register
from archscout.core.trial import Estimate
from archscout.costs import feasibility
from archscout.networks import choices
from archscout.report.page import write as write_page
from archscout.search.result import Result
from archscout.search.search import _limits, search, train, try_task
from archscout.store.store import Store
from archscout.testing import tiny_task

SPACE = "nasbench201:width=4,cells=1"
CASCADE = "cascade:pool=24"


@pytest.fixture(scope="module")
def task():
    return tiny_task(examples=300)


@pytest.fixture(scope="module")
def found(task, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    return search(
        SPACE, task, method=CASCADE, budget="8trials", maximum={"params": "12k"}, workers=0, out=out, name="found",
        epochs=4, seed=1,
    )  # fmt: skip


def test_a_run_that_was_moved_behind_a_link_is_used_as_it_was(found, task, tmp_path):
    moved = shutil.copytree(found.folder, tmp_path / "elsewhere" / "moved")
    (tmp_path / "link").symlink_to(moved)
    assert write_page(tmp_path / "link").resolve() == moved / "report.html"
    images = torch.from_numpy(task.test.x).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        answers = archscout.load(tmp_path / "link")(images)
    assert float((answers.argmax(1).numpy() == task.test.y).mean()) == found.metrics["test_accuracy"]
    (tmp_path / "loop").symlink_to("loop")
    for nothing in ("loop", "elsewhere"):
        with pytest.raises(UsageError, match="no finished run"):
            archscout.load(tmp_path / nothing)


def test_the_page_of_a_run_is_written_while_it_goes_on(task, tmp_path):
    """With a larger budget a run that has a result goes on; its page can be asked for at any moment."""
    options = {"method": "random", "workers": 0, "out": tmp_path, "name": "run", "epochs": 1, "seed": 1}
    before = search(SPACE, task, budget="2trials", **options)
    asked = []

    class Curious(Silent):
        def update(self, phase, done, *_):
            if phase == "search" and len(asked) < 3:
                asked.append(write_page(before.folder).read_text(encoding="utf-8"))

    after = search(SPACE, task, budget="4trials", progress=Curious(), **options)
    assert asked and all("</html>" in page for page in asked)
    assert after.metrics["trials"] == 4


def test_the_folder_holds_a_network_that_keeps_the_limit(found, task):
    for name in ("network.safetensors", "network.onnx", "architecture.json", "metrics.json", "report.json"):
        assert (found.folder / name).stat().st_size > 0
    metrics = json.loads((found.folder / "metrics.json").read_text())
    contract = {
        "architecture", "space", "task", "valid_accuracy", "test_accuracy", "costs", "constraints", "trials",
        "failed_trials", "rejected", "seconds", "seed", "version",
    }  # fmt: skip
    assert contract <= set(metrics)
    assert {"params", "macs", "latency_ms", "peak_memory_bytes"} <= set(metrics["costs"])
    assert metrics["costs"]["params"] <= 12_000
    assert metrics["rejected"] > 0
    assert metrics["trials"] <= 8
    assert metrics["valid_accuracy"] > 0.6, "three patterns with noise are easy"
    assert not (found.folder / "work").exists()


def test_the_stored_network_gives_the_accuracy_that_is_claimed(found, task):
    from safetensors.torch import load_file

    from archscout.networks.pick import build

    space = create("space", SPACE)
    network = task.deploy(build(space, space.parse(found.architecture), task))
    network.load_state_dict(load_file(found.folder / "network.safetensors"))
    network.eval()
    for split, name in ((task.valid, "valid_accuracy"), (task.test, "test_accuracy")):
        with torch.no_grad():
            outputs = network(torch.from_numpy(split.x).permute(0, 3, 1, 2).float())
        accuracy = (outputs.argmax(1).numpy() == split.y).mean()
        assert accuracy == pytest.approx(found.metrics[name], abs=1e-6)


def test_the_onnx_file_runs_without_us(found, task):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(found.folder / "network.onnx"), providers=["CPUExecutionProvider"])
    x = np.ascontiguousarray(task.test.x.transpose(0, 3, 1, 2)).astype(np.float32)
    (outputs,) = session.run(None, {session.get_inputs()[0].name: x})
    assert (outputs.argmax(1) == task.test.y).mean() == pytest.approx(found.metrics["test_accuracy"], abs=1e-6)


def test_a_finished_run_is_reported_and_not_redone(found, task):
    before = (found.folder / "metrics.json").stat().st_mtime_ns
    again = search(
        SPACE, task, method=CASCADE, budget="8trials", maximum={"params": "12k"}, workers=0, out=found.folder.parent,
        name="found", epochs=4, seed=1,
    )  # fmt: skip
    assert again.metrics == found.metrics
    assert (found.folder / "metrics.json").stat().st_mtime_ns == before


def test_objects_and_numbers_of_numpy_say_the_same_as_names(found, task):
    again = search(
        create("space", SPACE), task, method=create("method", CASCADE), estimator=create("estimator", "trained"),
        maximum={create("cost", "params"): np.int64(12_000)}, budget=Budget(trials=8), workers=np.int64(0),
        out=str(found.folder.parent), name="found", epochs=np.int32(4), seed=np.uint8(1), objectives=None,
    )  # fmt: skip
    assert again.metrics == found.metrics


def test_an_estimator_of_ones_own_needs_no_name_that_is_registered(task, tmp_path):
    class FewConvolutions(Estimator):
        name = "few_convolutions"

        def estimate(self, architectures, setting, *, fidelity=None):
            return [Estimate(-float(each.text.count("conv"))) for each in architectures]

    result = search(
        SPACE, task, method=create("strategy", "random"), estimator=FewConvolutions(), objectives="params",
        budget="20trials", workers=0, out=tmp_path, epochs=1,
    )  # fmt: skip
    assert result.metrics["estimator"] == "few_convolutions"
    assert result.metrics["trials"] == 20


def test_odd_arguments_are_refused_before_anything_is_written(task, tmp_path):
    odd = [
        {"seed": True}, {"seed": -1}, {"seed": 1.5}, {"epochs": 0}, {"epochs": False}, {"workers": -1},
        {"budget": True},
        {"budget": math.nan}, {"maximum": "params=1k"}, {"maximum": {"params": None}}, {"maximum": {"params": "1e999"}},
        {"maximum": {3: 1}}, {"objectives": 3}, {"objectives": {"params": 1}}, {"method": 3}, {"method": None},
        {"estimator": 3}, {"device": "raspi4"}, {"name": 3}, {"name": "a/b"}, {"name": "a\0b"}, {"out": 3},
        {"store": 3}, {"engine": None}, {"times": "times.csv"},
    ]  # fmt: skip
    for options in odd:
        with pytest.raises(UsageError) as caught:
            search(SPACE, task, **{"out": tmp_path / "runs", "workers": 0, "budget": "3trials"} | options)
        assert "\n" not in str(caught.value)
    for options in ({"seed": None}, {"epochs": 0}, {"epochs": 2.0}, {"device": "cudaa"}, {"out": None}):
        with pytest.raises(UsageError):
            train(
                SPACE, "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|", task, **{"out": tmp_path / "runs"} | options
            )
    with pytest.raises(UsageError):
        train(SPACE, 3, task, out=tmp_path / "runs")
    with pytest.raises(UsageError, match="did you mean 'budget'"):
        archscout.search(SPACE, task, bugdet="5m")
    assert not (tmp_path / "runs").exists()


def test_another_search_under_the_same_name_is_refused(found, task):
    with pytest.raises(UsageError, match="started with seed 1, not 2"):
        search(SPACE, task, method=CASCADE, budget="8trials", maximum={"params": "12k"}, out=found.folder.parent,
               name="found", epochs=4, seed=2, workers=0)  # fmt: skip


@pytest.mark.slow  # test_run.py has the order of proposals, test_resume.py a search by a worker process
def test_one_seed_gives_one_result_whatever_the_workers(found, task, tmp_path):
    again = search(SPACE, task, method=CASCADE, budget="8trials", maximum={"params": "12k"}, workers=2, out=tmp_path,
                   name="two", epochs=4, seed=1)  # fmt: skip
    with Store.open(found.folder / "search.sqlite") as one, Store.open(again.folder / "search.sqlite") as two:
        rows = [
            [(r.key, r.value) for r in sorted(s.trials(n), key=lambda r: r.key)]
            for s, n in ((one, "found"), (two, "two"))
        ]
    assert [key for key, _ in rows[0]] == [key for key, _ in rows[1]]
    assert rows[0] == rows[1]
    assert again.architecture == found.architecture
    assert again.metrics["rejected"] == found.metrics["rejected"]


@pytest.mark.parametrize(
    "method",
    ["nsga2:population=3", *(pytest.param(m, marks=pytest.mark.slow) for m in ("random", "evolution:population=3"))],
)
def test_a_strategy_is_a_method(method, task, tmp_path):
    result = search(
        SPACE, task, method=method, budget="5trials", objectives=["macs"], workers=0, out=tmp_path, epochs=2
    )
    assert result.metrics["trials"] == 5
    front = result.pareto
    assert front
    assert [p["costs"]["macs"] for p in front] == sorted(p["costs"]["macs"] for p in front)
    assert [p["value"] for p in front] == sorted(p["value"] for p in front)


def test_a_strategy_over_a_cheap_estimator_trains_its_best(task, tmp_path):
    result = search(
        SPACE, task, method="evolution", estimator="params", budget="12trials", workers=0, out=tmp_path, epochs=1
    )
    assert result.metrics["valid_accuracy"] > 0
    assert result.metrics["trials"] == 12


def test_a_limit_that_nothing_meets_names_the_closest(task, tmp_path):
    with pytest.raises(UsageError, match=r"was found that meets params <= 10.*the closest.*has params = \d+"):
        search(SPACE, task, maximum={"params": "10"}, budget="5trials", workers=0, out=tmp_path)


def test_a_limit_that_few_meet_is_met(task, tmp_path):
    space = create("space", SPACE)
    smallest = create("cost", "params")
    from archscout.core.estimator import Setting

    least = min(smallest.measure(a, Setting(space, task)).value for a in space.extremes())
    result = search(
        SPACE, task, method="random", maximum={"params": str(least)}, budget="2trials", workers=0, out=tmp_path,
        epochs=1,
    )  # fmt: skip
    assert result.metrics["costs"]["params"] <= least


def test_a_budget_that_pays_for_nothing_is_refused(task, tmp_path):
    with pytest.raises(UsageError, match="does not pay for one trained network"):
        search(SPACE, task, budget="0.05s", workers=0, out=tmp_path)


class Flaky(Estimator):
    """Fails on every second network, in every way there is."""

    needs = frozenset({"training"})

    def __init__(self) -> None:
        self.name = "flaky"

    def estimate(self, architectures, setting, *, fidelity=None):
        trained = create("estimator", "trained")
        kind = len(architectures[0].text) % 3
        if kind == 0:
            raise MemoryError("no room")
        if kind == 1:
            return [Estimate(math.nan, reason="the loss is NaN.")]
        return trained.estimate(architectures, setting, fidelity=fidelity)


register("estimator", "flaky")(Flaky)


def test_failing_trials_are_recorded_with_their_reason_and_the_search_goes_on(task, tmp_path):
    result = search(
        SPACE, task, method="random", estimator="flaky", budget="12trials", workers=0, out=tmp_path, epochs=1
    )
    assert 0 < result.metrics["failed_trials"] < 12
    reasons = " ".join(failure["reason"] for failure in result.metrics["failures"])
    assert "no room" in reasons or "NaN" in reasons


def test_a_search_in_which_everything_fails_says_why(task, tmp_path):
    class Broken(Flaky):
        def estimate(self, architectures, setting, *, fidelity=None):
            raise RuntimeError("broken for good")

    register("estimator", "broken")(Broken)
    with pytest.raises(ArchscoutError, match=r"no network was trained: .*broken for good"):
        search(SPACE, task, method="random", estimator="broken", budget="4trials", workers=0, out=tmp_path, epochs=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "cascadde"}, "did you mean 'cascade'"),
        ({"estimator": "trainedd"}, "did you mean 'trained'"),
        ({"maximum": {"latencyy": "2ms"}}, "did you mean 'latency'"),
        ({"maximum": {"params": "2ms"}}, "is not a limit for params"),
        ({"estimator": "params"}, "trains nothing"),
        ({"budget": "soon"}, "is not a budget"),
        ({"name": "../x"}, "cannot be the name of a run"),
        ({"name": ""}, "cannot be the name of a run"),
        ({"objectives": ["params", "params"]}, "the objective 'params' is named twice"),
        ({"fresh": "yes"}, "fresh must be True or False, not 'yes'"),
        ({"progress": 5}, "the progress must be an object with say, update and close"),
        ({"workers": -1}, "0 or more"),
    ],
)
def test_wrong_usage_is_one_sentence(options, message, task, tmp_path):
    with pytest.raises(UsageError, match=message) as caught:
        search(**{"space": SPACE, "data": task, "workers": 0, "out": tmp_path, "budget": "2trials"} | options)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*/metrics.json"))


def test_training_one_architecture(task, tmp_path):
    result = train(
        SPACE,
        "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|",
        task,
        epochs=3,
        out=tmp_path,
        name="one",
    )
    assert result.metrics["valid_accuracy"] > 0.5
    assert result.metrics["method"] == "train"
    assert (result.folder / "network.onnx").is_file()


class Own(torch.nn.Module):
    """A module of the user's own, with a width and an activation to choose."""

    def __init__(self) -> None:
        super().__init__()
        width = choices.Width(4, 8, name="width")
        self.features = torch.nn.Sequential(
            choices.Conv2d(1, width, choices.Kernel(3, 5)),
            choices.BatchNorm2d(width),
            choices.OneOf({"relu": torch.nn.ReLU(), "gelu": torch.nn.GELU()}, name="activation"),
            torch.nn.AdaptiveAvgPool2d(1),
            torch.nn.Flatten(),
        )
        self.head = choices.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x))


def test_a_module_of_the_users_own_is_searched_by_worker_processes(task, tmp_path):
    import archscout

    result = archscout.search(
        Own(), task, method="random", budget="2trials", maximum={"params": "200"}, workers=1, out=tmp_path, name="own",
        epochs=2,
    )  # fmt: skip
    assert result.metrics["costs"]["params"] <= 200
    assert (result.folder / "report.html").is_file()
    network = archscout.load(result.folder, space=Own())
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 3)
    with pytest.raises(UsageError, match="give it as load"):
        archscout.load(result.folder)


def test_the_first_three_trainings_that_fail_alike_end_a_search_with_the_reason(task, tmp_path):
    class Broken(Estimator):
        name = "broken_training"
        needs = frozenset({"training"})

        def estimate(self, architectures, setting, *, fidelity=None):
            raise RuntimeError("no kernel for this device")

    with pytest.raises(ArchscoutError, match=r"first 3 trainings failed alike, with: .*no kernel for this device"):
        search(
            SPACE, task, method="random", estimator=Broken(), budget="50trials", workers=0, out=tmp_path, name="b",
            epochs=1,
        )  # fmt: skip
    with Store.open(tmp_path / "b" / "search.sqlite") as store:
        assert store.count("b", "failed") == 3


def test_costs_of_ones_own_that_share_a_name_or_a_key_are_refused(task, tmp_path):
    class Depth(Cost):
        def measure(self, architecture, setting):
            return Measurement(1.0)

    class Price(Depth):
        name = "price"

    class Small(Depth):
        name, key = "small", "params"

    def refused(**options):
        with pytest.raises(UsageError) as caught:
            search(SPACE, task, workers=0, budget="2trials", out=tmp_path, name="own", **options)
        return str(caught.value)

    assert refused(maximum={Depth(): 2}, objectives=[Price()]) == (
        "the costs 'cost' and 'price' have one key, 'cost', under which results carry their values: give one of the "
        "classes another (key = 'price')."
    )
    assert "'params' and 'small' have one key" in refused(maximum={"params": 9}, objectives=[Small()])
    assert "two costs are named 'cost'" in refused(maximum={Depth(): 2, type("Other", (Depth,), {})(): 2})
    assert _limits({Depth(): 2}, [Depth()])[2] == ["cost"], "one cost, given twice"


@pytest.mark.parametrize("method", ["hyperband", "asha"])
def test_so_do_trainings_that_pause(method, task, tmp_path, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no kernel for this device")

    monkeypatch.setattr("archscout.training.trainer.train", broken)
    with pytest.raises(ArchscoutError, match=r"first 3 trainings failed alike, with: .*no kernel for this device"):
        search(SPACE, task, method=method, budget="30trials", workers=0, out=tmp_path, name="b", epochs=3)


@pytest.mark.usefixtures("whole_samples")
def test_looking_for_what_keeps_the_limits_ends_with_its_time():
    told = []

    def going(done, total, meeting):
        told.append((done, total, meeting))
        return done < 16

    class Book:
        costs = (create("cost", "latency"),)

        def screened(self, architectures):
            pass

        def at_most(self, architecture):
            return {"latency_ms": 1.0}

    constraints = [Constraint("latency", "latency_ms", 2.0)]
    space, rng = create("space", SPACE), np.random.default_rng(0)
    found = feasibility.check(space, Book(), constraints, {"latency_ms": 0.95}, rng, going)
    assert (found.sampled, found.meeting) == (16, 16)
    assert told == [(n, 48, n) for n in range(2, 17, 2)]


def test_a_latency_that_is_not_to_be_trusted_is_said(found):
    details = {**found.metrics["cost_details"], "latency_ms": {"trusted": False, "slowed": 1.6}}
    summary = Result(found.folder, {**found.metrics, "cost_details": details}).summary()
    assert "latency_ms is not to be trusted: the machine was slowed down 1.6 times" in summary
    details["latency_ms"] = {"trusted": True, "slowed": 1.0}
    assert "not to be trusted" not in Result(found.folder, {**found.metrics, "cost_details": details}).summary()


def test_a_space_of_ours_that_cannot_be_built_is_said_before_anything_is_spent(task, monkeypatch):
    space = create("space", SPACE)

    def broken(*_):
        raise RuntimeError("no such layer")

    monkeypatch.setattr(type(space), "network", broken)
    with pytest.raises(RuntimeError, match="no such layer"):
        try_task(space, task, seed=0)

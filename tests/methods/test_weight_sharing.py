"""Every method with shared weights, end to end: search, derive, train alone, export; limits, warnings, resuming."""

import itertools
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from archscout import api
from archscout.core import seeds
from archscout.core.cost import Constraint
from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.core.trial import Trial
from archscout.methods import weight_sharing
from archscout.networks.choices import Conv2d, Depth, Kernel, Linear, OneOf, Width
from archscout.spaces.model import ModelSpace
from archscout.supernets import phases as loop
from archscout.testing import tiny_task

NAMES = (
    "random_sharing", "spos", "setn", "darts", "darts:order=2", "rf_darts", "gdas", "parsec", "fp_nas", "proxyless",
    "proxyless:gradient=reinforce", "balenas", "bn_nas", "pc_darts", "pc_darts:random_features=true",
    "balenas_tf", "en2as", "bn_nas:fair=true", "spos:paths=scattered", "spos:paths=grouped,fixed=true",
    "bignas", "ofa", "pgonas", "pgonas:prior=zen,form=literal", "pad_nas:samples=8,grouped=true", "prunet",
)  # fmt: skip
SPACE = "nasbench201:width=4,cells=1"


def short(name, steps=4, more=""):
    separator = "," if ":" in name else ":"
    scored = ("random_sharing", "spos", "setn", "bn_nas", "en2as", "bignas", "ofa", "pgonas", "pad_nas")
    evaluations = ",evaluations=12" if name.partition(":")[0] in scored else ""
    return f"{name}{separator}steps={steps},batch=16,finalists=1{evaluations}{more}"


def search(folder, method, space=SPACE, task=None, **named):
    task = task or tiny_task()
    return api.search(
        space, task, method=method, budget="1trials", epochs=1, workers=0, out=folder, name="run", **named
    )


@pytest.mark.parametrize("name", ["spos", *(pytest.param(n, marks=pytest.mark.slow) for n in NAMES)])
def test_a_method_ends_in_a_trained_network(tmp_path, name):
    result = search(tmp_path, short(name), maximum={"macs": "150k"})
    assert result.metrics["costs"]["macs"] <= 150_000
    if name == "fp_nas":
        assert result.metrics["costs"]["macs"] >= 0.95 * 150_000
    assert result.metrics["trials"] == 1
    assert (tmp_path / "run" / "network.onnx").is_file()
    note = json.loads((tmp_path / "run" / "report.json").read_text())["notes"]["weight_sharing"]
    assert note["candidates"] == [result.metrics["architecture"]]
    assert "Shared weights" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("space", ["mobile:width=8,stages=2,depth=2", "nasbench101:width=8,cells=1"])
def test_bn_nas_searches_elastic_spaces_and_those_with_wiring(tmp_path, space):
    result = search(tmp_path, short("bn_nas"), space, tiny_task((3, 16, 16), classes=3))
    assert result.metrics["trials"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("part", ["s1", "s2", "s3", "s4"])
def test_random_features_on_the_parts_of_darts(tmp_path, part):
    space = f"darts:width=4,layers=3,part={part}"
    result = search(tmp_path, short("rf_darts", steps=2), space, tiny_task((3, 8, 8), classes=3))
    assert create("space", space).parse(result.metrics["architecture"])


class Own(nn.Module):
    """A user's module with every kind of choice."""

    def __init__(self):
        super().__init__()
        width = Width(4, 8)
        self.stem = Conv2d(1, width, Kernel(3, 5))
        self.act = OneOf({"relu": nn.ReLU(), "gelu": nn.GELU()})
        self.body = Depth([Conv2d(width, width, 3) for _ in range(2)])
        self.head = Linear(width, 3)

    def forward(self, x):
        return self.head(self.body(self.act(self.stem(x))).mean((2, 3)))


class Stop(Exception):  # noqa: N818
    pass


@pytest.mark.slow  # tests/supernets/test_phases.py has phases that are interrupted
def test_an_interrupted_search_goes_on_to_the_same_result(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "KEEP_SECONDS", 0.0)
    whole = search(tmp_path / "whole", short("fp_nas", steps=10))
    real, calls = loop._Training.advance, []

    def stopping(self):
        calls.append(self.number)
        if self.number == 6:
            raise Stop
        return real(self)

    with monkeypatch.context() as patched, pytest.raises(Stop):
        patched.setattr(loop._Training, "advance", stopping)
        search(tmp_path / "part", short("fp_nas", steps=10))
    calls.clear()
    monkeypatch.setattr(loop._Training, "advance", lambda self: (calls.append(self.number), real(self))[1])
    result = search(tmp_path / "part", short("fp_nas", steps=10))
    assert calls == [6, 7, 8, 9]
    assert result.metrics["architecture"] == whole.metrics["architecture"]
    assert result.metrics["valid_accuracy"] == whole.metrics["valid_accuracy"]
    notes = [
        json.loads((tmp_path / part / "run" / "report.json").read_text())["notes"]["weight_sharing"]
        for part in ("whole", "part")
    ]
    assert notes[0]["history"] == notes[1]["history"]


class Stand:
    """As much of a run as these methods ask for."""

    constraints, objectives, workers, estimator, epochs, share, device = (), (), 1, "trained", 1, 1.0, "cpu"
    trains = True

    def __init__(self, folder, limit=None):
        self.space, self.task, self.seed, self.folder = create("space", SPACE), tiny_task(), 0, folder
        self.said, self.found, self.notes = [], [], {}
        self.cost = create("cost", "macs")
        if limit is not None:
            self.constraints = (Constraint("macs", "macs", limit),)

    def rng(self, *keys):
        return seeds.stream(self.seed, *keys)

    def evaluate(self, architectures, estimator, **_):
        self.found = list(architectures)
        return []

    def screened(self, architectures):
        """As many multiply-adds as there are 3 x 3 convolutions, to be quick."""
        return [{"macs": 1.0 + a.text.count("nor_conv_3x3")} for a in architectures]

    def score(self, architectures, names):
        """More 3 x 3 convolutions are better."""
        return [
            [
                Trial(n, a, a.text, name, None, "completed", float(a.text.count("nor_conv_3x3")))
                for n, a in enumerate(architectures)
            ]
            for name in names
        ]

    def admit(self, architectures, count):
        limit = self.constraints[0].limit if self.constraints else math.inf
        kept = (a for a in architectures if self.screened([a])[0]["macs"] <= limit)
        return list(itertools.islice(kept, count))

    def seconds_left(self):
        return math.inf

    def decide(self, key, make):
        return make()

    def note(self, key, value):
        self.notes[key] = value

    def show(self, phase, done, total=None):
        pass

    def say(self, text):
        self.said.append(text)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "bn_nas:fair=true" else name for name in NAMES]
)
def test_every_method_derives_from_what_it_has_learnt(tmp_path, name):
    run = Stand(tmp_path)
    create("method", short(name)).search(run)
    note = run.notes["weight_sharing"]
    assert note["candidates"] == [architecture.text for architecture in run.found]
    assert len(run.found) == 1
    assert run.found[0] in run.space
    assert [row["step"] for row in note["history"]] == [1, 2, 3, 4]
    for row in note["history"]:
        assert math.isfinite(row["entropy"])
        assert row["samples"] >= 1
        assert sum(row["probabilities"].values()) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("name", ["spos", "darts", "gdas", "fp_nas", "proxyless", "bignas", "ofa", "prunet"])
@pytest.mark.parametrize("space", ["mobile:stages=2,depth=2", Own])
def test_elastic_spaces_and_own_modules_work(tmp_path, name, space):
    run = Stand(tmp_path)
    run.space = create("space", space) if isinstance(space, str) else ModelSpace(space())
    create("method", short(name, steps=2)).search(run)
    assert run.found[0] in run.space


@pytest.mark.parametrize(
    "name", ["proxyless", *(pytest.param(name, marks=pytest.mark.slow) for name in ("fp_nas", "fp_nas:hinge=true"))]
)
def test_a_limit_moves_the_distribution_below_it(tmp_path, name):
    """Two 3 x 3 convolutions are one too many: what is sampled in the end costs less than at the start."""
    run = Stand(tmp_path, limit=2.0)
    more = ",reach=8,warm_up=0.1" + {"fp_nas": "", "fp_nas:hinge=true": ",strength=3"}.get(name, ",strength=3,every=1")
    method = create("method", short(name, steps=40, more=more))
    method.search(run)
    first, last = (run.notes["weight_sharing"]["history"][place] for place in (0, -1))
    assert last["probabilities"]["nor_conv_3x3"] < 0.6 * first["probabilities"]["nor_conv_3x3"]
    assert run.screened(run.found)[0]["macs"] <= 2.0


def test_the_cost_table_is_least_squares(tmp_path):
    """Where costs are a sum over choices, the table gives them exactly, for every architecture."""
    run = Stand(tmp_path, limit=2.0)
    table, constant, target = weight_sharing.cost_table(run)
    assert target == 2.0
    for seed in range(20):
        a = run.space.sample(seeds.stream(seed))
        expected = constant + sum(table[c.name][c.index(a[c.name])] for c in run.space.choices)
        assert expected == pytest.approx(run.screened([a])[0]["macs"], abs=1e-3)


def test_limits_become_excess(tmp_path):
    run = Stand(tmp_path, limit=2.0)
    architectures = [run.space.sample(seeds.stream(seed)) for seed in range(10)]
    found = weight_sharing.excess(run)(architectures)
    wanted = [max(0.0, row["macs"] / 1.96 - 1) for row in run.screened(architectures)]
    assert found == pytest.approx(wanted)
    assert weight_sharing.excess(Stand(tmp_path)) is None


def test_skips_that_take_over_are_said_once_and_noted(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "skipping", lambda supernet, distribution: 0.5)
    run = Stand(tmp_path)
    create("method", short("darts")).search(run)
    assert len(run.said) == 1
    assert "plain connections (skip) are the most probable option of 50%" in run.said[0]
    assert run.notes["weight_sharing"]["warning"] == run.said[0]


def test_evolution_on_inherited_weights_finds_what_scoring_everyone_finds(tmp_path):
    run = Stand(tmp_path)
    run.space = create("space", SPACE)
    method = create("method", short("spos", steps=10))
    supernet, _ = method._train(run)
    score = weight_sharing.inherited(run, supernet)
    some = [run.space.sample(seeds.stream(seed)) for seed in range(100)]
    (best,) = weight_sharing.evolved(run, score, 1, 200)
    assert score([best])[0] >= np.quantile(score(some), 0.97)
    x, y = run.task.tensors(run.task.valid)
    with torch.no_grad():
        assert score([best])[0] == pytest.approx(-run.task.loss(supernet.train().select(best)(x), y).item(), abs=1e-5)


def test_a_time_budget_decides_the_steps(tmp_path):
    run = Stand(tmp_path)
    run.seconds_left = lambda: 0.5
    decided = {}
    run.decide = lambda key, make: decided.setdefault(key, make())
    create("method", short("darts", steps=100_000)).search(run)
    assert weight_sharing.LEAST_STEPS <= decided["supernet steps"] < 1000


def test_a_time_budget_counts_what_each_phase_takes(tmp_path, monkeypatch):
    taken = {"warm-up": 0.01, "factorised": 1.0, "joint": 0.5}

    def fit(supernet, distribution, phases, settings, **_):
        (phase,) = phases
        found = distribution if phase.convert is None else phase.convert(distribution)
        return loop.Trained(found, [], taken[phase.name] * settings.steps)

    monkeypatch.setattr(weight_sharing, "fit", fit)
    run = Stand(tmp_path)
    run.seconds_left = lambda: 100.0
    method = create("method", "fp_nas:warm_up=0.8,joint=0.1")
    assert method._affordable(run, 0) == int(50 / (0.8 * 0.01 + 0.1 * 1.0 + 0.1 * 0.5))


def test_wrong_use_is_said(tmp_path):
    with pytest.raises(UsageError, match="ends in real training"):
        search(tmp_path, "spos", estimator="naswot")
    with pytest.raises(UsageError, match="order 1 or 2"):
        create("method", "darts:order=3")
    with pytest.raises(UsageError, match="'gates' or 'reinforce'"):
        create("method", "proxyless:gradient=other")
    with pytest.raises(UsageError, match="finalists"):
        create("method", "gdas:finalists=0")
    with pytest.raises(UsageError, match="between 0 and 1"):
        create("method", "fp_nas:use=95")
    with pytest.raises(UsageError, match="no architecture of space"):
        search(tmp_path / "other", short("fp_nas"), maximum={"macs": "10"})


@pytest.mark.parametrize(
    ("name", "space", "reason"),
    [
        ("fp_nas", "nasbench101:width=8,cells=1", "not every combination"),
        ("gdas", "enas:width=4,layers=3", "mixes options"),
    ],
)
def test_a_space_that_a_method_cannot_search_is_refused(tmp_path, name, space, reason):
    run = Stand(tmp_path)
    run.space = create("space", space)
    with pytest.raises(UsageError, match=reason):
        create("method", short(name)).search(run)


def test_single_paths_search_every_space(tmp_path):
    run = Stand(tmp_path)
    run.space = create("space", "nasbench101:width=8,cells=1")
    create("method", short("spos", steps=2)).search(run)
    assert run.found[0] in run.space


@pytest.mark.parametrize(
    "name", ["gdas", *(pytest.param(name, marks=pytest.mark.slow) for name in ("darts", "pc_darts"))]
)
def test_mixtures_become_cells_where_options_are_not_free(tmp_path, name):
    run = Stand(tmp_path)
    run.space = create("space", "darts:width=4,layers=3" + (",part=s2" if name == "gdas" else ""))
    create("method", short(name, steps=2)).search(run)
    assert run.found[0] in run.space


def test_threads_are_as_before(tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with weight_sharing.one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)

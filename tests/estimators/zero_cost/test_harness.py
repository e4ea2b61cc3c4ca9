"""What scores share, what they may not disturb, and what their seconds mean."""

import math
import subprocess
import sys
import time
from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archscout.core.architecture import Architecture
from archscout.core.errors import UndefinedScore, UsageError
from archscout.core.estimator import Estimator, Setting
from archscout.core.registry import create, register
from archscout.core.seeds import stream
from archscout.core.trial import Estimate
from archscout.estimators.zero_cost import subject
from archscout.estimators.zero_cost.harness import Score, Subject, draw, score, together
from archscout.estimators.zero_cost.watching import Watcher
from archscout.networks.choices import Linear, Width
from archscout.spaces.model import ModelSpace
from archscout.testing.tasks import tiny_task


@pytest.fixture
def setting() -> Setting:
    return Setting(create("space", "nasbench201:width=4"), tiny_task().sealed(), seed=1)


def sample(setting: Setting, count: int) -> list[Architecture]:
    return [setting.space.sample(stream(number, "harness")) for number in range(count)]


class Units(Watcher):
    """Counts what it is shown."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def gate(self, x: Tensor) -> None:
        self.shapes.append(tuple(x.shape))


class CountUnits(Score):
    watches = (Units,)

    def __init__(self, batch: int) -> None:
        self.name, self.batch = "units", batch

    def score(self, subject: Subject) -> float:
        return float(sum(math.prod(shape[1:]) for shape in subject.watched(Units, self.batch).shapes))


class Fails(Score):
    def __init__(self, value: float | None) -> None:
        self.name, self.value = "fails", value

    def score(self, subject: Subject) -> float:
        if self.value is None:
            raise UndefinedScore("there is nothing to see")
        return self.value


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often networks are built and run."""
    counts = {"build": 0, "run": 0}
    original = subject.build

    def build(*arguments, **named):  # type: ignore[no-untyped-def]
        counts["build"] += 1
        network = original(*arguments, **named)
        network.register_forward_pre_hook(lambda *_: counts.__setitem__("run", counts["run"] + 1))
        return network

    monkeypatch.setattr(subject, "build", build)
    return counts


def test_scores_share_the_network_and_the_pass(setting: Setting, calls: dict[str, int]) -> None:
    architectures = sample(setting, 3)
    names = ["naswot:batch=8", "synflow", "params", "macs"]
    score(architectures, names, setting)  # which operators a space's networks run is looked up once
    calls.update(build=0, run=0)
    columns = score(architectures, names, setting)
    assert list(columns) == names
    assert calls == {"build": 3, "run": 3 + 3 + 3}  # a batch for naswot, ones for synflow, a trace for macs
    for name in names:
        alone = create("estimator", name).estimate(architectures, setting)
        assert [e.value for e in alone] == [e.value for e in columns[name]]


def test_one_pass_serves_several_watchers(setting: Setting, calls: dict[str, int]) -> None:
    naswot = create("estimator", "naswot:batch=8")
    rows = together([naswot, CountUnits(8), CountUnits(8), CountUnits(4)], sample(setting, 2), setting)
    assert calls == {"build": 2, "run": 4}  # one pass a batch size
    assert [e.value for e in rows[1]] == [e.value for e in rows[2]] == [e.value for e in rows[3]]


def test_watchers_see_every_rectifier_and_nothing_else() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = Linear(64, Width(5))
            self.prelu = nn.PReLU()

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x.flatten(1))
            x = F.relu6(x) + F.hardtanh(x) + torch.sigmoid(x) + F.relu_(x.clone()) + self.prelu(x)
            x = F.leaky_relu(x) + F.gelu(x) + F.silu(x) + F.hardswish(x) + F.mish(x) + F.elu(x) + x.clamp(0.1, 2)
            return x[:, :3]

    space = ModelSpace(Mixed())
    setting = Setting(space, tiny_task())
    assert together([CountUnits(4)], [space.architecture({"first.outputs": 5})], setting)[0][0].value == 5 * 9


def test_dropout_is_off_and_batch_norm_uses_the_batch(setting: Setting) -> None:
    network = Subject(sample(setting, 1)[0], setting, {}, {}).network
    modes = {type(module): module.training for module in network.modules()}
    assert modes[nn.BatchNorm2d]
    assert not modes[nn.ReLU]
    before = {name: tensor.clone() for name, tensor in network.named_buffers() if "running" in name}
    x = 3 + torch.randn(8, *setting.task.input_shape)
    assert not torch.equal(network(x)[:1], network(x[:4])[:1])
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.named_buffers() if "running" in name)


@pytest.mark.parametrize("value", [None, math.inf, -math.inf, math.nan])
def test_what_is_undefined_has_a_reason(setting: Setting, value: float | None) -> None:
    estimate = Fails(value).estimate(sample(setting, 1), setting)[0]
    assert math.isnan(estimate.value)
    assert estimate.reason == ("there is nothing to see" if value is None else f"fails is {value}")


def test_seconds_are_what_the_score_would_take_alone(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that only building moves."""
    original, now = subject.build, [0.0]

    def slow(*arguments, **named):  # type: ignore[no-untyped-def]
        now[0] += 1
        return original(*arguments, **named)

    monkeypatch.setattr(subject, "build", slow)
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    columns = score(
        sample(setting, 2), ["params", "naswot:batch=8", "synflow", "snip:batch=8", "plain:batch=8"], setting
    )
    assert [estimate.seconds for estimate in columns["params"]] == [0, 0]
    for name in ("naswot:batch=8", "synflow", "snip:batch=8", "plain:batch=8"):
        assert [estimate.seconds for estimate in columns[name]] == [1, 1]


def test_the_batch_is_a_fixed_draw_of_training_examples(setting: Setting) -> None:
    x, y = draw(setting, 12)
    assert torch.equal(x, draw(setting, 12)[0])
    everything, targets = setting.task.tensors(setting.task.train)
    places = [int((everything == image).flatten(1).all(1).nonzero()[0, 0]) for image in x]
    assert len(set(places)) == 12
    assert torch.equal(y, targets[places])
    other = Setting(setting.space, setting.task, seed=2)
    assert not torch.equal(x, draw(other, 12)[0])
    assert len(draw(setting, 1000)[0]) == len(setting.task.train)


def test_the_seed_decides_the_weights(setting: Setting) -> None:
    architectures = sample(setting, 2)
    first, again, other = (
        [
            e.value
            for e in create("estimator", "synflow").estimate(architectures, Setting(setting.space, setting.task, s))
        ]
        for s in (1, 1, 2)
    )
    assert first == again
    assert first[0] != other[0]


def test_equal_networks_have_equal_scores(setting: Setting) -> None:
    space = setting.space
    alive = space.parse("|nor_conv_3x3~0|+|none~0|none~1|+|none~0|nor_conv_1x1~1|none~2|")
    with_dead_parts = space.parse("|nor_conv_3x3~0|+|avg_pool_3x3~0|none~1|+|none~0|nor_conv_1x1~1|none~2|")
    assert space.canonical(alive) == space.canonical(with_dead_parts)
    for column in score([alive, with_dead_parts], ["naswot:batch=16", "synflow", "params", "macs"], setting).values():
        assert column[0].value == column[1].value


def test_a_batch_size_for_all(setting: Setting) -> None:
    architectures = sample(setting, 2)
    given = score(architectures, ["naswot", "naswot:batch=8", "synflow"], setting, batch=16)
    named = score(architectures, ["naswot:batch=16", "naswot:batch=8"], setting)
    assert [e.value for e in given["naswot"]] == [e.value for e in named["naswot:batch=16"]]
    assert [e.value for e in given["naswot:batch=8"]] == [e.value for e in named["naswot:batch=8"]]


def test_other_estimators_may_stand_among_scores(setting: Setting) -> None:
    @register("estimator", "length of the text, for a test")
    class Length(Estimator):
        def estimate(
            self, architectures: Sequence[Architecture], setting: Setting, *, fidelity: int | None = None
        ) -> list[Estimate]:
            return [Estimate(float(len(architecture.text))) for architecture in architectures]

    architectures = sample(setting, 2)
    name = "length of the text, for a test"
    columns = score(architectures, ["params", name], setting)
    assert [e.value for e in columns[name]] == [len(a.text) for a in architectures]


def test_unknown_names(setting: Setting) -> None:
    with pytest.raises(UsageError, match="did you mean 'synflow'"):
        score([], ["sinflow"], setting)


def test_scoring_does_not_load_the_compiler() -> None:
    """It takes a second in every worker."""
    code = """
import sys
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.testing.tasks import tiny_task
space = create("space", "nasbench201")
setting = Setting(space, tiny_task())
for name in ("naswot:batch=8", "synflow", "params"):
    create("estimator", name).estimate([space.sample(stream(0))], setting)
print("torch._dynamo" in sys.modules)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "False"


def test_counting_rectifiers_leaves_the_mode_of_a_network(setting: Setting) -> None:
    """Those of a network that is built are counted in it, before others have their passes."""
    some, names = sample(setting, 1), ["naswot:batch=8", "nonlinear_units", "snip:batch=4"]
    columns = score(some, names, setting)
    for name in names:
        alone = create("estimator", name).estimate(some, setting)[0]
        assert columns[name][0].value == pytest.approx(alone.value), name


def test_a_network_that_is_initialised_often_is_looked_at_once(
    setting: Setting, calls: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = []
    original = subject.check_weights_are_parameters
    monkeypatch.setattr(subject, "check_weights_are_parameters", lambda network: looked.append(original(network)))
    assert together([create("estimator", "swap:repeats=5")], sample(setting, 1), setting)
    assert (len(looked), calls["build"], calls["run"]) == (1, 1, 5)

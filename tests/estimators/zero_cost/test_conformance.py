"""Every training-free score keeps the contract of an estimator, and says so in its docstring."""

import inspect
import math
import re

import pytest
from torch import Tensor, nn

from archscout.core.errors import UsageError
from archscout.core.estimator import Estimator, Setting
from archscout.core.registry import create, entries, factory
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.estimators.zero_cost.harness import Score, score
from archscout.networks.choices import Linear, OneOf, Width
from archscout.spaces.model import ModelSpace
from archscout.testing import EstimatorConformance
from archscout.testing.tasks import tiny_task

SMALL = {
    "az_nas": "batch=8,reference=3",
    "bn_gamma": "batch=8,steps=3",
    "knas_code": "batch=4",
    "log_rank": "reference=3",
    "rank_blend": "reference=3",
    "meco": "size=16",
    "swap": "batch=8,repeats=2",
    "te_nas_ntk": "batch=8,repeats=2",
    "eigen_nas": "batch=8,repeats=2",
    "te_nas_regions": "repeats=1",
    "teg_mse": "batch=8,repeats=1",
    "vote": "reference=3",
    "zen": "batch=8,repeats=2",
}
ALONE = {"naswot", "params", "macs", "synflow"}
"""They have files of their own."""

NAMES = [entry.name for entry in entries("estimator") if ".zero_cost." in entry.module]


def small(name: str) -> str:
    parameters = SMALL.get(name)
    if parameters is None and "batch" in inspect.signature(factory("estimator", name)).parameters:
        parameters = "batch=16"
    return f"{name}:{parameters}" if parameters else name


class _Small(EstimatorConformance):
    count = 3
    examples = 2
    tolerance = 1e-4
    name = ""

    def estimator(self) -> Estimator:
        return create("estimator", small(self.name))

    def space(self) -> Space:
        return create("space", "nasbench201:width=3,cells=1")

    def architectures(self, setting: Setting):  # type: ignore[no-untyped-def]
        return [setting.space.sample(stream(number, "conformance of scores", 1)) for number in (2, 5, 9)]


HEAVY = {"teg", "knas_code", "az_nas", "log_rank", "rank_blend", "vote"}
"""Made of others, or of fifty passes."""

for _name in NAMES:
    if _name not in ALONE | HEAVY:
        _class = f"Test{_name.title().replace('_', '')}"
        globals()[_class] = type(_class, (_Small,), {"name": _name, "__module__": __name__})


def test_all_are_there() -> None:
    """The names that the field knows."""
    asked = """params macs l2_norm grad_norm snip plain fisher grasp synflow jacob_cov epe_nas naswot das zen epsilon
    gradsign knas knas_code te_nas_ntk te_nas_regions teg eigen_nas nasgraph nn_mass nonlinear_units swap zico meco
    az_nas near vkdnw dextr freedarts bn_gamma l_swag vote log_rank rank_blend epsilon_log"""
    assert set(asked.split()) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_its_docstring_says_what_it_is(name: str) -> None:
    made = factory("estimator", name)
    text = inspect.getdoc(made) or ""
    assert re.match(r".{20,118}\.(\n|$)", text), text[:130]
    if name not in {"params", "macs"}:
        assert "Source: " in text or "The score is ours" in text
        assert "score = " in text
    for parameter in inspect.signature(made).parameters:
        assert f"{parameter}: " in text


@pytest.mark.parametrize("name", sorted(HEAVY - {"teg"}))  # teg's members are tested alone, its rule among the ranks
def test_scores_made_of_others(name: str) -> None:
    setting = Setting(create("space", "nasbench201:width=3,cells=1"), tiny_task().sealed(), seed=1)
    architectures = [setting.space.sample(stream(number, "heavy")) for number in range(2)]
    estimator = create("estimator", small(name))
    first = estimator.estimate(architectures, setting)
    assert all(math.isfinite(estimate.value) for estimate in first), [estimate.reason for estimate in first]
    again = create("estimator", small(name)).estimate(architectures[::-1], setting)[::-1]
    assert [e.value for e in first] == pytest.approx([e.value for e in again], rel=1e-5)


# -- what cannot be scored --------------------------------------------------------------------------------------------


NOTHING = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
BLIND = {
    "params",
    "macs",
    "l2_norm",
    "nonlinear_units",
    "nn_mass",
    "nasgraph",
    "grad_norm",
    "knas",
    "fisher",
    "plain",
    "snip",
    "grasp",
    "knas_code",
    "zico",
    "vkdnw",
    "near",
    "l_swag",
    "meco",
    "das",
    "swap",
    "te_nas_regions",
    "bn_gamma",
    "naswot",
}
"""They see what is there of a network whose outputs do not depend on its inputs: its size, its head, one pattern."""


@pytest.mark.parametrize("name", sorted(set(NAMES) - HEAVY))
def test_cells_without_a_path(name: str) -> None:
    """No number for what is not there: undefined with a reason, or a number that is right for such a network."""
    space = create("space", "nasbench201:width=3,cells=1")
    setting = Setting(space, tiny_task().sealed())
    estimate = create("estimator", small(name)).estimate([space.parse(NOTHING)], setting)[0]
    if name in BLIND:
        assert math.isfinite(estimate.value) or estimate.reason
    else:
        assert math.isnan(estimate.value), name
        assert estimate.reason


class Straight(nn.Module):
    """Layers without a rectifier."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), Linear(64, Width(4, 6)), nn.Linear(6, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)  # type: ignore[no-any-return]


class Own(nn.Module):
    """A user's module: vectors, an activation to choose, function calls."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 48)
        self.norm = nn.BatchNorm1d(48)
        self.activation = OneOf({"relu": nn.ReLU(), "tanh": nn.Tanh(), "none": nn.Identity()})
        self.last = nn.Linear(48, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.activation(self.norm(self.first(x.flatten(1)))))  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ["naswot", "das", "swap", "te_nas_regions", "nonlinear_units"])
def test_no_rectifier(name: str) -> None:
    space = ModelSpace(Own())
    setting = Setting(space, tiny_task().sealed())
    architectures = [space.architecture({"activation": option}) for option in ("relu", "tanh")]
    relu, tanh = create("estimator", small(name)).estimate(architectures, setting)
    assert math.isnan(tanh.value)
    assert "rectifier" in tanh.reason or name == "te_nas_regions"
    assert math.isfinite(relu.value) or name == "te_nas_regions"


def test_every_score_of_a_module_of_the_users_own() -> None:
    space = ModelSpace(Own())
    setting = Setting(space, tiny_task().sealed(), seed=3)
    architectures = [space.architecture({"activation": option}) for option in ("relu", "none")]
    names = [small(name) for name in NAMES if name not in HEAVY]
    columns = score(architectures, names, setting)
    defined = [name for name in names if math.isfinite(columns[name][0].value)]
    for name in set(names) - set(defined):
        assert columns[name][0].reason, name
    # Those of feature maps, of single examples through batch normalisation and of a supernet have nothing to say of it.
    maps = {
        "dextr",
        "te_nas_ntk",
        "eigen_nas",
        "meco",
        "nn_mass",
        "zen",
        "az_expressivity",
        "az_progressivity",
        "az_trainability",
        "te_nas_regions",
        "bn_gamma",
        "gradsign",
        "freedarts",
    }
    assert {name.partition(":")[0] for name in set(names) - set(defined)} <= maps


@pytest.mark.parametrize(
    "name", [name for name in NAMES if "batch" in inspect.signature(factory("estimator", name)).parameters]
)
def test_a_batch_of_one_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="batch"):
        create("estimator", f"{name}:batch=1")


@pytest.mark.parametrize(
    "text",
    [
        "swap:repeats=0",
        "swap:sigma=0",
        "zen:repeats=0",
        "das:steps=-1",
        "meco:size=0",
        "epsilon:low=2,high=1",
        "te_nas_ntk:repeats=0",
        "bn_gamma:steps=0",
        "log_rank:members=+",
        "epsilon_log:order=-1",
    ],
)
def test_wrong_parameters(text: str) -> None:
    with pytest.raises(UsageError):
        create("estimator", text)


@pytest.mark.parametrize("name", ["zico", "knas_code", "teg_mse", "das:steps=2"])
def test_too_few_examples_for_batches_of_their_own(name: str) -> None:
    space = create("space", "nasbench201:width=3,cells=1")
    setting = Setting(space, tiny_task(examples=30).sealed())
    estimate = create("estimator", f"{name}{',' if ':' in name else ':'}batch=16").estimate(
        [space.sample(stream(3))], setting
    )[0]
    assert math.isnan(estimate.value)
    assert "30 examples" in estimate.reason


def test_an_input_of_another_size() -> None:
    space = ModelSpace(Own())
    estimate = create("estimator", "meco:size=20").estimate([space.sample(stream(0))], Setting(space, tiny_task()))[0]
    assert math.isnan(estimate.value)
    assert "does not take inputs of shape" in estimate.reason


def test_scores_are_scores() -> None:
    assert all(isinstance(create("estimator", name), Score) for name in NAMES if name not in HEAVY - {"knas_code"})

"""Names: found without importing what they name, with parameters, and from other packages."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from archscout.core import registry
from archscout.core.errors import UsageError
from archscout.core.registry import FOLDERS, ROOMS, create, entries, factory, names, parse_name, register
from archscout.core.space import Space

SOURCE = Path(registry.__file__).parents[1]


@pytest.fixture
def clean(monkeypatch):
    """A registry in which a test may register without a trace."""
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))


def test_the_spaces_are_listed_by_name_with_a_summary():
    found = {entry.name: entry for entry in entries("space")}
    assert {"mobile", "nasbench201"} <= set(found)
    assert found["mobile"].module == "archscout.spaces.mobile"
    assert found["mobile"].summary.startswith("Stages of inverted-residual blocks")
    assert names("space") == names("spaces") == sorted(found)


def test_a_list_loads_no_torch_and_no_room():
    code = (
        "import sys; from archscout.core.registry import FOLDERS, ROOMS, entries;"
        "found = [e for kind in ROOMS for e in entries(kind)]; assert len(found) > 3;"
        "print([m for m in sys.modules if m.split('.')[0] == 'torch' or m.startswith('archscout.spaces')])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_every_decorator_in_the_source_is_found_and_names_what_it_stands_on():
    """The list is read out of the files by a pattern: what the pattern missed would exist and yet have no name."""
    for kind, room in ROOMS.items():
        written = sum(
            line.startswith(f'@register("{kind}", ')
            for file in (SOURCE / FOLDERS[kind]).rglob("*.py")
            for line in file.read_text(encoding="utf-8").splitlines()
        )
        built_in = [entry for entry in entries(kind) if entry.source == "archscout"]
        assert len(built_in) == written, f"a decorator in {room} is not found: keep to the form of the others"
        for entry in built_in:
            assert entry.summary, f"{kind} '{entry.name}' has no summary line"
            assert factory(kind, entry.name).__module__ == entry.module


@pytest.mark.parametrize("name", ["nasbench201", "mobile"])
def test_an_object_is_made_by_its_name(name):
    space = create("space", name)
    assert isinstance(space, Space)
    assert space.name == name


def test_parameters_become_arguments_and_part_of_the_name():
    space = create("space", " nasbench201:width=12,cells=2 ")
    assert (space.width, space.cells) == (12, 2)
    assert space.name == "nasbench201:cells=2,width=12"
    assert create("space", space.name).name == space.name


def test_defaults_go_only_where_they_are_accepted():
    assert create("space", "nasbench201", width=4, objectives=("params",)).width == 4
    assert create("space", "nasbench201:width=6", width=4).width == 6


def test_a_function_may_be_registered(clean):
    @register("space", "small mobile")
    def small(stages: int = 2):
        """Two stages."""
        return create("space", f"mobile:stages={stages}")

    assert create("space", "small mobile:stages=1").size() == 338_832
    assert "small mobile" in names("space")
    (entry,) = (entry for entry in entries("space") if entry.name == "small mobile")
    assert entry.summary == "Two stages."


def test_a_name_belongs_to_one_thing(clean):
    @register("strategy", "twice")
    class First:
        """One."""

    register("strategy", "twice")(First)
    with pytest.raises(
        UsageError, match=r"strategy 'twice' is registered twice, in .*test_registry and .*test_registry"
    ):

        @register("strategy", "twice")
        class Second:
            """Two."""


def test_an_entry_point_of_another_package_is_found(clean, monkeypatch):
    point = importlib.metadata.EntryPoint("elsewhere", "archscout.spaces.nasbench201:NASBench201", "archscout.spaces")
    monkeypatch.setattr(registry.importlib.metadata, "entry_points", lambda group: [point] * (group == point.group))
    registry._installed.cache_clear()
    try:
        assert "elsewhere" in names("space")
        assert "elsewhere" not in names("task")
        assert create("space", "elsewhere:width=4").size() == 15_625
    finally:
        registry._installed.cache_clear()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nasbench21", r"there is no space 'nasbench21': did you mean 'nasbench201'\?"),
        ("zzzz", r"there is no space 'zzzz': known: .*mobile.*nasbench201"),
        ("nasbench201:widht=3", r"space 'nasbench201' has no parameter 'widht': did you mean 'width'\?"),
        ("nasbench201:width", "'width' in 'nasbench201:width' is not of the form parameter=value"),
        ("nasbench201:=3", "'=3' in .* is not of the form"),
        ("nasbench201:width=0", "width of space 'nasbench201' must be a whole number above zero, not 0"),
        ("nasbench201:width=true", "must be a whole number above zero, not True"),
        ("nasbench201:width=wide", "must be a whole number above zero, not wide"),
        ("nasbench201:width=8,width=16", "gives the parameter width twice: give it once"),
        ("nasbench201:", "is not of the form parameter=value"),
    ],
)
def test_a_wrong_name_is_one_clear_sentence(text, message):
    with pytest.raises(UsageError, match=message) as caught:
        create("space", text)
    assert len(str(caught.value).splitlines()) == 1


def test_text_for_a_number_is_one_clear_sentence():
    with pytest.raises(UsageError, match=r"the population of strategy 'evolution' must be a number, not 'abc'"):
        create("strategy", "evolution:population=abc")


def test_a_missing_parameter_is_one_clear_sentence(clean):
    @register("cost", "needs")
    class Needs:
        """A thing with a parameter that has no default."""

        def __init__(self, device):
            self.device = device

    with pytest.raises(UsageError, match=r"cost 'needs' cannot be made: .*'device'"):
        create("cost", "needs")


@pytest.mark.parametrize("use", [lambda: names("colour"), lambda: register("colour", "red")])
def test_an_unknown_kind_is_refused(use):
    with pytest.raises(UsageError, match="there is no kind 'colour'"):
        use()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-2", -2),
        ("0.5", 0.5),
        ("1e-3", 1e-3),
        ("true", True),
        ("false", False),
        ("adamw", "adamw"),
        ("1_000", "1_000"),
        ("\u0663", "\u0663"),
        ("nan", "nan"),
        ("9" * 65, "9" * 65),
        ("", ""),
    ],
)
def test_values_have_the_type_that_they_look_like(text, value):
    name, parameters = parse_name(f"thing:key={text}")
    assert (name, parameters) == ("thing", {"key": value})
    assert type(parameters["key"]) is type(value)


def test_a_name_may_say_on_which_device(clean):
    @register("cost", "thrift@DEVICE")
    class Thrift:
        """What a device spends."""

        def __init__(self, device: str, bits: int = 8) -> None:
            self.name, self.device, self.bits = "", device, bits

    made = create("cost", "thrift@pixel3:bits=4")
    assert (made.name, made.device, made.bits) == ("thrift@pixel3:bits=4", "pixel3", 4)
    with pytest.raises(UsageError, match="cost 'params' is of no device"):
        create("cost", "params@pixel3")
    with pytest.raises(UsageError, match="no cost 'thrift@'"):
        create("cost", "thrift@")


def test_one_and_zero_are_true_and_false_where_a_truth_value_is_asked_for() -> None:
    """And make the same object under the same name, so that no run is paid for twice."""
    for text, value in (("1", True), ("0", False)):
        assert create("method", f"bn_nas:fair={text}").fair is value
        assert (
            create("method", f"bn_nas:fair={text}").name == create("method", f"bn_nas:fair={str(value).lower()}").name
        )
    with pytest.raises(UsageError, match="the fair of method 'bn_nas' must be true or false, not '2'"):
        create("method", "bn_nas:fair=2")
    assert create("space", "nasbench201:width=1").name == "nasbench201:width=1", "a number stays one"


def test_a_cost_of_no_device_says_how_the_device_is_named() -> None:
    with pytest.raises(
        UsageError, match=r"cost 'flash' is of no device: write 'flash', and name .* --device cortex-m4"
    ):
        create("cost", "flash@cortex-m4")

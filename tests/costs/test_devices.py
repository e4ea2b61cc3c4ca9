"""Profiles: those that are shipped, a user's own, and files that are none."""

import json
from pathlib import Path

import pytest

import archscout
from archscout.core.errors import DataError, UsageError
from archscout.core.registry import create
from archscout.costs import devices

PUBLISHED = [
    "1080ti_1",
    "1080ti_256",
    "1080ti_32",
    "2080ti_1",
    "2080ti_256",
    "2080ti_32",
    "essential_ph_1",
    "eyeriss",
    "fpga",
    "gold_6226",
    "gold_6240",
    "pixel2",
    "pixel3",
    "raspi4",
    "samsung_a50",
    "samsung_s7",
    "silver_4114",
    "silver_4210r",
    "titan_rtx_1",
    "titan_rtx_256",
    "titan_rtx_32",
    "titanx_1",
    "titanx_256",
    "titanx_32",
    "titanxp_1",
    "titanxp_256",
    "titanxp_32",
]


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(devices.FOLDER_VARIABLE, str(tmp_path / "own"))
    return tmp_path / "own"


def test_every_shipped_profile_can_be_read() -> None:
    found = [devices.find(name) for name in devices.names()]
    assert {device.name for device in found} >= {*PUBLISHED, "cortex-m0plus", "cortex-m4", "cortex-m7"}
    assert all(device.title and device.kind and device.source and not device.own for device in found)


def test_larger_cores_have_more_memory() -> None:
    sizes = [devices.find(name).memory for name in ("cortex-m0plus", "cortex-m4", "cortex-m7")]
    known = [(memory.sram_bytes, memory.flash_bytes) for memory in sizes if memory]
    assert known == sorted(known)
    assert len(known) == 3


def test_an_unknown_device_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no device 'pixel33': did you mean 'pixel3'\?.*archscout device add pixel33"):
        devices.find("pixel33")


def test_ones_own_is_kept_and_wins(own: Path) -> None:
    entry = {"space": "mobile", "input_shape": [1, 8, 8], "measurements": []}
    file = devices.save("pixel3", "My phone", [entry], {"threads": 1}, "measured")
    assert file.parent == own
    found = devices.find("pixel3")
    assert (found.title, found.own, found.conditions) == ("My phone", True, {"threads": 1})
    assert found.latency == (entry,)
    assert found.knows() == "latency of mobile (1 x 8 x 8)"
    devices.save("pixel3", "Another phone", [], {}, "")
    assert devices.find("pixel3").title == "Another phone"
    assert [f.name for f in own.iterdir()] == ["pixel3.json"]


@pytest.mark.parametrize("name", ["", "My Phone", "../up", "local", "cuda", "a" * 41, "latency@x"])
def test_what_cannot_be_a_name(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a device"):
        devices.save(name, "", [], {}, "")


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"format": 1}',
        json.dumps({"format": 1, "name": "other", "title": "t", "kind": "own"}),
        json.dumps({"format": 1, "name": "mine", "title": "t", "kind": "own", "memory": {"ram": 1}}),
        json.dumps({"format": 1, "name": "mine", "title": "t", "kind": "own", "latency": [1]}),
        b"\xff\xfe",
        "[" * 100_000,
        '{"format": ' + "1" * 5_000 + "}",
    ],
)
def test_a_damaged_profile(own: Path, content: str | bytes) -> None:
    own.mkdir()
    (own / "mine.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=r"mine\.json' is damaged"):
        devices.find("mine")


def test_a_profile_of_a_newer_version(own: Path) -> None:
    own.mkdir()
    (own / "mine.json").write_text('{"format": 2}')
    with pytest.raises(DataError, match="newer version"):
        devices.find("mine")


def test_a_folder_that_cannot_be_written(own: Path) -> None:
    own.write_text("a file where the folder should be")
    with pytest.raises(UsageError, match=devices.FOLDER_VARIABLE):
        devices.save("mine", "", [], {}, "")


def test_a_search_for_a_microcontroller_keeps_to_its_memory_and_runs_here() -> None:
    memory = devices.find("cortex-m4").memory
    assert memory is not None
    whole = {"flash": memory.flash_bytes, "sram": memory.sram_bytes}
    assert devices.searched_for("cortex-m4", None) == ("cpu", whole)
    assert devices.searched_for("cortex-m4", {"flash": "90kB", "params": 10}) == (
        "cpu", {"sram": memory.sram_bytes, "flash": "90kB", "params": 10},
    )  # fmt: skip
    own = create("cost", "sram")
    assert devices.searched_for("cortex-m4", {own: "8kB"}) == ("cpu", {"flash": memory.flash_bytes, own: "8kB"})
    for device in ("cpu", "cuda:1", "pixel3", "cortex-m5"):
        assert devices.searched_for(device, {"params": 10}) == (device, {"params": 10}), "what it is is told later"


def test_a_search_is_given_the_limits_of_the_microcontroller(monkeypatch: pytest.MonkeyPatch) -> None:
    class GivenError(Exception):
        pass

    def search(*_: object, device: str, maximum: object, **__: object) -> None:
        raise GivenError(device, maximum)

    monkeypatch.setattr("archscout.search.search.search", search)
    with pytest.raises(GivenError) as given:
        archscout.search("classic", "digits", device="cortex-m0plus", maximum={"sram": "8kB"})
    assert given.value.args == ("cpu", {"flash": 262144, "sram": "8kB"})

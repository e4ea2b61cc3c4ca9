"""constraints.txt, which `make lock` writes: everything that is installed has one version, on every system."""

import importlib.metadata
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PINS = [Requirement(line) for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()]
PLATFORMS = [("linux", "Linux", "x86_64"), ("darwin", "Darwin", "arm64"), ("win32", "Windows", "AMD64")]
SYSTEMS = [
    {
        "sys_platform": name,
        "platform_system": system,
        "platform_machine": machine,
        "python_full_version": f"{python}.0",
        "python_version": python,
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    for name, system, machine in PLATFORMS
    for python in ("3.11", "3.12", "3.13")
]


def asked_for() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    texts = [*project["dependencies"], *(text for extra in extras for text in extra)]
    return [Requirement(text) for text in texts if not text.startswith("archscout")]


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: f"{system['sys_platform']}-{system['python_version']}")
def test_everything_is_pinned_once_on_every_system(system: dict) -> None:
    pins = [pin for pin in PINS if pin.marker is None or pin.marker.evaluate(system)]
    versions = {canonicalize_name(pin.name): [each.version for each in pin.specifier] for pin in pins}
    assert len(versions) == len(pins), "a package is pinned twice"
    assert all(len(version) == 1 and "+" not in version[0] for version in versions.values())
    for wanted in asked_for():
        if wanted.marker is None or wanted.marker.evaluate(system):
            assert wanted.specifier.contains(versions[canonicalize_name(wanted.name)][0]), wanted.name


def test_what_those_need_is_pinned_too() -> None:
    known = {canonicalize_name(pin.name) for pin in PINS}
    waiting, seen = [(canonicalize_name(each.name), each.extras) for each in asked_for()], set()
    while waiting:
        name, extras = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # an extra that is not installed here
        waiting += [
            (canonicalize_name(need.name), need.extras)
            for need in map(Requirement, needs)
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in ("", *extras))
        ]
    assert seen - known == set()
    assert len(seen) > 60

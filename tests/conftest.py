"""Shared fixtures: one torch thread a process, and the benchmark data where it is at hand."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# A loaded machine would fail tests that are right: how long an example takes is measured in benchmarks/.
hypothesis.settings.register_profile("archscout", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("archscout")


# A shell in the background has its children ignore Ctrl-C, and they theirs: tests of it would wait in vain.
signal.signal(signal.SIGINT, signal.default_int_handler)


LONG = ("search", "methods", "cli", "shrink", "workers", "report", "tests")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole searches first: files of a few long tests would otherwise come last, and leave one of two workers alone."""
    items.sort(key=lambda item: item.path.parent.name not in LONG)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def preloaded() -> None:
    """Worker processes are forked with all that a training imports, instead of importing it one by one."""
    from archscout.workers import forked

    forked._server.set_forkserver_preload(["archscout.workers.preload", "torch._dynamo"])


@pytest.fixture(scope="session", autouse=True)
def impatient() -> Iterator[int]:
    """Latency is measured at once and in few rounds: pytest's workers slow each other down, and to wait for full speed,
    or until rounds agree, takes seconds. Gives the number of rounds outside of tests.
    """
    from archscout.costs import latency, machine

    protocol, looks = {name: getattr(latency.FULL, name) for name in ("patience", "rounds")}, machine._LOOKS
    for name, value in (("patience", 0.0), ("rounds", latency.AGREEING)):
        object.__setattr__(latency.FULL, name, value)
    machine._LOOKS = 2
    machine.get_to_know()
    machine._LOOKS = looks
    yield protocol["rounds"]
    for name, value in protocol.items():
        object.__setattr__(latency.FULL, name, value)


@pytest.fixture(scope="session", autouse=True)
def sample_sizes() -> Iterator[dict[str, int]]:
    """Searches look at the costs of fewer samples before they begin. Gives the numbers of them outside of tests."""
    from archscout.costs import feasibility

    few = {"_EXACT_SAMPLE": 40, "_MEASURED_SAMPLE": 12}
    with pytest.MonkeyPatch.context() as patched:
        sizes = {name: getattr(feasibility, name) for name in few}
        for name, number in few.items():
            patched.setattr(feasibility, name, number)
        yield sizes


@pytest.fixture
def whole_samples(sample_sizes: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """As many samples as outside of tests."""
    from archscout.costs import feasibility

    for name, number in sample_sizes.items():
        monkeypatch.setattr(feasibility, name, number)


@pytest.fixture(scope="session", autouse=True)
def exporters() -> Iterator[Callable[..., Any]]:
    """Results of searches are written by the older exporter first, which takes a thirtieth of the time.

    What either writes is compared with PyTorch's answers all the same. Gives the order as it is outside of tests.
    """
    from archscout.training import export

    order = export._exporters
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(export, "_exporters", lambda quick: order(quick=True))
        yield order


@pytest.fixture
def maintained_exporter(exporters: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The maintained exporter is tried first, as outside of tests."""
    from archscout.training import export

    monkeypatch.setattr(export, "_exporters", exporters)


WHOLE = Path(os.environ.get("ARCHSCOUT_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
SAMPLES = Path(__file__).parent / "data" / "published"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of benchmark tables and images, which users do not have."""
    if not WHOLE.is_dir():
        pytest.skip(f"no benchmark data at {WHOLE}; set ARCHSCOUT_SHARED_DATA to a folder that has it")
    return WHOLE


@pytest.fixture(scope="session")
def published_data() -> Path:
    """Published tables: whole where they are at hand, else the samples that are here (tests/data/published)."""
    return WHOLE if WHOLE.is_dir() else SAMPLES


@pytest.fixture(scope="session")
def whole(published_data: Path) -> bool:
    """Whether `published_data` has every row."""
    return published_data != SAMPLES

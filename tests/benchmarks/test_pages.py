"""Pages of results say what their rows say: whoever edits one by hand, or forgets to renew it, is told."""

from collections.abc import Callable

import pytest

from benchmarks.common import RESULTS, read_result
from benchmarks.front_door import final_training, value_page
from benchmarks.predictors import prior_page
from benchmarks.shrink import page as shrink_page
from benchmarks.strategies import on_tables, proposing, tables_page, warm
from benchmarks.tasks import kinds_page

PAGES: dict[str, Callable[[], str]] = {
    "tasks.md": lambda: kinds_page.page(read_result(RESULTS / "tasks.json")["rows"]),
    "value.md": lambda: value_page.write(value_page.results(RESULTS / "value.json").rows),
    "final_training.md": lambda: final_training.page(read_result(RESULTS / "final_training.json")["rows"]),
    "strategies.md": lambda: tables_page.page(read_result(RESULTS / "strategies.json")["grounds"]),
    "strategies_warm.md": lambda: warm.page(read_result(RESULTS / "strategies_warm.json")["rows"]),
    "strategies_proposing.md": lambda: proposing.page(read_result(RESULTS / "strategies_proposing.json")["rows"]),
    "prior.md": lambda: prior_page.page(prior_page.TABLE),
    "shrink.md": lambda: shrink_page.write(RESULTS / "shrink.json"),
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_made_of_its_rows(name: str) -> None:
    if not (RESULTS / name).is_file():
        pytest.skip(f"there is no {name} yet")
    assert (RESULTS / name).read_text(encoding="utf-8") == PAGES[name](), "run the script of the page again"


def test_the_default_search_has_the_least_area_and_is_nowhere_worse_than_random() -> None:
    grounds = [g for g in read_result(RESULTS / "strategies.json")["grounds"] if g["trials"] == on_tables.LENGTHS[0]]
    tables = [{entry["estimator"]: entry for entry in ground["entries"]} for ground in grounds]
    assert len(tables) > on_tables.TRIED
    assert all(table[on_tables.DEFAULT]["repeats"] >= 20 for table in tables)
    assert not any(tables_page.is_worse(table[on_tables.DEFAULT]) for table in tables)
    for part in (tables[: on_tables.TRIED], tables[on_tables.TRIED :]):
        for rival in ("random", "evolution"):
            assert sum(t[on_tables.DEFAULT]["of_random"] for t in part) < sum(t[rival]["of_random"] for t in part)

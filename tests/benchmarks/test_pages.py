"""Pages of results say what their rows say: whoever edits one by hand, or forgets to renew it, is told."""

from collections.abc import Callable

import pytest

from benchmarks.common import RESULTS, read_result
from benchmarks.front_door import final_training, value_page
from benchmarks.shrink import page as shrink_page
from benchmarks.tasks import kinds_page

PAGES: dict[str, Callable[[], str]] = {
    "tasks.md": lambda: kinds_page.page(read_result(RESULTS / "tasks.json")["rows"]),
    "value.md": lambda: value_page.write(value_page.results(RESULTS / "value.json").rows),
    "final_training.md": lambda: final_training.page(read_result(RESULTS / "final_training.json")["rows"]),
    "shrink.md": lambda: shrink_page.write(RESULTS / "shrink.json"),
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_made_of_its_rows(name: str) -> None:
    if not (RESULTS / name).is_file():
        pytest.skip(f"there is no {name} yet")
    assert (RESULTS / name).read_text(encoding="utf-8") == PAGES[name](), "run the script of the page again"

"""The page in a real browser with the network blocked. Skips where playwright or a Chromium is not installed."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from archscout.report.page import write

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra `browser`)")

ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip


class Visit:
    """A page that was opened, with everything that went wrong or outside."""

    def __init__(self, browser: Any, file: Path, **options: Any) -> None:
        self.outside: list[str] = []
        self.requests: list[str] = []
        self.faults: list[str] = []
        self.context = browser.new_context(**options)
        self.context.route("**/*", self._route)
        self.page = self.context.new_page()
        self.page.on(
            "console",
            lambda message: self.faults.append(message.text) if message.type in ("error", "warning") else None,
        )
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.goto(file.as_uri())
        self.page.wait_for_selector("html[data-ready=yes]", state="attached")

    def _route(self, route: Any) -> None:
        url = route.request.url
        if url.startswith("file:"):
            self.requests.append(url)
            route.continue_()
        else:
            self.outside.append(url)
            route.abort()


def settled(holds: Callable[[], bool]) -> bool:
    """Whether something becomes true soon. (The page forbids `eval`, with which the browser could wait for it.)"""
    for _ in range(100):
        if holds():
            return True
        time.sleep(0.05)
    return False


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no browser: there is no command chromium")
    with playwright.sync_playwright() as running:
        found = running.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, samples: ModuleType) -> dict[str, Path]:
    made = {}
    for name, (report, trials) in {"sample": samples.sample(), "hostile": samples.hostile()}.items():
        folder = tmp_path_factory.mktemp("runs") / name
        folder.mkdir()
        (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
        made[name] = write(folder, trials=trials)
    return made


@pytest.fixture(scope="module", params=["sample", "hostile"])
def visit(request: pytest.FixtureRequest, browser: Any, files: dict[str, Path]) -> Iterator[Visit]:
    """One page for all tests, for opening it is what takes time; each leaves it as it found it."""
    visit = Visit(browser, files[request.param], color_scheme="light", viewport={"width": 1280, "height": 900})
    yield visit
    visit.context.close()


def test_every_section_renders_without_an_error_or_a_request(visit: Visit) -> None:
    sections = visit.page.locator("section")
    assert sections.count() == 9
    for number in range(9):
        assert sections.nth(number).locator("h2").is_visible()
        assert sections.nth(number).bounding_box()["height"] > 100
    figures = visit.page.locator(".figure")
    assert figures.count() == 7
    for number in range(7):
        assert figures.nth(number).locator(".main-svg").first.bounding_box()["height"] > 150
        assert len(figures.nth(number).get_attribute("aria-label")) > 20
    assert visit.page.locator(".net svg").count() > 5
    assert visit.page.evaluate("window.harmed") is None
    assert visit.page.locator("[href^='http'], [src^='http']").count() == 0
    pictures = visit.page.eval_on_selector_all("image", "found => found.map(one => one.href.baseVal.slice(0, 5))")
    assert set(pictures) == {"data:"}
    assert visit.faults == [] and visit.outside == [] and len(visit.requests) == 1


@pytest.mark.parametrize("width", [390, 820, 1920])
def test_nothing_scrolls_sideways(visit: Visit, width: int) -> None:
    visit.page.set_viewport_size({"width": width, "height": 800})
    widest = "Math.max(...[...document.querySelectorAll('.main-svg')].map(one => one.getBoundingClientRect().width))"
    assert settled(lambda: visit.page.evaluate(widest) < width)
    assert visit.page.evaluate("document.documentElement.scrollWidth") == width
    visit.page.set_viewport_size({"width": 1280, "height": 900})


def test_a_phone_gets_a_page_that_fits(browser: Any, files: dict[str, Path]) -> None:
    phone = Visit(browser, files["sample"], viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    assert phone.page.evaluate("document.documentElement.scrollWidth") == 390
    assert phone.page.evaluate("innerWidth") == 390  # it was not zoomed out to make things fit
    assert phone.page.evaluate("document.getElementById('figure-search').layout.dragmode") is False
    assert phone.faults == [] and phone.outside == []
    phone.context.close()


def test_colours_follow_the_system_and_paper_is_light(visit: Visit) -> None:
    fill = "getComputedStyle(document.querySelector('#figure-search .main-svg .xtick text')).fill"
    light = visit.page.evaluate(fill)
    visit.page.emulate_media(color_scheme="dark")
    assert settled(lambda: visit.page.evaluate(fill) != light)
    dark = visit.page.evaluate(fill)
    visit.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert visit.page.evaluate(fill) == light
    visit.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert visit.page.evaluate(fill) == dark
    visit.page.emulate_media(color_scheme="light")
    assert settled(lambda: visit.page.evaluate(fill) == light)
    assert visit.faults == []


def test_the_cost_is_chosen_with_the_keyboard(visit: Visit) -> None:
    title, figure = visit.page.locator("#figure-tradeoff .g-xtitle"), visit.page.locator("#figure-tradeoff")
    before, says = title.text_content(), figure.get_attribute("aria-label")
    visit.page.locator("input[name=choose-tradeoff]:checked").focus()
    visit.page.keyboard.press("ArrowRight")
    assert "latency" in before and "parameters" in title.text_content()
    assert figure.get_attribute("aria-label") != says
    visit.page.keyboard.press("ArrowLeft")
    assert title.text_content() == before
    assert visit.faults == []


def test_headings_are_in_order_and_images_have_words(visit: Visit) -> None:
    levels = visit.page.eval_on_selector_all("h1, h2, h3", "found => found.map(one => Number(one.tagName[1]))")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert visit.page.locator("img:not([alt])").count() == 0
    assert visit.page.locator("html").get_attribute("lang") == "en"
    sizes = visit.page.eval_on_selector_all(".mistakes img", "found => found.map(one => one.naturalWidth)")
    assert sizes == [8] * len(sizes)

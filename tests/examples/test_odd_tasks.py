"""Pages of tasks that are not those of the examples: what a task says is shown as it stands, and breaks nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from tests.examples.conftest import Example
from tests.examples.page import Page
from tests.support.results import ResultWriter, new_id
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = [pytest.mark.browser, pytest.mark.parametrize("example", ["flask"], indirect=True)]

MARKUP = "<img src=x onerror=\"document.title='taken'\"></script><b>bold</b>\u2028"


@pytest.fixture
def page(example: Example, browser: Chrome) -> Page:
    return Page(browser, example.url)


@pytest.fixture
def writer(example: Example) -> Iterator[ResultWriter]:
    """Plays the workers."""
    with closing(ResultWriter(example.redis)) as made:
        yield made


@pytest.fixture
def phone(browser: Chrome) -> Iterator[None]:
    """The window is as narrow as that."""
    screen = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    yield
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_markup_is_text(page: Page, writer: ResultWriter, browser: Chrome) -> None:
    task_id = new_id()
    writer.write(task_id, {"current": 1, "total": 2, "description": MARKUP}, "PROGRESS")
    page.open(f"/watch/{task_id}")
    page.wait_for("Working")
    assert page.texts(".description b") == []
    assert "onerror" in page.texts(".description")[0]
    writer.write(task_id, {MARKUP: MARKUP})
    page.wait_for("Done")
    assert page.texts(".facts b, .facts img") == []
    assert "onerror" in page.texts(".facts dd")[0]
    assert browser.title == "Progress · Sales reports"


@pytest.mark.parametrize("result", [None, "text", [1, 2], 17, "x" * 300_000], ids=lambda value: str(value)[:10])
def test_a_result_without_names(page: Page, writer: ResultWriter, result: Any) -> None:
    task_id = new_id()
    writer.write(task_id, result)
    page.open(f"/watch/{task_id}")
    page.wait_for("Done")
    assert page.texts(".percent") == ["100 %"]
    assert page.texts(".facts dd") == []


@pytest.mark.parametrize(
    "details", [None, "half", {"current": "1", "total": []}, {"percent": {}, "description": 1}], ids=str
)
def test_progress_that_makes_no_sense(page: Page, writer: ResultWriter, details: Any) -> None:
    task_id = new_id()
    writer.write(task_id, details, "PROGRESS")
    page.open(f"/watch/{task_id}")
    page.wait_for("Working")
    assert page.texts(".percent") == ["0 %"]


@pytest.mark.usefixtures("phone")
def test_a_long_error_stays_on_a_phone(page: Page, writer: ResultWriter, browser: Chrome) -> None:
    task_id = new_id()
    writer.write(task_id, {"current": 1, "total": 3}, "PROGRESS")
    page.open(f"/watch/{task_id}")
    page.wait_for("Working")
    writer.fail(task_id, ValueError(f"{'a word ' * 20} {'/a-path' * 40}"))
    page.wait_for("Failed")
    assert browser.execute_script("return document.documentElement.scrollWidth") == 390
    assert page.texts(".percent") == ["33 %"]
    lines = browser.execute_script(
        "const r = document.createRange(); r.selectNodeContents(document.querySelector('.percent'));"
        "return new Set([...r.getClientRects()].map((e) => e.top)).size"
    )
    assert lines == 1


def test_two_tabs_on_one_task(example: Example, page: Page, writer: ResultWriter, browser: Chrome) -> None:
    task_id, first = new_id(), browser.current_window_handle
    page.open(f"/watch/{task_id}")
    browser.switch_to.new_window("tab")
    page.open(f"/watch/{task_id}")
    wait_until(lambda: task_id in writer.channels(), "the subscription")
    writer.write(task_id, {"Revenue": "€ 1"})
    page.wait_for("Done")
    browser.close()
    browser.switch_to.window(first)
    page.wait_for("Done")
    wait_until(lambda: task_id not in writer.channels(), "the end of the subscription")


def test_one_of_a_group_fails(page: Page, writer: ResultWriter) -> None:
    """The others go on, and each says how it ended."""
    ids = {region: new_id() for region in ("North", "East", "South", "West")}
    page.open("/comparison?" + "&".join(f"{region}={task_id}" for region, task_id in ids.items()))
    writer.fail(ids["East"], ValueError("no ink"))
    wait_until(lambda: "Failed" in page.texts(".badge"), "the one that failed")
    for region in ("North", "South", "West"):
        writer.write(ids[region], {"Region": region})
    wait_until(lambda: page.texts(".badge") == ["Done", "Failed", "Done", "Done"], "the others")
    assert page.texts(".facts dd") == ["North", "South", "West"]
    assert "ValueError: no ink" in page.texts(".description")

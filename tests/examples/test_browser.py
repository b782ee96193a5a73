"""What a person sees: the pages in a browser, a real worker behind them."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import django
import pytest

from tests.examples.conftest import Example
from tests.examples.page import Page
from tests.support.results import new_id
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.browser


@pytest.fixture
def page(example: Example, browser: Chrome) -> Page:
    return Page(browser, example.url)


def channels(example: Example) -> set[str]:
    """Ids that somebody watches."""
    with example.redis.client() as client:
        return {
            channel.decode().removeprefix("celery-task-meta-") for channel in client.pubsub_channels("celery-task*")
        }


def test_the_bar_moves_and_the_result_appears(page: Page) -> None:
    page.press("watch", "North", 20)
    page.wait_for("Done")
    shown = [value for (value,) in page.bars()]
    assert shown == sorted(shown)
    assert len(set(shown)) >= 5
    assert shown[-1] == 100
    assert page.texts(".facts dd") == ["North", "20", "€ 34,600"]


def test_a_failed_task_shows_its_error(page: Page) -> None:
    page.press("watch", "Atlantis", 6)
    page.wait_for("Failed")
    assert page.texts(".description") == ["NoFiguresError: Atlantis has sent no figures since it sank"]
    assert page.texts(".facts dd") in ([], ["", "", ""])
    # Where it failed, and not full.
    assert page.bars()[-1][0] < 50


def test_the_bars_of_a_group_fill_side_by_side(page: Page) -> None:
    page.press("compare", "North", 20)
    page.wait_for("Done", timeout=40.0)
    moments = page.bars()
    assert moments[-1] == [100, 100, 100, 100]
    assert max(sum(0 < value < 100 for value in moment) for moment in moments) >= 2
    assert page.texts("h2") == ["North", "East", "South", "West"]
    assert page.texts(".facts dd:last-of-type") == ["€ 34,600", "€ 44,200", "€ 29,800", "€ 52,800"]


def test_a_page_that_is_opened_later_knows_the_result(page: Page, browser: Chrome) -> None:
    page.press("watch", "North", 2)
    page.wait_for("Done")
    browser.refresh()
    page.wait_for("Done")
    assert page.texts(".facts dd") == ["North", "2", "€ 3,460"]


def test_a_lost_server_is_told_and_it_goes_on(example: Example, page: Page) -> None:
    page.press("watch", "North", 40)
    page.wait_for("Working")
    example.redis.kill()
    page.wait_for("Reconnecting …")
    before = page.bars()[-1]
    example.redis.start()
    page.wait_for("Done")
    assert before[0] < 100
    assert page.bars()[-1] == [100]
    assert page.texts(".facts dd") == ["North", "40", "€ 69,200"]
    # The worker is there again, too.
    page.press("watch", "North", 1)
    page.wait_for("Done")


def test_closing_the_tab_ends_the_subscription(
    request: pytest.FixtureRequest, example: Example, page: Page, browser: Chrome
) -> None:
    if "asgi" in request.node.name and django.VERSION < (5, 0):
        pytest.skip("under ASGI, Django 4.2 does not tell a stream that its client has gone")
    first, task_id = browser.current_window_handle, new_id()
    browser.switch_to.new_window("tab")
    page.open(f"/watch/{task_id}")
    page.wait_for("Waiting")
    wait_until(lambda: task_id in channels(example), "the subscription")
    browser.close()
    browser.switch_to.window(first)
    wait_until(lambda: task_id not in channels(example), "its end")


@pytest.mark.parametrize("example", ["flask"], indirect=True)
def test_a_new_web_process_goes_on_where_the_old_one_was(example: Example, page: Page) -> None:
    """gunicorn is told to reload: the old process ends, and the page asks the new one."""
    master, _ = example.launched.gunicorn()
    page.press("watch", "North", 60)
    page.wait_for("Working")
    os.kill(master, signal.SIGHUP)
    page.wait_for("Reconnecting …")
    page.wait_for("Done")
    assert page.texts(".facts dd") == ["North", "60", "€ 103,800"]


@pytest.mark.parametrize("example", ["flask"], indirect=True)
def test_a_web_process_that_is_killed(example: Example, page: Page) -> None:
    """The browser itself notices, and asks the one that gunicorn starts in its place."""
    _, workers = example.launched.gunicorn()
    page.press("watch", "North", 60)
    page.wait_for("Working")
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    page.wait_for("Reconnecting …")
    page.wait_for("Done")
    assert page.bars()[-1] == [100]
    assert page.texts(".facts dd") == ["North", "60", "€ 103,800"]

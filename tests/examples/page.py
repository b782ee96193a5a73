"""A page of the examples, in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

__all__ = ["RECORD", "Page"]

# What the bars show over time: noted in the page, since a test that asks from outside may be slow to ask.
RECORD = """
window.seen = [];
document.addEventListener("DOMContentLoaded", () => {
  const bars = [...document.querySelectorAll("progress")];
  const observer = new MutationObserver(() => window.seen.push(bars.map((bar) => bar.value)));
  bars.forEach((bar) => observer.observe(bar, { attributeFilter: ["value"] }));
});
"""


class Page:
    """What a person sees and does there."""

    def __init__(self, browser: Chrome, url: str) -> None:
        self._browser = browser
        self._url = url

    def press(self, button: str, region: str, pages: int) -> None:
        """Open the form, fill it in, and press a button."""
        self._browser.get(f"{self._url}/")
        self._one("select[name=region]").send_keys(region)
        field = self._one("input[name=pages]")
        field.clear()
        field.send_keys(str(pages))
        self._one(f"button[formaction='/{button}']").click()

    def open(self, path: str) -> None:
        """Go to an address."""
        self._browser.get(self._url + path)

    def wait_for(self, badge: str, timeout: float = 20.0) -> None:
        """Return as soon as the badges of all tasks say that."""
        wait_until(lambda: set(self.texts(".badge")) == {badge}, f"the badges to say {badge!r}", timeout, interval=0.05)

    def texts(self, selector: str) -> list[str]:
        """What is to be read in the elements."""
        return [element.text for element in self._all(selector)]

    def bars(self) -> list[list[float]]:
        """What the bars have shown, one list for each moment at which one of them moved."""
        seen: list[list[float]] = self._browser.execute_script("return window.seen")
        return seen

    def _one(self, selector: str) -> WebElement:
        (found,) = self._all(selector)
        return found

    def _all(self, selector: str) -> list[WebElement]:
        from selenium.webdriver.common.by import By

        return self._browser.find_elements(By.CSS_SELECTOR, selector)

"""Take the pictures of ``docs/images`` anew: ``make screenshots``; or put them into the folder that is named."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bgresults.testing import RedisServer
from tests.examples.page import RECORD, Page
from tests.examples.running import ROOT, Launched
from tests.support.browsers import BROWSER_IS_MISSING, open_browser
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

IMAGES = ROOT / "docs" / "images"
WIDE, PHONE = 960, 390


class Camera:
    """Takes pictures of what a browser shows."""

    def __init__(self, browser: Chrome, folder: Path) -> None:
        self._browser = browser
        self._folder = folder

    def aim(self, width: int, *, dark: bool = False) -> None:
        """Choose the width of the window, in CSS pixels, and the colours."""
        self._do(
            "Emulation.setDeviceMetricsOverride",
            {
                "width": width,
                "height": 10,
                "deviceScaleFactor": 1.5 if width == PHONE else 1.25,
                "mobile": width == PHONE,
            },
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        # A bar that is on its way to where it should be is not what the text beside it says.
        motion = {"name": "prefers-reduced-motion", "value": "reduce"}
        self._do("Emulation.setEmulatedMedia", {"features": [scheme, motion]})

    def shoot(self, name: str) -> None:
        """The whole page, from its top to its bottom."""
        shot = self._do("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True})
        path = self._folder / f"{name}.png"
        path.write_bytes(base64.b64decode(shot["data"]))
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB", flush=True)

    def _do(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        done: dict[str, Any] = self._browser.execute_cdp_cmd(command, arguments)
        return done


def take_all(folder: Path) -> None:
    """Start both examples and take all pictures."""
    browser = open_browser()
    try:
        browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": RECORD})
        camera = Camera(browser, folder)
        with RedisServer() as redis, Launched(["django", "--port", "0", "--redis", redis.url()]) as launched:
            page = Page(browser, launched.serving().url)
            camera.aim(WIDE)
            page.open("/")
            camera.shoot("start")
            page.press("compare", "North", 24)
            until_at(page, 100)
            camera.shoot("group")
            page.press("wait", "West", 30)
            wait_until(lambda: page.texts("h1") == ["Not yet"], "the 202")
            camera.shoot("not-yet")
            page.press("watch", "Atlantis", 12)
            page.wait_for("Failed")
            camera.shoot("failed")
            page.press("watch", "North", 40)
            until_at(page, 60)
            redis.kill()
            page.wait_for("Reconnecting …")
            camera.shoot("reconnecting")
        with Launched(["flask", "--port", "0"]) as launched:
            page = Page(browser, launched.serving().url)
            camera.aim(PHONE)
            page.press("watch", "East", 24)
            until_at(page, 60)
            camera.shoot("phone-progress")
            page.wait_for("Done")
            camera.shoot("phone-done")
            camera.aim(PHONE, dark=True)
            page.press("compare", "North", 24)
            until_at(page, 100)
            camera.shoot("phone-group-dark")
    finally:
        browser.quit()


def until_at(page: Page, percent: float) -> None:
    """Return when the fastest bar is that far."""
    wait_until(lambda: page.bars() and max(page.bars()[-1]) >= percent, f"a bar at {percent} %", 30.0)


def main() -> int:
    """Returns the exit code."""
    if BROWSER_IS_MISSING is not None:
        print(BROWSER_IS_MISSING, file=sys.stderr)
        return 1
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    folder.mkdir(parents=True, exist_ok=True)
    take_all(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())

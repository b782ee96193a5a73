"""Headless Chromium, where the machine has it."""

from __future__ import annotations

import importlib.util
import shutil
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

__all__ = ["BROWSER_IS_MISSING", "open_browser"]

_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_DRIVER = shutil.which("chromedriver")


def _why_not() -> str | None:
    if _CHROMIUM is None or _DRIVER is None:
        return "no Chromium: apt-get update && apt-get install chromium chromium-driver"
    if importlib.util.find_spec("selenium") is None:
        return "no selenium: pip install selenium"
    return None


#: Why there is none, and what to do about it; None if there is one.
BROWSER_IS_MISSING: Final = _why_not()


def open_browser(*, width: int = 1100, height: int = 800) -> Chrome:
    """Start one; whoever asks for it ends it with ``quit()``."""
    # Each of them takes a second of CPU to import.
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    options.binary_location = _CHROMIUM or ""
    for argument in (
        "--headless=new",
        "--no-sandbox",  # Of which root can have none.
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--window-size={width},{height}",
    ):
        options.add_argument(argument)
    return Chrome(options=options, service=ChromeService(_DRIVER))

"""Optional packages: an ImportError with a traceback is no answer to somebody who tries this for the first time."""

from __future__ import annotations

import importlib.util
import sys

__all__ = ["require"]


def require(extra: str, *packages: str) -> None:
    """Go on if they are installed.

    Raises:
        SystemExit: one is missing; which one, and the extra that brings it, has been said.
    """
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        print(
            f"bgresults: {', '.join(missing)} {verb} not installed; pip install 'bgresults[{extra}]'", file=sys.stderr
        )
        sys.exit(2)

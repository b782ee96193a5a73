"""Where and with what a benchmark ran."""

from __future__ import annotations

import os
import platform
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version

__all__ = ["describe"]


def describe(server_version: str) -> dict[str, str | int]:
    """Machine, versions, command and date."""
    facts: dict[str, str | int] = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": " ".join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "python": platform.python_version(),
        "redis-server": server_version,
    }
    for package in ("bgresults", "celery", "kombu", "redis", "hiredis", "msgspec"):
        try:
            facts["redis-py" if package == "redis" else package] = version(package)
        except PackageNotFoundError:
            facts[package] = "not installed"
    return facts

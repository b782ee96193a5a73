"""The sockets in a status directory: what they are called, and which of them are of processes that have gone."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

__all__ = ["LONGEST_PATH", "has_gone", "socket_name", "sockets_in", "sweep"]

#: Bytes of the path of a Unix socket, on the platform that allows the fewest.
LONGEST_PATH = 103
_SUFFIX = ".sock"


def socket_name(pid: int) -> str:
    """Containers that share a directory have the same process ids, and other host names."""
    return f"{socket.gethostname()}-{pid}{_SUFFIX}"


def sockets_in(folder: Path) -> list[Path]:
    """All of them, of living processes or not.

    Raises:
        OSError: the directory cannot be read.
    """
    return sorted(path for path in folder.iterdir() if path.suffix == _SUFFIX)


def has_gone(path: Path) -> bool:
    """Whether it is certain that the process has gone: it was one of this host."""
    host, _, pid = path.name.removesuffix(_SUFFIX).rpartition("-")
    if host != socket.gethostname() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def sweep(folder: Path) -> None:
    """Remove those of processes that have gone, and that could not do it themselves."""
    for path in _gone(folder):
        with contextlib.suppress(OSError):
            path.unlink()


def _gone(folder: Path) -> Iterator[Path]:
    return (path for path in sockets_in(folder) if has_gone(path))

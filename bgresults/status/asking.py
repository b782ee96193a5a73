""":func:`ask_all`: what the processes of a status directory say."""

from __future__ import annotations

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bgresults.status.folder import has_gone, sockets_in
from bgresults.status.report import FORMAT
from bgresults.status.wire import receive

__all__ = ["Answer", "ask", "ask_all"]

_AT_ONCE = 32


@dataclass(frozen=True)
class Answer:
    """Of one process.

    Attributes:
        process: its host and process id, ``"web-1-4242"``.
        status: what :func:`process_status` returned there; None if it did not answer.
        trouble: why it did not answer; None if it did.
        gone: whether it has ended without removing its socket, as a killed process does.
    """

    process: str
    status: dict[str, Any] | None
    trouble: str | None = None
    gone: bool = False


def ask(path: str | os.PathLike[str], *, timeout: float = 5.0) -> Answer:
    """Ask one process. Never raises because of what it finds.

    Args:
        path: of its socket.
        timeout: seconds.
    """
    path = Path(path)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            connection.connect(str(path))
            status = receive(connection, timeout)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        # Nobody listens any more, whoever has that process id now.
        return Answer(path.stem, None, str(error), gone=True)
    except (OSError, ValueError, RecursionError) as error:
        return Answer(path.stem, None, str(error), gone=has_gone(path))
    if status.get("format") != FORMAT:
        return Answer(path.stem, None, "it has another version of bgresults: ask with the version that it has")
    return Answer(path.stem, status)


def ask_all(directory: str | os.PathLike[str], *, timeout: float = 5.0) -> list[Answer]:
    """Ask all processes that answer there, at once.

    Args:
        directory: as given to :func:`serve_status`.
        timeout: seconds for each.

    Raises:
        OSError: the directory cannot be read.
    """
    paths = sockets_in(Path(directory))
    if not paths:
        return []
    with ThreadPoolExecutor(min(len(paths), _AT_ONCE)) as pool:
        return list(pool.map(lambda path: ask(path, timeout=timeout), paths))

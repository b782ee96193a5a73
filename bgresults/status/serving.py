"""Answering on a Unix socket: ``serve_status()``, and the thread that does it.

One process has one socket and one thread, from the first use of a watcher on. A forked child closes what it inherited
and has its own, when it uses a watcher. Nothing here raises into a ``watch()``: what goes wrong is logged, once.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import logging
import os
import socket
import stat
import threading
import time
from pathlib import Path

from bgresults import forking
from bgresults.consumers.sockets import InheritedSockets
from bgresults.safe_logging import log_safely
from bgresults.session_holder import SessionHolder
from bgresults.status.folder import LONGEST_PATH, socket_name, sweep
from bgresults.status.report import process_status
from bgresults.status.wanted import set_folder
from bgresults.status.wire import send

__all__ = ["checked", "serve", "serve_status"]

_logger = logging.getLogger("bgresults")
# What a process may lack for a while, or that whoever has asked is gone; and seconds until the next attempt.
_PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ECONNABORTED)
_PAUSE = 0.2
# Of this process or, until it serves as well, of the one that it was forked from.
_server: _Server | None = None
# One for each process id: a lock that was made under this one cannot have been inherited in a locked state.
_starting: dict[int, threading.RLock] = {}


def serve_status(directory: str | os.PathLike[str] | None) -> None:
    """Have this process, and those forked from it, answer ``bgresults status --dir DIRECTORY``, once it uses a watcher.

    Args:
        directory: made if it is missing, for this user alone; None to stop, here. It wins over the environment.

    Raises:
        OSError: there can be no such directory.
        ValueError: its name is too long for a socket, or every user may write to it.
    """
    folder = None if directory is None else checked(directory)
    set_folder(folder)
    _stop()
    if folder is not None and any(_in_use(item) for item in forking.registered()):
        serve(folder)


def checked(directory: str | os.PathLike[str]) -> Path:
    """A directory for sockets, which is made if it is missing.

    Raises:
        As :func:`serve_status`.
    """
    folder = Path(directory).absolute()
    if len(os.fsencode(folder / socket_name(os.getpid()))) > LONGEST_PATH:
        raise ValueError(f"{folder} is too long: the path of a socket has at most {LONGEST_PATH} bytes")
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    mode = folder.stat().st_mode
    if not stat.S_ISDIR(mode):
        raise NotADirectoryError(f"{folder} is no directory")
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise ValueError(f"every user may write to {folder}: use a directory of the application's own, mode 0700")
    return folder


def serve(folder: Path) -> None:
    """Answer there, unless this process answers already. Any thread.

    Raises:
        OSError, RuntimeError: it cannot.
    """
    global _server
    pid = os.getpid()
    with _starting.setdefault(pid, threading.RLock()):
        if _server is None or _server.pid != pid:
            sweep(folder)
            _server = _Server(folder)


def _in_use(item: object) -> bool:
    return isinstance(item, SessionHolder) and item._session_here().thread is not None


def _stop() -> None:
    global _server
    server, _server = _server, None
    if server is not None:
        server.close()


class _Server:
    """Answers until it is closed, or the process ends.

    Raises:
        OSError, RuntimeError: it cannot.
    """

    def __init__(self, folder: Path) -> None:
        self.pid = os.getpid()
        self._path = folder / socket_name(self.pid)
        self._sockets = InheritedSockets()
        self._closed = False
        self._short = False
        forking.register(self)
        self._listener = self._sockets.create(socket.AF_UNIX)
        unfinished = self._path.with_suffix(".new")
        try:
            with contextlib.suppress(FileNotFoundError):
                unfinished.unlink()
            self._listener.bind(str(unfinished))
            # Nobody can connect before it listens, and then only its own user can.
            unfinished.chmod(0o600)
            self._listener.listen()
            unfinished.replace(self._path)
            self._thread = threading.Thread(target=self._run, name="bgresults-status", daemon=True)
            self._thread.start()
        except BaseException:
            self._sockets.close_all()
            raise
        atexit.register(self._remove)

    def close(self) -> None:
        """Answer no more. In a forked child, as far as it has inherited anything."""
        atexit.unregister(self._remove)
        self._closed = True
        if self.pid == os.getpid():
            self._remove()
            # Wakes the thread, which then closes it.
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._thread.join(5.0)

    def _run(self) -> None:
        try:
            while not self._closed:
                self._answer_one()
        except OSError as error:
            if not self._closed and self.pid == os.getpid():
                log_safely(
                    _logger, logging.WARNING, "the status is told no longer: %s", error, event="telemetry_failed"
                )
        finally:
            if self.pid == os.getpid():
                self._sockets.close_all()

    def _answer_one(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError as error:
            if error.errno not in _PASSING:
                raise
            # A process that has run out of descriptors is one that somebody will want to ask.
            if not self._short:
                self._short = True
                log_safely(
                    _logger, logging.WARNING, "the status cannot be told now: %s", error, event="telemetry_failed"
                )
            time.sleep(_PAUSE)
            return
        self._short = False
        self._sockets.adopt(connection)
        try:
            send(connection, process_status())
        except OSError:
            # Whoever asked does not want to know any more.
            pass
        except Exception as error:  # noqa: BLE001 - the next one who asks may be told
            log_safely(
                _logger,
                logging.WARNING,
                "the status could not be told: %r",
                error,
                error=error,
                event="telemetry_failed",
            )
        finally:
            self._sockets.forget(connection)
            connection.close()

    def _remove(self) -> None:
        if self.pid == os.getpid():
            with contextlib.suppress(OSError):
                self._path.unlink()

    def _after_fork_in_child(self) -> None:
        if self.pid != os.getpid():
            self._sockets.close_all()

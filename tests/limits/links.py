"""The connections of a process to a server, to be cut as the network does: without a word to either side."""

from __future__ import annotations

import contextlib
import socket

from tests.support.sockets import copies

__all__ = ["Links"]


class Links:
    """Those that are made from now on: what was there before is not the watcher's.

    Args:
        port: of the server.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._held: list[socket.socket] = []
        before = copies(port)
        self._others = {sock.getsockname() for sock in before}
        for sock in before:
            sock.close()

    def hold(self) -> None:
        """Find them, so that :meth:`cut` needs no descriptor."""
        for sock in copies(self._port):
            if sock.getsockname() in self._others:
                sock.close()
            else:
                self._held.append(sock)
        assert self._held

    def cut(self) -> None:
        """Cut those that were found."""
        for sock in self._held:
            # The watcher, who has noticed the end of one, may have closed the other one by now.
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close what was opened to find them."""
        for sock in self._held:
            sock.close()

"""A sentinel that says what a test wants it to say."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["FakeSentinel"]


class _Handler(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        owner = self.server.owner
        try:
            while received := self.request.recv(65536):
                if b"SENTINEL" in received:
                    owner.asked += 1
                    self.request.sendall(owner.answer if owner.answer is not None else owner.masters())
                elif b"PING" in received:
                    self.request.sendall(b"+PONG\r\n")
        except OSError:
            return


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = False

    def __init__(self, owner: FakeSentinel) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.owner = owner


class FakeSentinel:
    """Knows one master. What it says may be changed at any time.

    Args:
        port: where it says that the master is.
        name: of the master.

    Attributes:
        epoch: of its configuration.
        flags: of the master, such as ``"master,s_down"``.
        others: how many other sentinels it knows.
        answer: bytes to say instead.
        asked: how often it was asked for its masters.
    """

    def __init__(self, port: int, name: str = "mymaster") -> None:
        self.master_port = port
        self.name = name
        self.epoch = 1
        self.flags = "master"
        self.others = 2
        self.answer: bytes | None = None
        self.asked = 0
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def masters(self) -> bytes:
        """The answer to ``SENTINEL MASTERS``."""
        state: Mapping[str, object] = {
            "name": self.name,
            "ip": "127.0.0.1",
            "port": self.master_port,
            "flags": self.flags,
            "num-other-sentinels": self.others,
            "config-epoch": self.epoch,
        }
        words = [str(word).encode() for pair in state.items() for word in pair]
        return b"*1\r\n*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

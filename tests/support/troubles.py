"""A real server that is there and cannot be used: it answers, and the answer is no.

Each is a context manager; the server works again after it.
"""

from __future__ import annotations

from types import TracebackType

import pytest
import redis

from bgresults.testing import RedisServer
from tests.support.calls import Caller
from tests.support.closed import CLOSED_PORT
from tests.support.waiting import wait_until

__all__ = ["Busy", "Denied", "MasterDown", "TooManyClients", "Trouble", "WantsPassword"]


class Trouble:
    """Begins with the ``with`` block and is over after it.

    Args:
        server: where; the connection that ends the trouble is made before it begins.
    """

    #: What the server says. Empty where it hangs up together with saying it, so that it may be lost on the way.
    words = ""
    #: What the library advises; empty where there is nothing to do but wait.
    cure = ""
    #: Whether our connections are cut when it begins: then that is what is noticed first, and told.
    cuts = False

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.admin = server.client(single_connection_client=True)

    def begin(self) -> None:
        """The server says no from now on."""
        raise NotImplementedError

    def end(self) -> None:
        """And from now on it does not."""
        raise NotImplementedError

    def __enter__(self) -> Trouble:
        self.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.end()
        finally:
            self.admin.close()

    def _says(self, word: str) -> bool:
        """Whether the server answers a read with an error of that name. Some versions answer a PING in any case."""
        try:
            self.admin.mget("any")
        except redis.RedisError as error:
            # redis-py takes the first word away from the errors that it has a class for.
            return word in f"{type(error).__name__} {error}".upper()
        return False

    def _hang_up(self) -> None:
        """Cut the subscribers: who is connected already would not notice."""
        self.admin.execute_command("CLIENT", "KILL", "TYPE", "pubsub")


class Busy(Trouble):
    """A script runs and does not end: every command is refused until somebody kills it."""

    words = "BUSY"

    def begin(self) -> None:
        self.admin.config_set("lua-time-limit", 1)
        self._script = Caller(self._loop)
        wait_until(lambda: self._says("BUSY"), "the script to be too slow")

    def _loop(self) -> None:
        with self.server.client(retry=None) as client, pytest.raises(redis.ResponseError, match=r"(?i)killed"):
            client.eval("while true do end", 0)

    def end(self) -> None:
        self.admin.execute_command("SCRIPT", "KILL")
        self._script.outcome()


class MasterDown(Trouble):
    """A replica that lost its master and does not serve what may be outdated."""

    words = "Link with MASTER is down"

    def begin(self) -> None:
        self.admin.config_set("replica-serve-stale-data", "no")
        self.admin.execute_command("REPLICAOF", "127.0.0.1", CLOSED_PORT)
        wait_until(lambda: self._says("MASTER"), "the server to miss its master")

    def end(self) -> None:
        self.admin.execute_command("REPLICAOF", "NO", "ONE")


class TooManyClients(Trouble):
    """There is no room for another connection, and ours was lost."""

    cuts = True

    def begin(self) -> None:
        # The connection that says so is one already.
        self.admin.config_set("maxclients", 1)
        self._hang_up()

    def end(self) -> None:
        self.admin.config_set("maxclients", 10_000)


class WantsPassword(Trouble):
    """``CONFIG SET requirepass`` while clients without a password are connected."""

    words = "Authentication required"
    cure = "check the user name and the password"
    cuts = True

    def begin(self) -> None:
        self.admin.config_set("requirepass", "secret")
        self._hang_up()

    def end(self) -> None:
        self.admin.config_set("requirepass", "")


class Denied(Trouble):
    """A right is taken away from the user that everybody is.

    Args:
        take, give: rules for ``ACL SETUSER``.
    """

    words = "permissions"
    cure = "+subscribe +unsubscribe +mget +ping"

    def __init__(self, server: RedisServer, take: str, give: str) -> None:
        super().__init__(server)
        self._take = take
        self._give = give
        # The server does that by itself when a channel is no longer allowed.
        self.cuts = take == "resetchannels"

    def begin(self) -> None:
        self.admin.execute_command("ACL", "SETUSER", "default", self._take)

    def end(self) -> None:
        self.admin.execute_command("ACL", "SETUSER", "default", self._give)

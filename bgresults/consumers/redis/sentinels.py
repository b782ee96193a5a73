""":class:`Sentinels`: asking them which server is the master.

redis-py knows how: which of them to believe, and what to make of an answer. The connections below it are ours, like
those to the server itself: one deadline covers all that is asked, and a forked child closes what it inherits. Each
lasts for one question.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import redis
from redis.exceptions import ConnectionError as NoAnswerError
from redis.sentinel import MasterNotFoundError, Sentinel

from bgresults.consumers.base import ConnectionLost
from bgresults.consumers.redis.connections import Connector
from bgresults.consumers.redis.link import Link
from bgresults.consumers.sockets import InheritedSockets
from bgresults.options import RedisOptions
from bgresults.urls import RedisAddress

__all__ = ["Sentinels"]

_CHECK_NAME = "check master_name"
_CHECK_SENTINELS = (
    "check the addresses of the sentinels in the URL, and RedisOptions(sentinel=RedisOptions(…)): their user name, "
    "password and TLS are not those of the servers"
)


class Sentinels:
    """The sentinels that one URL names. The drain thread's own.

    Args:
        address: theirs, and the options.
        connect_timeout: seconds.
        sockets: where to remember the sockets.
    """

    def __init__(self, address: RedisAddress, connect_timeout: float, sockets: InheritedSockets) -> None:
        options = address.options.sentinel or RedisOptions()
        self._text = address.text
        self._name = address.options.master_name or ""
        self._min_other_sentinels = address.options.min_other_sentinels or 0
        self._all = deque(
            _One(_address_of(host, port, options), connect_timeout, sockets) for host, port in address.sentinels
        )
        # The newest configuration that any of them told; one that missed a failover tells an older one.
        self._epoch = 0
        self._found_before = False

    def ask_for_credentials(self) -> None:
        """As :meth:`Connector.ask_for_credentials`, for the sentinels."""
        for one in self._all:
            one.connector.ask_for_credentials()

    def master(self, deadline: float) -> tuple[str, int]:
        """Host and port of the current master, by ``deadline`` on the clock of ``time.monotonic``.

        Those that answered take turns, so that none is believed for ever; those that did not come last, so that they
        are not waited for again while others answer.

        Raises:
            ConnectionLost: none of them names a master.
        """
        asked = sorted(self._all, key=lambda one: one.silent)
        self._all.rotate(-1)
        for place, one in enumerate(asked):
            one.prepare(deadline, others=len(asked) - place, proven=self._found_before)
        try:
            return self._discovered(asked)
        except ConnectionLost:
            raise
        except Exception as error:
            # Whatever redis-py makes of an answer in which something is missing.
            raise ConnectionLost(f"{self._text}: what the sentinels say makes no sense: {error!r}") from error

    def _discovered(self, asked: list[_One]) -> tuple[str, int]:
        discovery = _Discovery(asked, self._min_other_sentinels, self._epoch)
        try:
            host, port = discovery.discover_master(self._name)  # type: ignore[no-untyped-call]
        except MasterNotFoundError:
            if discovery.outdated:
                # Next time an older configuration will do: the sentinels may have been set up anew.
                self._epoch = 0
            raise self._not_found(asked) from None
        found = str(host), int(port)
        self._epoch, self._found_before = discovery.epoch, True
        return found

    def _not_found(self, asked: list[_One]) -> ConnectionLost:
        answers = [one.masters for one in asked if one.masters is not None]
        known = sorted({name for masters in answers for name in masters})
        if not answers:
            failures = [one.failure for one in asked if one.failure is not None]
            permanent = bool(failures) and all(failure.permanent for failure in failures)
            words = "; ".join(failure.reason for failure in failures)
            return ConnectionLost(
                f"{self._text}: no sentinel answers: {words}",
                permanent=permanent,
                cure=_CHECK_SENTINELS if any(failure.cure for failure in failures) else None,
            )
        if self._name not in known:
            names = ", ".join(map(repr, known)) or "none at all"
            return ConnectionLost(
                f"{self._text}: the sentinels know no master {self._name!r}; they know {names}",
                permanent=not self._found_before,
                cure=_CHECK_NAME,
            )
        return ConnectionLost(f"{self._text}: {self._why_not(answers)}")

    def _why_not(self, answers: list[dict[str, Any]]) -> str:
        """Why redis-py believes none of the sentinels that know the master."""
        states = [masters[self._name] for masters in answers if self._name in masters]
        if any(state["is_sdown"] or state["is_odown"] for state in states):
            return f"the master {self._name!r} is down, the sentinels say, and no other one has taken over yet"
        if any(state["num-other-sentinels"] < self._min_other_sentinels for state in states):
            most = max(state["num-other-sentinels"] for state in states)
            return f"the sentinels know {most} others, and min_other_sentinels={self._min_other_sentinels} are needed"
        return f"the sentinels name no master {self._name!r} that could be believed in; a failover may be under way"


def _address_of(host: str, port: int, options: RedisOptions) -> RedisAddress:
    shown = f"[{host}]" if ":" in host else host
    return RedisAddress(text=f"sentinel {shown}:{port}", host=host, port=port, tls=bool(options.ssl), options=options)


class _Discovery(Sentinel):
    """redis-py's way to find the master among several sentinels."""

    def __init__(self, sentinels: list[_One], min_other_sentinels: int, epoch: int) -> None:
        super().__init__([], min_other_sentinels=min_other_sentinels)  # type: ignore[no-untyped-call]
        self.sentinels = list(sentinels)
        self.epoch = epoch
        #: Whether somebody told an older configuration than is known.
        self.outdated = False

    def check_master_state(self, state: dict[str, Any], service_name: str) -> bool:
        if not super().check_master_state(state, service_name):  # type: ignore[no-untyped-call]
            return False
        epoch = int(state.get("config-epoch", self.epoch))
        if epoch < self.epoch:
            self.outdated = True
            return False
        self.epoch = epoch
        return True


class _One(redis.Redis):
    """redis-py's client of one sentinel, over a connection of ours for each command."""

    def __init__(self, address: RedisAddress, connect_timeout: float, sockets: InheritedSockets) -> None:
        # Of its own pool of connections nothing is ever used.
        super().__init__(host=address.host, port=address.port, protocol=2)
        self.connector = Connector(address, connect_timeout, sockets)
        #: Whether it did not answer when it was asked last.
        self.silent = False
        self._deadline = 0.0
        self._others = 1
        self._proven = False
        #: What it said of its masters in this round; None if nothing.
        self.masters: dict[str, Any] | None = None
        #: Why it said nothing.
        self.failure: ConnectionLost | None = None

    def prepare(self, deadline: float, *, others: int, proven: bool) -> None:
        """A new round begins, in which ``others`` are to have their share of the time after this one."""
        self._deadline, self._others, self._proven = deadline, others, proven
        self.masters = self.failure = None

    def execute_command(self, *args: Any, **options: Any) -> Any:
        try:
            answer = self._answer(*str(args[0]).split(), *args[1:])
            try:
                self.masters = self.response_callbacks[args[0]](answer)
            except Exception as error:
                raise ConnectionLost(f"{self.connector.where}: what it says makes no sense: {error!r}") from error
        except ConnectionLost as lost:
            self.silent, self.failure = True, lost
            raise NoAnswerError(str(lost)) from lost
        self.silent = False
        return self.masters

    def _answer(self, *command: Any) -> Any:
        now = time.monotonic()
        # An equal share for each that is left, and for the master: one that keeps silent must not use it all up.
        deadline = now + (self._deadline - now) / (self._others + 1)
        link = Link(self.connector, deadline, subscribes=False, proven=self._proven)
        try:
            link.send(*command, answers=1)
            return link.answer(deadline)
        finally:
            link.close()

"""What the contract tests need of a consumer and of its server, whichever kind they are."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import redis
import redis.connection

from bgresults import RedisOptions, WatcherError
from bgresults.consumers import BaseResultConsumer, ConnectionLost
from bgresults.consumers.redis import ResultConsumer
from bgresults.testing import RedisServer
from tests.support.results import ResultWriter

__all__ = ["OWN_PARSER", "PURE_PYTHON", "PYTHON_PARSER", "ConsumerBench", "Recorder", "RedisBench", "drain_until"]

#: redis-py's own parser, which is used where hiredis is not installed. Its name has changed.
PYTHON_PARSER: Any = getattr(redis.connection, "_RESP2Parser", None) or getattr(redis.connection, "PythonParser", None)


class PurePythonConnection(redis.Connection):
    """A connection that does without hiredis."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(parser_class=PYTHON_PARSER, **settings)  # type: ignore[no-untyped-call]


PURE_PYTHON = RedisOptions(connection_class=PurePythonConnection)


class OwnParser(PYTHON_PARSER):  # type: ignore[misc]
    """A parser of the user's, which nobody but redis-py's connection knows how to use."""


class OwnParserConnection(redis.Connection):
    """A connection that has chosen it."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(parser_class=OwnParser, **settings)  # type: ignore[no-untyped-call]


OWN_PARSER = RedisOptions(connection_class=OwnParserConnection)


class Recorder:
    """The two callbacks of a consumer; remembers what they were called with."""

    def __init__(self) -> None:
        self.states: list[tuple[str, str, Any]] = []
        self.errors: list[tuple[str, WatcherError]] = []

    def on_state(self, task_id: str, mapping: dict[str, Any]) -> None:
        self.states.append((task_id, mapping["status"], mapping["result"]))

    def on_error(self, task_id: str, error: WatcherError) -> None:
        self.errors.append((task_id, error))

    @property
    def values(self) -> dict[str, Any]:
        """Task id → result of the last state that was told."""
        return {task_id: result for task_id, _, result in self.states}


def drain_until(consumer: BaseResultConsumer, predicate: Callable[[], object], timeout: float = 20.0) -> int:
    """Drain until the predicate is true; returns the sum of what ``drain_events`` returned."""
    deadline = time.monotonic() + timeout
    total = 0
    while not predicate():
        assert time.monotonic() < deadline, f"drained for {timeout:g} s in vain"
        total += consumer.drain_events(timeout=0.05) or 0
    return total


class ConsumerBench(Protocol):
    """One kind of consumer at work on one server. The contract tests know nothing else of either."""

    def consumer(self, recorder: Recorder, **settings: Any) -> BaseResultConsumer:
        """A new one, not started; stopped by :meth:`close`."""

    def send(self, task_id: str, result: Any = None, status: str = "SUCCESS", **fields: Any) -> object:
        """A worker reports a state."""

    def send_garbage(self, task_id: str) -> object:
        """A worker reports what nobody can read."""

    def asked_for(self) -> set[str]:
        """The ids that the server sends to somebody now."""

    def cut(self, consumer: BaseResultConsumer) -> None:
        """The server ends the consumer's connections."""

    def connections(self) -> int:
        """How many connections the consumers of this bench have."""

    def close(self) -> None:
        """Stop all consumers."""


class RedisBench:
    """:class:`ConsumerBench` for Redis. The server is the test's own: its connections are counted, and cut."""

    def __init__(self, server: RedisServer, **defaults: Any) -> None:
        self.server = server
        self.writer = ResultWriter(server)
        self._defaults = defaults
        self._consumers: list[BaseResultConsumer] = []

    def consumer(
        self, recorder: Recorder, make: Callable[..., BaseResultConsumer] = ResultConsumer, **settings: Any
    ) -> BaseResultConsumer:
        callbacks = {"on_state": recorder.on_state, "on_error": recorder.on_error}
        url = settings.pop("url", None) or self.server.url()
        made = make(url, **{**self._defaults, **callbacks, **settings})
        self._consumers.append(made)
        return made

    def send(self, task_id: str, result: Any = None, status: str = "SUCCESS", **fields: Any) -> object:
        return self.writer.write(task_id, result, status, **fields)

    def send_garbage(self, task_id: str) -> object:
        return self.writer.write_body(task_id, b"\xff{")

    def asked_for(self) -> set[str]:
        return self.writer.channels()

    def cut(self, consumer: BaseResultConsumer) -> None:
        mine = self.writer.client.client_id()
        for client in self.writer.client.client_list():
            if int(client["id"]) != mine:
                self.writer.client.client_kill_filter(_id=client["id"])

    def connections(self) -> int:
        mine = self.writer.client.client_id()
        return sum(int(client["id"]) != mine for client in self.writer.client.client_list())

    def close(self) -> None:
        for made in self._consumers:
            made.stop()
        self.writer.close()

    def lost(self, consumer: BaseResultConsumer) -> ConnectionLost:
        """Drain until the loss of the connection is noticed."""
        try:
            drain_until(consumer, lambda: False)
        except ConnectionLost as error:
            return error
        raise AssertionError("unreachable")

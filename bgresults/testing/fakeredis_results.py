""":class:`FakeRedisResults`: the same words as those of a fake, said through a Redis server in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bgresults.testing.fakes import FakeRedisServer
from bgresults.testing.memory import Stored
from bgresults.testing.telling import StateTeller
from bgresults.watcher import ResultWatcher

if TYPE_CHECKING:
    import redis
    from typing_extensions import Self

__all__ = ["FakeRedisResults"]

_TASK_KEY = "celery-task-meta-"
# Seconds: Celery's default.
_EXPIRES = 86400
_JSON = "application/json"


class FakeRedisResults(StateTeller):
    """A fakeredis behind a real socket, and the part of the workers.

    For tests in which something else speaks to Redis too, or in which the connection itself is meant to fail: with a
    :class:`~bgresults.testing.FaultProxy` in front of it. Nothing here waits for watchers: ask futures with a timeout.

    Raises:
        RuntimeError: fakeredis is not installed.
    """

    def __init__(self) -> None:
        super().__init__()
        #: The server.
        self.server = FakeRedisServer()
        self._own: list[ResultWatcher] = []
        self._client: redis.Redis | None = None

    def __enter__(self) -> Self:
        self.server.start()
        self._client = self.server.client()
        return self

    def __exit__(self, *_: object) -> None:
        for watcher in self._own:
            watcher.close()
        if self._client is not None:
            self._client.close()
        self.server.close()

    @property
    def url(self) -> str:
        """For ``ResultWatcher()``, or ``result_backend``."""
        return self.server.url()

    def watcher(self, **settings: Any) -> ResultWatcher:
        """A new watcher of its results, which is closed at the end.

        Args:
            settings: of :class:`~bgresults.ResultWatcher`; ``url`` need not be among them.

        Raises:
            As :class:`~bgresults.ResultWatcher`.
        """
        watcher = ResultWatcher(**{"url": self.url, "name": "fakeredis", **settings})
        self._own.append(watcher)
        return watcher

    def _entered_client(self) -> redis.Redis:
        if self._client is None:
            raise RuntimeError("a FakeRedisResults works while it is entered: with FakeRedisResults() as results: …")
        return self._client

    def _publish(self, task_id: str, stored: Stored) -> None:
        client, key = self._entered_client(), _TASK_KEY + task_id
        # In the order of a worker.
        client.set(key, stored.payload, ex=_EXPIRES)
        client.publish(key, stored.payload)

    def _stored(self, task_id: str) -> Stored | None:
        payload: Any = self._entered_client().get(_TASK_KEY + task_id)
        return None if payload is None else Stored(payload, _JSON)

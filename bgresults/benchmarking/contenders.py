"""The two ways to wait for a result: Celery's own, in both of its modes, and ours."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from bgresults import ResultWatcher

if TYPE_CHECKING:
    from celery import Celery

__all__ = [
    "CELERY",
    "CELERY_DEFAULT",
    "CELERY_NATIVE",
    "CELERY_SHARED",
    "OURS",
    "PATIENCE",
    "Contender",
    "DropIn",
    "Ours",
    "OursOneByOne",
    "Theirs",
    "TheirsNative",
    "all_of",
    "new_app",
    "until_none_is_missed",
]

Result = TypeVar("Result")

OURS = "bgresults"
CELERY_DEFAULT = "celery"
CELERY_SHARED = "celery shared"
#: Celery with ``result_backend_thread_safe`` off, its default, and on. The better one is the baseline.
CELERY = (CELERY_DEFAULT, CELERY_SHARED)
#: The same, with ``join_native()``.
CELERY_NATIVE = tuple(f"{name} join_native" for name in CELERY)

#: Seconds without a result after which it counts as missed. None of ours may be; Celery's get a next try. So many,
#: since 64 threads of Celery's need more than five seconds for ten thousand results, and do not share them fairly.
PATIENCE = 20.0
# A way that misses so many in one measurement, or some in each of so many, cannot be measured.
_TOO_MANY = 20
_ATTEMPTS = 5


class Contender(Protocol):
    """A way to wait.

    Attributes:
        name: unique in a question.
        missed: results that were published and did not come, in the measurement that goes on. They are asked for
            again, and found, but that is no measurement of speed.
        queues: where the results of each thread have to be sent; none on Redis.
    """

    name: str
    missed: int
    queues: Sequence[str]

    def wait_one(self, task_id: str) -> Any:
        """Wait for the result of one task, from any thread."""

    def wait_all(self, task_ids: Sequence[str]) -> list[Any]:
        """Wait for many results in one thread, the best way there is for that."""
        ...

    def close(self) -> None:
        """Let go of the connections."""


class Ours:
    """``watcher.watch()`` and ``watcher.watch_many()``."""

    def __init__(self, url: str, **settings: Any) -> None:
        self.name = OURS
        # None may be: it would be an error.
        self.missed = 0
        self.queues: Sequence[str] = ()
        self.watcher = ResultWatcher(url, **settings)
        if not self.watcher.wait_ready(10.0):
            raise RuntimeError("the watcher did not connect")

    def wait_one(self, task_id: str) -> Any:
        """As in the README."""
        return self.watcher.watch(task_id).result(PATIENCE)

    def wait_all(self, task_ids: Sequence[str]) -> list[Any]:
        """One batch."""
        return [future.result(PATIENCE) for future in self.watcher.watch_many(task_ids)]

    def close(self) -> None:
        """End the thread."""
        self.watcher.close()


class OursOneByOne(Ours):
    """``watch(id).result()``, and only then the next one: as ``get()`` is used, and not how futures are meant."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.name += " one by one"

    def wait_all(self, task_ids: Sequence[str]) -> list[Any]:
        """One round trip each."""
        return [self.wait_one(task_id) for task_id in task_ids]


class Theirs:
    """``AsyncResult(id).get()``, one after the other.

    Now and then it misses a result that is published while it subscribes, and waits in vain. It sends SUBSCRIBE on one
    connection and GET on another and does not wait for the confirmation, which leaves a gap for that; whether this is
    the only one is not the question here. More rarely it waits for as long as its socket may take, whatever ``timeout``
    says, and has the result then; that counts as missed, too.

    Args:
        url: of the result backend.
        shared: ``result_backend_thread_safe``.
    """

    def __init__(self, url: str, *, shared: bool) -> None:
        self.name = CELERY_SHARED if shared else CELERY_DEFAULT
        self.missed = 0
        self.queues: Sequence[str] = ()
        self.app = new_app(url, shared=shared)

    def wait_one(self, task_id: str) -> Any:
        """As in Celery's documentation."""
        from celery.exceptions import TimeoutError as CeleryTimeoutError

        while True:
            began = time.monotonic()
            try:
                value: Any = self.app.AsyncResult(task_id).get(timeout=PATIENCE)
                self.missed += time.monotonic() - began > PATIENCE
                return value
            except CeleryTimeoutError:
                self.missed += 1
                if self.missed > _TOO_MANY:
                    raise RuntimeError(
                        f"{self.name} missed {self.missed} results in one measurement, each for {PATIENCE:g} s"
                    ) from None

    def wait_all(self, task_ids: Sequence[str]) -> list[Any]:
        """One ``get()`` each."""
        return [self.wait_one(task_id) for task_id in task_ids]

    def close(self) -> None:
        """The connections go with the threads and the application."""
        backend = self.app._backend
        if backend is not None:
            # A result that is still pending would unsubscribe when it is collected, at the latest as the interpreter
            # exits, when the server is gone.
            backend.result_consumer.subscribed_to.clear()
        self.app.close()


class DropIn(Theirs):
    """``AsyncResult(id).get()`` of an application with ``result_backend = "bgresults+…"``."""

    def __init__(self, url: str) -> None:
        super().__init__(f"bgresults+{url}", shared=True)
        self.name = OURS
        if not ResultWatcher.from_celery(self.app).wait_ready(10.0):
            raise RuntimeError("the watcher did not connect")

    def close(self) -> None:
        """End the thread."""
        ResultWatcher.from_celery(self.app).close()
        self.app.close()


class TheirsNative(Theirs):
    """``ResultSet.join_native()``: Celery's way to wait for many at once."""

    def __init__(self, url: str, *, shared: bool) -> None:
        super().__init__(url, shared=shared)
        self.name += " join_native"

    def wait_all(self, task_ids: Sequence[str]) -> list[Any]:
        """From the ids to the values, as with the ``get()`` of each."""
        results = self.app.ResultSet([self.app.AsyncResult(task_id) for task_id in task_ids])
        from celery.exceptions import TimeoutError as CeleryTimeoutError

        began = time.monotonic()
        try:
            # It is the time for all of them together.
            values: list[Any] = results.join_native(timeout=PATIENCE)
            self.missed += time.monotonic() - began > PATIENCE
        except CeleryTimeoutError:
            self.missed += 1
            values = [self.wait_one(task_id) for task_id in task_ids]
        return values


def new_app(url: str, *, shared: bool) -> Celery:
    """A Celery application as a web process has it, of which only the result backend is used."""
    from celery import Celery

    app = Celery("bgresults-benchmark", set_as_current=False)
    # No broker is asked for anything; without a URL Celery would name RabbitMQ's default one.
    app.conf.update(broker_url="memory://", result_backend=url, result_backend_thread_safe=shared)
    # redis-py's pool has room for 100, and 256 threads that share one fail with MaxConnectionsError now and then.
    app.conf.redis_max_connections = 10_000
    # 120 by default, for which it hangs now and then.
    app.conf.redis_socket_timeout = PATIENCE
    return app


def until_none_is_missed(contender: Contender, measure: Callable[[], Result], note: Callable[[str], None]) -> Result:
    """Measure again what was measured while a result was missed, and note it.

    Raises:
        RuntimeError: one was missed each time.
    """
    for _ in range(_ATTEMPTS):
        contender.missed = 0
        result = measure()
        if not contender.missed:
            return result
        note(f"{contender.name} missed a result, waited in vain, and was measured again")
    raise RuntimeError(f"{contender.name} missed results in each of {_ATTEMPTS} measurements")


def all_of(url: str) -> list[Contender]:
    """Both modes of Celery, and ours; in no round do they run at the same time."""
    return [Theirs(url, shared=False), Theirs(url, shared=True), Ours(url)]

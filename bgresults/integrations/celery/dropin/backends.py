"""Celery's result backends, whose waiting is the watcher's. Everything else about them is Celery's."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from celery.app.backends import by_url
from celery.backends import redis as celery_redis
from celery.backends import rpc as celery_rpc
from celery.exceptions import ImproperlyConfigured
from kombu.exceptions import OperationalError

from bgresults.errors import BackendUnavailableError
from bgresults.integrations.celery.backend_queues import looks_after_queues
from bgresults.integrations.celery.dropin.consumer import ResultConsumer, RPCResultConsumer
from bgresults.integrations.celery.dropin.fulfilling import is_fulfilled, is_set
from bgresults.integrations.celery.dropin.promises import follow_from_then
from bgresults.integrations.celery.dropin.replies import ReplyStates, reply_queues
from bgresults.integrations.celery.dropin.unfinished import is_known_unfinished
from bgresults.integrations.celery.schemes import PREFIX, stock_setting

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["RPCBackend", "RedisBackend", "Waiting", "backend", "watching"]

_CeleryRedisBackend: Any = celery_redis.RedisBackend
_CeleryRPCBackend: Any = celery_rpc.RPCBackend
# Seconds.
_SETTINGS_LAST = 1.0
_PENDING = {"status": "PENDING", "result": None}


class Waiting:
    """What a backend of Celery's becomes when it is put before it among the base classes."""

    ResultConsumer = ResultConsumer
    #: The class that this one waits for.
    stock: Any
    # Of Celery's, as far as it is used here.
    app: Any
    result_consumer: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: One for all threads: it has no state that belongs to one of them.
        self.thread_safe = True
        self._ask_if_eager_at = 0.0

    def add_pending_result(self, result: Any, weak: bool | None = None, start_drainer: bool = True) -> Any:
        """Somebody is interested in a result.

        ``get()`` does not say how much: it waits right after this, so nothing has to be done. ``then()`` says that it
        wants to be told; unless it says so weakly, as the sending of a group does for each member, or says so inside a
        task. Those are told when somebody waits for them.
        """
        if weak is not None:
            asked = weak is False and self.app.current_worker_task is None
            follow_from_then(result, self.result_consumer.follow if asked else None)
        return result

    def add_pending_results(self, results: Iterable[Any], weak: bool | None = None) -> list[Any]:
        """:meth:`add_pending_result` for each."""
        return [self.add_pending_result(result, weak=weak) for result in results]

    def remove_pending_result(self, result: Any) -> Any:
        """Nobody is interested any more. Also in the garbage collector."""
        self.result_consumer.forget(result)
        return result

    def wait_for_pending(self, result: Any, callback: Any = None, propagate: bool = True, **kwargs: Any) -> Any:
        """Wait, and return the value or raise the exception; what ``get()`` does once it has looked around."""
        now = time.monotonic()
        if now >= self._ask_if_eager_at:
            # It asks for two settings, which takes longer than to watch a task; they seldom change.
            self._ensure_not_eager()  # type: ignore[attr-defined]  # Celery's
            self._ask_if_eager_at = now + _SETTINGS_LAST
        self.result_consumer.wait(result, **kwargs)
        return result.maybe_throw(callback=callback, propagate=propagate)

    def forget(self, task_id: str) -> None:
        """Have nothing to do with a task any more, neither here nor at the server."""
        self.result_consumer.cancel_for(task_id)
        super().forget(task_id)  # type: ignore[misc]

    def iter_native(self, result: Any, no_ack: bool = True, **kwargs: Any) -> Iterator[tuple[str, Any]]:
        """Yield (id, state) of the members of a group as they end; (id, members) of one that is a group itself."""
        self._ensure_not_eager()  # type: ignore[attr-defined]  # Celery's
        options = {name: kwargs.get(name) for name in ("timeout", "on_interval", "on_message")}
        for node in self.result_consumer.iterate(result.results, **options):
            yield node.id, node.children if is_set(node) else node._cache

    def get_task_meta(self, task_id: str, *args: Any, **kwargs: Any) -> Any:
        """Ask for the state of a task; in this thread, now."""
        if is_known_unfinished(task_id):
            return dict(_PENDING)
        return super().get_task_meta(task_id, *args, **kwargs)  # type: ignore[misc]

    def read_states(self, results: Iterable[Any]) -> None:
        """Ask for the states of all of them; those that have ended are fulfilled."""
        for result in results:
            result._get_task_meta()

    def __reduce__(self, *args: Any, **kwargs: Any) -> Any:
        reduced: Any = super().__reduce__(*args, **kwargs)
        _, positional, named = reduced[1]
        # By the class underneath: that of an application which was changed cannot be found by its name.
        return _rebuilt, (self.stock, positional, named)


class RedisBackend(Waiting, _CeleryRedisBackend):  # type: ignore[misc]
    """Results in Redis. Nothing is subscribed to when a task is sent: that is done when somebody waits."""

    stock = _CeleryRedisBackend

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """A task is about to be sent."""

    def read_states(self, results: Iterable[Any]) -> None:
        by_id: dict[str, list[Any]] = {}
        for result in results:
            by_id.setdefault(str(result.id), []).append(result)
        for task_id, meta in self.get_many(list(by_id), interval=0, max_iterations=1):
            for result in by_id[task_id]:
                if not is_fulfilled(result):
                    result._maybe_set_cache(dict(meta))


class RPCBackend(Waiting, _CeleryRPCBackend):  # type: ignore[misc]
    """Results as replies, all of them to one queue of the process."""

    ResultConsumer = RPCResultConsumer
    stock = _CeleryRPCBackend

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._states = ReplyStates(self.result_consumer)

    @looks_after_queues
    def on_task_call(self, producer: Any, task_id: str) -> None:
        """A task is about to be sent: have the queue there that its reply goes to.

        Raises:
            kombu.exceptions.OperationalError: the broker cannot be used. It is what ``delay()`` raises then.
            WatcherError: the queue cannot be had for another reason.
        """
        try:
            reply_queues(self.app).prepare(producer, task_id)
        except BackendUnavailableError as error:
            raise OperationalError(str(error)) from error
        # It may have been sent before, and asked for.
        self._states.forget(task_id)
        self._cache.pop(task_id, None)

    def get_task_meta(self, task_id: str, *args: Any, **kwargs: Any) -> Any:
        """The last state that came here."""
        if is_known_unfinished(task_id):
            return dict(_PENDING)
        meta = self._cache.get(task_id)
        if meta is None:
            raw = self._states.last(task_id)
            meta = dict(_PENDING) if raw is None else self.meta_from_decoded(dict(raw))
            if meta["status"] in self.READY_STATES:
                self._cache[task_id] = meta
        return meta

    poll = get_task_meta

    def forget(self, task_id: str) -> None:
        self._states.forget(task_id)
        super().forget(task_id)

    def _forget(self, task_id: str) -> None:
        """Nothing is stored at a server; but the last replies are kept here, for those who ask again."""
        consumer = self.result_consumer.watcher._session_here().consumer
        if consumer is not None:
            # What is kept is nobody's result any more, as if the task were sent once more.
            consumer.sent_again(task_id)


def backend(app: Celery, url: str | None = None) -> Any:
    """What ``result_backend = "bgresults+…"`` makes.

    Raises:
        celery.exceptions.ImproperlyConfigured: results at such a URL cannot be waited for; the text names what can.
    """
    allowed = (
        "allowed are bgresults+redis://…, bgresults+rediss://…, bgresults+socket://…, bgresults+sentinel://… and "
        "bgresults+rpc://"
    )
    if url is None:
        raise ImproperlyConfigured(f"result_backend='bgresults' names no server; {allowed}")
    scheme = url.partition("://")[0]
    try:
        kind, stock_url = by_url(stock_setting(PREFIX + url), app.loader)
        waiting = watching(kind)
    except Exception as error:
        raise ImproperlyConfigured(
            f"result_backend='bgresults+{scheme}://…' cannot be waited for; {allowed}"
        ) from error
    return waiting(app=app, url=stock_url)


@functools.cache
def watching(kind: Any) -> Any:
    """The class that waits in the place of one of Celery's, or of a subclass of the user's.

    Raises:
        TypeError: it is no backend that can be waited for.
    """
    if not isinstance(kind, type):
        raise TypeError(f"{kind!r} is no result backend")
    for own in (RedisBackend, RPCBackend):
        if issubclass(kind, own) or kind is own.stock:
            return kind if issubclass(kind, own) else own
        if issubclass(kind, own.stock):
            return type(f"Waiting{kind.__name__}", (own, kind), {"stock": kind, "__module__": __name__})
    raise TypeError(f"{kind.__name__} is no result backend that can be waited for")


def _rebuilt(stock: Any, args: Any, kwargs: Any) -> Any:
    from celery import current_app

    return watching(stock)(*args, app=current_app._get_current_object(), **kwargs)

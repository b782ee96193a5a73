"""The drop-in over ``rpc://``: one reply queue of the process for all that it sends, in every thread."""

from __future__ import annotations

import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from bgresults import forking
from bgresults.consumers.rpc.failures import made_otherwise
from bgresults.consumers.rpc.queues import new_queue
from bgresults.consumers.rpc.task_queues import no_name
from bgresults.errors import BackendUnavailableError, NotWatchableError, WouldDeadlockError
from bgresults.forking import leaf_lock
from bgresults.integrations.celery.registry import open_watcher
from bgresults.integrations.celery.routing import ReplyRoute
from bgresults.readiness import catch_up

if TYPE_CHECKING:
    from celery import Celery

    from bgresults.futures import ResultFuture
    from bgresults.integrations.celery.watcher import CeleryResultWatcher
    from bgresults.options import AMQPOptions

__all__ = ["ReplyQueues", "ReplyStates", "let_go_of_queues", "reply_queues"]

# On the application: its ReplyQueues.
_ATTRIBUTE: Final = "_bgresults_reply_queues"
# Tasks whose state was asked for without waiting: the last ones.
_POLLED: Final = 1000


class ReplyQueues:
    """Sees to it that the queue is there, and is the one that a task names, before it is sent.

    Args:
        app: that sends.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._route: ReplyRoute | None = None
        self._routed: CeleryResultWatcher | None = None
        # What queues are declared with; asked for when the first one is.
        self._options: AMQPOptions | None = None
        # The queue that was declared without a thread, and until when it will not expire.
        self._declared = ""
        self._declared_until = 0.0
        forking.register(self)

    def _after_fork_in_child(self) -> None:
        self._declared = ""

    def prepare(self, producer: Any, task_id: str) -> None:
        """A task is about to be sent.

        In a web process, the thread is started and waited for: whoever sends wants the reply, and it has to be taken
        from the broker sooner or later. In a worker that runs a task nobody may ever ask: there the queue is declared
        over the sender's own connection, as Celery does it, and the thread is left to the first one who waits.

        Raises:
            WatcherError: the queue cannot be had; nothing is sent.
        """
        watcher = self._routing()
        running = self._app.current_worker_task
        if running is not None and running.request.id == task_id and watcher._settings.binding == "task":
            # Itself once more: retry(), replace(). Its queue is there, or it is not wanted, and belongs to its sender.
            watcher._router.announce(task_id)
        elif running is None or watcher._session_here().thread is not None:
            watcher._router.prepare(task_id)
        else:
            self._declare(watcher, producer, task_id)
            watcher._router.announce(task_id)

    def stop(self) -> None:
        """Have replies go where Celery sends them again."""
        with leaf_lock():
            route, self._route, self._routed = self._route, None, None
        if route is not None:
            route.undo()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _routing(self) -> CeleryResultWatcher:
        """The watcher, with all that this process sends routed to it."""
        watcher = open_watcher(self._app)
        if self._routed is not watcher:
            watcher._configure()
            watcher._router.install()
            route = ReplyRoute(watcher._router)
            watcher._router.start(route)
            with leaf_lock():
                # Another thread may have come first.
                fresh = self._routed is not watcher
                if fresh:
                    self._route, self._routed = route, watcher
                    self._options = None
            if not fresh:
                route.undo()
        return watcher

    def _declare(self, watcher: CeleryResultWatcher, producer: Any, task_id: str) -> None:
        """Have the queue there that the reply of this task goes to, over the sender's own connection.

        That of a task is declared each time: whoever took its reply may have deleted it, and the task is sent again.
        """
        per_task = watcher._settings.binding == "task"
        if per_task and (why := no_name(task_id)) is not None:
            raise why
        name, now = watcher._router.expected(task_id), time.monotonic()
        if not per_task and self._declared == name and now < self._declared_until:
            return
        options = self._options
        if options is None:
            consumer: Any = watcher._settings.make_consumer()
            options = self._options = consumer.address.options
        try:
            # As the consumer will declare it. Declaring counts as use: the queue lives on.
            self._ensured(producer, lambda: new_queue(name, options).bind(producer.channel).declare())
        except Exception as error:
            if not (per_task and made_otherwise(error)):
                raise
            # There is one already, made with other options, and it will do. The channel has opened itself again.
        self._declared, self._declared_until = name, now + options.queue_expires / 2

    def _ensured(self, producer: Any, declare: Callable[[], object]) -> None:
        """Declare as Celery publishes: its connection, out of a pool, may have died since it was used last."""
        conf = self._app.conf
        if conf.task_publish_retry:
            producer.connection.ensure(producer, declare, **conf.task_publish_retry_policy)()
        else:
            declare()


def reply_queues(app: Celery) -> ReplyQueues:
    """Those of an application."""
    found: ReplyQueues = vars(app).get(_ATTRIBUTE) or vars(app).setdefault(_ATTRIBUTE, ReplyQueues(app))
    return found


def let_go_of_queues(app: Celery) -> None:
    """Have replies to what an application sends go where Celery sends them again."""
    if (queues := vars(app).get(_ATTRIBUTE)) is not None:
        queues.stop()


class ReplyStates:
    """States of tasks for which somebody asks, now and then, without waiting: ``ready()``, ``state``.

    Celery would take a message from the reply queue; but that one is consumed. So a task that is asked for is watched
    from then on.

    Args:
        consumer: watches.
    """

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._futures: OrderedDict[str, ResultFuture] = OrderedDict()

    def last(self, task_id: str) -> Mapping[str, Any] | None:
        """The last state that came here, as it was decoded; None if none did.

        Raises:
            WatcherError: what came cannot be read.
        """
        future = self._futures.get(task_id)
        if future is None or _is_inherited(future):
            try:
                future = self._watch(task_id)
            except NotWatchableError:
                # Its reply goes to somebody else, so it will never come here.
                return None
        if not future.done():
            # As with Celery, which asks the broker every time.
            self._catch_up()
        raw: Mapping[str, Any] | None = future._raw
        if raw is None and future.done() and not future.cancelled() and (error := future.exception(0)) is not None:
            self._futures.pop(task_id, None)
            raise error
        return raw

    def forget(self, task_id: str) -> None:
        """Nobody asks for it any more."""
        self._futures.pop(task_id, None)

    def _watch(self, task_id: str) -> ResultFuture:
        future: ResultFuture
        (future,) = self._consumer._watch([task_id], None)
        self._futures[task_id] = future
        with contextlib.suppress(KeyError):
            while len(self._futures) > _POLLED:
                self._futures.popitem(last=False)
        return future

    def _catch_up(self) -> None:
        watcher = self._consumer.watcher
        # In a callback the last state has to do; in an outage too.
        with contextlib.suppress(WouldDeadlockError, BackendUnavailableError):
            catch_up(watcher._session_here(), watcher._connect_timeout)


def _is_inherited(future: ResultFuture) -> bool:
    return future._generation != forking.generation()

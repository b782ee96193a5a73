""":class:`ResultWatcher`: what users hold. No I/O ever happens in the thread that calls it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from bgresults.configuration import Configuration, configured
from bgresults.dispatcher import Dispatcher
from bgresults.forking import import_lock
from bgresults.futures import ResultFuture, UpdateCallback
from bgresults.lifetimes import DEFAULT_LIFETIME, DefaultLifetime
from bgresults.meta import MAX_BODY_SIZE
from bgresults.options import LONGEST_LIFETIME, AMQPOptions, RedisOptions, RetryPolicy, check_seconds
from bgresults.readiness import declare_queues, reply_queue
from bgresults.session import State
from bgresults.session_holder import closed_error
from bgresults.task_ids import TaskId, task_id_of, task_ids_of
from bgresults.updates import StateStream
from bgresults.watcher_state import WatcherState

if TYPE_CHECKING:
    from typing_extensions import Self

    from bgresults.async_updates import AsyncStateStream
    from bgresults.integrations.celery import CeleryResultWatcher

__all__ = ["ResultWatcher"]


class ResultWatcher(WatcherState):
    """Watches tasks: turns their ids into futures.

    Making one is free: no connection, no thread. The first ``watch()`` starts one daemon thread, which owns the
    connections and resolves the futures. All methods may be called from any thread, and from a forked child, where the
    watcher starts anew.

    Args:
        url: where the workers store the results: ``redis://``, ``rediss://`` or ``unix://`` (Celery's ``socket://``),
            or ``sentinel://a:26379;b:26379/0?master_name=mymaster`` for the master that these sentinels name.
            Or, for workers with ``result_backend="rpc://"``, their broker: ``amqp://``, ``amqps://``, another
            transport of kombu such as ``memory://``, or ``rpc+redis://`` for one whose scheme means a result backend.
        key_prefix: the ``global_keyprefix`` of the workers, if they have one.
        serializer: the ``result_serializer`` of the workers.
        accept: serializers that may be decoded; None means ``[serializer]``. Pickle executes what a message says.
        max_body_size: bytes that one result may have, once it is decompressed; a larger one ends its future with
            ``ResultDecodeError``. None for no bound. It exists since reading a result takes the drain thread some time,
            and since a few bytes may be the compressed form of very many.
        default_lifetime: seconds after which a future that is still pending ends with ``WatchExpiredError``; None for
            never. The default is the time Celery keeps results. It exists so that a callback on a task that never ends
            does not leak.
        max_pending: how many futures may be pending before ``watch()`` raises ``TooManyPendingError``.
        on_disconnect: ``"wait"`` keeps futures pending through an outage; ``"fail"`` ends them, and those that come
            before it is over, with ``BackendUnavailableError``.
        retry: how to reconnect.
        connect_timeout: seconds that one attempt to connect may take, not counting the resolution of the host's name
            and a credential provider.
        redis: how to speak to a Redis server, beyond what the URL says.
        amqp: how to receive replies from a broker, beyond what the URL says.
        name: appears in the thread's name and in log lines.

    Raises:
        TypeError, ValueError: an argument makes no sense; the text names it and what is allowed.
        RuntimeError: this is a sub-interpreter that allows no daemon threads.
    """

    def __init__(
        self,
        url: str,
        *,
        key_prefix: str = "",
        serializer: str = "json",
        accept: Iterable[str] | None = None,
        max_body_size: int | None = MAX_BODY_SIZE,
        default_lifetime: float | None = 86400.0,
        max_pending: int = 100_000,
        on_disconnect: Literal["wait", "fail"] = "wait",
        retry: RetryPolicy = RetryPolicy(),
        connect_timeout: float = 2.0,
        redis: RedisOptions = RedisOptions(),
        amqp: AMQPOptions = AMQPOptions(),
        name: str | None = None,
    ) -> None:
        self._adopt(
            configured(
                url,
                key_prefix=key_prefix,
                serializer=serializer,
                accept=accept,
                max_body_size=max_body_size,
                default_lifetime=default_lifetime,
                max_pending=max_pending,
                on_disconnect=on_disconnect,
                retry=retry,
                connect_timeout=connect_timeout,
                redis=redis,
                amqp=amqp,
                name=name,
            )
        )

    def _adopt(self, configuration: Configuration) -> None:
        self._default_lifetime = configuration.default_lifetime
        self._connect_timeout = configuration.connect_timeout
        super().__init__(configuration.session, configuration.max_pending)

    @classmethod
    def from_celery(cls, app: Any, **overrides: Any) -> CeleryResultWatcher:
        """Return the watcher of a Celery application: :func:`bgresults.integrations.celery.from_celery`."""
        with import_lock():
            from bgresults.integrations.celery import from_celery

        return from_celery(app, **overrides)

    # -- watching ----------------------------------------------------------------------------------------------------

    def watch(
        self,
        task_id: TaskId,
        *,
        lifetime: float | DefaultLifetime | None = DEFAULT_LIFETIME,
        on_update: UpdateCallback | None = None,
    ) -> ResultFuture:
        """Return a future of the result of one task. Takes microseconds and never touches the network.

        Every call returns a future of its own, also for the same id.

        Args:
            task_id: a non-empty str, a ``uuid.UUID`` or an ``AsyncResult``.
            lifetime: seconds until the future ends with ``WatchExpiredError``, whoever waits for it; None for never.
            on_update: called as ``on_update(meta)`` on the drain thread for the states that are seen, the final one
                last and before the future ends. States before it may be missed. It must be quick.

        Raises:
            TypeError, ValueError: an argument makes no sense.
            TooManyPendingError: ``max_pending`` futures are pending.
            WatcherClosedError: the watcher is closed.
        """
        key = task_id_of(task_id)
        return self._watch([key], self._deadline(lifetime), on_update)[0]

    def watch_many(
        self,
        task_ids: Iterable[TaskId],
        *,
        lifetime: float | DefaultLifetime | None = DEFAULT_LIFETIME,
        on_update: UpdateCallback | None = None,
    ) -> list[ResultFuture]:
        """Return a future for each id, in order; cheaper than as many calls of :meth:`watch`.

        All or nothing: if it raises, no id is watched. Arguments and errors are those of :meth:`watch`.
        """
        keys = task_ids_of(task_ids)
        return self._watch(keys, self._deadline(lifetime), on_update) if keys else []

    def updates(self, task_id: TaskId, *, timeout: float | None = None) -> StateStream:
        """Iterate over the states of a task as they come; ends with the final one. The watch begins with this call.

        Args:
            task_id: as for :meth:`watch`.
            timeout: seconds to wait for each next state before ``TimeoutError`` is raised; None for no limit.

        Raises:
            As :meth:`watch`. See :class:`~bgresults.updates.StateStream` for what iterating raises.
        """
        check_seconds("timeout", timeout, optional=True)
        return StateStream(lambda on_update: self.watch(task_id, on_update=on_update), timeout, self._abandoned)

    def aupdates(self, task_id: TaskId, *, timeout: float | None = None) -> AsyncStateStream:
        """:meth:`updates` for a coroutine: ``async for state in watcher.aupdates(task_id)``. No thread waits.

        Arguments and errors are those of :meth:`updates`. See :class:`~bgresults.async_updates.AsyncStateStream`.

        Raises:
            RuntimeError: no event loop runs in this thread.
        """
        # Whoever has an event loop has imported asyncio; nobody else needs to.
        with import_lock():
            from bgresults.async_updates import AsyncStateStream

        check_seconds("timeout", timeout, optional=True)
        return AsyncStateStream(lambda on_update: self.watch(task_id, on_update=on_update), timeout, self._abandoned)

    # -- replies -------------------------------------------------------------------------------------------------------

    @property
    def reply_to(self) -> str | None:
        """The queue that workers have to reply to: ``task.apply_async(reply_to=watcher.reply_to)``.

        The first access waits until it is declared, for ``connect_timeout``; later ones never wait. A forked child has
        another one. None where results do not come as replies to one queue: on Redis, and with ``binding="task"``.

        Raises:
            BackendUnavailableError: it was not declared in time, or never will be.
            WatcherClosedError: the watcher is closed.
            WouldDeadlockError: called in a callback before it was declared.
        """
        if self._settings.binding != "process":
            return None
        return reply_queue(self._session_here(), self._connect_timeout)

    def declare_for(self, task_id: TaskId) -> str | None:
        """Have the queue there that replies of one task go to, and return its name; None on Redis.

        For tasks that are not sent by ``submit()``: ``task.apply_async(task_id=id, reply_to=watcher.declare_for(id))``.
        With ``binding="task"`` the queue is there from then on, so this or another process may watch the id later.

        Raises:
            TypeError, ValueError: the id makes no sense.
            NotWatchableError: the broker does not allow that queue.
            As :attr:`reply_to`; it waits every time.
        """
        key = task_id_of(task_id)
        if self._settings.binding != "task":
            return self.reply_to
        declare_queues(self._session_here(), [key], self._connect_timeout)
        return key

    def close(self, timeout: float = 5.0) -> None:
        """Close the connections, end the thread and every pending future with ``WatcherClosedError``.

        Idempotent, from any thread. Waits at most ``timeout`` seconds for the thread; one that is held up, by a
        callback or in a connect attempt, does the rest when it comes back.
        """
        session = self._session_here()
        session.end(closed_error)
        while session.ended is not closed_error:
            # Its thread had died, and the next watch() would start another one. Or this call was forked.
            self._replace(session, closed=True)
            session = self._session_here()
            session.end(closed_error)
        with session.starting:
            thread = session.thread
        if thread is None:
            # Nobody will take what is pending: this is its owner now.
            Dispatcher(session).fail_all(closed_error)
            session.finish()
            session.state = State.CLOSED
            session.ready.set()
        elif not session.on_drain_thread():
            thread.join(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _configure(self) -> None:
        """Read what settings have not been read yet."""

    def _seconds(self, lifetime: float | DefaultLifetime | None) -> float | None:
        """How long a watch with this ``lifetime`` lasts; None for ever."""
        if isinstance(lifetime, DefaultLifetime):
            return self._default_lifetime
        check_seconds("lifetime", lifetime, optional=True, most=LONGEST_LIFETIME)
        return lifetime

    def _deadline(self, lifetime: float | DefaultLifetime | None) -> float | None:
        seconds = self._seconds(lifetime)
        return None if seconds is None else time.monotonic() + seconds

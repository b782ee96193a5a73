""":class:`BaseResultConsumer`: what a source of task states has to do, whichever server is behind it.

A consumer owns its connections. It is not thread-safe: one thread calls it, the drain thread where it works for a
watcher. The one exception is :meth:`BaseResultConsumer.on_after_fork`, which a forked child calls.

Used alone, a consumer reconnects by itself inside :meth:`BaseResultConsumer.drain_events`, within the time it was
given. A watcher's drain thread switches that off: it takes care of reconnecting, and of everything that has to go on
meanwhile.
"""

from __future__ import annotations

import abc
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from bgresults.errors import WatcherError
from bgresults.meta import MAX_BODY_SIZE, Decoder
from bgresults.options import RetryPolicy, check_seconds
from bgresults.retry import retrying, shortened
from bgresults.stats import Counters

__all__ = ["BaseResultConsumer", "ConnectionLost", "DeclaredCallback", "ErrorCallback", "StateCallback", "WakeupSource"]

StateCallback = Callable[[str, dict[str, Any]], object]
ErrorCallback = Callable[[str, WatcherError], object]
#: Called with None, or with the reason.
DeclaredCallback = Callable[["WatcherError | None"], object]


class WakeupSource(Protocol):
    """A descriptor that ends a wait early. Whoever drains may say when it does not sleep: it is not woken then."""

    def fileno(self) -> int: ...

    def clear(self) -> None:
        """It was readable: until the next wake it is not."""
        ...

    def fall_asleep(self) -> bool:
        """About to wait for it; True if there was a wake already that did not make it readable."""
        ...

    def get_up(self, *, readable: bool) -> None:
        """The wait has ended, with it readable or not: until :meth:`fall_asleep` nobody needs to be woken."""
        ...


class ConnectionLost(Exception):
    """There is no usable connection: it broke, was refused, or did not answer in time.

    Attributes:
        reason: what happened, in the server's words where it said any; never with a password.
        permanent: whether trying again is vain until somebody changes something.
        cure: what to change, for a permanent one.
    """

    def __init__(self, reason: str, *, permanent: bool = False, cure: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.permanent = permanent
        self.cure = cure

    def __str__(self) -> str:
        return self.reason if self.cure is None else f"{self.reason} ({self.cure})"


class BaseResultConsumer(abc.ABC):
    """Receives the states of the task ids it is asked for and passes each to a callback.

    Args:
        url: where the results are.
        serializer: name of the serializer the results were written with, where they do not say so themselves.
        accept: names of the serializers that may be decoded; None means ``[serializer]``.
        max_body_size: bytes that a body may have, once decompressed; None for any number of them.
        on_state: ``on_state(task_id, mapping)`` is called for every state, with its decoded mapping.
        on_error: ``on_error(task_id, error)`` is called for an id that is not consumed any more, since its state cannot
            be read, or will not come here.
        connect_timeout: seconds that one connect attempt may take.
        retry: how to reconnect when used alone.
        auto_reconnect: whether :meth:`drain_events` reconnects by itself; if not, it raises :class:`ConnectionLost`.
        wakeup: ends a wait in :meth:`drain_events` early when it becomes readable.
        counters: where to count; one of its own if None.
    """

    #: The class that consumes from a message broker; None where no broker is involved.
    Consumer: Any = None
    #: How replies find their way: ``"process"`` or ``"task"``, see :class:`~bgresults.AMQPOptions`; None without any.
    binding: str | None = None

    def __init__(
        self,
        url: str,
        *,
        serializer: str = "json",
        accept: Iterable[str] | None = None,
        max_body_size: int | None = MAX_BODY_SIZE,
        on_state: StateCallback | None = None,
        on_error: ErrorCallback | None = None,
        connect_timeout: float = 2.0,
        retry: RetryPolicy | None = None,
        auto_reconnect: bool = True,
        wakeup: WakeupSource | None = None,
        counters: Counters | None = None,
    ) -> None:
        check_seconds("connect_timeout", connect_timeout)
        self.connect_timeout = connect_timeout
        self.auto_reconnect = auto_reconnect
        self.counters = Counters() if counters is None else counters
        self.serializer = serializer
        self._decoder = Decoder(serializer, accept, max_body_size=max_body_size)
        self._on_state = on_state
        self._on_error = on_error
        self._retry = RetryPolicy() if retry is None else retry
        self._wakeup = wakeup
        #: Called when something has arrived, before it is looked at: who has been registered without a wake-up?
        self.before_states: Callable[[], object] | None = None
        self._started = False
        self._reconnect_by: float | None = None

    # -- life --------------------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def start(self, initial_task_id: str | None, no_ack: bool = True, **kwargs: Any) -> None:
        """Connect and consume the first id (None: just connect).

        Args:
            initial_task_id: the id to begin with.
            no_ack: whether the broker may forget a message when it has sent it; without meaning on Redis.

        Raises:
            ConnectionLost: there is no connection to be had.
        """

    @abc.abstractmethod
    def stop(self) -> None:
        """Close the connections, politely. Idempotent; never raises."""

    @abc.abstractmethod
    def reconnect(self) -> None:
        """Connect anew and consume everything that was consumed.

        Raises:
            ConnectionLost: there is no connection to be had.
        """

    @abc.abstractmethod
    def on_after_fork(self) -> None:
        """In a forked child: let go of the inherited connections without a byte sent on them. Idempotent."""

    @property
    @abc.abstractmethod
    def connected(self) -> bool:
        """Whether there is a connection, as far as is known."""

    @property
    @abc.abstractmethod
    def synced(self) -> bool:
        """Whether everything that was consumed at the last connect has been caught up with."""

    @property
    @abc.abstractmethod
    def subscribed(self) -> int:
        """How many ids are consumed."""

    @abc.abstractmethod
    def consumed_ids(self) -> list[str]:
        """The ids that are consumed."""

    # -- ids ---------------------------------------------------------------------------------------------------------

    def consume_from(self, task_id: str) -> None:
        """Pass on the states of ``task_id`` from now on; starts the consumer if need be."""
        self.consume_from_many((task_id,))

    @abc.abstractmethod
    def consume_from_many(self, task_ids: Iterable[str]) -> None:
        """:meth:`consume_from` for many ids in as few commands as possible."""

    def cancel_for(self, task_id: str) -> None:
        """Stop passing on the states of ``task_id``; unknown ids are ignored."""
        self.cancel_for_many((task_id,))

    def needs_waking(self, task_ids: Iterable[str]) -> bool:
        """Whether something has to be done now for these ids, that were registered a moment ago. Any thread.

        If not, it is early enough when the next message comes, see :attr:`before_states`.
        """
        return True

    def sent_again(self, task_id: str) -> None:  # noqa: B027 - most keep nothing
        """A task of this id is about to be sent: what is kept here of a former one is not its result. Any thread."""

    def at_hand(self, task_id: str) -> dict[str, Any] | None:
        """The final state of a task that succeeded, if it is here already and nothing came before it. Any thread.

        Decoded anew, and without a line of code that came with it, or that may raise anything.
        """
        return None

    def declare_for(self, task_id: str, then: DeclaredCallback) -> None:
        """Have whatever is needed there before a worker may report on ``task_id``, and call ``then(None)``.

        With a reason instead of None if that cannot be had. Where nothing is needed, that is now; otherwise inside of
        :meth:`drain_events`.
        """
        then(None)

    def catch_up(self, then: DeclaredCallback) -> None:
        """Call ``then(None)`` when everything has been passed on that the backend holds ready by now.

        Where that is not to be known, it is now; otherwise inside of :meth:`drain_events`.
        """
        then(None)

    @property
    def reply_to(self) -> str | None:
        """The queue that workers reply to, once it is there; None where there is none for all ids."""
        return None

    @abc.abstractmethod
    def cancel_for_many(self, task_ids: Iterable[str]) -> None:
        """:meth:`cancel_for` for many ids in as few commands as possible."""

    # -- states ------------------------------------------------------------------------------------------------------

    def drain_events(self, timeout: float | None = None) -> int | None:
        """Wait at most ``timeout`` seconds (None: without end) for something to arrive, and handle all of it.

        Returns:
            How many states were passed on; 0 if the time passed, a wake-up came, or what arrived was no state. None if
            there is no connection and the time passed.

        Raises:
            ConnectionLost: the connection is lost and ``auto_reconnect`` is off, or the server refuses for good.
        """
        if not self._started:
            if timeout:
                time.sleep(timeout)
            return None
        if not self.auto_reconnect:
            return self._drain(timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            remaining = None if deadline is None else deadline - time.monotonic()
            try:
                if not self.connected and not self._reconnect_within(remaining):
                    return None
                remaining = None if deadline is None else max(0.0, deadline - time.monotonic())
                return self._drain(remaining)
            except ConnectionLost as lost:
                if lost.permanent:
                    raise
                if deadline is not None and time.monotonic() >= deadline:
                    return None

    @abc.abstractmethod
    def _drain(self, timeout: float | None) -> int:
        """:meth:`drain_events` on the connection there is."""

    def _reconnect_within(self, seconds: float | None) -> bool:
        """Reconnect as the retry policy says, for at most ``seconds``; False if it took longer."""
        if seconds is not None and seconds <= 0:
            return False
        deadline = None if seconds is None else time.monotonic() + seconds

        def sleep(wait: float) -> None:
            wait = shortened(wait)
            time.sleep(wait if deadline is None else max(0.0, min(wait, deadline - time.monotonic())))

        attempts = retrying(
            self._retry,
            worth_retrying=lambda error: isinstance(error, ConnectionLost) and not error.permanent,
            sleep=sleep,
            before_sleep=lambda _error: None,
            give_up_after=seconds,
        )
        self._reconnect_by = deadline
        try:
            attempts(self.reconnect)
        except ConnectionLost as error:
            if error.permanent:
                raise
            return False
        finally:
            self._reconnect_by = None
        return True

    def _attempt_seconds(self) -> float:
        """How long the attempt to connect that is made now may take."""
        if self._reconnect_by is None:
            return self.connect_timeout
        return max(0.001, min(self.connect_timeout, self._reconnect_by - time.monotonic()))

    @abc.abstractmethod
    def on_wait_for_pending(self, result: Any, **kwargs: Any) -> None:
        """Read what the backend holds already and pass each state that exists to :meth:`on_state_change`.

        Args:
            result: a result or a result set of Celery, an id, or an iterable of ids.
        """

    @abc.abstractmethod
    def on_state_change(self, meta: Mapping[str, Any], message: Any) -> None:
        """Handle one decoded state: pass it to the callback and, when it is final, stop consuming its id.

        Args:
            meta: the decoded mapping, with at least ``task_id`` and ``status``.
            message: what it was decoded from.
        """

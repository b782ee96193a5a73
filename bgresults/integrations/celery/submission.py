""":class:`Submission`: tasks that are watched, and not sent yet."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celery.result import EagerResult

from bgresults.errors import NotWatchableError, WatcherError
from bgresults.futures import UpdateCallback
from bgresults.integrations.celery.eager import finish, finished_future
from bgresults.integrations.celery.following import steps_of_leaves, watch_following
from bgresults.integrations.celery.futures import CeleryResultFuture, abandon
from bgresults.integrations.celery.groups import GroupFutures, gathered, leaves_of, needs_chord
from bgresults.integrations.celery.sending import Shipment, eager_sender, shipment_of, without_subscribing
from bgresults.lifetimes import DefaultLifetime
from bgresults.readiness import declare_queues, reply_queue
from bgresults.registration import take_back
from bgresults.task_ids import task_id_of
from bgresults.watcher import ResultWatcher

if TYPE_CHECKING:
    from bgresults.integrations.celery.app_watcher import AppWatcher

__all__ = ["Request", "Submission", "run_request", "submit"]


@dataclass
class Request:
    """The arguments of ``submit()``."""

    task: Any
    args: Any
    kwargs: Any
    lifetime: Any
    on_update: UpdateCallback | None
    expires: Any
    revoke_on_timeout: bool
    task_id: Any
    options: dict[str, Any]

    def expires_with_the_watch(self, seconds: float | None) -> bool:
        """Whether that is asked for, of a watch that lasts so long.

        Raises:
            ValueError: such a watch never ends.
        """
        with_it = isinstance(self.expires, str) and self.expires == "watch"
        if with_it and seconds is None:
            raise ValueError("expires='watch' needs a watch that ends: give it a lifetime")
        return with_it


def submit(
    watcher: AppWatcher, request: Request, send: Callable[[Submission], object]
) -> CeleryResultFuture | GroupFutures:
    """Watch what will be sent, and have it sent, now or later, by ``send``.

    Raises:
        As ``CeleryResultWatcher.submit()``, or as ``send``: nothing is watched any more.
    """
    submission = _packed(watcher, request)
    try:
        watched = submission.watch(request)
        send(submission)
        return watched
    except BaseException:
        # Also when a signal handler raised, at whatever line: the caller gets no futures.
        submission.abandon()
        raise


def _packed(watcher: AppWatcher, request: Request) -> Submission:
    """What will be sent; nothing is watched yet."""
    eager = bool(watcher.app.conf.task_always_eager)
    if not eager:
        seconds = watcher._seconds(request.lifetime)
        if request.expires_with_the_watch(seconds):
            request.expires = seconds
        if request.expires is not None:
            request.options["expires"] = request.expires
    if not eager and watcher._settings.binding is not None:
        _refuse_without_replies(request)
    with without_subscribing(watcher.app):
        shipment = shipment_of(
            watcher.app, request.task, request.args, request.kwargs, _task_id(request), request.options
        )
    return Submission(watcher, shipment, eager=eager)


def run_request(watcher: AppWatcher, request: Request) -> CeleryResultFuture | GroupFutures:
    """Where tasks run eagerly: run it, in this thread, and return futures that have ended.

    Raises:
        As ``CeleryResultWatcher.submit()``.
    """
    app = watcher.app
    if not isinstance(request.lifetime, DefaultLifetime):
        # What does not matter here is refused as it would be in production.
        request.expires_with_the_watch(ResultWatcher._seconds(watcher, request.lifetime))
    send, is_chord, is_group = eager_sender(
        app, request.task, request.args, request.kwargs, _task_id(request), request.options
    )
    try:
        result = send()
    except Exception as error:  # noqa: BLE001 - of the task, if errors are to be propagated, or of the sending
        failed = CeleryResultFuture(_task_id(request) or "eager", watcher)
        failed._settle(None, error)
        return GroupFutures(None, _NOTHING, [], failed, [failed]) if is_chord or is_group else failed
    futures = [finished_future(watcher, leaf, request.on_update) for leaf in leaves_of(result)]
    if is_chord:
        # Run like this, it leaves no results of its header behind.
        body = gathered(result, futures) if hasattr(result, "results") else futures[0]
        return GroupFutures(None, _NOTHING, [], body, futures)
    return GroupFutures(str(result.id), result, futures) if hasattr(result, "results") else futures[0]


class _Nothing:
    """A group without members."""

    results: tuple[Any, ...] = ()


_NOTHING = _Nothing()


def _refuse_without_replies(request: Request) -> None:
    """Refuse what can be sent through a broker, and would not be answered."""
    if needs_chord(request.task):
        raise ValueError(
            "results that come as replies (result_backend = 'rpc://') allow no chords, and a group in a chain that "
            "something comes after is one: send it as a group, or keep the results in Redis"
        )
    if "reply_to" in request.options:
        raise ValueError("submit() says itself where the reply goes; with a reply_to of your own, use apply_async()")


def _task_id(request: Request) -> str | None:
    return None if request.task_id is None else task_id_of(request.task_id)


class Submission:
    """Watched, and then sent once, or given up.

    Args:
        watcher: whose futures these are.
        shipment: what will be sent.
        eager: whether sending it runs it, here and now.
    """

    def __init__(self, watcher: AppWatcher, shipment: Shipment, *, eager: bool) -> None:
        self._watcher = watcher
        self._shipment = shipment
        self._eager = eager
        # One for each of the shipment's ids.
        self._futures: list[CeleryResultFuture] = []
        self._watched: CeleryResultFuture | GroupFutures | None = None

    def watch(self, request: Request) -> CeleryResultFuture | GroupFutures:
        """Make its futures.

        Returns:
            What the user gets: a future, or those of a group.

        Raises:
            As ``CeleryResultWatcher.watch()``.
        """
        watcher, shipment = self._watcher, self._shipment
        if self._eager:
            self._futures = [CeleryResultFuture(key, watcher, request.on_update) for key in shipment.ids()]
        else:
            results = [shipment.result] if shipment.header is None else [shipment.header, shipment.result]
            steps = (step for result in results for before in steps_of_leaves(result).values() for step in before)
            watcher._router.forget([*shipment.ids(), *steps])
            self._futures = watch_following(watcher, results, request.lifetime, request.on_update)
        self._watched = watched = _for_the_user(shipment, self._futures)
        if request.revoke_on_timeout:
            for future in self._futures:
                future.add_done_callback(watcher._revoker.when_expired)
        return watched

    def send(self) -> None:
        """Send it. If that fails, all its futures end with the reason."""
        try:
            self._send_or_fail()
        except BaseException:
            # Somebody has those of submit_on_commit(), and what was to end them was interrupted.
            self.abandon()
            raise

    def abandon(self) -> None:
        """Cancel its futures, here and now."""
        abandon(self._watcher, self._futures)
        if self._watched is not None:
            # Members of a group that had ended may have been kept from telling it.
            self._watched.cancel()

    def give_up(self) -> None:
        """Cancel its futures: it will not be sent. Possibly in the garbage collector."""
        for future in self._futures:
            if self._eager:
                # No drain thread has heard of it.
                future.cancel()
            else:
                self._watcher._abandoned(future)

    def _send_or_fail(self) -> None:
        if any(_refused(future) for future in self._futures):
            # The backend cannot be used: nobody would learn of the results.
            return
        try:
            if self._eager:
                # What runs here is the user's: it may wait for something of its own.
                result = self._shipment.send()
                for future, ended in zip(self._of_result(), leaves_of(result), strict=True):
                    finish(future, ended)
                for future in self._futures:
                    # Of a chord's header: its results are not to be had.
                    future.cancel()
                return
            ids, queue = self._prepare_replies()
            with without_subscribing(self._watcher.app), self._watcher._router.routing(ids, queue):
                self._compare(self._shipment.send())
        except Exception as error:  # noqa: BLE001 - whatever kept it from being sent is the outcome
            self._fail(error)

    def _prepare_replies(self) -> tuple[Collection[str], str | None]:
        """Where results come as replies, have the queues there before anybody replies to them.

        Returns:
            The ids of all that will be sent, and the queue for all of them, if it is one.
        """
        watcher = self._watcher
        binding = watcher._settings.binding
        if binding is None:
            return (), None
        ids = {future.task_id for future in self._futures}
        ids.update(step.task_id for future in self._futures for step in getattr(future, "_before", ()))
        if binding == "process":
            return ids, reply_queue(watcher._session_here(), watcher._connect_timeout)
        declare_queues(watcher._session_here(), list(ids), watcher._connect_timeout)
        return ids, None

    def _of_result(self) -> list[CeleryResultFuture]:
        """Of the futures, those of the result: all but those of a chord's header."""
        return self._futures[len(leaves_of(self._shipment.header)) :]

    def _compare(self, sent: Any) -> None:
        """A task with an ``apply_async()`` of its own may have sent nothing, and returned another task's result."""
        for future, leaf in zip(self._of_result(), leaves_of(sent), strict=False):
            if isinstance(leaf, EagerResult):
                take_back(self._watcher._session_here(), [future])
                finish(future, leaf)
            elif str(leaf.id) != future.task_id:
                self._fail(
                    NotWatchableError(
                        f"the task was not sent as {future.task_id!r}: its apply_async() returned the result of "
                        f"{leaf.id!r}; watch() that one"
                    )
                )
                return

    def _fail(self, error: Exception) -> None:
        take_back(self._watcher._session_here(), list(self._futures))
        for future in self._futures:
            # Claimed like any other end: if a result came all the same, it stays.
            for callback in future._settle(None, error) or []:
                future._call(callback)


def _refused(future: CeleryResultFuture) -> bool:
    """Whether the watch of it has failed."""
    return future.done() and not future.cancelled() and isinstance(future.exception(0), WatcherError)


def _for_the_user(shipment: Shipment, futures: list[CeleryResultFuture]) -> CeleryResultFuture | GroupFutures:
    result, header = shipment.result, shipment.header
    if header is None:
        if not hasattr(result, "results"):
            return futures[0]
        return GroupFutures(str(result.id), result, futures)
    count = len(leaves_of(header))
    behind = futures[count:]
    body = gathered(result, behind) if hasattr(result, "results") else behind[0]
    return GroupFutures(str(header.id), header, futures[:count], body, behind)

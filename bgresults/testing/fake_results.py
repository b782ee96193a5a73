""":class:`FakeResults`: what becomes of tasks, said by a test instead of a worker."""

from __future__ import annotations

import contextlib
import importlib.util
from typing import TYPE_CHECKING, Any

from bgresults.meta import READY_STATES
from bgresults.testing.memory import Memory, Stored
from bgresults.testing.rules import Outcome, Rule, Rules, task_name_of
from bgresults.testing.sent_tasks import SentTask
from bgresults.testing.takeover import Takeover
from bgresults.testing.telling import StateTeller
from bgresults.watcher import ResultWatcher

if TYPE_CHECKING:
    from typing_extensions import Self

    from bgresults.testing.fake_celery import FakeCelery

__all__ = ["FakeResults"]

# Nobody connects there.
_URL = "redis://fake-results/0"


class FakeResults(StateTeller):
    """Takes the place of the result backend, the broker and the workers: for all watchers of this process.

    While it is entered, watchers of any URL, Celery application or web framework's settings, whenever they were made,
    have a memory instead of a server; everything above that is real: threads, futures, timeouts, callbacks. And tasks
    that Celery applications send go nowhere; what becomes of them is said by :meth:`when`, or afterwards by
    :meth:`resolve`, :meth:`fail`, :meth:`progress` and :meth:`revoke`. Values and exceptions go through the serializer
    that a worker would use, and fail where they would there.

    Every method may be called from any thread. When one of them returns, all watchers have handled what it did: futures
    have ended, and callbacks have run. (At the latest after five seconds, if a callback does not return; and in a
    callback it waits for nobody.) There is one at a time in a process; a forked child has a copy of its own.

    Args:
        serializer: of the results of tasks that no Celery application has sent here. None for that of the application
            that was used last, or JSON.

    Attributes:
        sent: the tasks that were sent, in order.
    """

    def __init__(self, *, serializer: str | None = None) -> None:
        super().__init__("json" if serializer is None else serializer)
        self._any_serializer = serializer is None
        self._memory = Memory()
        self._takeover = Takeover(self._memory)
        self._rules = Rules()
        self._celery: FakeCelery | None = None
        self._own: list[ResultWatcher] = []
        # Ids that a test has said something about.
        self._told: dict[str, None] = {}
        self._used = self._entered = False
        self.sent: list[SentTask] = []

    def __enter__(self) -> Self:
        """Begin.

        Raises:
            RuntimeError: another one has begun, or this one before.
        """
        if self._used:
            raise RuntimeError("this FakeResults was used before; make a new one")
        if importlib.util.find_spec("celery") is not None:
            from bgresults.testing.fake_celery import FakeCelery

            self._celery = FakeCelery(self._memory, self._publish, self._on_sent, self._revoke_unless_ended)
        self._takeover.start()
        self._used = self._entered = True
        if self._celery is not None:
            self._celery.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End: futures that are pending end with ``WatcherClosedError``; watchers have their servers again."""
        self._entered = False
        with contextlib.ExitStack() as undo:
            undo.callback(self._takeover.stop)
            if self._celery is not None:
                undo.callback(self._celery.stop)
            for watcher in self._own:
                undo.callback(watcher.close)

    def watcher(self, **settings: Any) -> ResultWatcher:
        """A new watcher, which is closed at the end.

        Args:
            settings: of :class:`~bgresults.ResultWatcher`; ``url`` need not be among them.

        Raises:
            As :class:`~bgresults.ResultWatcher`.
        """
        self._check_entered()
        watcher = ResultWatcher(**{"url": _URL, "name": "fake", **settings})
        self._own.append(watcher)
        return watcher

    # -- what becomes of tasks ---------------------------------------------------------------------------------------

    def when(self, task: Any) -> Rule:
        """Say what becomes of tasks that will be sent: ``when(task).returns(value)``, ``.raises(error)`` or
        ``.runs(function)``. What was said of the same task before is forgotten.

        Args:
            task: a task, or its name.

        Raises:
            RuntimeError: Celery is not installed, so nothing can be sent.
            TypeError, ValueError: it is no task.
        """
        self._check_entered()
        if self._celery is None:
            raise RuntimeError("when() is about tasks that Celery sends, and needs it: pip install 'bgresults[celery]'")
        return Rule(self._rules, task_name_of(task))

    # -- outages -----------------------------------------------------------------------------------------------------

    def disconnect(self, reason: str = "Connection reset by peer") -> None:
        """Cut the connection of all watchers to their result backend, until :meth:`reconnect`.

        Tasks can be sent, and end, meanwhile; their results are found afterwards.

        Args:
            reason: what the log says, and ``BackendUnavailableError`` where futures fail of it.
        """
        self._check_entered()
        self._takeover.settle()
        self._memory.disconnect(reason)
        self._takeover.await_outage()

    def reconnect(self) -> None:
        """End the outage; all watchers are connected when this returns."""
        self._memory.reconnect()
        self._takeover.await_recovery()
        self._takeover.settle()

    def disconnect_broker(self, reason: str = "Connection refused") -> None:
        """Have all that Celery sends fail with kombu's ``OperationalError``, until :meth:`reconnect_broker`.

        Raises:
            RuntimeError: Celery is not installed.
        """
        self._check_entered()
        if self._celery is None:
            raise RuntimeError("nothing can be sent without Celery: pip install 'bgresults[celery]'")
        self._celery.broker_outage = reason

    def reconnect_broker(self) -> None:
        """Tasks can be sent again."""
        if self._celery is not None:
            self._celery.broker_outage = None

    # -- looking around ----------------------------------------------------------------------------------------------

    @property
    def pending(self) -> list[str]:
        """Ids of the tasks that somebody waits for now."""
        self._takeover.settle()
        found = (task_id for session in self._takeover.sessions() for task_id in session.pending.ids())
        return list(dict.fromkeys(found))

    def loose_ends(self) -> list[str]:
        """What a test that was thought to the end does not leave behind, each as a line of text."""
        names = {task.id: f" ({task.name})" for task in self.sent}
        lines = [f"still waited for: task {task_id!r}{names.get(task_id, '')}" for task_id in self.pending]
        lines += [
            f"{self._status(task_id)}, and never watched: task {task_id!r}{names.get(task_id, '')}"
            for task_id in self._told
            if task_id not in self._memory.asked_for
        ]
        lines += [
            f"never sent: task {name!r}, of which when() says what becomes (with task_always_eager, nothing is sent)"
            for name in self._rules.unused()
        ]
        return lines

    def summary(self) -> str:
        """What was sent and said so far, and :meth:`loose_ends`: for a person who looks for an error."""
        sent = {task.id: f", {task.name} with {task.args!r}, {task.kwargs!r}" for task in self.sent}
        ids = dict.fromkeys([*sent, *self._memory.ids()])
        lines = [f"{self._status(task_id) or 'sent'}: task {task_id!r}{sent.get(task_id, '')}" for task_id in ids]
        if self._memory.outage is not None:
            lines.append(f"disconnected: {self._memory.outage}")
        return "\n".join(lines + self.loose_ends())

    # -- inside ------------------------------------------------------------------------------------------------------

    def _check_entered(self) -> None:
        if not self._entered:
            raise RuntimeError("a FakeResults works while it is entered: with FakeResults() as fake_results: …")

    def _about(self, task_id: Any) -> str:
        self._check_entered()
        key = super()._about(task_id)
        self._told[key] = None
        return key

    def _stored(self, task_id: str) -> Stored | None:
        return self._memory.stored(task_id)

    def _write(self, task_id: str, status: str, result: Any) -> None:
        celery = self._celery
        if celery is None or not celery.knows(task_id):
            super()._write(task_id, status, result)
        elif status == "SUCCESS":
            celery.succeed(task_id, result)
        elif status == "FAILURE":
            celery.fail(task_id, result)
        elif status == "REVOKED":
            celery.revoke(task_id, str(result))
        else:
            celery.progress(task_id, status, result)

    def _serializer_now(self) -> str:
        found = self._celery.serializer if self._any_serializer and self._celery is not None else None
        return found or super()._serializer_now()

    def _publish(self, task_id: str, stored: Stored) -> None:
        """Tell it to all who watched by now, and have them handle it."""
        self._takeover.settle()
        self._memory.publish(task_id, stored)
        self._takeover.settle()

    def _revoke_unless_ended(self, task_id: str) -> None:
        if self._status(task_id) not in READY_STATES:
            self.revoke(task_id)

    def _on_sent(self, task: SentTask) -> None:
        self.sent.append(task)
        outcome = self._rules.take(task.name)
        if outcome is not None:
            self._run(task, outcome)

    def _run(self, task: SentTask, outcome: Outcome) -> None:
        """Do what a worker would: what comes out of the function ends the task, whatever it is."""
        assert self._celery is not None
        try:
            for state, meta in outcome.states:
                self._celery.progress(task.id, state, meta)
            value = outcome.function(*task.args, **task.kwargs)
        except Exception as error:  # noqa: BLE001 - the task has raised it
            self._celery.fail(task.id, error)
        else:
            self._celery.succeed(task.id, value)

"""Where workers send the results of tasks that go out through the rpc backend.

Celery writes the reply queue of the sending *thread* into every task: one that only this thread consumes, and only
while it waits. And it writes it into all signatures of a chain at once, which travel inside the first one's message.
Here a task is looked at when it is published, with everything that it carries.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from celery.signals import before_task_publish

from bgresults.errors import BackendUnavailableError, NotWatchableError
from bgresults.forking import leaf_lock

if TYPE_CHECKING:
    from celery import Celery
    from typing_extensions import Self

    from bgresults.integrations.celery.watcher import CeleryResultWatcher

__all__ = ["ReplyRoute", "ReplyRouter", "route_all"]

# Ids of tasks whose replies go elsewhere: the last ones.
_REMEMBERED: Final = 10_000
# What a message carries besides its task: lists of signatures, and one.
_CARRIED: Final = ("callbacks", "errbacks", "chain")


class ReplyRouter:
    """Looks at all tasks that this process publishes, from :meth:`install` on.

    Args:
        watcher: where the replies should go. Its own, so it is held weakly by the signal alone.
    """

    def __init__(self, watcher: CeleryResultWatcher) -> None:
        self._watcher = watcher
        self._here = threading.local()
        self._routes = 0
        self._elsewhere: dict[str, str] = {}

    def install(self) -> None:
        """From now on, see what is published. Idempotent."""
        before_task_publish.connect(self._on_publish, weak=True, dispatch_uid=id(self))

    def uninstall(self) -> None:
        """See nothing more. Idempotent."""
        before_task_publish.disconnect(self._on_publish, dispatch_uid=id(self))

    @contextmanager
    def routing(self) -> Iterator[None]:
        """While it lasts, what this thread sends has its replies come here."""
        before = getattr(self._here, "routing", False)
        self._here.routing = True
        try:
            yield
        finally:
            self._here.routing = before

    def route_everything(self) -> None:
        """From now on, what any thread sends has its replies come here."""
        with leaf_lock():
            self._routes += 1

    def stop_routing(self) -> None:
        """Once for each :meth:`route_everything`."""
        with leaf_lock():
            self._routes -= 1

    @property
    def routes_everything(self) -> bool:
        """Whether it does."""
        return self._routes > 0

    def refuse_elsewhere(self, task_ids: Iterable[str]) -> None:
        """Raise if the reply of one of these is known to go to another queue.

        Raises:
            NotWatchableError: it does.
        """
        if not self._elsewhere:
            return
        for task_id in task_ids:
            queue = self._elsewhere.get(task_id)
            if queue is not None:
                raise NotWatchableError(
                    f"the result of task {task_id!r} goes to the reply queue {queue!r}, and not to this watcher: send "
                    "the task with submit(), under route_replies(), or with reply_to=watcher.declare_for(task_id)"
                )

    # -- inside ------------------------------------------------------------------------------------------------------

    def _on_publish(
        self, sender: Any = None, body: Any = None, properties: dict[str, Any] | None = None, **_: Any
    ) -> None:
        if properties is None or not isinstance(task_id := properties.get("correlation_id"), str):
            return
        given = properties.get("reply_to")
        theirs = self._watcher.app.thread_oid
        if given == theirs and (self.routes_everything or getattr(self._here, "routing", False)):
            target = self._target
            properties["reply_to"] = given = target(task_id)
            _route_carried(body, theirs, target)
        if given == self._expected(task_id):
            self._elsewhere.pop(task_id, None)
        elif given:
            self._elsewhere[task_id] = given
            while len(self._elsewhere) > _REMEMBERED:
                try:
                    del self._elsewhere[next(iter(self._elsewhere))]
                except (KeyError, RuntimeError, StopIteration):
                    # Another thread publishes too, and makes room as well.
                    break

    def _target(self, task_id: str) -> str:
        """The queue that replies for this task have to go to; it is there."""
        if getattr(self._here, "routing", False) and self._watcher._settings.binding == "task":
            # submit() has declared all of them.
            return task_id
        queue = self._watcher.declare_for(task_id)
        assert queue is not None
        return queue

    def _expected(self, task_id: str) -> str | None:
        """The same, if it can be said without waiting."""
        if self._watcher._settings.binding == "task":
            return task_id
        return self._watcher._session_here().reply_to


class ReplyRoute:
    """What :meth:`CeleryResultWatcher.route_replies` returns: a context manager, and :meth:`undo`."""

    def __init__(self, undo: Callable[[], None]) -> None:
        self._undo: Callable[[], None] | None = undo

    def undo(self) -> None:
        """Have replies go where Celery sends them again. Idempotent."""
        with leaf_lock():
            undo, self._undo = self._undo, None
        if undo is not None:
            undo()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.undo()


def route_all(watcher: CeleryResultWatcher) -> ReplyRoute:
    """See :meth:`CeleryResultWatcher.route_replies`; the watcher is configured."""
    if watcher._settings.binding is None:
        return ReplyRoute(lambda: None)
    seconds = watcher._connect_timeout
    # Now, and not in the middle of somebody's delay(), where Celery would swallow the error.
    if not watcher.wait_ready(seconds):
        raise BackendUnavailableError(f"{watcher._settings.address}: not connected within {seconds:g} s")
    router = watcher._router
    router.route_everything()
    declare_again = _without_declaring(watcher.app, lambda: router.routes_everything)

    def undo() -> None:
        router.stop_routing()
        declare_again()

    return ReplyRoute(undo)


def _without_declaring(app: Celery, routed: Callable[[], bool]) -> Callable[[], None]:
    """Keep the application's backend from declaring a reply queue for the sending thread, while ``routed()``.

    On its class: each thread may have a backend object of its own, and the next thread has none yet. Objects of other
    applications go through it unchanged. Returns what undoes it.
    """
    kind: Any = type(app.backend)
    declaring = kind.on_task_call

    @functools.wraps(declaring)
    def on_task_call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.app is app and routed():
            return None
        return declaring(self, *args, **kwargs)

    inherited = "on_task_call" not in vars(kind)
    kind.on_task_call = on_task_call

    def undo() -> None:
        # Somebody may have put something on top; then this stays below it, without effect.
        if vars(kind).get("on_task_call") is on_task_call:
            if inherited:
                del kind.on_task_call
            else:
                kind.on_task_call = declaring

    return undo


def _route_carried(body: Any, theirs: str, target: Callable[[str], str]) -> None:
    """Route what travels inside of a message: the rest of a chain, a chord's body, what is linked."""
    if not isinstance(body, tuple) or len(body) != 3 or not isinstance(carried := body[2], dict):
        # Version 1 of Celery's protocol, which knows no chains.
        return
    for kind in _CARRIED:
        if carried.get(kind):
            carried[kind] = [_routed(signature, theirs, target) for signature in carried[kind]]
    if carried.get("chord"):
        carried["chord"] = _routed(carried["chord"], theirs, target)


def _routed(signature: Any, theirs: str, target: Callable[[str], str]) -> Any:
    """A copy with our reply queue, down to its last member: the sender may use the signature again."""
    if isinstance(signature, list):
        return [_routed(member, theirs, target) for member in signature]
    if not isinstance(signature, Mapping):
        return signature
    copy = dict(signature)
    options = copy["options"] = dict(copy.get("options") or {})
    task_id = options.get("task_id")
    if isinstance(task_id, str) and options.get("reply_to") in (None, theirs):
        options["reply_to"] = target(task_id)
    for name in ("link", "link_error"):
        if options.get(name):
            linked = options[name] if isinstance(options[name], list) else [options[name]]
            options[name] = [_routed(each, theirs, target) for each in linked]
    members = copy.get("kwargs")
    if copy.get("subtask_type") and isinstance(members, Mapping):
        copy["kwargs"] = {
            key: _routed(value, theirs, target) if key in ("tasks", "header", "body") else value
            for key, value in members.items()
        }
    return copy

"""Where workers send the results of tasks that go out through the rpc backend.

Celery writes the reply queue of the sending *thread* into every task: one that only this thread consumes, and only
while it waits. And it writes it into all signatures of a chain at once, which travel inside the first one's message.
Here a task is looked at when it is published, with everything that it carries.

Celery logs what a receiver of its signal raises, and sends the task all the same. So whatever can fail is done before:
by ``submit()``, or where Celery's backend would have declared its own queue.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from celery.signals import before_task_publish

from bgresults import forking
from bgresults.errors import BackendUnavailableError, NotWatchableError, WatcherError
from bgresults.forking import leaf_lock
from bgresults.integrations.celery.backend_queues import ROUTER, leave_out_queues

if TYPE_CHECKING:
    from typing_extensions import Self

    from bgresults.integrations.celery.app_watcher import AppWatcher

__all__ = ["ReplyRoute", "ReplyRouter", "route_all"]

# Ids of tasks whose replies go elsewhere: the last ones.
_REMEMBERED: Final = 10_000
# Tasks of one thread that are about to be sent: a receiver of Celery's signal may send one while another is published,
# and its receiver one more. Some never are published.
_NESTED: Final = 8
# What a message carries besides its task: signatures.
_CARRIED: Final = ("callbacks", "errbacks", "chain", "chord")


class ReplyRouter:
    """Looks at all tasks that this process publishes, from :meth:`install` on.

    Args:
        watcher: where the replies should go. Its own, so it is held weakly by the signal alone.
    """

    def __init__(self, watcher: AppWatcher) -> None:
        self._watcher = watcher
        self._here = _Here()
        self._routes: set[ReplyRoute] = set()
        # Unlike a dict, it finds its first item at once where many before that one have gone.
        self._elsewhere: OrderedDict[str, str] = OrderedDict()
        forking.register(self)

    def _after_fork_in_child(self) -> None:
        # Held for a moment whenever something is published, by a thread that may not have come along. Without a
        # receiver Celery would not take it.
        before_task_publish.lock = threading.Lock()

    def install(self) -> None:
        """From now on, see what is published. Idempotent."""
        if "url" not in self._watcher._overrides:
            # Before submit() puts anything on a backend object.
            leave_out_queues(self._watcher.app)
        before_task_publish.connect(self._on_publish, weak=True, dispatch_uid=id(self))

    def uninstall(self) -> None:
        """See nothing more, and route nothing. Idempotent."""
        with leaf_lock():
            self._routes.clear()
        before_task_publish.disconnect(self._on_publish, dispatch_uid=id(self))

    @contextmanager
    def routing(self, task_ids: Collection[str], queue: str | None) -> Iterator[None]:
        """While it lasts, replies for these tasks come here, whatever they say; if this thread sends them.

        Args:
            task_ids: all of what is sent, and of what it carries.
            queue: the reply queue, to which everything else goes too that this thread sends; None for one queue for
                each task. It is there.
        """
        here = self._here
        before = here.task_ids, here.queue
        here.task_ids, here.queue = task_ids, queue
        try:
            yield
        finally:
            here.task_ids, here.queue = before

    def start(self, route: ReplyRoute) -> None:
        """From now on, what any thread sends has its replies come here."""
        with leaf_lock():
            self._routes.add(route)
            setattr(self._watcher.app, ROUTER, self)

    def stop(self, route: ReplyRoute) -> None:
        """Until the last one has stopped. Idempotent."""
        with leaf_lock():
            self._routes.discard(route)

    @property
    def routes_everything(self) -> bool:
        """Whether it does."""
        return bool(self._routes)

    def prepare(self, task_id: str) -> None:
        """A task is about to be sent while everything is routed: have the queue there.

        Raises:
            WatcherError: it cannot be had. The caller of ``delay()`` gets to know, and nothing is sent.
        """
        self._watcher.declare_for(task_id)
        self.announce(task_id)

    def announce(self, task_id: str) -> None:
        """A task is about to be sent while everything is routed, and the queue is there."""
        self.forget((task_id,))
        self._here.prepared.append(task_id)

    def expected(self, task_id: str) -> str:
        """The queue that this watcher would find the reply in."""
        if self._watcher._settings.binding == "task":
            return task_id
        return self._watcher._session_here().reply_queue

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

    def forget(self, task_ids: Iterable[str]) -> None:
        """These are sent, perhaps once more, and come here: what is known of the last time is not about that."""
        consumer = self._watcher._session_here().consumer
        for task_id in task_ids:
            self._elsewhere.pop(task_id, None)
            if consumer is not None:
                consumer.sent_again(task_id)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _on_publish(
        self, sender: Any = None, body: Any = None, properties: dict[str, Any] | None = None, **_: Any
    ) -> None:
        if properties is None or not isinstance(task_id := properties.get("correlation_id"), str):
            return
        here = self._here
        here.announced = task_id in here.prepared
        if here.announced:
            here.prepared.remove(task_id)
        if queue := self._destination(task_id, properties.get("reply_to"), announced=here.announced):
            properties["reply_to"] = queue
        # Version 1 of Celery's protocol has it all in one.
        carried = body[2] if isinstance(body, tuple) and len(body) == 3 else body
        if not isinstance(carried, dict):
            return
        routed = {kind: self._routed(carried[kind]) for kind in _CARRIED if carried.get(kind)}
        if self._routes or here.task_ids:
            carried.update(routed)

    def _destination(self, task_id: str, given: Any, *, announced: bool) -> Any:
        """Where the reply of a task goes that says ``given``. Remembered, if that is not here.

        Args:
            task_id, given: of the task.
            announced: whether :meth:`prepare` was called for it; it is not where the result is ignored.
        """
        here, theirs = self._here, self._watcher.app.thread_oid
        queue = given
        if task_id in here.task_ids:
            queue = here.queue or task_id
        elif given in (None, "", theirs):
            queue = here.queue or (self.expected(task_id) if announced and self._routes else None) or given
        if queue == self.expected(task_id):
            self.forget((task_id,))
        elif queue:
            self._remember(task_id, queue)
        return queue

    def _declared(self, task_id: str) -> bool:
        """Have the queue there of a task that travels in another one's message.

        The one queue of a process is there already, unless the result of that other one is ignored: it may be the first
        that a forked child sends, and this one may reply before anybody watches it.
        """
        here = self._here
        there = self._watcher._settings.binding == "process" and here.announced
        if self._routes and not there and task_id not in here.task_ids:
            try:
                self._watcher.declare_for(task_id)
            except WatcherError:
                # The task that carries it is on its way. watch() will say what became of this one.
                return False
        return True

    def _remember(self, task_id: str, queue: str) -> None:
        self._elsewhere[task_id] = queue
        while len(self._elsewhere) > _REMEMBERED:
            self._elsewhere.popitem(last=False)

    def _routed(self, signature: Any) -> Any:
        """A copy with the right reply queues, down to its last member: the sender may use the signature again."""
        if isinstance(signature, (list, tuple)):
            return [self._routed(member) for member in signature]
        if not isinstance(signature, Mapping):
            return signature
        copy = dict(signature)
        options = copy["options"] = dict(copy.get("options") or {})
        task_id = options.get("task_id")
        # That of a group is no task's.
        if isinstance(task_id, str) and copy.get("subtask_type") != "group" and not options.get("ignore_result"):
            queue = self._destination(task_id, options.get("reply_to"), announced=self._declared(task_id))
            options |= {"reply_to": queue} if queue else {}
        for name in ("link", "link_error"):
            if options.get(name):
                linked = options[name]
                options[name] = self._routed(linked if isinstance(linked, (list, tuple)) else [linked])
        members = copy.get("kwargs")
        if copy.get("subtask_type") and isinstance(members, Mapping):
            copy["kwargs"] = {
                key: self._routed(value) if key in ("tasks", "header", "body") else value
                for key, value in members.items()
            }
        return copy


class _Here(threading.local):
    """What one thread is sending."""

    #: What is submitted: ids, and the one queue for them, if they have one.
    task_ids: Collection[str] = ()
    queue: str | None = None
    #: Whether the queue is there of the task that is published now.
    announced: bool = False

    def __init__(self) -> None:
        #: Tasks whose queue is there, and which are not published yet: the last ones.
        self.prepared: deque[str] = deque(maxlen=_NESTED)


class ReplyRoute:
    """What :meth:`CeleryResultWatcher.route_replies` returns: a context manager, and :meth:`undo`."""

    def __init__(self, router: ReplyRouter) -> None:
        self._router = router

    def undo(self) -> None:
        """Have replies go where Celery sends them again. Idempotent."""
        self._router.stop(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.undo()


def route_all(watcher: AppWatcher) -> ReplyRoute:
    """See :meth:`CeleryResultWatcher.route_replies`; the watcher is configured."""
    route = ReplyRoute(watcher._router)
    if watcher._settings.binding is None:
        return route
    seconds = watcher._connect_timeout
    # Now, and not in the middle of somebody's delay().
    if not watcher.wait_ready(seconds):
        raise BackendUnavailableError(f"{watcher._settings.address}: not connected within {seconds:g} s")
    leave_out_queues(watcher.app)
    watcher._router.start(route)
    return route

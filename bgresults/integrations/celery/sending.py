"""Sending tasks without a race, and without Celery's own subscriptions.

Celery's Redis backend subscribes to the result of every task it sends, whether or not anybody will wait for it, and
once more for every member of a group. A task that is sent here is watched by us already, so both are left out, for the
sends of this module in this thread alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from celery import Task, canvas

from bgresults.integrations.celery.applications import name_of
from bgresults.integrations.celery.groups import leaves_of

if TYPE_CHECKING:
    from celery import Celery

# Celery's annotations do not know what is in a canvas.
_maybe_signature: Callable[..., Any] = canvas.maybe_signature
_Signature: Any = canvas.Signature
_Group: Any = canvas.group
_Chain: Any = canvas._chain
_Chord: Any = canvas._chord
_Chunks: Any = canvas.chunks

__all__ = ["Shipment", "eager_sender", "shipment_of", "without_subscribing"]


class Shipment:
    """What will be sent, with the ids that it will have.

    Attributes:
        result: the Celery result that stands for it: an ``AsyncResult``, or a ``GroupResult``.
        header: of a chord, the ``GroupResult`` of its header; None otherwise.
        send: sends it; returns what ``apply_async()`` does.
    """

    def __init__(self, result: Any, header: Any, send: Callable[[], Any]) -> None:
        self.result = result
        self.header = header
        self.send = send

    def ids(self) -> list[str]:
        """All ids whose results will be there: in order, those of a chord's header first."""
        return [str(leaf.id) for leaf in [*leaves_of(self.header), *leaves_of(self.result)]]


def shipment_of(
    app: Celery, task: Any, args: Any, kwargs: Any, task_id: str | None, options: Mapping[str, Any]
) -> Shipment:
    """Decide on the ids of a task, or of everything in a canvas.

    Args:
        app: that sends it.
        task: a task, its name, or a signature: group, chord and chain too. A signature is not changed.
        args, kwargs: as for ``apply_async()``.
        task_id: of the task, of the last task of a chain, of a chord's body or of the group; None for a new one.
        options: more of ``apply_async()``.

    Raises:
        TypeError: ``task`` is nothing that can be sent.
        ValueError: it belongs to another application, or its result would be ignored.
    """
    signature = _signature(app, task)
    _refuse_ignored(app, signature, options)
    if task_id is not None and not isinstance(signature, (_Chain, _Chord)):
        # One that its owner has frozen has an id already.
        signature.set(task_id=task_id)
    result = signature.freeze(task_id)
    header = _root(result) if isinstance(signature, _Chord) else None
    if len(leaves_of(result)) and len(getattr(result, "results", ())) == 1 and hasattr(result.results[0], "results"):
        # As apply_async() has it: a group of one chain that ends in a group is that group.
        result = result.results[0]

    # Every id is in the signatures now, and no option takes their place.
    return Shipment(result, header, lambda: signature.apply_async(args, kwargs, **options))


def eager_sender(
    app: Celery, task: Any, args: Any, kwargs: Any, task_id: str | None, options: Mapping[str, Any]
) -> tuple[Callable[[], Any], bool, bool]:
    """What sends it where sending is running; and whether it is a chord, or a group. The ids are known afterwards.

    Raises:
        As :func:`shipment_of`.
    """
    signature = _signature(app, task)
    _refuse_ignored(app, signature, options)
    given = {} if task_id is None else {"task_id": task_id}

    def send() -> Any:
        return signature.apply_async(args, kwargs, **given, **options)

    return send, isinstance(signature, _Chord), isinstance(signature, _Group)


@contextmanager
def without_subscribing(app: Celery) -> Iterator[None]:
    """While it lasts, the application's backend subscribes to nothing that this thread sends.

    And from then on it does not unsubscribe from what it never subscribed to: before 5.7, every result that goes has
    that done, over the network, and those of our sends go too.
    """
    backend = app.backend
    if not isinstance(vars(backend).get("on_task_call"), _Unless):
        # On the object, which is this thread's own or shared by all: others go through it unchanged. What is looked
        # for comes last: another thread that finds it finds all of them.
        backend.add_pending_result = _Unless(backend.add_pending_result, lambda result, *_, **__: result)
        backend.remove_pending_result = _if_subscribed(backend, backend.remove_pending_result)
        backend.on_task_call = _Unless(backend.on_task_call, lambda *_, **__: None)
    before = getattr(_sending, "ours", False)
    _sending.ours = True
    try:
        yield
    finally:
        _sending.ours = before


_sending = threading.local()


def _if_subscribed(backend: Any, remove: Callable[..., Any]) -> Callable[..., Any]:
    """``remove_pending_result()``, for results that there is something to remove of, as 5.7 looks after by itself."""
    consumer: Any = getattr(backend, "result_consumer", None)
    if not hasattr(consumer, "subscribed_to"):
        return remove

    def remove_pending_result(result: Any) -> Any:
        return remove(result) if backend.get_key_for_task(result.id) in consumer.subscribed_to else result

    return remove_pending_result


class _Unless:
    """A method of a backend, left out while this thread sends something of ours."""

    def __init__(self, method: Callable[..., Any], instead: Callable[..., Any]) -> None:
        self._method = method
        self._instead = instead

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return (self._instead if getattr(_sending, "ours", False) else self._method)(*args, **kwargs)


def _root(result: Any) -> Any:
    """The first of the parents: of a chord, whose body may be a chain, the result of its header."""
    while result.parent is not None:
        result = result.parent
    return result


def _signature(app: Celery, task: Any) -> Any:
    """A signature of our own: freezing writes ids into it, and the caller may send theirs again."""
    if isinstance(task, str):
        return app.signature(task)
    if isinstance(task, Task):
        return _own_task(app, task).s()
    if isinstance(task, Mapping) and not isinstance(task, _Signature):
        task = _maybe_signature(dict(task), app=app)
    if not isinstance(task, _Signature):
        raise TypeError(
            f"submit() takes a task, the name of one or a signature, not {type(task).__name__}"
            + ("; call watch() for a task that was sent already" if hasattr(task, "id") else "")
        )
    signature: Any = task
    if isinstance(signature, _Chunks):
        signature = signature.group()
    _check_application(app, signature)
    return _maybe_signature(_fresh(signature), app=app)


def _own_task(app: Celery, task: Any) -> Any:
    """The task of that name in ``app``: a shared task is another object in every application."""
    own = app.tasks.get(task.name)
    if own is not None:
        return own
    if task.app is not app:
        raise ValueError(
            f"task {task.name!r} belongs to Celery app {name_of(task.app)}, and this watcher to {name_of(app)}"
        )
    return task


def _check_application(app: Celery, signature: Any) -> None:
    kind = getattr(signature, "_type", None)
    if isinstance(kind, Task):
        _own_task(app, kind)


def _fresh(signature: Any) -> Any:
    """A copy down to the last member; Celery's own keeps those of a group of one (5.4)."""
    copy = signature.clone()
    if isinstance(copy, _Group):
        copy.tasks = _flat(copy.tasks)
    elif isinstance(copy, _Chain):
        copy.tasks = [_fresh(member) for member in copy.tasks]
    elif isinstance(copy, _Chord) and copy.body is not None:
        header = copy.tasks
        copy.tasks = _fresh(header) if isinstance(header, _Group) else _flat(header)
        copy.body = _fresh(copy.body)
    return copy


def _flat(members: Iterable[Any]) -> list[Any]:
    """Copies of a group's members. Sent, groups in groups are flat; and freezing would turn their order around."""
    found: list[Any] = []
    for member in members:
        fresh = _fresh(member)
        found.extend(fresh.tasks if isinstance(fresh, _Group) else [fresh])
    return found


def _refuse_ignored(app: Celery, signature: Any, options: Mapping[str, Any]) -> None:
    """Refuse what has a member whose result is asked for and will not be there. Empty canvases are refused too."""
    if isinstance(signature, _Chain):
        steps = signature.tasks
        if not steps:
            raise ValueError("an empty chain has no result")
        # Options are for the first step.
        _refuse_ignored(app, steps[-1], options if len(steps) == 1 else {})
        return
    if isinstance(signature, _Chord):
        if signature.body is None:
            raise ValueError("a chord without a body has no result; send its header as a group")
        _refuse_ignored(app, signature.body, options)
    if isinstance(signature, (_Group, _Chord)):
        members = signature.tasks
        for member in members.tasks if isinstance(members, _Group) else members:
            _refuse_ignored(app, member, options)
        return
    if (why := _why_ignored(app, signature, options)) is not None:
        raise ValueError(
            f"the result of task {signature.task!r} is ignored ({why}), so a future of it would never end; use "
            "apply_async(), or ignore_result=False"
        )


def _why_ignored(app: Celery, signature: Any, options: Mapping[str, Any]) -> str | None:
    if "ignore_result" in options:
        return "ignore_result=True" if options["ignore_result"] else None
    if "ignore_result" in signature.options:
        return "ignore_result in its signature" if signature.options["ignore_result"] else None
    task = app.tasks.get(signature.task)
    if task is not None and task.ignore_result:
        return "task_ignore_result" if app.conf.task_ignore_result else "ignore_result of the task"
    return None

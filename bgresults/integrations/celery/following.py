"""Following the steps before a result, as ``AsyncResult.get()`` does.

Not every failure reaches the end of a chain. That a task was revoked is stored under its own id alone, and older
workers leave out the steps that are chords: nothing is ever stored for what would have come next. And the body of a
chord ends with a ``ChordError`` that only quotes the exception which the caller wants to catch. So the steps before are
watched as well, and the first of them that fails ends the future of the last.

Which of the two is heard of first is not for us to say: where a chord fails while it is being subscribed to, it may be
the ``ChordError``.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import InvalidStateError
from typing import TYPE_CHECKING, Any

from celery import states

from bgresults.integrations.celery.futures import CeleryResultFuture, abandon
from bgresults.integrations.celery.groups import leaves_of
from bgresults.meta import TaskMeta
from bgresults.task_exceptions import exception_from

if TYPE_CHECKING:
    from bgresults.futures import ResultFuture, UpdateCallback
    from bgresults.integrations.celery.app_watcher import AppWatcher

__all__ = ["follow", "steps_before", "steps_of_leaves", "watch_following"]


def steps_before(result: Any) -> list[str]:
    """Ids of the tasks that come before that of a Celery result, as far as it knows them; of anything else, none."""
    found: list[str] = []
    if hasattr(result, "parent"):
        _collect_ancestors(result, found)
    return list(dict.fromkeys(found))


def steps_of_leaves(result: Any, enclosing: Sequence[str] = ()) -> dict[str, list[str]]:
    """Of each single result in one of Celery's, the ids of what comes before it, and before the groups it is in."""
    if result is None:
        return {}
    before = list(dict.fromkeys([*steps_before(result), *enclosing]))
    if not hasattr(result, "results"):
        return {str(getattr(result, "id", result)): before}
    return {leaf: steps for child in result.results for leaf, steps in steps_of_leaves(child, before).items()}


def _collect_ancestors(result: Any, found: list[str]) -> None:
    step = getattr(result, "parent", None)
    while step is not None:
        for leaf in leaves_of(step):
            found.append(str(leaf.id))
            if leaf is not step:
                # A member of a group may be the last step of a chain of its own.
                _collect_ancestors(leaf, found)
        step = getattr(step, "parent", None)


def watch_following(
    watcher: AppWatcher, results: Sequence[Any], lifetime: Any, on_update: UpdateCallback | None
) -> list[CeleryResultFuture]:
    """Watch all single results in these, and end each as soon as something before it has failed.

    Returns:
        A future for each single result, in order.
    """
    leaves = [leaf for result in results for leaf in leaves_of(result)]
    before = {leaf: steps for result in results for leaf, steps in steps_of_leaves(result).items()}
    steps = {step for found in before.values() for step in found}
    # First those whose futures nobody but us will hold: if anything is refused, they go by themselves.
    unseen = sorted(steps.difference(before))
    known = dict(zip(unseen, watcher._watch_results(unseen, lifetime, None), strict=True))
    futures = watcher._watch_results(leaves, lifetime, on_update)
    try:
        known.update(zip((future.task_id for future in futures), futures, strict=True))
        for future in futures:
            follow(future, [known[step] for step in before.get(future.task_id, ()) if step != future.task_id])
        return futures
    except BaseException:
        # A signal handler raised: the caller gets no futures.
        abandon(watcher, futures)
        raise


def follow(future: CeleryResultFuture, before: Sequence[ResultFuture]) -> None:
    """End ``future`` as soon as one of the steps before it has failed.

    Args:
        future: of the last step; handed to nobody yet.
        before: the futures of the steps before, watched before it was. It keeps them until it ends, and they not it.
    """
    if not before:
        return
    future._before = before
    follower = _Follower(future)
    for step in before:
        step._append_callback(follower, pin=False)
    future._append_callback(_let_go, pin=False)
    if future.done() and future._exception is not None:
        # All of it was stored already, and has been read in the meantime. Nobody has seen the end of this one yet.
        raw = next((step._raw for step in before if _failed(step)), None)
        if raw is not None:
            future._raw = _as_of(future, raw)
            future._exception = exception_from(future._raw)


class _Follower:
    """Tells a future, if there still is one, that a step before it has ended."""

    __slots__ = ("_future",)

    def __init__(self, future: CeleryResultFuture) -> None:
        self._future = weakref.ref(future)

    def __call__(self, step: Any) -> None:
        future = self._future()
        if future is not None and not future.done() and _failed(step):
            _end(future, _as_of(future, step._raw))


def _let_go(future: Any) -> None:
    future._before = ()


def _failed(step: ResultFuture) -> bool:
    """Whether its task did. That waiting for it went wrong, or was given up, says nothing about the task."""
    return step._raw is not None and step._raw["status"] in states.PROPAGATE_STATES


def _as_of(future: CeleryResultFuture, step: Mapping[str, Any]) -> Mapping[str, Any]:
    """The failure of a step, as workers store it for the later ones of a chain, where they do."""
    return {"task_id": future.task_id, **{key: step.get(key) for key in ("status", "result", "traceback")}}


def _end(future: CeleryResultFuture, raw: Mapping[str, Any]) -> None:
    error, on_update = exception_from(raw), future._on_update
    future._raw = raw
    try:
        if on_update is not None:
            future._call(lambda _: on_update(TaskMeta.from_raw(raw, error)))
    finally:
        # Unless it was cancelled a moment ago.
        with contextlib.suppress(InvalidStateError):
            future.set_exception(error)

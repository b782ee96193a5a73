"""Keeping Celery's rpc backend from making a reply queue of its own while somebody else routes the replies."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["ROUTER", "leave_out_queues", "looks_after_queues"]

#: The attribute of an application that says who routes its replies; of a method, that it looks after them.
ROUTER: Final = "_bgresults_router"

Method = TypeVar("Method", bound=Callable[..., Any])


def leave_out_queues(app: Celery) -> None:
    """Keep backends of the application's class from making a reply queue of their own while its replies are routed.

    On the class, and for good: each thread has a backend object of its own, the next thread has none yet, and what is
    put over this one keeps working. Where nothing is routed, it does nothing. Idempotent.
    """
    kind: Any = type(app.backend)
    if getattr(kind.on_task_call, ROUTER, False):
        return
    declare, consume = kind.on_task_call, kind.add_pending_result

    @functools.wraps(declare)
    def on_task_call(self: Any, producer: Any, task_id: str, *args: Any, **kwargs: Any) -> Any:
        router = vars(self.app).get(ROUTER)
        if router is None or not router.routes_everything:
            return declare(self, producer, task_id, *args, **kwargs)
        return router.prepare(task_id)

    @functools.wraps(consume)
    def add_pending_result(self: Any, result: Any, weak: bool = False, **kwargs: Any) -> Any:
        # Only the sending of groups does that weakly, for each member. Whoever calls get() wants to wait.
        router = vars(self.app).get(ROUTER) if weak else None
        if router is None or not router.routes_everything:
            return consume(self, result, weak=weak, **kwargs)
        return result

    looks_after_queues(on_task_call)
    kind.on_task_call, kind.add_pending_result = on_task_call, add_pending_result


def looks_after_queues(on_task_call: Method) -> Method:
    """Mark a backend's method as one that :func:`leave_out_queues` has nothing to do about."""
    setattr(on_task_call, ROUTER, True)
    return on_task_call

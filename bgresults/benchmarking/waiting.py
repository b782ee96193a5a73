"""Until something has come to pass that nobody tells."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import redis

__all__ = ["until", "until_subscribed"]


def until(condition: Callable[[], bool], what: str, timeout: float = 60.0) -> None:
    """Return when the condition holds.

    Args:
        condition: asked twenty times a second.
        what: has to come to pass, for the error message.
        timeout: seconds.

    Raises:
        TimeoutError: it did not hold in time.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{timeout:g} seconds have not been enough until {what}")
        time.sleep(0.05)


def until_subscribed(url: str, task_ids: Sequence[str], timeout: float = 60.0) -> None:
    """Return when the server has somebody's subscription to the last of these ids: it gets them in this order.

    Args:
        url: of the server.
        task_ids: any number, none of them subscribed to by anybody else.
        timeout: seconds.

    Raises:
        TimeoutError: it has not in time.
    """
    if not task_ids:
        return
    channel = f"celery-task-meta-{task_ids[-1]}"
    with redis.Redis.from_url(url) as client:
        until(lambda: client.pubsub_numsub(channel)[0][1] > 0, f"{len(task_ids)} ids are subscribed", timeout)

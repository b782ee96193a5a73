"""The two ways to wait for a reply through a message broker: Celery's own ``rpc://``, and ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

from bgresults.benchmarking.broker_lab import delete_queues
from bgresults.benchmarking.contenders import (
    CELERY,
    CELERY_DEFAULT,
    CELERY_SHARED,
    OURS,
    PATIENCE,
    Contender,
    Ours,
    Theirs,
)
from bgresults.benchmarking.team import Team

__all__ = ["OursByReply", "ReplyContender", "TheirsByReply", "celery_modes", "reply_contenders"]


class ReplyContender(Contender, Protocol):
    """A way to wait that has reply queues.

    Attributes:
        team: who waits. Closed after the contender.
    """

    team: Team

    def wait_for(self, task_id: str, send: Callable[[], object]) -> Any:
        """Have the task sent, as late or as early as it is done with this way, and wait for its result."""


class OursByReply(Ours):
    """One queue for the process.

    Args:
        url: of the broker.
        team: who waits.
        settings: of the watcher.
    """

    def __init__(self, url: str, team: Team, **settings: Any) -> None:
        super().__init__(url, **settings)
        assert self.watcher.reply_to is not None
        self.team = team
        self.queues: Sequence[str] = [self.watcher.reply_to] * team.size

    def wait_for(self, task_id: str, send: Callable[[], object]) -> Any:
        """First ``watch()``, as ``submit()`` does."""
        future = self.watcher.watch(task_id)
        send()
        return future.result(PATIENCE)


class TheirsByReply(Theirs):
    """One queue for each thread, named by Celery.

    Args:
        url: of the broker.
        team: who waits.
        shared: ``result_backend_thread_safe``.
    """

    def __init__(self, url: str, team: Team, *, shared: bool) -> None:
        super().__init__("rpc://", shared=shared)
        self.app.conf.update(broker_url=url)
        self._url = url
        self.team = team
        self.queues: Sequence[str] = team.run(lambda _: self._declare())

    def _declare(self) -> str:
        """What Celery does when this thread sends its first task."""
        # Not out of kombu's pool, which is one for all applications and stays open.
        with self.app.connection_for_write() as connection, self.app.amqp.Producer(connection) as producer:
            self.app.backend.on_task_call(producer, "")
        queue: str = self.app.thread_oid
        return queue

    def wait_for(self, task_id: str, send: Callable[[], object]) -> Any:
        """``get()`` of what ``apply_async()`` returned."""
        send()
        return self.wait_one(task_id)

    def close(self) -> None:
        """Every thread has a connection of its own, but for the shared mode."""
        self.team.run(lambda _: self._stop())
        delete_queues(self._url, self.queues)
        self.app.close()

    def _stop(self) -> None:
        consumer = self.app.backend.result_consumer
        connection, consumer._connection = consumer._connection, None
        if connection is not None:
            connection.close()


def celery_modes(threads: int) -> tuple[str, ...]:
    """The modes of Celery in which so many threads can wait.

    With ``result_backend_thread_safe`` on they would read from one connection at the same time, each what is meant for
    another one, and all of them time out.
    """
    return CELERY if threads == 1 else (CELERY_DEFAULT,)


@contextmanager
def reply_contenders(url: str, threads: int, note: Callable[[str], None]) -> Iterator[list[ReplyContender]]:
    """Ours, and Celery's modes, with a team each.

    Args:
        url: of the broker.
        threads: in each team.
        note: told what is left out.
    """
    modes = celery_modes(threads)
    if CELERY_SHARED not in modes:
        note(f"{CELERY_SHARED}: with rpc:// it works with 1 thread only; with more, all of them time out")
    with ExitStack() as stack:
        contenders: list[ReplyContender] = []
        for name in (*modes, OURS):
            team = Team(threads, name)
            stack.callback(team.close)
            contender = (
                OursByReply(url, team) if name == OURS else TheirsByReply(url, team, shared=name == CELERY_SHARED)
            )
            stack.callback(contender.close)
            contenders.append(contender)
        yield contenders

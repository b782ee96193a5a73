"""A fleet of web processes, as a server sees it: real watchers in several processes, which do what they are told.

A watcher has its thread and its connections to itself, so for the server 64 watchers in eight processes are the same as
64 in as many.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from bgresults import ResultFuture, ResultWatcher
from bgresults.benchmarking.waiting import until

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Fleet"]

_PATIENCE = 120.0


class Fleet:
    """Connected from the start until :meth:`close`.

    Args:
        url: of the server.
        processes: how many.
        each: watchers in each of them.
        settings: of every watcher.

    Attributes:
        size: watchers in all.
        reply_to: the reply queue of each, in the order in which they share what is to be watched; None on Redis.
    """

    def __init__(self, url: str, *, processes: int = 8, each: int = 8, **settings: Any) -> None:
        self.size = processes * each
        self._members = [_Member(url, each, settings) for _ in range(processes)]
        try:
            self.reply_to: list[str | None] = [name for member in self._members for name in member.answer()]
        except BaseException:
            self.close()
            raise

    def watch(self, task_ids: Sequence[str], *, declare: bool = False) -> None:
        """Share these ids out, one to each watcher in turn; return when the server has been asked to report them.

        Args:
            task_ids: that are watched.
            declare: their queues first, one by one, as it is done before a task is sent.
        """
        each = self.size // len(self._members)
        for number, member in enumerate(self._members):
            places = range(number * each, (number + 1) * each)
            member.ask("watch", [list(task_ids[place :: self.size]) for place in places], declare)
        self._answers()

    def collect(self) -> float:
        """Wait for all results; return when, on the clock of ``time.monotonic()``, the last future was done."""
        self._ask("collect")
        return self._latest()

    def reconnects(self) -> int:
        """How often they have connected again, all together."""
        self._ask("reconnects")
        return sum(self._answers())

    def reconnected(self, reconnects: int) -> float:
        """Wait until they have connected again so often, all together, and have caught up; return when."""
        until(lambda: self.reconnects() >= reconnects, "everybody has connected again", _PATIENCE)
        self._ask("settled")
        return self._latest()

    def stop(self) -> None:
        """SIGSTOP: nobody reads any more."""
        for member in self._members:
            member.signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        for member in self._members:
            member.signal(signal.SIGCONT)

    def close(self) -> None:
        """Close the watchers, and end the processes."""
        for member in self._members:
            member.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, *words: Any) -> None:
        for member in self._members:
            member.ask(*words)

    def _latest(self) -> float:
        times: list[float] = self._answers()
        return max(times)

    def _answers(self) -> list[Any]:
        return [member.answer() for member in self._members]


class _Member:
    """The owner of one process."""

    def __init__(self, url: str, watchers: int, settings: dict[str, Any]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, url, watchers, settings), daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, *words: Any) -> None:
        self._pipe.send(words)

    def answer(self) -> Any:
        if not self._pipe.poll(_PATIENCE):
            raise RuntimeError("a process of the fleet says nothing")
        answer = self._pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def signal(self, number: signal.Signals) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def close(self) -> None:
        self._pipe.close()
        self._process.join(20.0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _serve(pipe: Connection, url: str, count: int, settings: dict[str, Any]) -> None:
    """The process: do what is asked until the pipe is closed."""
    # Each outage is one warning of each watcher.
    logging.disable()
    watchers = [ResultWatcher(url, **settings) for _ in range(count)]
    try:
        for watcher in watchers:
            if not watcher.wait_ready(_PATIENCE):
                raise RuntimeError("a watcher of the fleet did not connect")
        pipe.send([watcher.reply_to for watcher in watchers])
        futures: list[ResultFuture] = []
        while True:
            order, *details = pipe.recv()
            if order == "watch":
                futures = _watch(watchers, *details)
                pipe.send(None)
            elif order == "collect":
                for future in futures:
                    future.result(_PATIENCE)
                pipe.send(time.monotonic())
                futures = []
            elif order == "reconnects":
                pipe.send(sum(watcher.stats().reconnects for watcher in watchers))
            else:
                until(lambda: all(watcher.stats().state == "draining" for watcher in watchers), "all have caught up")
                pipe.send(time.monotonic())
    except EOFError:
        pass  # The benchmark has ended.
    except Exception as error:  # noqa: BLE001 - the owner of the process is told
        pipe.send(RuntimeError(f"the fleet: {type(error).__name__}: {error}"))
    finally:
        for watcher in watchers:
            watcher.close()


def _watch(watchers: Sequence[ResultWatcher], shares: Sequence[Sequence[str]], declare: bool) -> list[ResultFuture]:
    futures: list[ResultFuture] = []
    for watcher, share in zip(watchers, shares, strict=True):
        for task_id in share if declare else ():
            watcher.declare_for(task_id)
        futures += watcher.watch_many(share)
    for watcher, share in zip(watchers, shares, strict=True):
        until(lambda watcher=watcher, share=share: watcher.stats().subscribed == len(share), "all ids are watched")  # type: ignore[misc]
    return futures

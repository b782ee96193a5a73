"""The threads: each sends a task, waits for its result, thinks for a moment, and so on, as the users of a site do."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence

from bgresults.demo.board import Board
from bgresults.demo.plan import PROGRESS, Job, problem_with
from bgresults.demo.ways import Way

__all__ = ["run_crowd"]


def run_crowd(
    way: Way,
    plan: Sequence[Sequence[Job]],
    rate: float,
    board: Board,
    refresh: Callable[[Board], None],
    connections: Callable[[], int | None],
) -> None:
    """Have one thread for each list of jobs do them; returns when all are done.

    Args:
        way: how to wait.
        plan: the jobs of each thread.
        rate: tasks per second, of all threads together. It is below what the worker can do: a queue in front of the
            worker would be all that one sees.
        board: told of everything.
        refresh: called about ten times a second.
        connections: counts them.
    """
    stop = threading.Event()
    pause = len(plan) / rate
    threads = [
        threading.Thread(target=_user, args=(way, jobs, pause, board, stop), name=f"user-{number}", daemon=True)
        for number, jobs in enumerate(plan)
    ]
    try:
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            board.connected(connections())
            refresh(board)
            time.sleep(0.1)
    finally:
        stop.set()
    refresh(board)


def _user(way: Way, jobs: Sequence[Job], pause: float, board: Board, stop: threading.Event) -> None:
    for number, job in enumerate(jobs):
        if stop.wait(random.uniform(0.5, 1.5) * pause):
            return
        board.sending()
        value, error = None, None
        started = time.monotonic()
        try:
            value = way.wait(job, board)
        except Exception as raised:  # noqa: BLE001 - what a task raises is what this is about
            error = raised
        taken = time.monotonic() - started
        # Not counted: the first one of each thread, which makes connections, and tasks that take their time.
        counts = number > 0 and job.kind != PROGRESS
        board.finished(job.kind, job.task_id, taken if counts else None, problem_with(job, value, error))

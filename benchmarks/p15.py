"""P15: what a watcher with 1000 pending ids does while nothing happens.

It is in a process of its own, whose main thread waits for a word and does nothing else. The kernel counts how often a
thread of that process fell asleep and was woken, and how long it ran.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection

from bgresults.benchmarking import AtMost, Lab
from bgresults.benchmarking.contenders import OURS, Ours
from bgresults.benchmarking.linux import LinuxQuestion, activity
from bgresults.benchmarking.waiting import until_subscribed
from bgresults.benchmarking.wire import new_ids

PENDING = 1000
# Seconds that are looked at. Longer than the pause between two PINGs of a connection on which nothing happens.
WINDOW = 20.0
PATIENCE = 60.0


def measure(lab: Lab) -> None:
    """All rounds at the same time, each in a process of its own: none of them does anything that another would feel."""
    window = lab.size(round(WINDOW), 4)
    with contextlib.ExitStack() as stack:
        pids = [stack.enter_context(_idle_process(lab.url)) for _ in lab.rounds()]
        before = [activity(pid) for pid in pids]
        time.sleep(window)
        for pid, earlier in zip(pids, before, strict=True):
            done = activity(pid) - earlier
            lab.record("wake-ups per second", OURS, done.wake_ups / window)
            lab.record("processor time, ms per second", OURS, done.seconds * 1000 / window)
    lab.note(f"{PENDING} pending ids, {window} s; the rounds are processes that are idle at the same time")


@contextlib.contextmanager
def _idle_process(url: str) -> Iterator[int]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_be_idle, args=(theirs, url), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(PATIENCE):
            raise RuntimeError("the idle process says nothing")
        ours.recv()
        assert process.pid is not None
        yield process.pid
    finally:
        process.kill()
        process.join()


def _be_idle(pipe: Connection, url: str) -> None:
    contender = Ours(url)
    task_ids = new_ids(PENDING)
    futures = contender.watcher.watch_many(task_ids)
    until_subscribed(url, task_ids)
    # The stored values are read after that.
    time.sleep(1.0)
    pipe.send(len(futures))
    pipe.poll(None)


QUESTION = LinuxQuestion(
    title="an idle watcher with 1000 pending ids",
    unit="as named",
    checks=[
        AtMost("wake-ups per second", floor=1),
        # "None": less than a thousandth of a processor.
        AtMost("processor time, ms per second", floor=1, unit="ms"),
    ],
    measure=measure,
    decimals=3,
)

"""A million pending ids: what they take, and what their results take.

All of them are watched with one call, and subscribed. Then their results are published in parts, each as fast as the
server takes it, while the others stay pending. Memory is what the kernel says that the process has in use, and what
Redis says. No floor; a round takes a minute and 2 GB, so: ``--rounds 1``.
"""

from __future__ import annotations

import gc
import os
import time
from pathlib import Path

from bgresults.benchmarking import Lab
from bgresults.benchmarking.contenders import OURS, PATIENCE, Ours
from bgresults.benchmarking.linux import LinuxQuestion
from bgresults.benchmarking.waiting import until_subscribed
from bgresults.benchmarking.wire import new_ids

COUNT, PART = 1_000_000, 100_000
SIZE = 200
MEGABYTE = 1e6


def measure(lab: Lab) -> None:
    """A watcher for each round."""
    count = lab.size(COUNT, 100_000)
    for _ in lab.rounds():
        contender = Ours(lab.url, max_pending=count)
        _one_round(lab, contender, count)
        contender.close()
    lab.note(f"{count} ids, results of {SIZE} bytes in parts of {PART}")


def _one_round(lab: Lab, contender: Ours, count: int) -> None:
    watcher, task_ids = contender.watcher, new_ids(count)
    gc.collect()
    before, server_before = _in_use(), _server_memory(lab)
    started = time.monotonic()
    futures = watcher.watch_many(task_ids)
    lab.record("watch_many(), s", OURS, time.monotonic() - started)
    # Asked for every 50 ms, which are little here.
    until_subscribed(lab.url, task_ids, timeout=600.0)
    lab.record("until all are subscribed, s", OURS, time.monotonic() - started)
    lab.record("memory of the process, MB", OURS, (_in_use() - before) / MEGABYTE)
    lab.record("memory of Redis, MB", OURS, (_server_memory(lab) - server_before) / MEGABYTE)
    seconds = used = 0.0
    for start in range(0, count, PART):
        part = futures[start : start + PART]
        lab.publisher.prepare(task_ids[start : start + PART], SIZE)
        processor, began = time.process_time(), time.monotonic()
        lab.publisher.flood()
        for future in part:
            future.result(PATIENCE)
        seconds += time.monotonic() - began
        used += time.process_time() - processor
        lab.publisher.sent()
        with lab.server.client() as client:
            client.flushall()
    lab.record("all results, s", OURS, seconds)
    lab.record("elapsed of each, µs", OURS, seconds / count * 1e6)
    lab.record("processor time of each, µs", OURS, used / count * 1e6)


def _in_use() -> int:
    """Bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _server_memory(lab: Lab) -> int:
    with lab.server.client() as client:
        used: int = client.info("memory")["used_memory"]
    return used


QUESTION = LinuxQuestion(
    title="a million pending ids, and their results",
    unit="as named",
    checks=[],
    measure=measure,
)

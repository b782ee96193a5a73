"""The server is away for long: every ``result(timeout)`` comes back in time, and every result in the end."""

from __future__ import annotations

import itertools
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

import pytest

from bgresults import RedisOptions, ResultFuture, ResultWatcher, RetryPolicy
from bgresults.testing import RedisServer
from tests.support import wait_until
from tests.support.logs import Told
from tests.support.results import ResultWriter, new_id, new_ids, state_body
from tests.support.sampling import Sampler
from tests.support.sockets import connections
from tests.support.threads import in_threads

WAIT = 30
THREADS = 24
TIMEOUTS = (0, 0.05, 1)
# Seconds beyond the timeout; on an idle machine all come back within 20 ms, on a busy one when it is their turn.
USUALLY_LATE = 0.3
EVER_LATE = 5.0

# As a user has them: a frozen server is found out within 20 s, and the next attempt comes within 5 s.
DEFAULTS: dict[str, Any] = {}
QUICK: dict[str, Any] = {
    "redis": RedisOptions(health_check_interval=0.3, read_timeout=1.5),
    "retry": RetryPolicy(initial=0.05, maximum=0.3),
    "connect_timeout": 2.0,
}


@pytest.mark.parametrize(
    ("leave", "come_back"),
    [(RedisServer.kill, RedisServer.start), (RedisServer.pause, RedisServer.resume)],
    ids=["killed", "frozen"],
)
@pytest.mark.parametrize(
    ("seconds", "settings"),
    [(3, QUICK), pytest.param(30, DEFAULTS, marks=[pytest.mark.slow, pytest.mark.timeout(180)])],
    ids=["short", "full"],
)
def test_timeouts_are_kept_and_results_come(
    own_redis: RedisServer,
    told: Told,
    seconds: float,
    settings: dict[str, Any],
    leave: Callable[[RedisServer], object],
    come_back: Callable[[RedisServer], object],
) -> None:
    with ResultWatcher(own_redis.url(), **settings) as watcher:
        futures = watcher.watch_many(new_ids(THREADS))
        wait_until(lambda: len(own_redis.channels()) == THREADS, "the subscriptions")
        assert watcher.wait_ready(WAIT)
        leave(own_redis)
        try:
            # Nobody else of this process is connected meanwhile.
            with Sampler(lambda: connections(own_redis.port), during=lambda: not watcher.connected) as sampler:
                late = ask_again_and_again(watcher, futures, time.monotonic() + seconds)
                # A machine that is busy may not have found a frozen server out by now.
                sampler.wait_for_more(1)
        finally:
            come_back(own_redis)
        writer = ResultWriter(own_redis)
        writer.write_all({future.task_id: state_body(future.task_id, result=future.task_id) for future in futures})
        writer.close()
        arrived = sum(future.result(WAIT) == future.task_id for future in futures)
        told.just("WARNING", "INFO")
        reconnects = watcher.stats().reconnects
    for timeout, seconds_late in late.items():
        usual, most = (1000 * value for value in (statistics.median(seconds_late), max(seconds_late)))
        print(f"result({timeout:g}), {len(seconds_late)} times: late by p50 {usual:.1f} ms, max {most:.1f} ms")
    print(
        f"{arrived} of {len(futures)} results came afterwards; connections: {sampler.most} at most in {sampler.taken} "
        f"samples, {sampler.taken_during} of them while disconnected"
    )
    assert arrived == len(futures) > THREADS
    assert reconnects == 1
    assert sampler.taken_during
    assert sampler.most <= 2
    assert set(late) == set(TIMEOUTS)
    for seconds_late in late.values():
        assert min(seconds_late) > -0.001
        assert statistics.median(seconds_late) < USUALLY_LATE
        assert max(seconds_late) < EVER_LATE


def ask_again_and_again(watcher: ResultWatcher, futures: list[ResultFuture], until: float) -> dict[float, list[float]]:
    """Ask for results that do not come, in many threads; return by how many seconds each timeout was overrun.

    Old futures in turn with new ones, which are appended to ``futures``. What is raised beside the timeout is raised.
    """
    late: dict[float, list[float]] = defaultdict(list)
    old = list(futures)

    def ask(number: int) -> None:
        for timeout in itertools.cycle(TIMEOUTS):
            if time.monotonic() >= until:
                return
            new = watcher.watch(new_id())
            futures.append(new)
            for future in (old[number], new):
                started = time.monotonic()
                with pytest.raises(FutureTimeoutError):
                    future.result(timeout)
                late[timeout].append(time.monotonic() - started - timeout)

    for outcome in in_threads(len(old), ask, timeout=until - time.monotonic() + WAIT):
        if outcome is not None:
            raise outcome
    return late

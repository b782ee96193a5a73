"""The interpreter ends as fast, and as silently, with a watcher at work as without."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bgresults.testing import RedisServer
from tests.support.closed import CLOSED_PORT
from tests.support.exiting import id_of
from tests.support.results import ResultWriter, state_body

ROOT = Path(__file__).resolve().parents[2]
WAIT = 50
PENDING = 1000
# Seconds beyond what the same program takes to end when it watches nothing.
LONGER = 0.5
# The machine may have been busy: so many more runs to show that.
MORE_RUNS = 8

RUNS = pytest.mark.parametrize("runs", [1, pytest.param(25, marks=[pytest.mark.slow, pytest.mark.timeout(300)])])


def seconds_to_end(
    url: str, *moments: str, pending: int = PENDING, at: Callable[[str], object] = lambda moment: None
) -> float:
    """Run the program of :mod:`tests.support.exiting`, call ``at`` at each moment; see that it ends well and quietly.

    Returns:
        How long the end took.
    """
    command = [sys.executable, "-m", "tests.support.exiting", url, str(pending), *moments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            for moment in moments:
                said = process.stdout.readline().strip()
                assert said == moment, process.stderr.read()
                at(moment)
            began = process.stdout.readline()
            code = process.wait(WAIT)
            ended = time.monotonic()
        finally:
            process.kill()
        assert (code, process.stderr.read()) == (0, "")
    return ended - float(began)


def median_delay(runs: int, run: Callable[[], float]) -> float:
    """How much longer the end takes than that of a program that watches nothing: the median of so many pairs of runs.

    A busy machine delays both of a pair. If it looks as if it had delayed one only, there are a few pairs more.
    """
    taken: list[float] = []
    delays: list[float] = []
    while len(taken) < runs or (statistics.median(delays) >= LONGER and len(taken) < runs + MORE_RUNS):
        plain = seconds_to_end("redis://localhost/0", pending=0)
        taken.append(run())
        delays.append(taken[-1] - plain)
    print(
        f"{len(taken)} ends: p50 {statistics.median(taken):.3f} s, max {max(taken):.3f} s; "
        f"longer than without a watch by p50 {statistics.median(delays):.3f} s"
    )
    return statistics.median(delays)


@RUNS
def test_server_up(own_redis: RedisServer, runs: int) -> None:
    assert median_delay(runs, lambda: seconds_to_end(own_redis.url(), "draining")) < LONGER


@RUNS
def test_server_never_there(runs: int) -> None:
    url = f"redis://127.0.0.1:{CLOSED_PORT}/0"
    assert median_delay(runs, lambda: seconds_to_end(url, "backoff")) < LONGER


@RUNS
def test_server_died(own_redis: RedisServer, runs: int) -> None:
    def die(moment: str) -> None:
        if moment == "draining":
            own_redis.kill()

    def run() -> float:
        own_redis.start()
        return seconds_to_end(own_redis.url(), "draining", "backoff", at=die)

    assert median_delay(runs, run) < LONGER


@RUNS
def test_in_the_middle_of_connecting(own_redis: RedisServer, runs: int) -> None:
    """A frozen server accepts, and says nothing; the attempt would go on for a minute."""
    own_redis.pause()
    try:
        assert median_delay(runs, lambda: seconds_to_end(own_redis.url(), "connecting")) < LONGER
    finally:
        own_redis.resume()


@RUNS
def test_while_threads_wait(own_redis: RedisServer, runs: int) -> None:
    """``sys.exit()`` in the main thread, eight daemon threads in ``result()``."""
    assert median_delay(runs, lambda: seconds_to_end(own_redis.url(), "draining", "waiting")) < LONGER


@RUNS
def test_while_results_pour_in(own_redis: RedisServer, writer: ResultWriter, runs: int) -> None:
    """The drain thread is in the middle of its work, callbacks among it, when the interpreter goes."""
    bodies = {id_of(number): state_body(id_of(number), result=1) for number in range(PENDING)}

    def pour(moment: str) -> None:
        if moment == "draining":
            writer.write_all(bodies, per_transaction=20)

    def run() -> float:
        writer.client.flushdb()
        return seconds_to_end(own_redis.url(), "draining", "result", at=pour)

    assert median_delay(runs, run) < LONGER

"""Clocks that jump, and processes that stand still."""

from __future__ import annotations

import signal
import subprocess
import time

import pytest

from tests.limits.backends import WAIT, backend_of
from tests.limits.running import ROOT, command, run
from tests.support.broker import publish
from tests.support.results import state_body


def test_the_wall_clock_jumps(url_of_one: str) -> None:
    """By hours, there and back: timeouts, lifetimes, looks at silent links and reconnects go by another clock."""
    run("jumping", url_of_one)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [1.5, 5.0])
def test_a_process_that_is_stopped(url: str, seconds: float) -> None:
    """For longer than a lifetime, an answer and a heartbeat may take, and a result comes meanwhile."""
    with subprocess.Popen(
        command("stopped", url),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            task_id, queue = process.stdout.readline().split()
            process.send_signal(signal.SIGSTOP)
            if queue == "-":
                backend = backend_of(url)
                backend.send_raw(None, task_id, state_body(task_id, result="sent meanwhile"))  # type: ignore[arg-type]
                backend.close()
            else:
                publish(url, queue, task_id, "sent meanwhile")
            # As long as it is stopped nothing happens that could be waited for.
            time.sleep(seconds)
            process.send_signal(signal.SIGCONT)
            said, complaints = process.communicate(timeout=2 * WAIT)
        finally:
            process.kill()
    assert (process.returncode, complaints) == (0, "")
    if url.startswith("redis"):
        # The answers to what was asked before were there: that is no dead link.
        assert said.strip() == "0"

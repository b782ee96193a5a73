"""The interpreter ends while the watcher is connecting, or about to: at once, and without a word.

With results in Redis, and a server that says nothing or has died, that is in ``tests/faults/test_exits.py``.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from bgresults.testing import FaultProxy
from tests.limits.backends import WAIT
from tests.limits.running import ROOT
from tests.support.closed import CLOSED_PORT
from tests.support.rpc import proxy_to, through

# An attempt would go on for a minute, and a machine that has other things to do ends no process within a second.
SOON = 10.0
PENDING = "1000"


def ends_soon(url: str, *moments: str, at: Callable[[str], object] = lambda moment: None) -> None:
    """Run the program of :mod:`tests.support.exiting`; call ``at`` at each moment."""
    command = [sys.executable, "-m", "tests.support.exiting", url, PENDING, *moments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            for moment in moments:
                assert process.stdout.readline().strip() == moment
                at(moment)
            began = float(process.stdout.readline())
            _, complaints = process.communicate(timeout=2 * WAIT)
            ended = time.monotonic()
        finally:
            process.kill()
    assert (process.returncode, complaints) == (0, "")
    assert ended - began < SOON


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Of somebody who accepts, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["amqp", "rpc+redis"])
def test_nobody_is_there(scheme: str) -> None:
    ends_soon(f"{scheme}://127.0.0.1:{CLOSED_PORT}", "backoff")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["amqp", "rpc+redis"])
def test_in_a_greeting(silent_port: int, scheme: str) -> None:
    ends_soon(f"{scheme}://127.0.0.1:{silent_port}", "connecting")


@pytest.mark.parametrize("scheme", ["rediss", pytest.param("amqps", marks=pytest.mark.slow)])
def test_in_a_tls_handshake(silent_port: int, scheme: str) -> None:
    ends_soon(f"{scheme}://127.0.0.1:{silent_port}", "connecting")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_in_connect(scheme: str) -> None:
    """Nobody accepts any more, so that the kernel itself does not answer."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listening:
        address = listening.getsockname()
        fillers = [_begun(address) for _ in range(4)]
        try:
            ends_soon(f"{scheme}://127.0.0.1:{address[1]}", "connecting")
        finally:
            for filler in fillers:
                filler.close()


def _begun(address: tuple[str, int]) -> socket.socket:
    filler = socket.socket()
    filler.setblocking(False)
    filler.connect_ex(address)
    return filler


@pytest.mark.rabbitmq
def test_while_it_reconnects(rabbitmq_url: str) -> None:
    with proxy_to(rabbitmq_url) as proxy:
        ends_soon(through(proxy, rabbitmq_url), "draining", "backoff", at=lambda moment: _lost(proxy, moment))


def _lost(proxy: FaultProxy, moment: str) -> None:
    if moment == "draining":
        proxy.refuse()
        proxy.cut()

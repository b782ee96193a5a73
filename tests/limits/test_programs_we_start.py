"""Programs that the process starts inherit nothing of ours: no connection, no wake-up, whatever starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bgresults import RedisOptions, ResultWatcher
from bgresults.testing import RedisServer, ThrowAwayCA
from tests.limits.backends import WAIT
from tests.support import wait_until
from tests.support.results import new_id
from tests.support.rpc import proxy_to, through

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="descriptors are listed in /proc")

# Without our own modules: it tells what it has, and what that is.
LIST = """
import os
for name in os.listdir("/proc/self/fd"):
    try:
        print(os.readlink("/proc/self/fd/" + name))
    except OSError:
        pass
"""
COMMAND = [sys.executable, "-I", "-S", "-c", LIST]


def by_subprocess() -> str:
    return subprocess.run(COMMAND, close_fds=False, capture_output=True, check=True, timeout=WAIT).stdout.decode()


def by_posix_spawn() -> str:
    return _printed(lambda output: os.posix_spawn(COMMAND[0], COMMAND, os.environ, file_actions=[_to(output)]))


def by_fork_and_exec() -> str:
    def start(output: int) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                os.dup2(output, 1)
                os.execv(COMMAND[0], COMMAND)
            finally:
                os._exit(1)
        return pid

    return _printed(start)


def _to(output: int) -> tuple[int, int, int]:
    return (os.POSIX_SPAWN_DUP2, output, 1)


def _printed(start: Callable[[int], int]) -> str:
    reading, writing = os.pipe()
    pid = start(writing)
    os.close(writing)
    with open(reading, encoding="ascii") as output:
        printed = output.read()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return printed


def descriptors() -> set[str]:
    """What this process has that is one of a kind, and more than a kind."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:
            continue
    return found


@pytest.fixture(params=[by_subprocess, by_posix_spawn, by_fork_and_exec], ids=lambda start: start.__name__[3:])
def start(request: pytest.FixtureRequest) -> Callable[[], str]:
    found: Callable[[], str] = request.param
    return found


def inherits_nothing(start: Callable[[], str], before: set[str]) -> None:
    own = {target for target in descriptors() - before if target.startswith("socket:")}
    # Both ends of the wake-up, and one connection at least.
    assert len(own) >= 3
    inherited = start().splitlines()
    assert not own.intersection(inherited)
    assert "anon_inode:[eventpoll]" not in inherited


def test_connected(url: str, start: Callable[[], str]) -> None:
    before = descriptors()
    with ResultWatcher(url) as watcher:
        watcher.watch(new_id())
        assert watcher.wait_ready(WAIT)
        inherits_nothing(start, before)


def test_in_the_middle_of_connecting(url: str, start: Callable[[], str]) -> None:
    with proxy_to(url) as proxy:
        proxy.black_hole()
        before = descriptors()
        with ResultWatcher(through(proxy, url), connect_timeout=2 * WAIT) as watcher:
            watcher.watch(new_id())
            wait_until(lambda: proxy.connections, "the attempt", WAIT)
            inherits_nothing(start, before)
            # Ends the attempt, so that nobody has to wait for it.
            proxy.refuse()
            proxy.reset()


@pytest.fixture(scope="module")
def secured() -> Iterator[tuple[RedisServer, Path]]:
    with ThrowAwayCA() as ca, RedisServer(tls=ca.server("localhost"), unix_socket=True) as server:
        yield server, ca.path


@pytest.mark.tls
@pytest.mark.parametrize("kind", ["tls", "unix"])
def test_other_connections(secured: tuple[RedisServer, Path], kind: str, start: Callable[[], str]) -> None:
    server, path = secured
    before = descriptors()
    url, options = f"unix://{server.socket_path}", RedisOptions()
    if kind == "tls":
        url, options = server.tls_url(), RedisOptions(ssl_ca_certs=str(path))
    with ResultWatcher(url, redis=options) as watcher:
        watcher.watch(new_id())
        assert watcher.wait_ready(WAIT)
        inherits_nothing(start, before)

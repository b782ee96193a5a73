"""Threads that are greenlets: gevent, and eventlet where it is there. Each in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bgresults.consumers.sockets import SocketOpener

ROOT = Path(__file__).resolve().parents[2]

NO_EVENTLET = pytest.mark.skipif(importlib.util.find_spec("eventlet") is None, reason="no eventlet")
LIBRARIES = ["gevent", pytest.param("eventlet", marks=[NO_EVENTLET, pytest.mark.slow])]


def run(*arguments: object) -> tuple[dict[str, Any], str]:
    """Run the program; return what it found, and what it wrote to stderr."""
    command = [sys.executable, "-m", "tests.servers.in_greenlets"]
    done = subprocess.run(
        [*command, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, timeout=55, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


@pytest.mark.parametrize("library", LIBRARIES)
def test_patched_first(library: str, redis_url: str) -> None:
    found, said = run(library, "first", redis_url, 200, "timeout", "fork", "fork_while_connecting", "end")
    assert found["right"] == 200
    assert 0.5 <= found["timeout"] < 5
    assert found["ticks"] > 5
    assert (found["child"], found["parent"], found["reconnects"]) == (0, "parent", 0)
    assert (found["connecting"], found["strangers"]) == ("connecting", 0)
    assert said == ""


@pytest.mark.slow
@pytest.mark.rabbitmq
@pytest.mark.parametrize("library", LIBRARIES)
def test_patched_first_with_replies(library: str, rabbitmq_url: str) -> None:
    found, said = run(library, "first", rabbitmq_url, 200, "timeout", "fork", "end")
    assert found["right"] == 200
    assert found["ticks"] > 5
    assert (found["child"], found["parent"], found["reconnects"]) == (0, "parent", 0)
    assert said == ""


@pytest.mark.parametrize("library", LIBRARIES)
def test_patched_late(library: str, redis_url: str) -> None:
    """One warning, which has the cure; and waiting works all the same, as long as the libraries below do.

    redis-py has looked for ``select.poll`` by then, which eventlet takes away: there nobody could write results.
    """
    if library == "gevent":
        found, said = run(library, "late", redis_url, 50, "timeout", "fork")
        assert (found["right"], found["child"], found["parent"]) == (50, 0, "parent")
    else:
        found, said = run(library, "late", redis_url, 0, "timeout")
    assert found["ticks"] > 5
    warnings = [line for line in said.splitlines() if "RuntimeWarning" in line]
    assert len(warnings) == 1
    assert "Patch first, in the first line of the program" in warnings[0]
    assert ("gevent.monkey.patch_all()" if library == "gevent" else "eventlet.monkey_patch()") in warnings[0]


@pytest.mark.slow
def test_native_threads_of_gevent(redis_url: str) -> None:
    """They wait as well as greenlets do; but the watcher's own greenlet must not be one of theirs."""
    found, said = run("gevent", "first", redis_url, 3, "native_threads")
    assert (found["native"], said) == (list(range(8)), "")
    _, said = run("gevent", "first", redis_url, 0, "first_in_a_native_thread")
    warnings = [line for line in said.splitlines() if "RuntimeWarning" in line]
    assert len(warnings) == 1
    assert "Use it in a greenlet of the main thread first" in warnings[0]


@pytest.mark.slow
def test_not_patched_at_all(redis_url: str) -> None:
    found, said = run("none", "never", redis_url, 50, "timeout", "fork", "end")
    assert (found["right"], found["child"], found["parent"]) == (50, 0, "parent")
    assert said == ""


def test_a_copy_that_waited_for_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes back from the look-up in a forked child, and connects to nothing."""
    looked_up = socket.getaddrinfo
    children: list[int] = []

    def forked_meanwhile(*arguments: Any, **options: Any) -> Any:
        found = looked_up(*arguments, **options)
        children.append(os.fork())
        return found

    with socket.create_server(("127.0.0.1", 0)) as server:
        opener = SocketOpener(keepalive=True, tls=None)
        monkeypatch.setattr(socket, "getaddrinfo", forked_meanwhile)
        parent, opened = os.getpid(), None
        try:
            opened = opener.open("127.0.0.1", server.getsockname()[1], time.monotonic() + 20)
        except ConnectionAbortedError:
            if os.getpid() != parent:
                os._exit(0)
            raise
        finally:
            if os.getpid() != parent:
                os._exit(1)
            if opened is not None:
                opener.discard(opened)
        assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0]


@pytest.mark.slow
def test_killed_from_outside(redis_url: str) -> None:
    """No bug of ours, so nobody is asked to report it; the watcher starts anew."""
    found, said = run("gevent", "first", redis_url, 3, "kill")
    assert "is a greenlet, and was killed" in found["killed"]
    assert found["right"] == 3
    assert "CRITICAL" not in said

"""Waiting for one descriptor, with ``poll()`` and where there is none."""

from __future__ import annotations

import contextlib
import select
import socket
import time

import pytest

from bgresults.polling import wait_readable, wait_writable


@pytest.fixture(params=["poll", "select"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "select":
        monkeypatch.delattr(select, "poll", raising=False)


@pytest.mark.usefixtures("_way")
def test_both_directions() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert wait_writable(ours, 0.0)
        started = time.monotonic()
        assert not wait_readable(ours, 0.05)
        assert time.monotonic() - started >= 0.045
        theirs.send(b"x")
        assert wait_readable(ours, 20.0)
        ours.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                ours.send(bytes(65536))
        assert not wait_writable(ours, 0.0)

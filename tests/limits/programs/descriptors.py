"""A process without descriptors: ``python -m tests.limits.programs.descriptors MOMENT URL``.

It ends with an assertion if the library does not behave; see :mod:`tests.limits.test_descriptors`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import sys
import time
from collections.abc import Iterator

import pytest

from bgresults import BackendUnavailableError, ResultFuture, ResultWatcher
from tests.limits.backends import WAIT, Backend, backend_of
from tests.limits.links import Links
from tests.support.outages import QUICK
from tests.support.results import new_id
from tests.support.waiting import wait_until

# As many as a connected watcher has of any kind, and some more for files that are opened and closed on the way.
_MOST = 10
# Over so many seconds of an outage one may see whether something spins.
_WHILE = 0.3
_WORDS = "Too many open files"
# Both ends of the socket pair that wakes the thread.
_WAKEUP = 2


class _Lines(logging.Handler):
    """What the library says, from INFO on."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.records: list[logging.LogRecord] = []
        logger = logging.getLogger("bgresults")
        logger.setLevel(logging.INFO)
        logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def levels(self) -> list[str]:
        return [record.levelname for record in self.records]

    def text(self) -> str:
        return "\n".join(record.getMessage() for record in self.records)


@contextlib.contextmanager
def _left(spare: int) -> Iterator[None]:
    """This process can open so many descriptors meanwhile, and no more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    fillers = [os.open(os.devnull, os.O_RDONLY)]
    top = max(map(int, os.listdir("/proc/self/fd")))
    # Now there is no hole below the limit, but for those at its end.
    while fillers[-1] < top:
        fillers.append(os.open(os.devnull, os.O_RDONLY))
    resource.setrlimit(resource.RLIMIT_NOFILE, (fillers[-1] + 1 + spare, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for filler in fillers:
            os.close(filler)


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _calm() -> None:
    """Nothing spins: most of the time this process sleeps."""
    used = time.process_time()
    time.sleep(_WHILE)
    used = time.process_time() - used
    assert used < _WHILE / 2, f"{used:.2f} s of CPU in {_WHILE} s of an outage"


def _works(watcher: ResultWatcher, backend: Backend, *futures: ResultFuture) -> None:
    for future in (*futures, watcher.watch(new_id())):
        backend.send(watcher, future.task_id, "works")
        assert future.result(WAIT) == "works"
    assert watcher.pending == 0


def start(backend: Backend) -> None:
    """None for the wake-up: the caller is told, by whatever it calls."""
    for spare in range(_WAKEUP):
        with ResultWatcher(backend.url) as watcher:
            with _left(spare):
                error = watcher.watch(new_id()).exception(0)
                assert isinstance(error, BackendUnavailableError), error
                assert _WORDS in str(error)
                assert watcher.pending == 0
                with pytest.raises(BackendUnavailableError, match=_WORDS):
                    watcher.wait_ready(1)
            _works(watcher, backend)


def connect(backend: Backend) -> None:
    """Some, but not enough for the connections: an outage like any other, whichever of them is the last."""
    outages = 0
    while _is_an_outage(backend, _WAKEUP + outages):
        outages += 1
        assert outages < _MOST
    print(outages)


def _is_an_outage(backend: Backend, spare: int) -> bool:
    lines = _Lines()
    with ResultWatcher(backend.url, retry=QUICK) as watcher:
        with _left(spare):
            future = watcher.watch(new_id())
            wait_until(lambda: watcher.connected or lines.records, "the first attempt", WAIT)
            if watcher.connected:
                return False
            _calm()
            assert not future.done(), (spare, future.exception(0))
        assert watcher.wait_ready(WAIT)
        _works(watcher, backend, future)
        wait_until(lambda: len(lines.records) > 1, "the end of the outage in the log", WAIT)
    assert lines.levels() == ["WARNING", "INFO"], lines.text()
    return True


def reconnect(backend: Backend) -> None:
    """Those of the connections were enough, and are not there any more when the connections have to be made anew."""
    lines = _Lines()
    links = Links(backend.port)
    with ResultWatcher(backend.url, retry=QUICK) as watcher:
        future, other = watcher.watch(new_id()), watcher.watch(new_id())
        assert watcher.wait_ready(WAIT)
        backend.send(watcher, new_id())
        links.hold()
        with _none_at_all():
            links.cut()
            # It tells of the cut: that is what was noticed first.
            wait_until(lambda: lines.records, "the outage", WAIT)
            backend.send(watcher, future.task_id, "sent meanwhile")
            _calm()
            assert not watcher.connected
            assert not future.done()
        assert future.result(WAIT) == "sent meanwhile"
        _works(watcher, backend, other)
        wait_until(lambda: len(lines.records) > 1, "the end of the outage in the log", WAIT)
        assert lines.levels() == ["WARNING", "INFO"], lines.text()
        assert watcher.stats().reconnects == 1
    links.close()


@contextlib.contextmanager
def _none_at_all() -> Iterator[None]:
    """What is open stays open, and nothing new can be opened, in place of what is closed neither."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def main(moment: str, url: str, plain_url: str) -> None:
    # The worker's connection is there from the beginning.
    backend = backend_of(plain_url)
    backend.url = url
    before = _descriptors()
    {"start": start, "connect": connect, "reconnect": reconnect}[moment](backend)
    wait_until(lambda: _descriptors() == before, "all descriptors to be closed", WAIT)
    backend.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else sys.argv[2])

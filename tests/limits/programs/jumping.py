"""A process whose wall clock jumps by hours, there and back: ``python -m tests.limits.programs.jumping URL``.

The clock is replaced before anything else is imported, so that whoever keeps a copy of it keeps a copy of this one.
"""

from __future__ import annotations

import sys
import time

_HOURS = 10 * 3600
_real, _real_ns = time.time, time.time_ns
_shift = 0


def _jump(seconds: int) -> None:
    global _shift
    _shift += seconds


time.time = lambda: _real() + _shift
time.time_ns = lambda: _real_ns() + _shift * 10**9


def main(url: str) -> None:
    import pytest

    from bgresults import ResultWatcher, WatchExpiredError
    from tests.limits.backends import WAIT, alert, backend_of
    from tests.support.results import new_id
    from tests.support.rpc import proxy_to, through
    from tests.support.waiting import wait_until

    backend = backend_of(url)
    with proxy_to(url) as proxy, ResultWatcher(through(proxy, url), **alert(url)) as watcher:
        kept = watcher.watch(new_id(), lifetime=3600)
        assert watcher.wait_ready(WAIT)
        for hours in (_HOURS, -2 * _HOURS, _HOURS):
            watched = time.monotonic()
            brief = watcher.watch(new_id(), lifetime=0.3)
            _jump(hours)
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                kept.result(0.1)
            assert 0.1 <= time.monotonic() - began < WAIT / 2
            assert isinstance(brief.exception(WAIT), WatchExpiredError)
            assert time.monotonic() - watched >= 0.29
            future = watcher.watch(new_id())
            backend.send(watcher, future.task_id, "result")
            assert future.result(WAIT) == "result"
        # The link was not taken for dead, and still is when it is.
        assert watcher.stats().reconnects == 0
        _jump(-_HOURS)
        proxy.black_hole()
        wait_until(lambda: not watcher.connected, "the black hole to be noticed", WAIT)
        proxy.pass_through()
        backend.send(watcher, kept.task_id, "kept")
        assert kept.result(WAIT) == "kept"
        assert watcher.wait_ready(WAIT)
        assert watcher.stats().reconnects == 1
    backend.close()


if __name__ == "__main__":
    main(sys.argv[1])

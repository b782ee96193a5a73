"""A process that is stopped for a while, as a laptop that sleeps: ``python -m tests.limits.programs.stopped URL``.

It says the id that it waits for, and the queue that replies go to; is stopped, and sent that result meanwhile; and goes
on with the end of its standard input.
"""

from __future__ import annotations

import sys
import time

from bgresults import ResultWatcher, WatchExpiredError
from tests.limits.backends import WAIT, alert, backend_of
from tests.support.calls import Caller
from tests.support.results import new_id

_SECONDS = 1.0


def main(url: str) -> None:
    backend = backend_of(url)
    with ResultWatcher(url, **alert(url)) as watcher:
        kept, brief = watcher.watch(new_id()), watcher.watch(new_id(), lifetime=_SECONDS)
        assert watcher.wait_ready(WAIT)
        waiting = Caller(lambda: kept.exception(WAIT))
        print(kept.task_id, watcher.reply_to or "-", flush=True)
        sys.stdin.read()
        began = time.monotonic()
        assert isinstance(brief.exception(WAIT), WatchExpiredError)
        # The time that it stood still counts.
        assert time.monotonic() - began < WAIT / 2
        assert waiting.outcome(2 * WAIT) is None
        assert kept.result(0) == "sent meanwhile"
        future = watcher.watch(new_id())
        # A worker's connection may have been ended meanwhile, by a broker that missed our heartbeats.
        worker = backend_of(url)
        worker.send(watcher, future.task_id, "live")
        assert future.result(WAIT) == "live"
        worker.close()
        assert watcher.pending == 0
        print(watcher.stats().reconnects)
    backend.close()


if __name__ == "__main__":
    main(sys.argv[1])

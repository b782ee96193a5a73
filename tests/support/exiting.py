"""A program that ends in the middle of something: ``python -m tests.support.exiting URL COUNT MOMENT ...``.

It watches COUNT ids, then goes through the moments, says each when it has come, and at last when it began to end.
A moment is a state of the drain thread, ``result`` for the first result, or ``waiting`` for eight threads that wait.
"""

from __future__ import annotations

import sys
import threading
import time

from bgresults import ResultWatcher
from tests.support.waiters import is_waited_for
from tests.support.waiting import wait_until

__all__ = ["id_of"]

_PATIENCE = 30


def id_of(number: int) -> str:
    """The id that is watched as the ``number``-th."""
    return f"id{number}"


def main(url: str, count: int, moments: list[str]) -> None:
    # An attempt to connect that is under way lasts longer than this program.
    watcher = ResultWatcher(url, connect_timeout=2 * _PATIENCE)
    futures = watcher.watch_many(map(id_of, range(count)))
    for future in futures[::2]:
        future.add_done_callback(lambda _: None)
    for moment in moments:
        if moment == "waiting":
            for future in futures[:8]:
                threading.Thread(target=future.result, daemon=True).start()
            wait_until(lambda: all(map(is_waited_for, futures[:8])), moment, _PATIENCE)
        elif moment == "result":
            futures[0].result(_PATIENCE)
        else:
            wait_until(lambda moment=moment: watcher.stats().state == moment, moment, _PATIENCE)  # type: ignore[misc]
        print(moment, flush=True)
    print(time.monotonic(), flush=True)
    sys.exit()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])

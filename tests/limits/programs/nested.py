"""Results that are deep, for the stacks: ``python -m tests.limits.programs.nested URL STACK LIMIT LEVELS``.

STACK is that of its threads in bytes, or 0; LIMIT that of its recursion; LEVELS is how deep a result is. It prints what
json makes of that in a thread, and then what becomes of such results.
"""

from __future__ import annotations

import json
import sys
import threading

from bgresults import ResultWatcher
from tests.limits.backends import WAIT, backend_of
from tests.support.results import new_id, state_body

_SHAPES = (("[", "]"), ('{"a":', "}"))


def main(url: str, stack: int, limit: int, levels: int) -> None:
    threading.stack_size(stack)
    sys.setrecursionlimit(limit)
    texts = [f"{opening * levels}1{closing * levels}" for opening, closing in _SHAPES]
    by_json: list[str] = []
    reading = threading.Thread(target=lambda: by_json.extend(outcome(text) for text in texts))
    reading.start()
    reading.join()
    backend = backend_of(url)
    ours = []
    with ResultWatcher(url) as watcher:
        for text in texts:
            future = watcher.watch(new_id())
            body = state_body(future.task_id, result="PLACE").replace(b'"PLACE"', text.encode())
            backend.send_raw(watcher, future.task_id, body)
            ours.append("read" if future.exception(WAIT) is None else "refused")
    backend.close()
    print(json.dumps([by_json, ours]))


def outcome(text: str) -> str:
    """What becomes of it."""
    try:
        json.loads(text)
    except RecursionError:
        return "refused"
    return "read"


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))

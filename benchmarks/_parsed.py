"""What ``parsers`` starts: a program that waits for results that are stored already, with hiredis, msgspec or neither.

Arguments: the URL, and what is there to parse with, in words. It reads lines, each a JSON list of ids, and answers each
with a line: the seconds from the ids to the last value, and those of the processor.
"""

from __future__ import annotations

import json
import sys
import time


def main(url: str) -> None:
    """Until there are no lines any more."""
    from bgresults.benchmarking.contenders import Ours

    contender = Ours(url)
    for line in sys.stdin:
        task_ids = json.loads(line)
        used, started = time.process_time(), time.monotonic()
        values = contender.wait_all(task_ids)
        taken = [time.monotonic() - started, time.process_time() - used]
        if len(values) != len(task_ids):
            raise RuntimeError(f"{len(task_ids)} results were due, {len(values)} came")
        print(json.dumps(taken), flush=True)
    contender.close()


if __name__ == "__main__":
    for package in ("hiredis", "msgspec"):
        if package not in sys.argv[2]:
            # As if it were not installed: for us, and for redis-py.
            sys.modules[package] = None  # type: ignore[assignment]
    main(sys.argv[1])

"""With hiredis and msgspec or without: 10 000 results that are stored, in one thread of another process. No floor."""

from __future__ import annotations

import json
from contextlib import ExitStack

from bgresults.benchmarking import Lab
from bgresults.benchmarking.lab import BODY_SIZES
from bgresults.benchmarking.limit import HiredisQuestion
from bgresults.benchmarking.programs import start
from bgresults.benchmarking.wire import new_ids

#: What is installed.
WAYS = ("hiredis and msgspec", "hiredis", "msgspec", "neither")


def measure(lab: Lab) -> None:
    """A process for each, that lives through all rounds."""
    count = lab.size(10_000)
    with ExitStack() as stack:
        waiting = {way: stack.enter_context(_Waiting(lab.url, way)) for way in WAYS}
        for way in WAYS:
            _one_batch(lab, waiting[way], 10, 200)
        for number in lab.rounds():
            for label, size in BODY_SIZES.items():
                for way in lab.in_turn(WAYS, number):
                    elapsed, used = _one_batch(lab, waiting[way], count, size)
                    name = f"bgresults, {way}"
                    lab.record(label, name, elapsed / count * 1e6)
                    lab.record(f"{label}, processor time", name, used / count * 1e6)
    lab.note(f"{count} results")


class _Waiting:
    """The owner of the process."""

    def __init__(self, url: str, way: str) -> None:
        self._process = start(__file__, "_parsed", url, way)

    def wait(self, task_ids: list[str]) -> tuple[float, float]:
        """Seconds from the ids to the values, and those of the processor."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(task_ids) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the waiting process has ended")
        elapsed, used = json.loads(line)
        return elapsed, used

    def __enter__(self) -> _Waiting:
        return self

    def __exit__(self, *_: object) -> None:
        # The end of its lines is its own end.
        self._process.communicate()


def _one_batch(lab: Lab, waiting: _Waiting, count: int, size: int) -> tuple[float, float]:
    task_ids = new_ids(count)
    lab.publisher.prepare(task_ids, size)
    lab.publisher.flood()
    lab.publisher.sent()
    taken = waiting.wait(task_ids)
    with lab.server.client() as client:
        client.flushall()
    return taken


QUESTION = HiredisQuestion(
    title="stored results, with hiredis and msgspec or without",
    unit="µs per result",
    checks=[],
    measure=measure,
)

"""What is run, each stage in a process of its own: with a bound on its memory, and ended if it hangs."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import IO, Any

from bgresults.polling import wait_readable
from bgresults.testing import RedisServer
from tests.fuzz.cases import make_case
from tests.fuzz.live import BATCH, through_a_broker, through_a_redis, through_a_scripted_redis
from tests.fuzz.verdicts import Defect, Reader
from tests.support.results import ResultWriter

__all__ = ["Report", "Stage", "run"]

_GIB = 1024**3
# A pickle may ask for any amount of memory, and touch all of it.
_MEMORY = {"pickle": _GIB}
# How many cases lie between two signs of life, and go through one watcher.
_TELL = 20 * BATCH


@dataclass(frozen=True)
class Stage:
    """One way for cases to go.

    Attributes:
        way: ``decoder``, ``scripted connection``, ``redis-server`` or ``RabbitMQ``.
        serializer, seed: of the cases.
        cases: how many.
        url: of the broker, for the last one.
        patience: seconds without progress after which it hangs.
    """

    way: str
    serializer: str
    seed: int
    cases: int
    url: str | None = None
    patience: float = 120.0


@dataclass
class Report:
    """What became of it: outcomes with their numbers, and the first defect."""

    outcomes: Counter[str]
    defect: str | None = None


def run(stage: Stage) -> Report:
    """Run a stage to its end, or to its first defect."""
    command = [sys.executable, "-m", "tests.fuzz.stages", json.dumps(asdict(stage))]
    reached = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            for line in _lines(process.stdout, stage.patience):
                told = json.loads(line)
                if "outcomes" in told:
                    return Report(Counter(told["outcomes"]), told["defect"])
                reached = told["reached"]
            problem = f"the process died ({process.wait()})"
        except TimeoutError:
            problem = "it hangs"
        finally:
            process.kill()
    last = min(reached + _TELL, stage.cases) - 1
    return Report(
        Counter(), f"{problem} in cases {reached} to {last} of serializer {stage.serializer}, seed {stage.seed}"
    )


def _lines(stream: IO[bytes], patience: float) -> Iterator[bytes]:
    """Raises TimeoutError after so many seconds without one."""
    unfinished = b""
    while True:
        if not wait_readable(stream, patience):
            raise TimeoutError
        received = os.read(stream.fileno(), 65536)
        if not received:
            return
        *complete, unfinished = (unfinished + received).split(b"\n")
        yield from complete


def _tell(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def _main(stage: Stage) -> None:
    limit = _MEMORY.get(stage.serializer, 4 * _GIB)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    outcomes: Counter[str] = Counter()
    defect = None
    try:
        for start in range(0, stage.cases, _TELL):
            _tell(reached=start)
            numbers = range(start, min(stage.cases, start + _TELL))
            outcomes += _through_the_decoder(stage, numbers) if stage.way == "decoder" else _live(stage, numbers)
    except Defect as found:
        defect = str(found)
    _tell(outcomes=outcomes, defect=defect)


def _through_the_decoder(stage: Stage, numbers: range) -> Counter[str]:
    """Stored values and messages in turn."""
    reader = Reader(stage.serializer)
    outcomes: Counter[str] = Counter()
    for number in numbers:
        case = make_case(stage.seed, stage.serializer, number, sent=number % 2 == 1)
        try:
            outcomes[reader.checked_verdict(case)] += 1
        except Defect as defect:
            raise Defect(f"{defect}: {case}") from defect
    return outcomes


def _live(stage: Stage, numbers: range) -> Counter[str]:
    if stage.way == "scripted connection":
        return through_a_scripted_redis(stage.serializer, stage.seed, numbers)
    if stage.way == "RabbitMQ":
        assert stage.url is not None
        return through_a_broker(stage.url, stage.serializer, stage.seed, numbers)
    with RedisServer() as server:
        writer = ResultWriter(server)
        try:
            return through_a_redis(server.url(), writer, stage.serializer, stage.seed, numbers)
        finally:
            writer.close()


if __name__ == "__main__":
    _main(Stage(**json.loads(sys.argv[1])))

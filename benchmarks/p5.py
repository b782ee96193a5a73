"""P5: P4 against what it comes to without a library, see bgresults.benchmarking.limit; timed as in …many."""

from __future__ import annotations

from bgresults.benchmarking import AtMostTimes, Lab
from bgresults.benchmarking.contenders import OURS, Ours
from bgresults.benchmarking.lab import BODY_SIZES
from bgresults.benchmarking.limit import LIMIT, HiredisQuestion, Limit
from bgresults.benchmarking.many import elapsed, measure_many
from bgresults.testing.servers import LOOPBACK


def measure(lab: Lab) -> None:
    """``watch_many()``, and sockets, hiredis and json in turn."""
    contenders = [Limit(LOOPBACK, lab.server.port), Ours(lab.url)]
    measure_many(lab, contenders, threads=1, count=lab.size(10_000), stored=[LIMIT, OURS])


QUESTION = HiredisQuestion(
    title="watch and resolve 10 000 ids, 1 thread, against the limit",
    unit="s",
    checks=[AtMostTimes(label, LIMIT, floor=2.5, goal=1.8) for label in BODY_SIZES],
    measure=measure,
    shows=elapsed,
    decimals=3,
)

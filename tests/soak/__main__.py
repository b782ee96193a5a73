"""``python -m tests.soak [--seconds 600] [--seed N] [--plot FILE]``: everything at random, for as long as you like."""

from __future__ import annotations

import argparse
import faulthandler
import random
import sys
from pathlib import Path

from bgresults.testing import RabbitMQServer, RedisServer
from tests.soak.driver import REDIS_ARGUMENTS, Plan, run
from tests.soak.graph import write_graph
from tests.soak.report import judge, report

# What comes on top of the time of load and trouble, however slow the machine is.
_MARGIN = 1200


def main() -> int:
    """Run it and print its totals; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="of load and trouble (default 600)")
    parser.add_argument("--seed", type=int, help="what the last run printed, to have the same again")
    parser.add_argument("--threads", type=int, default=64, help="of the process under test (default 64)")
    parser.add_argument("--plot", type=Path, default=Path("soak.svg"), help="file for the plot (default soak.svg)")
    arguments = parser.parse_args()
    seed = random.randrange(2**32) if arguments.seed is None else arguments.seed
    plan = Plan(seconds=arguments.seconds, seed=seed, threads=arguments.threads)
    print(f"seed {seed}: {plan.seconds:g} s", flush=True)
    faulthandler.dump_traceback_later(plan.seconds + _MARGIN, exit=True)
    with RedisServer(args=REDIS_ARGUMENTS, start_timeout=60.0) as server, RabbitMQServer(start_timeout=120.0) as node:
        outcome = run(plan, server, node)
    print(report(outcome))
    print(f"plot: {write_graph(arguments.plot, outcome)}")
    wrongs = judge(outcome)
    for line in wrongs:
        print(f"WRONG: {line}")
    print(f"{len(wrongs)} wrongs; to have the same again: make soak SECONDS={plan.seconds:g} SEED={seed}")
    return 1 if wrongs else 0


if __name__ == "__main__":
    sys.exit(main())

"""P16: the time that a fork spends in the library's own hooks, in the parent.

Real forks, of a process with a live watcher, whose children end at once. What is timed is the ``before`` hook and the
``after_in_parent`` hook together, whatever else a fork of a process of that size takes.
"""

from __future__ import annotations

import json

from bgresults.benchmarking import AtMost, Lab, Question
from bgresults.benchmarking.arithmetic import percentile
from bgresults.benchmarking.contenders import OURS
from bgresults.benchmarking.programs import start

PENDING = (0, 100_000)
FORKS = 100
PATIENCE = 120.0


def measure(lab: Lab) -> None:
    """A process for each round: the hooks are wrapped as the library is imported."""
    forks = lab.size(FORKS)
    for number in lab.rounds():
        for pending in lab.in_turn(PENDING, number):
            taken = _hooks(lab.url, pending, forks)
            lab.record(f"{pending} pending", OURS, percentile(taken, 50) * 1e6)
            lab.record(f"{pending} pending, slowest", OURS, max(taken) * 1e6)
    lab.note(f"{forks} forks per round; the median of them is judged")


def _hooks(url: str, pending: int, forks: int) -> list[float]:
    program = start(__file__, "_timed_hooks", url, str(pending), str(forks))
    try:
        said, _ = program.communicate(timeout=PATIENCE)
    finally:
        program.kill()
    if program.returncode:
        raise RuntimeError(f"the forking program has ended with code {program.returncode}")
    taken: list[float] = json.loads(said)
    return taken


QUESTION = Question(
    title="time in our own fork hooks, in the parent",
    unit="µs",
    checks=[AtMost(f"{pending} pending", floor=200, goal=50, unit="µs") for pending in PENDING],
    measure=measure,
)

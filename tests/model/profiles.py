"""How long and how widely the model checks look.

Both profiles begin at a seed, so the same examples come again:

* short, in ``make test``: always the same seed.
* long, in ``make test-full``: a new seed every time, which is printed.

``BGRESULTS_MODEL_SEED`` and ``BGRESULTS_MODEL_EXAMPLES`` choose other ones for both. An example that fails is printed
as a program of calls of the machine's rules, together with the seed that leads to it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from unittest import mock

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.internal.conjecture import engine
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

__all__ = ["run_long", "run_short"]

# Steps of one example at most.
_STEPS = 40
# Looking for a shorter example that fails; by itself hypothesis would take five minutes, and the test's time be over.
_SHRINKING_SECONDS = 20
_SHORT_SEED = 1


def run_short(machine: Callable[[], RuleBasedStateMachine], examples: int) -> None:
    """A few examples, every time the same ones.

    Raises:
        AssertionError: the library and the model disagree; the shortest example found so far is printed.
    """
    _run(machine, examples, _SHORT_SEED)


def run_long(machine: Callable[[], RuleBasedStateMachine], examples: int) -> None:
    """Many, every time others. Raises as :func:`run_short` does."""
    _run(machine, examples, random.SystemRandom().randrange(1_000_000))


def _run(machine: Callable[[], RuleBasedStateMachine], examples: int, first: int) -> None:
    number = int(os.environ.get("BGRESULTS_MODEL_SEED", first))
    examples = int(os.environ.get("BGRESULTS_MODEL_EXAMPLES", examples))
    print(f"again: BGRESULTS_MODEL_SEED={number} BGRESULTS_MODEL_EXAMPLES={examples}")

    @seed(number)
    def made() -> RuleBasedStateMachine:
        return machine()

    profile = settings(
        max_examples=examples,
        stateful_step_count=_STEPS,
        # The seed alone decides, also where hypothesis finds itself in a continuous integration.
        derandomize=False,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    with mock.patch.object(engine, "MAX_SHRINKING_SECONDS", _SHRINKING_SECONDS):
        run_state_machine_as_test(made, settings=profile)  # type: ignore[arg-type]  # a function will do

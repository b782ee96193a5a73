"""A signal comes at a line of an operation, and its handler does something in the same thread."""

from __future__ import annotations

import os

from tests.interleavings.actions import Action
from tests.interleavings.bench import Bench, Run
from tests.interleavings.exploration import Exploration
from tests.interleavings.handlers import RAISES, end_as_child
from tests.interleavings.operations import Operation
from tests.support.stops import Interruption, LineTracer, Point

__all__ = ["INTERRUPTED"]


def _lines(bench: Bench, operation: Operation) -> list[Point]:
    tracer = LineTracer()
    with operation.prepared(bench) as run:
        tracer.arm()
        with tracer.here():
            operation.perform(run)
        points = tracer.disarm()
        run.finish()
        operation.check(run)
    return points


def _interrupt(bench: Bench, operation: Operation, action: Action, number: int) -> bool:
    place = "no line"
    with bench.case(lambda: f"{operation} and {action}, at {place}"), operation.prepared(bench, action) as run:
        handled, raised, place = _perform(operation, action, number, run)
        for pid in run.children:
            run.exit_codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        assert not any(run.exit_codes), f"the child ended with {run.exit_codes}; see stderr"
        if action is RAISES and handled and not raised:
            # In a destructor or in the callback of a weak reference: Python reports it, and goes on without the rest.
            run.due.add(run.task_id)
        if raised and run.futures and all(future.done() for future in run.futures):
            # Before anything else wakes the drain thread, and while the futures are referred to.
            run.bench.until_subscribed(set())
        run.finish()
        if action is RAISES:
            assert len(run.calls) <= 1
        else:
            operation.check(run)
    return handled


def _perform(operation: Operation, action: Action, number: int, run: Run) -> tuple[bool, bool, str]:
    """Whether the signal was handled, whether that ended the operation, and where it came."""
    tracer, raised, error = LineTracer(), False, None
    interruption = Interruption(tracer, number, lambda: action.act(run, None))
    try:
        with interruption, tracer.here():
            operation.perform(run)
    except KeyboardInterrupt:
        raised = True
    except BaseException as unexpected:
        if os.getpid() == run.pid:
            raise
        error = unexpected
    if os.getpid() != run.pid:
        end_as_child(run, error)
    return interruption.handled, raised, str(interruption.point)


#: The main thread, which is the one that handles signals.
INTERRUPTED = Exploration(_lines, _interrupt)

"""A thread stands still at a line of an operation, while the test does something."""

from __future__ import annotations

from tests.interleavings.actions import Action
from tests.interleavings.bench import Bench, Run
from tests.interleavings.exploration import Exploration
from tests.interleavings.operations import Operation
from tests.support import wait_until
from tests.support.calls import Caller
from tests.support.stops import LineTracer, Point, Stop

__all__ = ["STOPPED_CALLERS", "STOPPED_DRAIN_THREAD"]


def _traced(tracer: LineTracer, operation: Operation, run: Run) -> None:
    with tracer.here():
        operation.perform(run)


def _callers_lines(bench: Bench, operation: Operation) -> list[Point]:
    tracer = LineTracer()
    with operation.prepared(bench) as run:
        tracer.arm()
        Caller(lambda: _traced(tracer, operation, run)).outcome()
        points = tracer.disarm()
        run.finish()
        operation.check(run)
    return points


def _stop_caller(bench: Bench, operation: Operation, action: Action, number: int) -> bool:
    tracer = LineTracer()
    stop = Stop(tracer, number)
    with (
        bench.case(lambda: f"{operation} and {action}, stopped at {stop.point}"),
        operation.prepared(bench, action) as run,
    ):
        caller = Caller(lambda: _traced(tracer, operation, run))
        reached = stop.reached(lambda: not caller.thread.is_alive())
        if reached:
            stop.perform(lambda: action.act(run, stop))
        caller.outcome()
        run.finish()
        operation.check(run)
    return reached


def _drain_threads_lines(bench: Bench, operation: Operation) -> list[Point]:
    with operation.prepared(bench) as run:
        run.tracer.arm()
        operation.perform(run)
        wait_until(lambda: operation.done(run), f"{operation} to be done", interval=0.001)
        points = run.tracer.disarm()
        run.finish()
        operation.check(run)
    return points


def _stop_drain_thread(bench: Bench, operation: Operation, action: Action, number: int) -> bool:
    place = "no line"
    with bench.case(lambda: f"{operation} and {action}, stopped at {place}"), operation.prepared(bench, action) as run:
        stop = Stop(run.tracer, number)
        operation.perform(run)
        reached = stop.reached(lambda: operation.done(run))
        place = str(stop.point)
        if reached:
            stop.perform(lambda: action.act(run, stop))
        run.finish()
        operation.check(run)
    return reached


#: A caller in a thread of its own.
STOPPED_CALLERS = Exploration(_callers_lines, _stop_caller)
#: The drain thread, for an operation that has ``done``.
STOPPED_DRAIN_THREAD = Exploration(_drain_threads_lines, _stop_drain_thread, times=1)

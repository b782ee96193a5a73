"""What the drain thread does: the operations that are stopped at each of its lines."""

from __future__ import annotations

from typing import Any

from tests.interleavings.bench import BROKEN, CANCELLED, CLOSED, EXPIRED, FAILED, VALUE, Run
from tests.interleavings.operations import Operation
from tests.support import wait_until
from tests.support.calls import Caller

__all__ = ["DRAIN_OPERATIONS"]


def _watched(run: Run) -> None:
    run.watch()
    run.until_idle(run.task_id)


def _all_done(run: Run) -> bool:
    return all(future.done() for future in run.futures) and run.idle()


def _unsubscribed(run: Run) -> bool:
    return run.task_id not in run.bench.writer.channels() and run.idle()


def _subscribed(run: Run) -> bool:
    return run.task_id in run.bench.writer.channels() and run.idle()


def _three(run: Run) -> None:
    for _ in range(3):
        run.watch()
    run.until_idle(run.task_id)


def _with_callback(run: Run) -> None:
    run.watch().add_done_callback(run.calls.append)
    run.until_idle(run.task_id)
    run.due.add(run.task_id)


def _with_update(run: Run) -> None:
    run.watch(on_update=run.calls.append)
    run.until_idle(run.task_id)
    run.due.add(run.task_id)


def _one_call(run: Run) -> None:
    wait_until(lambda: run.calls, "the callback", interval=0.001)
    assert len(run.calls) == 1


def _progress_first(run: Run) -> None:
    # It was stored as well, and a second watch reads what is stored.
    states = [meta.status for meta in run.calls]
    assert states[:-1] == ["PROGRESS"] * (len(states) - 1), states


def _garbage(run: Run) -> None:
    run.bench.writer.write_body(run.task_id, b"\xff{")


def _progress(run: Run) -> None:
    run.bench.writer.write(run.task_id, 1, "PROGRESS")


def _failure(run: Run) -> None:
    run.bench.writer.fail(run.task_id, ValueError("no"))


def _watch_briefly(run: Run) -> None:
    run.watch(lifetime=0.003)


def _cancel(run: Run) -> None:
    run.futures[0].cancel()


def _drop(run: Run) -> None:
    run.kept.clear()


def _held_alone(run: Run) -> None:
    run.kept.append(run.watcher.watch(run.task_id))
    run.until_idle(run.task_id)


def _cut(run: Run) -> None:
    """The server ends the watcher's subscriber connection."""
    consumer: Any = run.watcher._session.consumer
    host, port = consumer._links.subscriber.socket.getsockname()
    run.bench.writer.client.client_kill_filter(addr=f"{host}:{port}")


def _back_again(run: Run) -> bool:
    return run.watcher.stats().reconnects == 1 and run.idle()


def _start(run: Run) -> None:
    with run.tracer.new_threads():
        run.watch()


def _close(run: Run) -> None:
    run.kept.append(Caller(run.watcher.close))


def _thread_ended(run: Run) -> bool:
    thread = run.watcher._session.thread
    return thread is None or not thread.is_alive()


def _idle(run: Run) -> None:
    run.until_idle()


#: Operations of the drain thread.
DRAIN_OPERATIONS = [
    Operation("take_watch", Run.watch, _idle, done=_subscribed),
    Operation("message", Run.write, _watched, done=_all_done),
    Operation("message_for_three", Run.write, _three, done=_all_done),
    Operation("message_and_callback", Run.write, _with_callback, _one_call, _all_done),
    Operation("progress", _progress, _with_update, _progress_first, lambda run: bool(run.calls) and run.idle()),
    Operation("failure", _failure, _watched, done=_all_done, ends=frozenset({FAILED, VALUE})),
    Operation("undecodable", _garbage, _watched, done=_all_done, ends=frozenset({BROKEN, VALUE})),
    Operation("expire", _watch_briefly, _idle, done=_all_done, ends=frozenset({EXPIRED, VALUE})),
    Operation("release", _cancel, _watched, done=_unsubscribed, ends=frozenset({CANCELLED})),
    Operation("take_dropped", _drop, _held_alone, done=_unsubscribed),
    Operation("reconnect", _cut, _watched, done=_back_again, own=True, reconnects=1),
    Operation("first_connect", _start, done=_subscribed, own=True, connected=False),
    Operation("end", _close, _watched, done=_thread_ended, ends=frozenset({CLOSED})),
]

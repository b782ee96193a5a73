"""Celery's way to wait and the drop-in, in the same situations. Each in a process of its own, which ends abruptly:

a result of Celery's unsubscribes when it goes, and where it cannot, that takes 20 s.
``python -m tests.celery.both_sides SITUATION RESULT_BACKEND``; the arguments of the situation as JSON on stdin.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
from celery import Celery

from tests.support import wait_until
from tests.support.results import new_id, new_ids, state_body
from tests.support.threads import in_threads

__all__ = ["tried"]

_ROOT = Path(__file__).resolve().parents[2]
_WAIT = 20


def tried(situation: Callable[..., Any], backend: str, **arguments: Any) -> Any:
    """What a situation looks like with a ``result_backend``; in a process of its own.

    Raises:
        RuntimeError: it did not come to its end.
    """
    command = [sys.executable, "-m", "tests.celery.both_sides", situation.__name__, backend]
    done = subprocess.run(
        command, input=json.dumps(arguments), capture_output=True, text=True, cwd=_ROOT, timeout=90, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{situation.__name__} with {backend} ended with code {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


# -- situations ------------------------------------------------------------------------------------------------------


def short_time_limit(app: Celery, times: int, quick: float = 0.0) -> Any:
    """50 ms for a task that never ends: the exception, and the seconds of the quickest of so many.

    Where none took less than ``quick`` seconds, the machine may be busy: more are tried, ten times as many at most.
    """
    _outcome(app, new_id(), timeout=0.05)
    outcomes = [_outcome(app, new_id(), timeout=0.05) for _ in range(times)]
    while (seconds := min(each for _, each in outcomes)) >= quick > 0 and len(outcomes) < 10 * times:
        outcomes.append(_outcome(app, new_id(), timeout=0.05))
    return {"error": outcomes[0][0], "seconds": seconds}


def crowd(app: Celery, size: int, least: int = 0) -> Any:
    """So many threads in ``get()`` at the same time: how many got their value, and the connections meanwhile.

    At ``least`` so many connections are waited for: whoever is subscribed may not have made a second one yet.
    """
    ids, client = new_ids(size), _client(app)
    counts: list[int] = []

    def look() -> None:
        wait_until(lambda: len(client.pubsub_channels()) == size, "all to be subscribed")
        wait_until(lambda: len(client.client_list()) - 1 >= least, f"{least} connections")
        counts.append(len(client.client_list()) - 1)
        for task_id in ids:
            _write(client, task_id)

    looking = threading.Thread(target=look)
    looking.start()
    outcomes = in_threads(size, lambda number: _outcome(app, ids[number], timeout=_WAIT)[0], timeout=2 * _WAIT)
    looking.join()
    return {"right": outcomes.count("done"), "connections": counts[0]}


def poisoned(app: Celery) -> Any:
    """Somebody is interested in a task whose message cannot be read: what becomes of another one that is waited for."""
    # Celery's default would have one backend, and one subscription, for each thread.
    app.conf.result_backend_thread_safe = True
    healthy, other, client = new_id(), app.AsyncResult(new_id()), _client(app)
    told: list[str] = []
    other.then(lambda _: told.append("fulfilled"), lambda error: told.append(type(error).__name__))
    outcome: list[Any] = []
    waiting = threading.Thread(target=lambda: outcome.append(_outcome(app, healthy, timeout=_WAIT)[0]))
    waiting.start()
    wait_until(lambda: len(client.pubsub_channels()) == 2, "both subscriptions")
    client.publish(f"celery-task-meta-{other.id}", b"\x00 no JSON")
    wait_until(lambda: bool(told) or bool(outcome), "it to be read")
    _write(client, healthy)
    waiting.join()
    return {"healthy": outcome[0], "poisoned": told}


def outage(app: Celery, server: int) -> Any:
    """The server dies while somebody waits, for a second at most."""
    _outcome(app, new_id(), timeout=0.01)
    threading.Timer(0.3, os.kill, (server, signal.SIGKILL)).start()
    error, seconds = _outcome(app, new_id(), timeout=1)
    return {"error": error, "seconds": seconds}


def forks(app: Celery, patience: float = 3.0) -> Any:
    """A process that has waited forks four children; all five wait, each for its own: how many get it in so long."""
    _outcome(app, new_id(), timeout=0.01)
    ids, own, client = new_ids(4), new_id(), _client(app)
    children = [_forked(app, task_id, patience) for task_id in ids]
    outcome: list[Any] = []
    waiting = threading.Thread(target=lambda: outcome.append(_outcome(app, own, timeout=patience)[0]))
    waiting.start()
    # Or as many as ever will.
    end = time.monotonic() + 2
    while len(client.pubsub_channels()) < 5 and time.monotonic() < end:
        time.sleep(0.01)
    for task_id in [*ids, own]:
        _write(client, task_id)
    waiting.join()
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    return {"right": codes.count(0) + outcome.count("done")}


# -- inside ----------------------------------------------------------------------------------------------------------


def _outcome(app: Celery, task_id: str, **options: Any) -> tuple[Any, float]:
    """What ``get()`` returned, or the name of what it raised, and after how many seconds."""
    started = time.monotonic()
    try:
        value = app.AsyncResult(task_id).get(**options)
    except Exception as error:
        value = type(error).__name__
    return value, time.monotonic() - started


def _forked(app: Celery, task_id: str, patience: float) -> int:
    pid = os.fork()
    if pid == 0:
        signal.alarm(2 * _WAIT)
        os._exit(0 if _outcome(app, task_id, timeout=patience)[0] == "done" else 1)
    return pid


def _client(app: Celery) -> redis.Redis:
    return redis.Redis.from_url(str(app.conf.result_backend).removeprefix("bgresults+"))


def _write(client: redis.Redis, task_id: str) -> None:
    body = state_body(task_id, "SUCCESS", "done")
    with client.pipeline() as pipeline:
        pipeline.set(f"celery-task-meta-{task_id}", body)
        pipeline.publish(f"celery-task-meta-{task_id}", body)
        pipeline.execute()


if __name__ == "__main__":
    situation, backend = sys.argv[1:]
    found = globals()[situation](Celery("web", broker="memory://", backend=backend), **json.load(sys.stdin))
    print(json.dumps(found), flush=True)
    os._exit(0)

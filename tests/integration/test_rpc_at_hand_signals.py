"""A signal comes while ``watch()`` takes a reply that is here already: what its handler raises comes out of there."""

from __future__ import annotations

import contextlib

import pytest

from bgresults import ResultWatcher
from tests.support import wait_until
from tests.support.broker import ReplyWriter
from tests.support.results import new_id
from tests.support.stops import Interruption, LineTracer, distinct

pytestmark = pytest.mark.rabbitmq

WAIT = 10.0


class Said(Exception):
    """Of a task. Its constructor is a function in Python: a signal may be handled in there."""

    def __init__(self, words: str) -> None:
        super().__init__(words)


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("status", "result"),
    [
        ("SUCCESS", "v"),
        ("SUCCESS", "r" * 5000),
        ("SUCCESS", {"__type__": "uuid", "__value__": {"hex": "0" * 32}}),
        ("FAILURE", {"exc_type": "Said", "exc_module": __name__, "exc_message": ["no"]}),
        ("REVOKED", {"exc_type": "TaskRevokedError", "exc_message": ["revoked"]}),
    ],
    ids=["small", "large", "typed", "failed", "revoked"],
)
def test_at_every_line(rabbitmq_url: str, status: str, result: object) -> None:
    task_id, tracer = new_id(), LineTracer()
    with ResultWatcher(rabbitmq_url) as watcher, contextlib.closing(ReplyWriter(rabbitmq_url)) as writer:
        writer.write(watcher.reply_to, task_id, result, status)
        wait_until(lambda: watcher.stats().buffered == 1, "the reply")
        expected = repr(watcher.watch(task_id).exception(WAIT))
        tracer.arm()
        with tracer.here():
            watcher.watch(task_id)
        for number in distinct(tracer.disarm()):
            future, interruption = None, Interruption(tracer, number, interrupt)
            try:
                with interruption, tracer.here():
                    future = watcher.watch(task_id)
            except KeyboardInterrupt:
                continue
            assert not interruption.handled, f"swallowed at {interruption.point}"
            assert future is not None
            assert repr(future.exception(WAIT)) == expected

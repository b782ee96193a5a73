"""Cases on their way through a watcher: only the futures that they are meant for may notice.

The outcome of each batch is worked out beforehand, by a decoder of one's own; a healthy id comes last in each of them.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import amqp

from bgresults import ResultDecodeError, ResultFuture, ResultWatcher, WatcherError
from tests.fuzz import hostile
from tests.fuzz.cases import Case, make_case
from tests.fuzz.verdicts import MAX_BODY_SIZE, Defect, Reader
from tests.fuzz.wire import ScriptedRedis
from tests.support.broker import ReplyWriter
from tests.support.results import ResultWriter, state_body

__all__ = ["BATCH", "through_a_broker", "through_a_redis", "through_a_scripted_redis"]

#: How many cases lie between two healthy ids.
BATCH = 50
_WAIT = 60
_PREFIX = b"celery-task-meta-"

#: Has the cases of a batch delivered, and the healthy id after them.
_Deliver = Callable[[Sequence[Case], str], None]


def through_a_scripted_redis(serializer: str, seed: int, numbers: Sequence[int]) -> Counter[str]:
    """Published in one half of the batches, stored in the other. Raises Defect."""
    with ScriptedRedis() as server, _watcher(server.url, serializer) as watcher:
        run = _Run(watcher, serializer)
        for place, batch in enumerate(_batches(seed, serializer, numbers)):
            if place % 2:

                def deliver(cases: Sequence[Case], healthy: str) -> None:
                    bodies = [(_PREFIX + case.task_id.encode(), case.body) for case in cases]
                    server.publish([*bodies, (_PREFIX + healthy.encode(), _healthy_body(serializer, healthy))])

                run.batch(batch, deliver)
            else:

                def store(cases: Sequence[Case], healthy: str) -> None:
                    for case in cases:
                        server.store(_PREFIX + case.task_id.encode(), case.body)
                    server.store(_PREFIX + healthy.encode(), _healthy_body(serializer, healthy))

                run.batch(batch, store, deliver_first=True)
                server.forget()
        return run.outcomes


def through_a_redis(url: str, writer: ResultWriter, serializer: str, seed: int, numbers: Sequence[int]) -> Counter[str]:
    """As Celery writes them: stored and published in one transaction. Raises Defect."""
    with _watcher(url, serializer, key_prefix=writer.prefix) as watcher:
        run = _Run(watcher, serializer)

        def deliver(cases: Sequence[Case], healthy: str) -> None:
            for case in cases:
                writer.write_body(case.task_id, case.body)
            writer.write_body(healthy, _healthy_body(serializer, healthy))

        for batch in _batches(seed, serializer, numbers):
            run.batch(batch, deliver)
        return run.outcomes


def through_a_broker(url: str, serializer: str, seed: int, numbers: Sequence[int]) -> Counter[str]:
    """As messages with properties. Raises Defect."""
    writer = ReplyWriter(url)
    try:
        with _watcher(url, serializer) as watcher:
            run = _Run(watcher, serializer)

            def deliver(cases: Sequence[Case], healthy: str) -> None:
                for case in cases:
                    writer.write_message(watcher.reply_to, _message(case))
                body = _healthy_body(serializer, healthy)
                writer.write_message(watcher.reply_to, amqp.Message(body, correlation_id=healthy))

            for batch in _batches(seed, serializer, numbers, sent=True):
                run.batch(batch, deliver)
            return run.outcomes
    finally:
        writer.close()


def _message(case: Case) -> amqp.Message:
    properties = dict(case.properties)
    headers = properties.pop("headers", None)
    return amqp.Message(case.body, application_headers=headers, **properties)


def _watcher(url: str, serializer: str, **settings: Any) -> ResultWatcher:
    return ResultWatcher(url, serializer=serializer, max_body_size=MAX_BODY_SIZE, **settings)


def _batches(seed: int, serializer: str, numbers: Sequence[int], *, sent: bool = False) -> Any:
    for start in range(0, len(numbers), BATCH):
        yield [make_case(seed, serializer, number, sent=sent) for number in numbers[start : start + BATCH]]


def _healthy_body(serializer: str, task_id: str) -> bytes:
    if serializer == "json":
        return state_body(task_id, result=task_id)
    import kombu.serialization

    dumps: Any = kombu.serialization.dumps
    _, _, body = dumps({"status": "SUCCESS", "task_id": task_id, "result": task_id}, serializer=serializer)
    return body if isinstance(body, bytes) else str(body).encode()


class _Run:
    """Batches through one watcher."""

    def __init__(self, watcher: ResultWatcher, serializer: str) -> None:
        self._watcher = watcher
        self._reader = Reader(serializer)
        # What messages meant for ids that had not come up yet: over a broker, replies are kept for those who ask later.
        self._kept: dict[str, str] = {}
        self.outcomes: Counter[str] = Counter()

    def batch(self, cases: Sequence[Case], deliver: _Deliver, *, deliver_first: bool = False) -> None:
        """Raises Defect."""
        try:
            self._batch(cases, deliver, deliver_first)
            self._check_watcher()
        except Defect as defect:
            raise Defect(f"{defect}; in the batch that begins with {cases[0]}") from defect

    def _batch(self, cases: Sequence[Case], deliver: _Deliver, deliver_first: bool) -> None:
        expected = self._expected(cases)
        healthy = str(uuid.uuid4())
        if deliver_first:
            deliver(cases, healthy)
        futures = self._watcher.watch_many([*(case.task_id for case in cases), healthy])
        if not deliver_first:
            deliver(cases, healthy)
        if futures[-1].result(_WAIT) != healthy:
            raise Defect("the healthy id has another value")
        for case, future in zip(cases, futures, strict=False):
            outcome = self._outcome(future, must_end=expected[case.task_id] != "open")
            if outcome != expected[case.task_id]:
                raise Defect(f"expected {expected[case.task_id]}, and it {outcome}: {case}")
            self.outcomes[outcome] += 1

    def _expected(self, cases: Sequence[Case]) -> dict[str, str]:
        """What becomes of each id: the first end that any of the messages means for it, up to this batch."""
        found = {case.task_id: self._kept.pop(case.task_id, "open") for case in cases}
        for case in cases:
            task_id: Any
            raw = self._reader.mapping(case)
            if raw is None:
                task_id = case.properties.get("correlation_id") if case.properties else case.task_id
                verdict = "refused"
            else:
                task_id, verdict = raw["task_id"], self._reader.verdict_on(raw)
            if found.get(task_id) == "open":
                found[task_id] = verdict
            elif case.properties and task_id not in found and self._kept.get(task_id, "open") == "open":
                self._kept[task_id] = verdict
        return found

    def _outcome(self, future: ResultFuture, *, must_end: bool) -> str:
        if not must_end and not future.done():
            future.cancel()
            return "open"
        try:
            error = future.exception(_WAIT)
        except TimeoutError:
            return "open"
        if error is None:
            return "resolved"
        if isinstance(error, WatcherError):
            return "refused" if type(error) is ResultDecodeError else type(error).__name__
        return "failed"

    def _check_watcher(self) -> None:
        stats = self._watcher.stats()
        if not stats.thread_alive or not stats.connected or stats.reconnects:
            raise Defect(f"the watcher is not what it was: {stats}")
        if self._reader.serializer != "pickle" and hostile.detonations:
            raise Defect(f"something was called: {hostile.detonations.pop()}")

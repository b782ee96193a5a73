"""What a stream sends: states, in order, and the end; what a browser knows already it is not sent again."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from bgresults import ResultWatcher, TaskMeta
from bgresults.sse import HEADERS, plain_result
from bgresults.testing import RedisServer
from tests.sse.conftest import Follow
from tests.sse.reading import Event, Follower
from tests.support.results import ResultWriter, new_id
from tests.support.waiting import wait_until

COMPLETED = {"pending": False, "current": 100, "total": 100, "percent": 100, "description": ""}


def test_a_task_from_its_start_to_its_end(follow: Follow, writer: ResultWriter, watcher: ResultWatcher) -> None:
    task_id = new_id()
    stream = follow(task_id, retry=1.5)
    assert next(stream) == Event("[retry]", 1500), "before anything else: it makes the server send its headers, too"
    wait_until(lambda: writer.channels() == {task_id}, "the subscription")
    writer.write(task_id, {"current": 1, "total": 8, "description": "first\r\npart"}, "PROGRESS")
    first = stream.event()
    assert first.name == "state"
    assert first.json == {
        "task_id": task_id,
        "state": "PROGRESS",
        "complete": False,
        "success": None,
        "progress": {"pending": False, "current": 1, "total": 8, "percent": 12.5, "description": "first\r\npart"},
        "result": None,
    }
    writer.write(task_id, ["the", {"result": 1}])
    final, end = stream.events()
    assert (final.name, end.name) == ("state", "end")
    assert (
        final.json
        == end.json
        == {
            "task_id": task_id,
            "state": "SUCCESS",
            "complete": True,
            "success": True,
            "progress": COMPLETED,
            "result": ["the", {"result": 1}],
        }
    )
    assert stream.events() == [], "it has ended"
    assert watcher.pending == 0


def test_headers() -> None:
    assert HEADERS["Content-Type"] == "text/event-stream"
    assert HEADERS["Cache-Control"] == "no-cache, no-transform"
    assert HEADERS["X-Accel-Buffering"] == "no"


class TestErrors:
    def test_class_and_message_without_the_traceback(self, follow: Follow, writer: ResultWriter) -> None:
        task_id = new_id()
        writer.fail(task_id, ValueError("no such\naccount"), traceback="a secret place")
        stream = follow(task_id)
        final, end = stream.events()
        assert final.json == end.json
        assert (final.json["state"], final.json["complete"], final.json["success"]) == ("FAILURE", True, False)
        assert final.json["result"] == "ValueError: no such\naccount"
        assert b"secret" not in stream.sent

    def test_of_a_class_that_is_unknown_here(self, follow: Follow, writer: ResultWriter) -> None:
        task_id = new_id()
        unknown = {"exc_type": "InsufficientFunds", "exc_message": ["5 €"], "exc_module": "shop.errors"}
        writer.write(task_id, unknown, "FAILURE")
        assert follow(task_id).event().json["result"] == "InsufficientFunds: 5 €"

    def test_something_else_is_told(self, follow: Follow, writer: ResultWriter) -> None:
        seen: list[TaskMeta] = []

        def told(meta: TaskMeta) -> Any:
            seen.append(meta)
            return plain_result(meta) if meta.status == "SUCCESS" else {"sorry": True}

        failed, succeeded = new_id(), new_id()
        writer.fail(failed, ValueError("a secret"))
        stream = follow(failed, result=told)
        assert stream.event().json["result"] == {"sorry": True}
        assert b"secret" not in stream.sent
        assert isinstance(seen[0].result, ValueError)
        writer.write(succeeded, {"value": 1})
        assert follow(succeeded, result=told).event().json["result"] == {"value": 1}

    def test_a_function_that_raises_does_not_end_the_stream(
        self, follow: Follow, writer: ResultWriter, caplog: pytest.LogCaptureFixture
    ) -> None:
        task_id = new_id()
        writer.write(task_id, 1)
        with caplog.at_level(logging.ERROR, "bgresults"):
            final, end = follow(task_id, result=lambda meta: meta.result["no"]).events()
        assert final.json == end.json
        assert (final.json["state"], final.json["result"]) == ("SUCCESS", None)
        (record,) = caplog.records
        assert task_id in record.getMessage()
        assert record.exc_info is not None
        assert record.exc_info[0] is TypeError


class TestLastEventId:
    def test_a_state_that_was_seen_is_not_sent_again(
        self, follow: Follow, writer: ResultWriter, redis_server: RedisServer, key_prefix: str
    ) -> None:
        """Whichever process the browser lands in when it connects again."""
        task_id = new_id()
        writer.write(task_id, {"current": 1, "total": 2}, "PROGRESS")
        first = follow(task_id)
        seen = first.event()
        assert seen.last_event_id
        first.close()
        with ResultWatcher(redis_server.url(), key_prefix=key_prefix) as elsewhere:
            again = follow(task_id, elsewhere, last_event_id=seen.last_event_id)
            other = follow(task_id, elsewhere)
            assert other.event() == seen, "who has not seen it gets it, with the same id"
            writer.write(task_id, {"current": 2, "total": 2}, "PROGRESS")
            assert again.event().json["progress"]["current"] == 2
            again.close()
            other.close()

    def test_a_finished_task(self, follow: Follow, writer: ResultWriter) -> None:
        task_id = new_id()
        writer.write(task_id, {"current": 1, "total": 2}, "PROGRESS")
        with follow(task_id) as stream:
            last_seen = stream.event().last_event_id
        writer.write(task_id, "done")
        state, end = follow(task_id, last_event_id=last_seen).events()
        assert (state.name, end.name) == ("state", "end")
        # It was cut between these two.
        (end_alone,) = follow(task_id, last_event_id=state.last_event_id).events()
        assert (end_alone.name, end_alone.data) == ("end", state.data)
        (once_more,) = follow(task_id, last_event_id=end.last_event_id.encode()).events()
        assert once_more == end

    def test_repeated_states_are_sent_once(self, follow: Follow, writer: ResultWriter) -> None:
        task_id = new_id()
        stream = follow(task_id)
        wait_until(lambda: writer.channels() == {task_id}, "the subscription")
        for number, extra in enumerate(["a", "b", "c"]):
            # Other bytes, and the same to the page.
            writer.write(task_id, {"current": number // 2, "total": 2, "extra": extra}, "PROGRESS")
        writer.write(task_id, 1)
        told = [event.json["progress"]["current"] for event in stream.events() if event.name == "state"]
        assert told == [0, 1, 100]

    @pytest.mark.parametrize(
        "nonsense",
        ["", " ", "17", "-end", "\n\nevent: end\n\n", "ä" * 10_000, b"\xff\x00", "0" * 18, "\ud800", "../-end-end"],
        ids=ascii,
    )
    def test_nonsense_does_no_harm(self, follow: Follow, writer: ResultWriter, nonsense: Any) -> None:
        task_id = new_id()
        writer.write(task_id, 1)
        stream = follow(task_id, last_event_id=nonsense)
        assert [event.name for event in stream.events()] == ["state", "end"]

    def test_nonsense_is_not_sent_back(self, follow: Follow) -> None:
        stream = follow(new_id(), last_event_id="bad\n\nevent: state\ndata: 1", timeout=0.01)
        (end,) = stream.events()
        assert end.json["reason"] == "timeout"
        assert b"bad" not in stream.sent


def test_a_slow_client_gets_the_last_states(follow: Follow, writer: ResultWriter, watcher: ResultWatcher) -> None:
    """What waits for it is bounded; the final state is always among it."""
    task_id = new_id()
    stream = follow(task_id)
    wait_until(lambda: writer.channels() == {task_id}, "the subscription")
    for number in range(300):
        writer.write(task_id, {"current": number, "total": 300}, "PROGRESS")
    writer.write(task_id, "end")
    wait_until(lambda: watcher.pending == 0, "the final state")
    *states, final, end = stream.events()
    assert (final.json["result"], end.name) == ("end", "end")
    told = [event.json["progress"]["current"] for event in states]
    assert told == list(range(300))[-len(told) :], "in order, up to the last"
    assert 90 <= len(told) <= 100


def test_both_kinds_send_the_same(watcher: ResultWatcher, writer: ResultWriter) -> None:
    task_id = new_id()
    writer.write(task_id, {"a": [1, "ü"]})
    sent = []
    for kind in ("sse", "asse"):
        with Follower(kind, watcher, task_id) as stream:
            stream.events()
            sent.append(stream.sent)
    assert sent[0] == sent[1]

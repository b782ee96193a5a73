"""The same over a message broker: every state, in order; and outages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bgresults import ResultWatcher
from bgresults.testing import FaultProxy
from tests.sse.reading import KINDS, Follower
from tests.support.broker import ReplyWriter
from tests.support.outages import QUICK
from tests.support.results import new_id
from tests.support.rpc import port_of

pytestmark = pytest.mark.rabbitmq

PATIENCE = 30


@pytest.fixture
def replies(rabbitmq_url: str) -> Iterator[ReplyWriter]:
    made = ReplyWriter(rabbitmq_url)
    yield made
    made.close()


@pytest.mark.parametrize("kind", KINDS)
def test_every_state_in_order(rabbitmq_url: str, replies: ReplyWriter, kind: str) -> None:
    with ResultWatcher(rabbitmq_url) as watcher:
        task_id = new_id()
        with Follower(kind, watcher, task_id) as stream:
            for number in range(20):
                replies.write(watcher.reply_to, task_id, {"current": number, "total": 20}, "PROGRESS")
            replies.write(watcher.reply_to, task_id, "done")
            *states, final, end = stream.events()
            assert [event.json["progress"]["current"] for event in states] == list(range(20))
            assert (final.json["result"], end.name) == ("done", "end")
            seen = states[-1].last_event_id
        with Follower(kind, watcher, task_id, last_event_id=seen) as again:
            assert [event.name for event in again.events()] == ["state", "end"], "what was resolved last is kept"


@pytest.mark.parametrize("kind", KINDS)
def test_who_leaves_is_forgotten(rabbitmq_url: str, kind: str) -> None:
    with ResultWatcher(rabbitmq_url) as watcher:
        with Follower(kind, watcher, new_id(), heartbeat=0.05) as stream:
            assert [next(stream).name for _ in range(2)] == ["[retry]", "[comment]"]
            assert watcher.pending == 1
        assert watcher.pending == 0


@pytest.mark.parametrize("kind", KINDS)
def test_an_outage(rabbitmq_url: str, replies: ReplyWriter, kind: str) -> None:
    task_id = new_id()
    with FaultProxy(port_of(rabbitmq_url)) as proxy:
        url = f"amqp://guest:guest@127.0.0.1:{proxy.port}//"
        with ResultWatcher(url, retry=QUICK) as watcher, Follower(kind, watcher, task_id) as stream:
            queue = watcher.reply_to
            proxy.refuse()
            proxy.cut()
            assert stream.event().json == {"state": "reconnecting"}
            replies.write(queue, task_id, "done")
            proxy.accept()
            assert stream.event().json == {"state": "connected"}
            assert [event.name for event in stream.events()] == ["state", "end"]

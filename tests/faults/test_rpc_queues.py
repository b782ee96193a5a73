"""The reply queue is deleted, expires, or is full of what nobody can read: what becomes of those who wait."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from bgresults import ReplyLostError, ResultDecodeError, ResultFuture, ResultWatcher
from tests.support import wait_until
from tests.support.results import new_id, new_ids
from tests.support.rpc_lines import RECOVERED, WAIT, Line, line_to, shared_node

pytestmark = pytest.mark.rabbitmq


@pytest.fixture
def line(caplog: pytest.LogCaptureFixture) -> Iterator[Line]:
    with line_to(shared_node(), caplog) as made:
        yield made


def delete_while_connected(line: Line, watcher: ResultWatcher) -> None:
    line.writer.delete(watcher.reply_to)


def delete_while_away(line: Line, watcher: ResultWatcher) -> None:
    line.proxy.refuse()
    line.proxy.cut()
    line.noticed(watcher)
    line.writer.delete(watcher.reply_to)
    line.proxy.accept()


def until_found_out(watcher: ResultWatcher, times: int = 1) -> None:
    wait_until(lambda: watcher.stats().queues_lost == times, "the loss to be found out", RECOVERED)
    assert watcher.wait_ready(WAIT)


def arrives(line: Line, watcher: ResultWatcher, future: ResultFuture) -> None:
    """Under the old name: workers were told of it, and of no other."""
    wait_until(lambda: line.writer.consumers(watcher.reply_to) == 1, "the queue to be there again")
    line.reply(watcher, future, "again")
    assert future.result(WAIT) == "again"


WHEN = pytest.mark.parametrize("delete", [delete_while_connected, delete_while_away])


@WHEN
def test_deleted_and_waited_for_all_the_same(line: Line, delete: Any) -> None:
    with line.watcher() as watcher:
        future = line.consumed(watcher)
        name = watcher.reply_to
        for times in (1, 2):
            delete(line, watcher)
            until_found_out(watcher, times)
        assert not future.done()
        assert watcher.reply_to == name
        arrives(line, watcher, future)
        told = [record.getMessage() for record in line.log.records if "was deleted or has expired" in record.message]
        assert len(told) == 2
        assert all(str(name) in line and "1 futures were waiting" in line for line in told)


@WHEN
def test_deleted_and_told_so(line: Line, delete: Any) -> None:
    with line.watcher(on_reply_loss="fail") as watcher:
        futures = [line.consumed(watcher), *watcher.watch_many(new_ids(5))]
        delete(line, watcher)
        errors = [future.exception(RECOVERED) for future in futures]
        assert all(isinstance(error, ReplyLostError) for error in errors)
        assert len(set(map(id, errors))) == len(errors), "each has an instance of its own"
        assert futures[0].task_id in str(errors[0])
        until_found_out(watcher)
        arrives(line, watcher, watcher.watch(new_id()))
        arrives(line, watcher, watcher.watch(futures[0].task_id))


def test_expired_while_away(line: Line) -> None:
    with line.watcher(queue_expires=1.0, on_reply_loss="fail") as watcher:
        future = line.consumed(watcher)
        line.proxy.refuse()
        line.proxy.cut()
        line.noticed(watcher)
        # Not with a declaration, which would be a use of it.
        name = str(watcher.reply_to)
        wait_until(lambda: name not in line.node.queues(), "the queue to expire", WAIT)
        line.proxy.accept()
        assert isinstance(future.exception(RECOVERED), ReplyLostError)
        until_found_out(watcher)
        arrives(line, watcher, watcher.watch(new_id()))


def test_out_of_reach_for_a_while(line: Line) -> None:
    """A broker that is going down, or whose node with the queue is, says 404 as well. That is no loss."""
    with line.watcher(on_reply_loss="fail") as watcher:
        future = line.consumed(watcher)
        line.proxy.refuse()
        line.proxy.cut()
        line.noticed(watcher)
        line.reply(watcher, future, "kept")
        line.node.control("eval", 'rabbit_amqqueue_sup_sup:stop_for_vhost(<<"/">>).')
        try:
            passed = line.proxy.connections_made
            line.proxy.accept()
            wait_until(lambda: line.proxy.connections_made > passed + 2, "several attempts", WAIT)
            assert not watcher.connected
        finally:
            line.node.restart()
        line.writer.reconnect()
        assert future.result(WAIT) == "kept"
        stats = watcher.stats()
        assert (stats.queues_lost, stats.failed) == (0, 0)
        assert not [record for record in line.log.records if "was deleted" in record.getMessage()]


def test_one_for_each_task_out_of_reach_for_a_while(line: Line) -> None:
    """The same; the connection lives, and each queue is asked for until it can be used again."""
    with line.watcher(binding="task", on_reply_loss="fail") as watcher:
        future = watcher.watch(new_id())
        wait_until(lambda: line.writer.consumers(future.task_id) == 1, "the consumer", WAIT)
        line.proxy.refuse()
        line.proxy.cut()
        line.noticed(watcher)
        line.writer.write(future.task_id, future.task_id, "kept")
        line.node.control("eval", 'rabbit_amqqueue_sup_sup:stop_for_vhost(<<"/">>).')
        try:
            line.proxy.accept()
            assert watcher.wait_ready(WAIT)
        finally:
            line.node.restart()
        line.writer.reconnect()
        assert future.result(WAIT) == "kept"
        assert (watcher.stats().queues_lost, watcher.stats().failed) == (0, 0)


def test_it_does_not_expire_while_it_is_consumed(line: Line) -> None:
    with line.watcher(queue_expires=1.0) as watcher:
        future = line.consumed(watcher)
        name = str(watcher.reply_to)
        for _ in range(3):
            assert name in line.node.queues()
        line.reply(watcher, future, 1)
        assert future.result(WAIT) == 1
        assert watcher.stats().queues_lost == 0


def test_nothing_was_waited_for(line: Line) -> None:
    """Counted and told; there is nobody to be failed."""
    with line.watcher(on_reply_loss="fail") as watcher:
        assert watcher.wait_ready(WAIT)
        delete_while_connected(line, watcher)
        until_found_out(watcher)
        assert watcher.stats().failed == 0
        arrives(line, watcher, watcher.watch(new_id()))


class TestASmallWindow:
    """Five replies are sent ahead at most. Each is acknowledged, whatever it is, or soon nothing would come."""

    def test_states_that_are_not_final(self, line: Line) -> None:
        with line.watcher(prefetch=5) as watcher:
            seen: list[Any] = []
            future = watcher.watch(new_id(), on_update=lambda meta: seen.append(meta.result))
            for number in range(1000):
                line.writer.write(watcher.reply_to, future.task_id, number, "PROGRESS")
            line.reply(watcher, future, "end")
            assert future.result(WAIT) == "end"
            wait_until(lambda: len(seen) == 1001, "the updates")
            assert seen == [*range(1000), "end"]
            assert watcher.stats().reconnects == 0

    def test_states_that_nobody_watches(self, line: Line) -> None:
        with line.watcher(prefetch=5, unclaimed_max=10) as watcher:
            future = line.consumed(watcher)
            for task_id in new_ids(100):
                line.writer.write(watcher.reply_to, task_id, 1)
            line.reply(watcher, future, "end")
            assert future.result(WAIT) == "end"
            assert watcher.stats().buffered == 100
            assert watcher.stats().evicted >= 90

    def test_bodies_that_nobody_can_read(self, line: Line) -> None:
        with line.watcher(prefetch=5) as watcher:
            hurt, future = line.consumed(watcher), watcher.watch(new_id())
            for number in range(100):
                body, kind = [(b"\xff{", "application/json"), (b"", "application/json"), (b"x", "a/b"), (b"[]", None)][
                    number % 4
                ]
                line.writer.write_raw(watcher.reply_to, body, content_type=kind)
            line.writer.write_raw(watcher.reply_to, b"\xff{", correlation_id=hurt.task_id)
            line.writer.write_raw(watcher.reply_to, b"not compressed", headers={"compression": "application/x-gzip"})
            line.writer.write_raw(watcher.reply_to, b"?", headers={"compression": "application/x-unheard-of"})
            line.reply(watcher, future, "end")
            assert future.result(WAIT) == "end"
            assert isinstance(hurt.exception(WAIT), ResultDecodeError)
            assert watcher.stats().undecodable == 103
            assert watcher.stats().reconnects == 0

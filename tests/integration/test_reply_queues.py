"""``reply_to`` and ``declare_for``: where workers are told to reply to, and why that may not be known."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import pytest

from bgresults import (
    AMQPOptions,
    BackendUnavailableError,
    ForkedError,
    NotWatchableError,
    ResultWatcher,
    WatcherClosedError,
    WatcherError,
    WouldDeadlockError,
)
from tests.support import wait_until
from tests.support.broker import ReplyWriter, publish
from tests.support.closed import CLOSED_PORT
from tests.support.forks import run_in_child
from tests.support.results import new_id, new_ids
from tests.support.rpc import QUEUE_ARGUMENTS, cut_connections, port_of
from tests.support.threads import in_threads

pytestmark = pytest.mark.rabbitmq

WAIT = 20
TASK = AMQPOptions(binding="task")


@pytest.fixture
def writer(rabbitmq_url: str) -> Iterator[ReplyWriter]:
    made = ReplyWriter(rabbitmq_url)
    yield made
    made.close()


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """Somebody listens there, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


class TestReplyTo:
    def test_it_is_there_when_it_is_known(self, rabbitmq_url: str, writer: ReplyWriter) -> None:
        with ResultWatcher(rabbitmq_url, connect_timeout=WAIT) as watcher:
            assert watcher.stats().state == "idle"
            queue = watcher.reply_to
            assert writer.consumers(queue) == 1
            assert watcher.declare_for(new_id()) == queue
            assert in_threads(20, lambda _: watcher.reply_to) == [queue] * 20

    def test_of_two_watchers(self, rabbitmq_url: str) -> None:
        with (
            ResultWatcher(rabbitmq_url, connect_timeout=WAIT) as one,
            ResultWatcher(rabbitmq_url, connect_timeout=WAIT) as other,
        ):
            assert one.reply_to != other.reply_to

    def test_later_it_never_waits(self, rabbitmq_url: str, writer: ReplyWriter) -> None:
        """Not even while there is no connection: the queue outlives it, and keeps its name."""
        with ResultWatcher(rabbitmq_url, connect_timeout=WAIT) as watcher:
            queue = watcher.reply_to
            seen: list[str | None] = []
            future = watcher.watch(new_id(), on_update=lambda _meta: seen.append(watcher.reply_to))
            for _ in range(3):
                cut_connections(port_of(rabbitmq_url))
                assert watcher.reply_to == queue
            # That one was cut as well.
            publish(rabbitmq_url, queue, future.task_id, 1)
            assert future.result(WAIT) == 1
            assert seen == [queue]
            wait_until(lambda: watcher.stats().reconnects >= 1, "the reconnect to be counted")
            writer.reconnect()
            assert writer.exists(queue)

    def test_a_forked_child_has_another_one(self, rabbitmq_url: str, writer: ReplyWriter) -> None:
        with ResultWatcher(rabbitmq_url, connect_timeout=WAIT) as watcher:
            queue = watcher.reply_to
            parents = watcher.watch(new_id())

            def child() -> None:
                assert watcher.reply_to not in {None, queue}
                with pytest.raises(ForkedError):
                    parents.result(WAIT)
                future = watcher.watch(new_id())
                publish(rabbitmq_url, watcher.reply_to, future.task_id, "for the child")
                assert future.result(WAIT) == "for the child"
                watcher.close()

            assert run_in_child(child) == 0
            assert watcher.reply_to == queue
            writer.write(queue, parents.task_id, "for the parent")
            assert parents.result(WAIT) == "for the parent"
            assert watcher.stats().reconnects == 0

    def test_there_is_none_with_one_queue_per_task(self, rabbitmq_url: str) -> None:
        with ResultWatcher(rabbitmq_url, amqp=TASK) as watcher:
            assert watcher.reply_to is None
            assert watcher.stats().state == "idle"

    @pytest.mark.parametrize("amqp", [AMQPOptions(), TASK], ids=["process", "task"])
    def test_of_a_closed_watcher(self, rabbitmq_url: str, amqp: AMQPOptions) -> None:
        watcher = ResultWatcher(rabbitmq_url, amqp=amqp)
        assert watcher.wait_ready(WAIT)
        known = watcher.reply_to
        watcher.close()
        with pytest.raises(WatcherClosedError):
            watcher.declare_for(new_id())
        if known is not None:
            with pytest.raises(WatcherClosedError):
                assert watcher.reply_to

    @pytest.mark.parametrize("amqp", [AMQPOptions(), TASK], ids=["process", "task"])
    @pytest.mark.parametrize("kind", ["deaf", "closed"])
    def test_of_a_broker_that_does_not_answer(self, deaf_port: int, kind: str, amqp: AMQPOptions) -> None:
        port = deaf_port if kind == "deaf" else CLOSED_PORT
        with ResultWatcher(f"amqp://user:s3cret@127.0.0.1:{port}//", connect_timeout=0.3, amqp=amqp) as watcher:
            for _ in range(2):
                started = time.monotonic()
                with pytest.raises(BackendUnavailableError, match=rf"{port}.* within 0.3 s") as caught:
                    watcher.declare_for(new_id())
                assert time.monotonic() - started < 5
                assert "s3cret" not in str(caught.value)

    def test_of_a_broker_that_refuses_us(self, rabbitmq_url: str) -> None:
        url = urlunsplit(urlsplit(rabbitmq_url)._replace(netloc=f"nobody:s3cret@127.0.0.1:{port_of(rabbitmq_url)}"))
        with ResultWatcher(url, connect_timeout=WAIT) as watcher:
            with pytest.raises(BackendUnavailableError, match="check the user name and the password") as caught:
                assert watcher.reply_to
            assert "s3cret" not in str(caught.value)
            assert watcher.stats().state == "failed"
            future = watcher.watch(new_id())
            assert isinstance(future.exception(0), BackendUnavailableError)

    @pytest.mark.parametrize("amqp", [AMQPOptions(), TASK], ids=["process", "task"])
    def test_in_a_callback_before_it_is_known(self, deaf_port: int, amqp: AMQPOptions) -> None:
        raised: list[BaseException | None] = []

        def ask(_future: object) -> None:
            try:
                watcher.declare_for(new_id())
            except WatcherError as error:
                raised.append(error)

        with ResultWatcher(
            f"amqp://127.0.0.1:{deaf_port}", on_disconnect="fail", connect_timeout=1.0, amqp=amqp
        ) as watcher:
            # Added while the attempt goes on, so that it is called by the thread that makes it.
            watcher.watch(new_id()).add_done_callback(ask)
            wait_until(lambda: raised, "the callback")
        assert [type(error) for error in raised] == [WouldDeadlockError]

    def test_while_it_is_closed(self, deaf_port: int) -> None:
        watcher = ResultWatcher(f"amqp://127.0.0.1:{deaf_port}//", connect_timeout=1.0)

        def work(number: int) -> object:
            if number == 0:
                wait_until(lambda: watcher.stats().state == "connecting", "the attempt")
                watcher.close()
                return None
            return watcher.reply_to

        errors = in_threads(5, work)[1:]
        assert {type(error) for error in errors} == {WatcherClosedError}


class TestDeclareFor:
    @pytest.fixture
    def watcher(self, rabbitmq_url: str) -> Iterator[ResultWatcher]:
        with ResultWatcher(rabbitmq_url, amqp=TASK, connect_timeout=WAIT) as made:
            yield made

    def test_the_queue_is_there_when_it_returns(
        self, watcher: ResultWatcher, writer: ReplyWriter, rabbitmq_url: str
    ) -> None:
        ids = new_ids(20)
        assert in_threads(20, lambda number: watcher.declare_for(ids[number])) == ids
        assert all(writer.counts(task_id) == (0, 0) for task_id in ids)
        # A second time does no harm.
        assert watcher.declare_for(ids[0]) == ids[0]
        writer.write_all(ids[0], [ids[0]])
        for task_id in ids[1:]:
            writer.write(task_id, task_id, task_id)
        assert [future.result(WAIT) for future in watcher.watch_many(ids)] == ids
        wait_until(lambda: not any(writer.exists(task_id) for task_id in ids), "the queues to be deleted")

    def test_one_that_is_there_in_another_shape(self, watcher: ResultWatcher, writer: ReplyWriter) -> None:
        task_id, other = new_ids(2)
        bystander = watcher.watch(other)
        writer.make(task_id, arguments={"x-expires": 60_000})
        assert watcher.declare_for(task_id) == task_id
        writer.write(task_id, task_id, 1)
        assert watcher.watch(task_id).result(WAIT) == 1
        writer.write(other, other, 2)
        assert bystander.result(WAIT) == 2

    @pytest.mark.parametrize("task_id", ["amq.not-ours", "x" * 300, "ü" * 200], ids=["reserved", "long", "long ü"])
    def test_names_that_cannot_be(self, watcher: ResultWatcher, writer: ReplyWriter, task_id: str) -> None:
        """The broker does not take them, and nobody else has to suffer for it."""
        other = new_id()
        bystander = watcher.watch(other)
        wait_until(lambda: writer.consumers(other) == 1, "the bystander")
        with pytest.raises(NotWatchableError, match=task_id[:10]):
            watcher.declare_for(task_id)
        with pytest.raises(NotWatchableError, match=task_id[:10]):
            watcher.watch(task_id).result(WAIT)
        writer.write(other, other, 2)
        assert bystander.result(WAIT) == 2
        assert watcher.stats().reconnects == 0

    def test_another_process_watches_it(self, watcher: ResultWatcher, writer: ReplyWriter, rabbitmq_url: str) -> None:
        task_id = new_id()
        watcher.declare_for(task_id)
        writer.write(task_id, task_id, 1, "PROGRESS")
        writer.write(task_id, task_id, "for the other process")

        def child() -> None:
            with ResultWatcher(rabbitmq_url, amqp=TASK) as other:
                stream = other.updates(task_id, timeout=WAIT)
                assert [meta.result for meta in stream] == [1, "for the other process"]

        assert run_in_child(child) == 0
        wait_until(lambda: not writer.exists(task_id), "the queue to be deleted")

    def test_in_a_callback(self, watcher: ResultWatcher, writer: ReplyWriter) -> None:
        task_id = new_id()
        assert watcher.declare_for(task_id) == task_id
        raised: list[BaseException] = []

        def ask(_future: object) -> None:
            try:
                watcher.declare_for(new_id())
            except WatcherError as error:
                raised.append(error)

        future = watcher.watch(task_id)
        future.add_done_callback(ask)
        writer.write(task_id, future.task_id, 1)
        assert future.result(WAIT) == 1
        wait_until(lambda: raised, "the callback")
        assert isinstance(raised[0], WouldDeadlockError)

    def test_after_it_was_lost(self, watcher: ResultWatcher, writer: ReplyWriter, rabbitmq_url: str) -> None:
        """Nobody watches it yet: no connection is worth more than another."""
        task_id = watcher.declare_for(new_id())
        assert task_id is not None
        cut_connections(port_of(rabbitmq_url))
        writer.reconnect()
        writer.make(task_id, arguments=QUEUE_ARGUMENTS)
        writer.write(task_id, task_id, 1)
        assert watcher.watch(task_id).result(WAIT) == 1

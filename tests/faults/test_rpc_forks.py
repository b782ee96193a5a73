"""fork() beside a watcher of replies: the child starts anew with a queue of its own, the parent never notices."""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator

import pytest

from bgresults import AMQPOptions, ForkedError, ResultWatcher
from tests.support import wait_until
from tests.support.forks import c_fork, c_fork_with_child_hook, run_in_child
from tests.support.gates import drain_thread_held
from tests.support.results import new_id, new_ids
from tests.support.rpc_lines import WAIT, Line, line_to, shared_node, shared_node_ca
from tests.support.rpc_load import resolves
from tests.support.sockets import connections

pytestmark = [pytest.mark.rabbitmq, pytest.mark.timeout(120)]

FORKS = pytest.mark.parametrize(
    "fork", [os.fork, c_fork, c_fork_with_child_hook], ids=["os.fork", "C-level fork", "C-level fork with a hook"]
)


@pytest.fixture(params=["plain", pytest.param("tls", marks=pytest.mark.tls)])
def line(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[Line]:
    ca = shared_node_ca() if request.param == "tls" else None
    with line_to(shared_node(), caplog, ca) as made:
        made.proxy.record()
        yield made


@pytest.fixture
def watcher(line: Line) -> Iterator[ResultWatcher]:
    """One whose thread, once it sleeps, does not wake for a heartbeat in the middle of a C-level fork."""
    with line.watcher(heartbeat=0, most_connections=100) as made:
        yield made


def in_child(function: Callable[[], object], *, fork: Callable[[], int] = os.fork) -> None:
    assert run_in_child(function, fork=fork) == 0, "the child failed; its traceback is on stderr"


@FORKS
def test_the_child_has_a_queue_of_its_own(line: Line, watcher: ResultWatcher, fork: Callable[[], int]) -> None:
    url = line.node.url()
    inherited = line.consumed(watcher)
    parents_queue = watcher.reply_to
    resolves(watcher, url)

    def child() -> None:
        assert watcher.pending == 0
        assert watcher.stats().watched == 0
        assert isinstance(inherited.exception(0), ForkedError)
        assert watcher.reply_to != parents_queue
        resolves(watcher, url)
        # A reply to a task of the parent's is none of the child's business.
        late = watcher.watch(inherited.task_id)
        assert not late.done()
        watcher.close()

    in_child(child, fork=fork)
    assert watcher.reply_to == parents_queue
    assert line.writer.counts(parents_queue) == (0, 1)
    resolves(watcher, url)
    line.reply(watcher, inherited, "the parent's")
    assert inherited.result(WAIT) == "the parent's"
    assert watcher.stats().reconnects == 0


@FORKS
def test_nothing_is_said_on_the_inherited_socket(line: Line, watcher: ResultWatcher, fork: Callable[[], int]) -> None:
    """Whatever the child does to what it inherited: closing, dropping, collecting."""
    futures = watcher.watch_many(new_ids(50))
    streams = [watcher.updates(task_id) for task_id in new_ids(3)]
    line.consumed(watcher)
    said = line.proxy.recorded("to_server")
    made = line.proxy.connections_made
    assert said

    def child() -> None:
        futures.clear()
        streams.clear()
        gc.collect()
        watcher.close()
        gc.collect()

    in_child(child, fork=fork)
    assert line.proxy.recorded("to_server") == said
    assert (line.proxy.connections, line.proxy.connections_made) == (1, made)
    for future in futures:
        line.reply(watcher, future, 1)
    assert {future.result(WAIT) for future in futures} == {1}
    assert watcher.stats().reconnects == 0


def test_replies_that_are_on_their_way_are_the_parents(line: Line, watcher: ResultWatcher) -> None:
    """They lie in the socket that the child inherits as well; and some are known and not acknowledged."""
    line.consumed(watcher)
    futures = watcher.watch_many(new_ids(100))

    def child() -> None:
        resolves(watcher, line.node.url(), 3)
        watcher.close()

    with drain_thread_held(watcher):
        for future in futures:
            line.reply(watcher, future, future.task_id)
        in_child(child)
    assert [future.result(WAIT) for future in futures] == [future.task_id for future in futures]
    assert (watcher.stats().reconnects, watcher.stats().redelivered) == (0, 0)


def test_a_fork_in_a_callback(line: Line, watcher: ResultWatcher) -> None:
    """There the child is the drain thread, in the middle of a turn with messages that are not acknowledged."""
    codes: list[int] = []

    def child() -> None:
        resolves(watcher, line.node.url(), 3)
        watcher.close()

    future = line.consumed(watcher)
    future.add_done_callback(lambda _: codes.append(run_in_child(child)))
    others = watcher.watch_many(new_ids(20))
    with drain_thread_held(watcher):
        for each in (future, *others):
            line.reply(watcher, each, each.task_id)
    assert [other.result(WAIT) for other in others] == [other.task_id for other in others]
    wait_until(lambda: codes, "the child", WAIT)
    assert codes == [0]
    resolves(watcher, line.node.url())
    assert watcher.stats().reconnects == 0


def test_a_child_of_a_child(line: Line, watcher: ResultWatcher) -> None:
    url = line.node.url()
    resolves(watcher, url)

    def grandchild() -> None:
        resolves(watcher, url)
        watcher.close()

    def child() -> None:
        resolves(watcher, url)
        in_child(grandchild)
        resolves(watcher, url)
        watcher.close()

    in_child(child)
    resolves(watcher, url)
    assert watcher.stats().reconnects == 0


def _event_polls() -> int:
    found = 0
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found += os.readlink(f"/proc/self/fd/{number}") == "anon_inode:[eventpoll]"
    return found


def test_the_child_keeps_no_descriptor() -> None:
    node = shared_node()
    before = _event_polls()
    with ResultWatcher(node.url(), amqp=AMQPOptions(heartbeat=0)) as watcher:
        watcher.watch(new_id())
        assert watcher.wait_ready(WAIT)
        assert (connections(node.port), _event_polls()) == (1, before + 1)

        def child() -> None:
            assert watcher.pending == 0
            assert (connections(node.port), _event_polls()) == (0, before)

        in_child(child)


def test_forking_while_it_connects(caplog: pytest.LogCaptureFixture) -> None:
    """The child knows of the socket although nobody has logged in yet."""
    node = shared_node()
    with ResultWatcher(node.url(), connect_timeout=20) as watcher:
        node.pause()
        try:
            watcher.watch(new_id())
            wait_until(lambda: connections(node.port) == 1, "the attempt to connect")

            def child() -> None:
                assert connections(node.port) == 0, "the inherited socket was closed"

            in_child(child)
        finally:
            node.resume()
        assert watcher.wait_ready(WAIT)


def test_the_drain_thread_imports_nothing() -> None:
    """Import locks do not survive a fork: what the thread needs is imported before it starts."""
    node = shared_node()
    program = textwrap.dedent(
        f"""
        import sys, time
        from bgresults import ResultWatcher
        from tests.support.broker import ReplyWriter
        writer = ReplyWriter("{node.url()}")
        watcher = ResultWatcher("{node.url()}")
        before = set(sys.modules)
        future = watcher.watch("id")
        assert watcher.wait_ready(20)
        envelope = {{"exc_type": "A", "exc_message": [], "exc_module": "b"}}
        writer.write(watcher.reply_to, "id", envelope, "FAILURE")
        future.exception(20)
        writer.delete(watcher.reply_to)
        while not watcher.stats().queues_lost:
            time.sleep(0.01)
        refused = ResultWatcher("amqp://127.0.0.1:1")
        refused.watch("id")
        while refused.stats().state != "backoff":
            time.sleep(0.01)
        wrong = ResultWatcher("{node.url(login="guest:wrong")}")
        wrong.watch("id").exception(20)
        print(sorted(set(sys.modules) - before))
        watcher.close()
        """
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False)
    assert ended.stderr == ""
    assert ended.stdout.strip() == "[]"

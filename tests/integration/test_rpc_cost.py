"""What watching replies costs: one connection, one channel, one thread, and no work while nothing happens."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from bgresults import AMQPOptions, ResultWatcher
from bgresults.options import Binding
from tests.support import wait_until
from tests.support.broker import ReplyWriter
from tests.support.results import new_ids
from tests.support.rpc import proxy_to, through
from tests.support.sockets import connections
from tests.support.threads import in_threads

pytestmark = pytest.mark.rabbitmq

WAIT = 20
# Frame, channel, size; class and method.
CHANNEL_OPEN = re.compile(rb"\x01..\x00\x00\x00\x05\x00\x14\x00\x0a", re.DOTALL)


@pytest.fixture
def writer(rabbitmq_url: str) -> Iterator[ReplyWriter]:
    made = ReplyWriter(rabbitmq_url)
    yield made
    made.close()


def test_64_threads_on_2000_ids(writer: ReplyWriter, rabbitmq_url: str) -> None:
    ids = new_ids(2000)
    before = {thread for thread in threading.enumerate() if thread.name.startswith("bgresults-")}
    with proxy_to(rabbitmq_url) as proxy:
        proxy.record()
        with ResultWatcher(through(proxy, rabbitmq_url)) as watcher:
            queue = watcher.reply_to
            writing = threading.Thread(target=writer.write_all, args=(queue, ids[::-1]))
            writing.start()

            def watch(number: int) -> list[Any]:
                futures = [watcher.watch(task_id) for task_id in ids[number::64]]
                return [future.result(WAIT) for future in futures]

            results = in_threads(64, watch)
            writing.join()
            assert [results[number % 64][number // 64] for number in range(2000)] == ids
            assert connections(proxy.port) == 1
            assert writer.consumers(queue) == 1
            drainers = {thread for thread in threading.enumerate() if thread.name == "bgresults-rpc"} - before
            assert len(drainers) == 1
            # Counted a moment after whoever waits for it is told.
            wait_until(lambda: watcher.stats().resolved == 2000, "the last one to be counted")
            stats = watcher.stats()
            assert (stats.resolved, stats.pending, stats.duplicate, stats.redelivered) == (2000, 0, 0, 0)
        assert proxy.connections_made == 1
        assert len(CHANNEL_OPEN.findall(proxy.recorded("to_server"))) == 1


@pytest.mark.allow_leaks("descriptors")
@pytest.mark.parametrize("binding", ["process", "task"])
def test_an_idle_watcher_uses_no_cpu(writer: ReplyWriter, rabbitmq_url: str, binding: Binding) -> None:
    """100 pending ids, heartbeats on, and for two seconds at most a handful of wake-ups' worth of CPU time."""
    with ResultWatcher(rabbitmq_url, amqp=AMQPOptions(binding=binding, heartbeat=4)) as watcher:
        futures = watcher.watch_many(new_ids(100))
        last = futures[-1].task_id
        queue = watcher.reply_to or last
        wait_until(lambda: writer.consumers(queue) == 1, "the queues to be consumed", WAIT)
        # Everything before that has been done when this is.
        watcher.declare_for(last)
        thread = next(thread for thread in threading.enumerate() if thread.name == "bgresults-rpc")
        clock = time.pthread_getcpuclockid(thread.ident or 0)
        before = time.clock_gettime(clock)
        assert not threading.Event().wait(2.0)
        assert time.clock_gettime(clock) - before < 0.03
        assert watcher.pending == len(futures)

"""What :mod:`tests.servers.in_greenlets` runs, once it has patched, or has not."""

from __future__ import annotations

import os
import socket
import threading
import time
from typing import Any

import redis

from bgresults import ForkedError, ResultWatcher
from tests.support.broker import ReplyWriter
from tests.support.results import new_id, state_body
from tests.support.waiting import wait_until

__all__ = ["Program"]

WAIT = 30


class Program:
    """What it does, moment by moment."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.found: dict[str, Any] = {}
        self.watcher = ResultWatcher(url, connect_timeout=WAIT)
        self._kept: tuple[Any, ...] = ()
        self._replies = ReplyWriter(url) if url.startswith("amqp") else None
        self._redis = None if self._replies else redis.Redis.from_url(url)

    def write(self, task_id: str, result: Any) -> None:
        """Play a worker."""
        if self._replies is not None:
            queue = self.watcher.reply_to
            assert queue is not None
            self._replies.write(queue, task_id, result)
        elif self._redis is not None:
            key, body = f"celery-task-meta-{task_id}", state_body(task_id, result=result)
            self._redis.set(key, body, ex=600)
            self._redis.publish(key, body)

    def everybody_waits(self, count: int) -> None:
        """A greenlet for each result; all wait before the first one comes, which none of them could if one blocked."""
        ids = [new_id() for _ in range(count)]
        waiting: list[str] = []
        results: dict[str, Any] = {}

        def wait_for(task_id: str) -> None:
            future = self.watcher.watch(task_id)
            waiting.append(task_id)
            results[task_id] = future.result(WAIT)

        threads = [threading.Thread(target=wait_for, args=(task_id,)) for task_id in ids]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(waiting) == count, "all to wait", WAIT)
        for number, task_id in enumerate(ids):
            self.write(task_id, number)
        for thread in threads:
            thread.join(WAIT)
        self.found["right"] = sum(results.get(task_id) == number for number, task_id in enumerate(ids))

    def native_threads(self) -> None:
        """Of gevent's pool: they wait for results, too."""
        import gevent

        ids = [new_id() for _ in range(8)]
        pool = gevent.get_hub().threadpool
        jobs = [pool.spawn(lambda task_id=task_id: self.watcher.watch(task_id).result(WAIT)) for task_id in ids]
        for number, task_id in enumerate(ids):
            self.write(task_id, number)
        self.found["native"] = [job.get() for job in jobs]

    def first_in_a_native_thread(self) -> None:
        """The first use of all."""
        import gevent

        gevent.get_hub().threadpool.apply(lambda: self.watcher.watch(new_id()))

    def timeout(self) -> None:
        """A task that never ends; and a greenlet that goes on meanwhile."""
        ticks: list[float] = []
        over = threading.Event()

        def tick() -> None:
            while not over.wait(0.01):
                ticks.append(time.monotonic())

        ticking = threading.Thread(target=tick)
        ticking.start()
        began = time.monotonic()
        try:
            self.watcher.watch(new_id()).result(0.5)
        except TimeoutError:
            self.found["timeout"] = time.monotonic() - began
        over.set()
        ticking.join(WAIT)
        self.found["ticks"] = len(ticks)

    def fork(self) -> None:
        """A child that watches, while a future of its parent's is pending."""
        inherited = new_id()
        future = self.watcher.watch(inherited)
        assert self.watcher.wait_ready(WAIT)
        pid = os.fork()
        if pid == 0:
            self._in_child(future)
        self.found["child"] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        self.write(inherited, "parent")
        self.found["parent"] = future.result(WAIT)
        self.found["reconnects"] = self.watcher.stats().reconnects

    def _in_child(self, inherited: Any) -> None:
        code = 1
        try:
            child = Program(self._url)
            own = new_id()
            future = self.watcher.watch(own)
            # The inherited greenlet gets its turns.
            time.sleep(0.2)
            child.watcher = self.watcher
            child.write(own, "child")
            if future.result(WAIT) == "child" and isinstance(inherited.exception(0), ForkedError):
                code = 0
        finally:
            os._exit(code)

    def fork_while_connecting(self) -> None:
        """In the middle of a handshake with a server that says nothing."""
        server = socket.create_server(("127.0.0.1", 0))
        silent = ResultWatcher(f"redis://127.0.0.1:{server.getsockname()[1]}", connect_timeout=WAIT)
        future = silent.watch(new_id())
        connection, _ = server.accept()
        # The greeting: from here on it waits for the answer.
        assert connection.recv(1000)
        pid = os.fork()
        if pid == 0:
            # The inherited greenlet gets its turns.
            time.sleep(0.5)
            os._exit(0 if silent.stats().state == "idle" else 1)
        self.found["child"] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        server.settimeout(0.1)
        try:
            server.accept()
        except TimeoutError:
            self.found["strangers"] = 0
        self.found["connecting"] = silent.stats().state
        # The program ends in the middle of it: no object of Python's closes the connection before the process is gone.
        self._kept = (server.detach(), connection.detach(), silent, future)

    def kill(self) -> None:
        """Somebody kills all greenlets that there are."""
        import gc

        import gevent

        future = self.watcher.watch(new_id())
        gevent.killall([item for item in gc.get_objects() if isinstance(item, gevent.Greenlet)])
        self.found["killed"] = str(future.exception(WAIT))
        self.watcher.watch(new_id()).exception(WAIT)
        self.everybody_waits(3)

    def end(self) -> None:
        """Pending futures, a greenlet that waits for one; then the program ends."""
        futures = [self.watcher.watch(new_id()) for _ in range(100)]
        threading.Thread(target=futures[0].result, daemon=True).start()
        assert self.watcher.wait_ready(WAIT)
        time.sleep(0.05)

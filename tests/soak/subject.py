"""The process under test: ``python -m tests.soak.subject '{…}'``.

It has the watchers, the threads that use them, and forks. What it is to do comes as one JSON object per line on its
standard input, and is answered on its standard output, where samples are as well. See :class:`Subject`.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any

from bgresults import ResultFuture
from tests.soak.books import Books
from tests.soak.children import KILLED, child_of
from tests.soak.following import Follower
from tests.soak.listening import listen_to_evictions, listen_to_the_interpreter, listen_to_the_log
from tests.soak.load import Load
from tests.soak.nursery import CHILD_SECONDS, Nursery
from tests.soak.orders import Order
from tests.soak.shelf import Place, Shelf
from tests.support.children import run_in_children
from tests.support.forks import c_fork
from tests.support.gates import until_threads_sleep
from tests.support.leaks import Snapshot, check_leaks
from tests.support.results import new_id
from tests.support.waiting import wait_until

__all__ = ["main"]

_QUIET_SECONDS = 30.0
_REST_SECONDS = 30.0
_PAGE = os.sysconf("SC_PAGE_SIZE")


class _NotQuiet(Exception):
    """Some thread did not come to the gate."""


class Subject:
    """Does what the driver says.

    Args:
        settings: ``urls`` of the servers, ``seed``, ``threads``, ``pause`` between two things that a thread does,
            ``sample_every`` so many seconds, ``real_worker``, ``orders``: the descriptor that orders for workers are
            written to, and ``limit``: seconds after which it has hung.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._orders = settings["orders"]
        self._books = Books()
        self._jobs: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._speaking = threading.Lock()
        self._over = threading.Event()
        listen_to_the_log(self._books)
        listen_to_evictions(self._books)
        listen_to_the_interpreter(self._books)
        threading.Thread(target=self._listen, daemon=True).start()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._before = Snapshot()
        self._shelf = Shelf(settings["urls"], self._books)
        self._load = Load(
            self._shelf,
            Follower(self._books),
            self._ask,
            seed=settings["seed"],
            threads=settings["threads"],
            pause=settings["pause"],
            real_worker=settings["real_worker"],
        )

    def serve(self) -> None:
        """Until standard input ends."""
        self._load.start()
        self._sampler.start()
        while (job := self._jobs.get()) is not None:
            try:
                answer = getattr(self, f"do_{job.pop('do')}")(**job)
            except BaseException:
                answer = {"failed": traceback.format_exc()}
            self._say(answer=answer)

    # -- what it is told to do, in the main thread -------------------------------------------------------------------

    def do_reopen(self, place: int) -> dict[str, Any]:
        """Close a watcher, and put another one in its place."""
        self._shelf.reopen(place)
        return {}

    def do_connected(self) -> dict[str, Any]:
        """Whether all watchers are."""
        return {"connected": self._shelf.connected()}

    def do_fork(self, how: str, end: str, count: int, seed: int) -> dict[str, Any]:
        """Have children; ``how``: by ``os.fork()``, or in C, where no hook hears of it."""
        inherited = [self._watch_for_good(place) for place in self._shelf.places if place.policy == "wait"]
        nursery = Nursery(self._books)
        child = nursery.child(child_of(self._shelf, self._ask, inherited, end, seed), in_c=how == "c")
        try:
            if how == "os":
                codes = run_in_children(count, child, fork=os.fork, seconds=CHILD_SECONDS)
            else:
                codes = run_in_children(count, child, fork=c_fork, quiet=self._quiet, seconds=CHILD_SECONDS)
        except (_NotQuiet, AssertionError):
            codes = []
        del child
        inherited.clear()
        return {"children": nursery.judge(codes, KILLED if end == "killed" else 0, f"that {end}, forked by {how}")}

    def do_rest(self) -> dict[str, Any]:
        """End the load; return when nothing is pending any more."""
        self._load.stop()
        try:
            wait_until(lambda: not self._shelf.pending(), "the end of all futures", _REST_SECONDS)
        except AssertionError as error:
            self._books.wrong(f"{error}: {self._shelf.stats()}")
        return {}

    def do_end(self) -> dict[str, Any]:
        """Close the watchers, and tell all that is in the books."""
        self._over.set()
        self._sampler.join()
        self._shelf.close()
        totals = self._shelf.totals()
        self._books.explain_lost_queues()
        try:
            check_leaks(self._before, Snapshot, ("threads", "descriptors"))
        except AssertionError as leak:
            self._books.wrong(str(leak))
        return {
            "counts": self._books.counts,
            "wrongs": self._books.wrongs,
            "totals": totals,
            "overshoot": self._books.overshoot,
        }

    # -- inside ------------------------------------------------------------------------------------------------------

    def _ask(self, order: Order) -> None:
        """Any thread, and any child: a line is written in one piece."""
        os.write(self._orders, order.line())

    def _watch_for_good(self, place: Place) -> ResultFuture:
        watcher, account = place.now
        account.watches(1)
        return watcher.watch(new_id())

    @contextlib.contextmanager
    def _quiet(self) -> Iterator[None]:
        """All other threads of this process sleep.

        A fork in C leaves the child the interpreter's own lock as it was: if another thread waits for that just then,
        the child hangs in CPython, without any code of this library in it.
        """
        try:
            with self._load.gate.closed(_QUIET_SECONDS) as all_here:
                if not all_here or not self._shelf.connected():
                    raise _NotQuiet
                until_threads_sleep()
                yield
        finally:
            self._say(noisy=True)

    def _listen(self) -> None:
        # Not sys.stdin: the interpreter cannot end while a thread is reading that.
        with open(0, "rb", closefd=False) as orders:
            for line in orders:
                job = json.loads(line)
                if job["do"] == "note_restart":
                    # At once, whatever the main thread is at.
                    self._books.broker_restarted(job["at"])
                else:
                    self._jobs.put(job)
        self._jobs.put(None)

    def _say(self, **words: Any) -> None:
        with self._speaking:
            print(json.dumps(words), flush=True)

    def _sample(self) -> None:
        while not self._over.wait(self._settings["sample_every"]):
            with open("/proc/self/statm", encoding="ascii") as file:
                memory = int(file.read().split()[1]) * _PAGE
            self._say(
                sample={
                    "at": time.monotonic(),
                    "memory": memory,
                    "blocks": sys.getallocatedblocks(),
                    "threads": threading.active_count(),
                    "descriptors": len(os.listdir("/proc/self/fd")),
                    "pending": self._shelf.pending(),
                    "ids": self._books.counts["ids"],
                    "latencies": self._books.latencies(),
                }
            )


def main(settings: dict[str, Any]) -> None:
    """Until standard input ends."""
    # On SIGABRT as well: that is how the driver asks for the stacks.
    faulthandler.enable()
    faulthandler.dump_traceback_later(settings["limit"], exit=True)
    # A Ctrl-C in the terminal is the driver's affair.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Subject(settings).serve()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

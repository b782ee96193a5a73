"""Which forked children were fit to live, and what became of them."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

from tests.soak.books import Books
from tests.soak.listening import listen_to_evictions, listen_to_the_log

__all__ = ["CHILD_SECONDS", "Nursery"]

#: After which a child has hung.
CHILD_SECONDS = 100
_BREATHING_SECONDS = 10
_BREATHS = 200


class Nursery:
    """For the children of one round.

    A fork in C leaves the child the interpreter's own lock as it was. If another thread of the parent waited for it in
    that moment, the child hangs in CPython when its first two threads want it in turn, without any code of this library
    in it; nobody can keep all threads from waking for as long as a fork takes. So such a child shows first that it can
    run two threads. One that cannot is counted, and is no fault of anybody here.

    Args:
        books: of the parent.
    """

    def __init__(self, books: Books) -> None:
        self._books = books
        self._reading, self._writing = os.pipe()

    def child(self, live: Callable[[Books], None], *, in_c: bool) -> Callable[[], None]:
        """What a child does: it breathes, says so, and lives."""

        def run() -> None:
            if in_c:
                # The stacks of one that hangs here are of no interest.
                faulthandler.unregister(signal.SIGALRM)
                signal.alarm(_BREATHING_SECONDS)
                threads = [threading.Thread(target=_breathe) for _ in range(3)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                faulthandler.register(signal.SIGALRM, file=sys.__stderr__ or 2, chain=True)
                signal.alarm(CHILD_SECONDS)
            os.write(self._writing, b".\n")
            books = Books()
            listen_to_the_log(books)
            listen_to_evictions(books)
            live(books)
            for name, at in books.lost_queues.items():
                os.write(self._writing, f"{name} {at}\n".encode())

        return run

    def judge(self, codes: list[int], expected: int, which: str) -> int:
        """Look at the exit codes of all children, once; return how many of them lived as they should have."""
        os.close(self._writing)
        with open(self._reading, encoding="ascii") as said:
            lines = said.read().splitlines()
        unfit = len(codes) - lines.count(".")
        for name, at in (line.split() for line in lines if line != "."):
            self._books.queue_lost(name, float(at))
        self._books.count("children that CPython did not let live", unfit)
        well = codes.count(expected)
        for code in codes:
            if code == expected:
                continue
            if unfit and code in (-signal.SIGALRM, -signal.SIGKILL):
                unfit -= 1
            else:
                self._books.wrong(f"a child {which}, ended with {code}")
        return well


def _breathe() -> None:
    for _ in range(_BREATHS):
        time.sleep(0)

"""The worker's side of a benchmark: a process that publishes results, and does as little else as can be.

Everything is encoded before the clock starts. Times are those of ``time.monotonic()``, which is one clock for all
processes of a machine (CLOCK_MONOTONIC); each is taken right before the bytes go to the kernel.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from struct import Struct
from typing import TYPE_CHECKING, Any

from bgresults.benchmarking.senders import Address, Sender, ServerLost

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Publisher"]

# Of a flood: a few system calls for all of it, and still a time for each part.
_PIECE = 200
# The process says that it starts, and sleeps for so long before the first one.
_LEAD = 0.1
# What a waiting thread writes to ask for its result: small enough to be written at once, whoever else writes.
_PLACE = Struct("=I")


class Publisher:
    """The owner of the process.

    Args:
        address: of the server.
    """

    def __init__(self, address: Address) -> None:
        # Spawned: a fork would copy the threads' state and the server connections of the benchmark.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        their_requests, self._requests = context.Pipe(duplex=False)
        self._process = context.Process(target=_serve, args=(theirs, their_requests, address), daemon=True)
        self._process.start()
        theirs.close()
        their_requests.close()
        try:
            self._answer()
        except BaseException:
            self.close()
            raise

    def prepare(self, task_ids: Sequence[str], size: int, queues: Sequence[str] = ()) -> None:
        """Encode the results of these tasks with bodies of ``size`` bytes; to be sent once.

        Args:
            task_ids: in this order.
            size: of a body.
            queues: where to, in turn, where there are queues.
        """
        self._ask("prepare", list(task_ids), size, list(queues) or [""])
        self._answer()

    def flood(self) -> None:
        """Have everything that is prepared sent as fast as the server takes it. Returns at once; see :meth:`sent`."""
        self._ask("flood")

    def pace(self, rate: float) -> None:
        """Have everything that is prepared sent at ``rate`` per second. Returns when it starts; see :meth:`sent`."""
        self._ask("pace", rate)
        self._answer()

    def obey(self) -> None:
        """Have all that is prepared sent, each when it is asked for. Returns when it starts; see :meth:`sent`."""
        self._ask("obey")
        self._answer()

    def request(self, place: int) -> None:
        """Ask for the result in this place of what is prepared, once; from any thread."""
        os.write(self._requests.fileno(), _PLACE.pack(place))

    def sent(self) -> list[float]:
        """Wait until everything is sent and stored; return when each was sent (of a flood, when its part was)."""
        times: list[float] = self._answer()
        return times

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._requests.close()
        self._process.join(5.0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, *words: Any) -> None:
        self._pipe.send(words)

    def _answer(self) -> Any:
        answer = self._pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer


class _Prepared:
    """Results, encoded, one behind the other: any number of them is one piece of memory."""

    def __init__(self, results: Sequence[bytes] = ()) -> None:
        self._bytes = memoryview(b"".join(results))
        self._starts = [0]
        for result in results:
            self._starts.append(self._starts[-1] + len(result))

    def __len__(self) -> int:
        return len(self._starts) - 1

    def part(self, start: int, end: int) -> memoryview:
        """Results from one place to another one."""
        return self._bytes[self._starts[start] : self._starts[end]]


def _serve(pipe: Connection, requests: Connection, address: Address) -> None:
    """The process: do what is asked until the pipe is closed."""
    prepared = _Prepared()
    try:
        sender = address.connect()
    except Exception as error:  # noqa: BLE001 - each library has errors of its own; the owner of the process is told
        pipe.send(RuntimeError(f"the publisher did not reach its server: {error}"))
        return
    gc.disable()
    pipe.send("ready")
    while True:
        try:
            order, *details = pipe.recv()
            if order == "prepare":
                task_ids, size, queues = details
                encoded = [
                    sender.encode(task_id, size, queues[place % len(queues)]) for place, task_id in enumerate(task_ids)
                ]
                prepared = _Prepared(encoded)
                del encoded
                pipe.send("prepared")
            elif order == "flood":
                pipe.send(_flood(sender, prepared))
            elif order == "pace":
                pipe.send("started")
                pipe.send(_pace(sender, prepared, details[0]))
            else:
                pipe.send("started")
                pipe.send(_obey(sender, prepared, requests))
        except (EOFError, ConnectionError, KeyboardInterrupt):
            return  # The benchmark has ended.
        except ServerLost as error:
            pipe.send(RuntimeError(f"the publisher lost its server: {error}"))
            return


def _flood(sender: Sender, prepared: _Prepared) -> list[float]:
    times: list[float] = []
    for start in range(0, len(prepared), _PIECE):
        end = min(start + _PIECE, len(prepared))
        times += [time.monotonic()] * (end - start)
        sender.send(prepared.part(start, end), end - start)
    sender.settle()
    return times


def _pace(sender: Sender, prepared: _Prepared, rate: float) -> list[float]:
    times: list[float] = []
    due = time.monotonic() + _LEAD
    for place in range(len(prepared)):
        # Late ones are sent at once, so that the rate holds in the mean.
        pause = due - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        due += 1.0 / rate
        times.append(time.monotonic())
        sender.send(prepared.part(place, place + 1), 1)
        if sender.answered:
            sender.settle()
    return times


def _obey(sender: Sender, prepared: _Prepared, requests: Connection) -> list[float]:
    times = [0.0] * len(prepared)
    missing = len(prepared)
    unread = b""
    while missing:
        unread += os.read(requests.fileno(), 65536)
        whole = len(unread) // _PLACE.size * _PLACE.size
        if not whole:
            raise EOFError
        for (place,) in _PLACE.iter_unpack(unread[:whole]):
            times[place] = time.monotonic()
            sender.send(prepared.part(place, place + 1), 1)
            missing -= 1
        unread = unread[whole:]
    sender.settle()
    return times

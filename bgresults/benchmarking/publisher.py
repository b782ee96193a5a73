"""The worker's side of a benchmark: a process that publishes results, and does as little else as can be.

Everything is encoded before the clock starts. Times are those of ``time.monotonic()``, which is one clock for all
processes of a machine (CLOCK_MONOTONIC); each is taken right before the bytes go to the kernel.
"""

from __future__ import annotations

import gc
import multiprocessing
import socket
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from bgresults.benchmarking.wire import ANSWER_SIZE, transaction

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Publisher"]

# Results sent before their answers are read: far from both buffers' limits, and few system calls.
_BATCH = 200
# The process says that it starts, and sleeps for so long before the first one.
_LEAD = 0.1


class ServerLost(Exception):
    """The server hung up, or refused."""


class Publisher:
    """The owner of the process.

    Args:
        host, port: of the server.
    """

    def __init__(self, host: str, port: int) -> None:
        # Spawned: a fork would copy the threads' state and the server connections of the benchmark.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, host, port), daemon=True)
        self._process.start()
        theirs.close()
        self._answer()

    def prepare(self, task_ids: Sequence[str], size: int) -> None:
        """Encode the results of these tasks with bodies of ``size`` bytes; to be sent once."""
        self._ask("prepare", list(task_ids), size)
        self._answer()

    def flood(self) -> None:
        """Have everything that is prepared sent as fast as the server takes it. Returns at once; see :meth:`sent`."""
        self._ask("flood")

    def pace(self, rate: float) -> None:
        """Have everything that is prepared sent at ``rate`` per second. Returns when it starts; see :meth:`sent`."""
        self._ask("pace", rate)
        self._answer()

    def sent(self) -> list[float]:
        """Wait until everything is sent and stored; return when each was sent (of a flood, when its batch was)."""
        times: list[float] = self._answer()
        return times

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
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


def _serve(pipe: Connection, host: str, port: int) -> None:
    """The process: obey until the pipe is closed."""
    prepared: list[bytes] = []
    with socket.create_connection((host, port)) as server:
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        gc.disable()
        pipe.send("ready")
        while True:
            try:
                order, *details = pipe.recv()
                if order == "prepare":
                    prepared = [transaction(task_id, details[1]) for task_id in details[0]]
                    pipe.send("prepared")
                elif order == "flood":
                    pipe.send(_flood(server, prepared))
                else:
                    pipe.send("started")
                    pipe.send(_pace(server, prepared, details[0]))
            except (EOFError, ConnectionError, KeyboardInterrupt):
                return  # The benchmark has ended.
            except ServerLost as error:
                pipe.send(RuntimeError(f"the publisher lost its server: {error}"))
                return


def _flood(server: socket.socket, prepared: list[bytes]) -> list[float]:
    times: list[float] = []
    for start in range(0, len(prepared), _BATCH):
        batch = prepared[start : start + _BATCH]
        times += [time.monotonic()] * len(batch)
        server.sendall(b"".join(batch))
        _read_answers(server, len(batch))
    return times


def _pace(server: socket.socket, prepared: list[bytes], rate: float) -> list[float]:
    times: list[float] = []
    due = time.monotonic() + _LEAD
    for transaction_ in prepared:
        # Late ones are sent at once, so that the rate holds in the mean.
        pause = due - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        due += 1.0 / rate
        times.append(time.monotonic())
        server.sendall(transaction_)
        _read_answers(server, 1)
    return times


def _read_answers(server: socket.socket, count: int) -> None:
    missing = count * ANSWER_SIZE
    while missing > 0:
        received = server.recv(min(missing, 65536))
        if not received:
            raise ServerLost("the server closed the connection")
        if b"-" in received:
            raise ServerLost(f"the server refused: {received[:200]!r}")
        missing -= len(received)

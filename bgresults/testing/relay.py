"""The thread of a :class:`~bgresults.testing.faults.FaultProxy`: accepts, connects, and moves bytes.

Everything belongs to that one thread, and nothing in it ever waits for a peer. Who wants something done hands a
function over with :meth:`Relay.run`, and knows when it returns that it has been done.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from bgresults.testing.pipes import Direction, Pace
from bgresults.testing.relayed import Connection, Port

__all__ = ["Relay"]

_READS_PER_TURN = 16


class Relay:
    """See the module's text. Attributes belong to the thread: look at them, and change them, inside :meth:`run`."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._family = socket.getaddrinfo(*target, type=socket.SOCK_STREAM)[0][0]
        self.paces: dict[Direction, Pace] = {"to_client": Pace(), "to_server": Pace()}
        self.connections: list[Connection] = []
        self.made = 0
        self.most = 0
        self.recording = False
        #: Of connections that are no more.
        self.past: dict[Direction, bytearray] = {"to_client": bytearray(), "to_server": bytearray()}
        self.passed: dict[Direction, int] = {"to_client": 0, "to_server": 0}
        #: What every new connection's client hears first.
        self.greeting = b""
        #: Bytes that may still go to clients before everything is cut.
        self.budget: int | None = None
        self.held_word: bytes | None = None
        self.holding = threading.Event()
        self.dropped = threading.Event()
        self._commands: deque[Callable[[], None]] = deque()
        self._over = False
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        for sock in (self._wake, self._woken):
            sock.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self.port = Port(self._selector)
        self._owner_pid = os.getpid()
        self._thread = threading.Thread(target=self._serve, name=f"fault-proxy-{self.port.number}", daemon=True)
        _relays.add(self)
        self._thread.start()

    # -- any thread --------------------------------------------------------------------------------------------------

    def run(self, command: Callable[[], Any]) -> Any:
        """Have the thread call ``command``; return what it returns, or raise what it raises."""
        done = threading.Event()
        outcome: list[Any] = []

        def call() -> None:
            try:
                outcome.extend((command(), None))
            except Exception as error:  # noqa: BLE001 - it is raised again where it was asked for
                outcome.extend((None, error))
            done.set()

        if self._owner_pid != os.getpid():
            raise RuntimeError("the proxy belongs to the process that this one was forked from")
        self._commands.append(call)
        self._nudge()
        # A thread that is dead wakes nobody.
        while not done.wait(0.5 if self._thread.is_alive() else 0.0):
            if not self._thread.is_alive():
                # It is over, so nobody else looks at anything here.
                with contextlib.suppress(ValueError):
                    self._commands.remove(call)
                    call()
        result, error = outcome
        if error is not None:
            raise error
        return result

    def close(self) -> None:
        """Cut everything and end the thread. Idempotent; does nothing in a forked child."""
        if self._owner_pid != os.getpid():
            return
        self._over = True
        self._nudge()
        self._thread.join()
        self._wake.close()

    def defuse(self) -> None:
        """In a forked child: close the inherited descriptors, and send nothing."""
        sockets = [sock for connection in list(self.connections) for sock in connection.sockets]
        for sock in [self.port.socket, self._wake, self._woken, *sockets]:
            sock.close()
        self._selector.close()

    def _nudge(self) -> None:
        with contextlib.suppress(OSError):
            # Full: it is awake. Closed: it is over.
            self._wake.send(b"\0")

    # -- commands ----------------------------------------------------------------------------------------------------

    def end_all(self, *, reset: bool) -> int:
        """Cut or reset all connections; return how many."""
        connections = list(self.connections)
        for connection in connections:
            self._end(connection, reset=reset)
        return len(connections)

    def release(self) -> None:
        """Let go what was held."""
        self.held_word = None
        for connection in self.connections:
            connection.pipes["to_client"].held = False

    # -- the thread --------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            while not self._over:
                self._turn()
        finally:
            # Not with a FIN alone: a client whose window is full would not notice the end for a minute.
            self.end_all(reset=True)
            self._selector.close()
            self.port.socket.close()
            self._woken.close()
            while self._commands:
                self._commands.popleft()()

    def _turn(self) -> None:
        ready = {key.fileobj: mask for key, mask in self._selector.select(self._patience())}
        if self._woken in ready:
            with contextlib.suppress(OSError):
                self._woken.recv(4096)
        for connection in list(self.connections):
            self._guarded(connection, self._receive, ready)
        # After the commands nothing is where it was; before them, whoever asks gets to know what had arrived.
        while self._commands:
            self._commands.popleft()()
        # Last: a client that closes one connection and opens another has one.
        if self.port.open and self.port.socket in ready:
            self._accept()
        for connection in list(self.connections):
            self._guarded(connection, self._move)
        for connection in self.connections:
            self._listen_to(connection)

    def _patience(self) -> float | None:
        pipes = (pipe for connection in self.connections for pipe in connection.pipes.values())
        due = min((when for pipe in pipes if (when := pipe.due()) is not None), default=None)
        return None if due is None else max(0.0, due - time.monotonic())

    def _guarded(self, connection: Connection, step: Callable[..., None], *args: Any) -> None:
        try:
            step(connection, *args)
        except OSError:
            if connection in self.connections:
                # One side is gone without a word; so is the other one, then.
                self._end(connection, reset=True)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.port.socket.accept()
            except OSError:
                return
            client.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server = None if all(pace.swallow for pace in self.paces.values()) else self._connect()
            connection = Connection(client, server, self.paces)
            if server is not None:
                # Until it is writable, which is how a connect ends.
                connection.pipes["to_server"].blocked = True
            self.connections.append(connection)
            self.made += 1
            self.most = max(self.most, sum(other.client_is_there for other in self.connections))
            connection.pipes["to_client"].put(self.greeting, time.monotonic())

    def _connect(self) -> socket.socket:
        server = socket.socket(self._family)
        server.setblocking(False)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A failure shows when it is used.
        server.connect_ex(self._target)
        return server

    def _receive(self, connection: Connection, ready: dict[Any, int]) -> None:
        for direction, pipe in connection.pipes.items():
            if pipe.sink in ready and ready[pipe.sink] & selectors.EVENT_WRITE:
                assert pipe.sink is not None
                if code := pipe.sink.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    raise OSError(code, os.strerror(code))
                pipe.blocked = False
            if pipe.source not in ready or not ready[pipe.source] & selectors.EVENT_READ:
                continue
            for _ in range(_READS_PER_TURN):
                try:
                    data = pipe.read() if pipe.wants_to_read else None
                except OSError:
                    if direction == "to_server" or not pipe.swallows:
                        raise
                    # The end of the server is an answer too, and swallowed like one.
                    pipe.ended = True
                    connection.pipes["to_server"].set_pace(Pace(swallow=True))
                    break
                if not data:
                    break
                if self.recording:
                    connection.recorded[direction] += data
                if direction == "to_server":
                    self._look_for_the_word(connection, data)
                pipe.put(data, time.monotonic())

    def _look_for_the_word(self, connection: Connection, data: bytes) -> None:
        word = self.held_word
        if word is None:
            return
        heard = connection.tail + data
        connection.tail = heard[-len(word) + 1 :] if len(word) > 1 else b""
        if word in heard:
            # Before the server hears of it, so that no part of its answer gets through.
            connection.pipes["to_client"].held = True

    def _move(self, connection: Connection) -> None:
        for direction, pipe in connection.pipes.items():
            now = time.monotonic()
            while (due := pipe.due()) is not None and due <= now:
                limit = self.budget if direction == "to_client" else None
                sent = pipe.send(now, limit) if limit != 0 else 0
                self.passed[direction] += sent
                if limit is not None:
                    self.budget = limit - sent
                    if not self.budget:
                        self.budget = None
                        self.end_all(reset=False)
                        self.dropped.set()
                        return
            if not pipe.blocked:
                pipe.pass_the_end_on()
        up, down = connection.pipes["to_server"], connection.pipes["to_client"]
        if down.held and up.due() is None and not up.blocked:
            self.holding.set()
        # A client that left a black hole left for good; else each side hears when the other one has ended.
        if up.ended if up.swallows or down.swallows else up.finished and down.finished:
            self._end(connection, reset=False)

    def _listen_to(self, connection: Connection) -> None:
        up, down = connection.pipes["to_server"], connection.pipes["to_client"]
        for sock, source_of, sink_of in ((connection.client, up, down), (connection.server, down, up)):
            if sock is not None:
                mask = selectors.EVENT_READ if source_of.wants_to_read else 0
                mask |= selectors.EVENT_WRITE if sink_of.blocked else 0
                self._select(sock, mask)

    def _select(self, sock: socket.socket, mask: int) -> None:
        registered = sock in self._selector.get_map()
        if registered and self._selector.get_key(sock).events == mask:
            return
        if registered:
            self._selector.unregister(sock)
        if mask:
            self._selector.register(sock, mask)

    def _end(self, connection: Connection, *, reset: bool) -> None:
        self.connections.remove(connection)
        for sock in connection.sockets:
            self._select(sock, 0)
        connection.close(reset=reset)
        for direction, data in connection.recorded.items():
            self.past[direction] += data


# A forked child that kept the sockets would keep connections alive that were cut, and a port open that refuses.
_relays: weakref.WeakSet[Relay] = weakref.WeakSet()


def _defuse_all() -> None:
    for relay in list(_relays):
        relay.defuse()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_defuse_all)

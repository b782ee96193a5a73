""":class:`FaultProxy`: what a network does to connections, on demand.

It stands in front of any TCP server, with or without TLS, since it does not look at what it passes on::

    with RedisServer() as server, FaultProxy(server.port) as proxy:
        watcher = ResultWatcher(f"redis://127.0.0.1:{proxy.port}/0")
        ...
        proxy.black_hole()     # the link is dead, and nobody says so
        ...
        proxy.pass_through()   # the next connection works
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bgresults.testing.pipes import DIRECTIONS, Direction, Pace
from bgresults.testing.relay import Relay

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Direction", "FaultProxy"]

_LOOPBACK = "127.0.0.1"


class FaultProxy:
    """A TCP proxy on a free port of the loopback interface, in a thread of its own.

    Every method may be called from any thread while traffic flows, and has taken effect when it returns. How bytes go
    is set for each direction: ``"to_client"`` or ``"to_server"``. Bytes that the proxy keeps at the moment of a
    :meth:`cut` or a :meth:`reset` are lost. If the server cannot be reached, or resets a connection, the client's is
    reset. A forked child has no part in it: it closes its copies of the sockets without a word.

    Args:
        port: where the server listens.
        host: the server's address.
        record: record from the start; see :meth:`record`.
    """

    def __init__(self, port: int, *, host: str = _LOOPBACK, record: bool = False) -> None:
        self.target = (host, port)
        self._record_from_the_start = record
        self._running: Relay | None = None
        self._closed = False
        self._history: deque[str] = deque(maxlen=20)

    def start(self) -> Self:
        """Start to listen. Does nothing if it listens already.

        Raises:
            RuntimeError: it was closed.
        """
        if self._closed:
            raise RuntimeError("the proxy was closed; make a new one")
        if self._running is None:
            self._running = Relay(self.target)
            self._running.recording = self._record_from_the_start
        return self

    def close(self) -> None:
        """Cut everything, and end the thread: for good. Idempotent; what was recorded can still be read."""
        self._closed = True
        if self._running is not None:
            self._running.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def port(self) -> int:
        """Where clients connect to; known from :meth:`start` on, and kept until :meth:`close`."""
        return self._relay.port.number

    # -- how bytes go ------------------------------------------------------------------------------------------------

    def pass_through(self) -> None:
        """Back to normal: accept, and pass everything on at once.

        Ends whatever was set by another method. Connections from which bytes were swallowed stay dead.
        """

        def undo(relay: Relay) -> None:
            relay.greeting, relay.budget = b"", None
            relay.release()
            _set_pace(relay, Pace(), None)
            relay.port.listen()

        self._do("pass_through()", undo)

    def delay(self, seconds: float, direction: Direction | None = None) -> None:
        """Pass every byte on ``seconds`` later, in one direction or (None) in both."""
        _check(seconds >= 0, "seconds must not be negative")
        self._pace(f"delay({seconds:g} s)", Pace(delay=seconds), direction)

    def trickle(self, size: int, gap: float, direction: Direction | None = "to_client") -> None:
        """Pass at most ``size`` bytes on at a time, with ``gap`` seconds in between. None means both directions."""
        _check(size > 0, "size must be above 0")
        _check(gap >= 0, "gap must not be negative")
        self._pace(f"trickle({size} bytes per {gap:g} s)", Pace(piece=size, gap=gap), direction)

    def black_hole(self, direction: Direction | None = None) -> None:
        """Half-open: swallow what comes, answer nothing, keep the connections, accept new ones.

        What was swallowed is lost, so these connections stay dead after :meth:`pass_through`. Only one direction can be
        dead as well: with ``"to_client"`` the server still gets every command, and its answers get lost.
        """
        self._pace("black_hole()", Pace(swallow=True), direction)

    def hold(self, word: bytes) -> None:
        """Keep the answers back on every connection whose client says ``word`` from now on, until :meth:`release`.

        The server gets the word; :attr:`holding` is set as soon as it was passed on. One of the words at a time.
        """
        _check(bool(word), "word must not be empty")

        def hold(relay: Relay) -> None:
            relay.held_word = word
            relay.holding.clear()
            for connection in relay.connections:
                connection.tail = b""

        self._do(f"hold({word!r})", hold)

    def release(self) -> None:
        """Deliver what :meth:`hold` kept back."""
        self._do("release()", lambda relay: relay.release())

    # -- what happens to connections ---------------------------------------------------------------------------------

    def cut(self) -> int:
        """End all connections with a FIN, as a server that stops; return how many. New ones are welcome."""
        return self._end("cut", reset=False)

    def reset(self) -> int:
        """End all connections with an RST, as a server that crashed; return how many. New ones are welcome."""
        return self._end("reset", reset=True)

    def refuse(self) -> None:
        """Refuse new connections until :meth:`accept`; the others live on. The port stays this proxy's own."""
        self._do("refuse()", lambda relay: relay.port.refuse())

    def accept(self) -> None:
        """Accept connections again after :meth:`refuse`."""
        self._do("accept()", lambda relay: relay.port.listen())

    def garbage(self, data: bytes, *, greet: bool = False) -> int:
        """Say ``data`` to the clients of all connections, behind what was passed on; return to how many.

        Args:
            data: what no server would say. Not counted as passed, and not recorded.
            greet: say it to the clients that come from now on as well, as the first thing they hear.
        """

        def inject(relay: Relay) -> int:
            relay.greeting = data if greet else b""
            for connection in relay.connections:
                connection.pipes["to_client"].inject(data)
            return len(relay.connections)

        return self._count("garbage", f"{len(data)} bytes", inject)

    def drop_after(self, count: int) -> None:
        """:meth:`cut` everything once exactly ``count`` more bytes have been passed to clients, counted over all.

        With 0, the next byte is the one that nobody gets. It happens once; :attr:`dropped` is set when it has.
        """
        _check(count >= 0, "count must not be negative")

        def limit(relay: Relay) -> None:
            relay.budget = count
            relay.dropped.clear()

        self._do(f"drop_after({count})", limit)

    # -- what it saw -------------------------------------------------------------------------------------------------

    @property
    def connections(self) -> int:
        """How many there are now: accepted here, and neither ended here nor closed by the client."""
        return int(self._ask(lambda relay: sum(each.client_is_there for each in relay.connections)))

    @property
    def connections_made(self) -> int:
        """How many there have been in all."""
        return int(self._ask(lambda relay: relay.made))

    @property
    def most_connections(self) -> int:
        """How many there were at the same time, at most."""
        return int(self._ask(lambda relay: relay.most))

    @property
    def holding(self) -> threading.Event:
        """Set while :meth:`hold` keeps something back."""
        return self._relay.holding

    @property
    def dropped(self) -> threading.Event:
        """Set once :meth:`drop_after` has cut."""
        return self._relay.dropped

    @property
    def history(self) -> list[str]:
        """The last things that it was told to do."""
        return list(self._history)

    def passed(self, direction: Direction) -> int:
        """How many bytes have been passed on."""
        _check(direction in DIRECTIONS, f"direction must be one of {DIRECTIONS}")
        return int(self._ask(lambda relay: relay.passed[direction]))

    def record(self, on: bool = True) -> None:
        """Keep a copy of every byte that comes in from now on (or no longer); forgets what was recorded before."""

        def switch(relay: Relay) -> None:
            relay.recording = on
            for direction in DIRECTIONS:
                relay.past[direction].clear()
                for connection in relay.connections:
                    connection.recorded[direction].clear()

        self._do(f"record({on})", switch)

    def recorded(self, direction: Direction) -> bytes:
        """What came in to go in this direction, whether or not it was passed on, one connection after the other.

        Args:
            direction: ``"to_server"`` is what the clients said.
        """
        _check(direction in DIRECTIONS, f"direction must be one of {DIRECTIONS}")

        def read(relay: Relay) -> bytes:
            return b"".join([relay.past[direction], *(one.recorded[direction] for one in relay.connections)])

        return bytes(self._ask(read))

    def __repr__(self) -> str:
        relay = self._running
        name = type(self).__name__
        target = f"{self.target[0]}:{self.target[1]}"
        if relay is None or self._closed:
            state = "closed" if self._closed else "not started"
        else:
            there = sum(connection.client_is_there for connection in list(relay.connections))
            paces = ", ".join(f"{direction}: {relay.paces[direction]}" for direction in DIRECTIONS)
            accepts = "accepting" if relay.port.open else "refusing"
            state = f"on port {relay.port.number}, {accepts}, {paces}, {there} of {relay.made} connections"
        done = f", did {'; '.join(self._history)}" if self._history else ""
        return f"<{name} to {target} {state}{done}>"

    @property
    def _relay(self) -> Relay:
        if self._running is None:
            raise RuntimeError("the proxy was not started")
        return self._running

    def _ask(self, question: Callable[[Relay], Any]) -> Any:
        relay = self._relay
        return relay.run(lambda: question(relay))

    def _do(self, name: str, action: Callable[[Relay], Any]) -> Any:
        if self._closed:
            raise RuntimeError("the proxy was closed")
        outcome = self._ask(action)
        self._history.append(name)
        return outcome

    def _count(self, name: str, detail: str, action: Callable[[Relay], int]) -> int:
        count = int(self._do(f"{name}({detail})", action))
        self._history[-1] += f" on {count} connections"
        return count

    def _end(self, name: str, *, reset: bool) -> int:
        return self._count(name, "", lambda relay: relay.end_all(reset=reset))

    def _pace(self, name: str, pace: Pace, direction: Direction | None) -> None:
        _check(direction is None or direction in DIRECTIONS, f"direction must be None or one of {DIRECTIONS}")
        shown = name if direction is None else f"{name} {direction}"
        self._do(shown, lambda relay: _set_pace(relay, pace, direction))


def _set_pace(relay: Relay, pace: Pace, direction: Direction | None) -> None:
    for each in DIRECTIONS if direction is None else (direction,):
        relay.paces[each] = pace
        for connection in relay.connections:
            connection.pipes[each].set_pace(pace)


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)

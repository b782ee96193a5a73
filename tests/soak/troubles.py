"""What happens to the two servers and the links to them."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable

import redis

from bgresults.testing import FaultProxy, RabbitMQServer, RedisServer

__all__ = ["LinkTroubles", "NodeTroubles", "RedisTroubles", "Troubles"]


class Troubles:
    """A deck of events, which is gone through again and again in a random order.

    Args:
        chance: decides what is left to it.
        calm: seconds between two events, in the mean.

    Attributes:
        calm_down: whoever holds it has no event meanwhile.
        counts: of each event.
    """

    def __init__(self, chance: random.Random, calm: float) -> None:
        self.calm_down = threading.Lock()
        self.counts: Counter[str] = Counter()
        #: When what happened was, for the plot.
        self.times: list[float] = []
        self._chance = chance
        self._calm = calm

    def deck(self) -> list[Callable[[], object]]:
        """One of each event, or as many as it is worth."""
        raise NotImplementedError

    def go_on(self, over: threading.Event) -> None:
        """Until ``over`` is set; each event leaves everything as it was."""
        while True:
            deck = self.deck()
            self._chance.shuffle(deck)
            for event in deck:
                if over.wait(0.3 + self._chance.expovariate(1 / self._calm)):
                    return
                with self.calm_down:
                    self.times.append(time.monotonic())
                    event()
                self.counts[event.__name__] += 1

    def _for(self, shortest: float, longest: float) -> None:
        """Let it last; in seconds."""
        time.sleep(self._chance.uniform(shortest, longest))


class LinkTroubles(Troubles):
    """What a network does."""

    def __init__(self, proxy: FaultProxy, chance: random.Random, calm: float) -> None:
        super().__init__(chance, calm)
        self._proxy = proxy

    def fin(self) -> None:
        """The connections end."""
        self._proxy.cut()

    def rst(self) -> None:
        """They are reset."""
        self._proxy.reset()

    def refused(self) -> None:
        """They are reset, and nobody listens for a while."""
        self._proxy.refuse()
        self._proxy.reset()
        self._for(0.1, 1.5)
        self._proxy.accept()

    def black_hole(self) -> None:
        """They live, and nothing comes through any more."""
        self._proxy.black_hole()
        self._for(1.0, 4.0)
        self._proxy.pass_through()

    def half_a_black_hole(self) -> None:
        """The server hears us, and we do not hear it."""
        self._proxy.black_hole("to_client")
        self._for(1.0, 4.0)
        self._proxy.pass_through()

    def dropped_in_the_middle(self) -> None:
        """The end comes in the middle of something."""
        self._proxy.drop_after(self._chance.randrange(20_000))
        self._proxy.dropped.wait(2.0)
        self._proxy.pass_through()

    def slow(self) -> None:
        """Everything is late."""
        self._proxy.delay(self._chance.uniform(0.01, 0.2))
        self._for(0.3, 1.5)
        self._proxy.pass_through()

    def trickle(self) -> None:
        """Few bytes at a time."""
        self._proxy.trickle(self._chance.randint(200, 2000), 0.01)
        self._for(0.3, 1.5)
        self._proxy.pass_through()

    def deck(self) -> list[Callable[[], object]]:
        """Those that are cheap more often."""
        return [
            *[self.fin, self.rst] * 2,
            self.refused,
            self.black_hole,
            self.half_a_black_hole,
            self.dropped_in_the_middle,
            self.slow,
            self.trickle,
        ]


class RedisTroubles(LinkTroubles):
    """What happens to a redis-server that writes down everything before it answers."""

    def __init__(self, server: RedisServer, proxy: FaultProxy, chance: random.Random, calm: float) -> None:
        super().__init__(proxy, chance, calm)
        self._server = server

    def server_killed(self) -> None:
        """SIGKILL; it comes back with its data."""
        self._server.kill()
        self._for(0.0, 1.5)
        self._server.start()

    def server_stopped(self) -> None:
        """SIGTERM; it comes back with its data."""
        self._server.stop()
        self._for(0.0, 1.5)
        self._server.start()

    def server_frozen(self) -> None:
        """SIGSTOP."""
        self._server.pause()
        self._for(0.2, 3.0)
        self._server.resume()

    def subscriber_killed(self) -> None:
        """CLIENT KILL TYPE pubsub."""
        self._kill("pubsub")

    def reader_killed(self) -> None:
        """CLIENT KILL TYPE normal, that of the workers among them."""
        self._kill("normal")

    def _kill(self, kind: str) -> None:
        with contextlib.suppress(redis.RedisError):
            self._server.client_kill(kind)

    def deck(self) -> list[Callable[[], object]]:
        """Servers are killed three times in each deck."""
        return [
            *super().deck(),
            *[self.server_killed] * 3,
            self.server_stopped,
            self.server_frozen,
            *[self.subscriber_killed, self.reader_killed] * 2,
        ]


class NodeTroubles(LinkTroubles):
    """What happens to a RabbitMQ node that keeps its data.

    Args:
        restarted: told when the node is up again, on the clock of ``time.monotonic``.
        restarts: how often it is restarted in each deck; it takes some seconds.
    """

    def __init__(
        self,
        node: RabbitMQServer,
        proxy: FaultProxy,
        chance: random.Random,
        calm: float,
        restarted: Callable[[float], object],
        restarts: int,
    ) -> None:
        super().__init__(proxy, chance, calm)
        self._node = node
        self._restarted = restarted
        self._restarts = restarts

    def node_killed(self) -> None:
        """SIGKILL."""
        self._node.kill()
        self._node.start()
        self._restarted(time.monotonic())

    def node_stopped(self) -> None:
        """SIGTERM."""
        self._node.stop()
        self._node.start()
        self._restarted(time.monotonic())

    def node_frozen(self) -> None:
        """SIGSTOP."""
        self._node.pause()
        self._for(0.2, 5.0)
        self._node.resume()

    def closed_by_an_administrator(self) -> None:
        """CONNECTION_FORCED."""
        self._node.close_connections("bgresults")

    def memory_alarm(self) -> None:
        """Workers cannot send."""
        self._node.memory_alarm(True)
        try:
            self._for(0.0, 1.0)
        finally:
            self._node.memory_alarm(False)

    def deck(self) -> list[Callable[[], object]]:
        """The node's own troubles take long."""
        return [
            *super().deck(),
            *[self.node_killed, self.node_stopped] * self._restarts,
            self.node_frozen,
            *[self.closed_by_an_administrator] * 2,
            self.memory_alarm,
        ]

"""The server ends our connections in the very transaction that publishes the results: nobody hears of them."""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import pytest

from bgresults import RedisOptions, ResultFuture, ResultWatcher, RetryPolicy
from bgresults.testing import FaultProxy, RedisServer
from tests.support import wait_until
from tests.support.gates import drain_thread_held
from tests.support.results import ResultWriter, new_id, new_ids, state_body
from tests.support.sampling import Sampler
from tests.support.sockets import connections
from tests.support.stages import STAGES, stage_of, until_in_stage
from tests.support.waiters import Waiters

WAIT = 30
LEAST_WAITING = 32
MOST_WAITING = 64
# Every so many rounds the server cannot be reached for a while, so that the outage is long enough to be looked at.
LONG_OUTAGE = 4


@dataclass(frozen=True)
class Kill:
    """One way to lose the connections.

    Attributes:
        both: the connection that reads is killed as well.
        answers_arrive: what was on its way to us comes after all, and the end of the connection behind it; or it is
            lost together with both connections.
        heard: the server has the last SUBSCRIBE, and its confirmation is on its way; or not even that.
    """

    both: bool
    answers_arrive: bool
    heard: bool


KILLS = [Kill(*values) for values in itertools.product((False, True), repeat=3)]


class Bench:
    """A watcher behind a proxy that can hold answers back, with threads that wait for it."""

    def __init__(self, writer: ResultWriter, proxy: FaultProxy, waiters: Waiters) -> None:
        self.writer = writer
        self.proxy = proxy
        self.waiters = waiters
        self.seed = random.randrange(2**32)
        self.random = random.Random(self.seed)
        self.watcher = ResultWatcher(
            f"redis://127.0.0.1:{proxy.port}/0",
            retry=RetryPolicy(initial=0.002, maximum=0.01),
            # What is held back must not look like a dead link, however slow the machine is.
            redis=RedisOptions(read_timeout=WAIT),
        )

    def watch(self, stage: str, into: dict[str, list[ResultFuture]]) -> list[str]:
        """Watch a few more ids, which are to be in this stage at the kill; return them."""
        futures = self.watcher.watch_many(new_ids(self.random.randint(4, 6)))
        into[stage] += futures
        return [future.task_id for future in futures]

    def fill_every_stage(self, kill: Kill) -> dict[str, list[ResultFuture]]:
        """Watch ids such that the drain thread, which is never faster than the answers, has some in each stage.

        Two commands of a kind are on their way at most, so what comes after two is the stage before.
        """
        futures: dict[str, list[ResultFuture]] = {stage: [] for stage in STAGES}
        self.watch("settled", futures)
        # Read after those, and there already: when it is known, they have been read.
        probe = new_id()
        self.writer.store(probe, 1)
        assert self.watcher.watch(probe).result(WAIT) == 1
        self.proxy.hold(b"MGET")
        for _ in range(2):
            until_in_stage(self.watcher, self.watch("reading", futures), "reading")
        until_in_stage(self.watcher, self.watch("confirmed", futures), "confirmed")
        self.proxy.hold(b"SUBSCRIBE")
        if not kill.heard:
            self.proxy.delay(3600, "to_server")
        for _ in range(2):
            until_in_stage(self.watcher, self.watch("sent", futures), "sent")
        if kill.heard:
            sent = {future.task_id for future in futures["sent"]}
            wait_until(lambda: sent <= self.writer.channels(), "the server to hear of them", interval=0.001)
        until_in_stage(self.watcher, self.watch("queued", futures), "queued")
        return futures

    def kill_and_publish(self, task_ids: Iterable[str], *, both: bool) -> None:
        """In one transaction, in either order: what is published first is in the buffer of a connection that is gone
        before it is written to.
        """
        kills = [("pubsub",), ("normal", "SKIPME", "yes")] if both else [("pubsub",)]
        kill_first = self.random.random() < 0.5
        with self.writer.client.pipeline(transaction=True) as pipeline:
            for kind in kills if kill_first else ():
                pipeline.execute_command("CLIENT", "KILL", "TYPE", *kind)
            for task_id in task_ids:
                body = state_body(task_id, result=task_id)
                pipeline.set(self.writer.key(task_id), body, ex=600)
                pipeline.publish(self.writer.key(task_id), body)
            for kind in kills if not kill_first else ():
                pipeline.execute_command("CLIENT", "KILL", "TYPE", *kind)
            pipeline.execute()

    def lost(self, where: Mapping[str, str]) -> list[str]:
        """What became of the ids that did not get their result, in words; ``where`` says where each was."""
        outcomes = self.waiters.outcomes()
        return [f"{where[task_id]}: {outcome!r}" for task_id, outcome in outcomes.items() if outcome != task_id]

    def reconnected(self, times: int) -> None:
        """Return once the watcher has been connected anew so many times, and is."""
        wait_until(lambda: self.watcher.stats().reconnects >= times, f"{times} reconnects", interval=0.001)
        assert self.watcher.wait_ready(WAIT)


@pytest.fixture
def bench(own_redis: RedisServer, writer: ResultWriter) -> Iterator[Bench]:
    with FaultProxy(own_redis.port) as proxy, Waiters(MOST_WAITING, WAIT) as waiters:
        made = Bench(writer, proxy, waiters)
        with made.watcher:
            yield made


@pytest.mark.parametrize("rounds", [40, pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_killed_in_the_transaction_that_publishes(bench: Bench, rounds: int) -> None:
    """Ids in every stage of subscribing, a thread waiting for each: all get their result, over two connections."""
    watcher, proxy = bench.watcher, bench.proxy
    populated: Counter[str] = Counter()
    waiting: list[int] = []
    lost: list[str] = []
    assert watcher.wait_ready(WAIT)
    with Sampler(lambda: connections(proxy.port), during=lambda: not watcher.connected) as sampler:
        for number, kill in enumerate(itertools.islice(itertools.cycle(KILLS), rounds), 1):
            long_outage = number % LONG_OUTAGE == 0
            futures = bench.fill_every_stage(kill)
            with drain_thread_held(watcher):
                bench.watch("registered", futures)
                stages = {future.task_id: stage for stage in STAGES for future in futures[stage]}
                bench.waiters.take(itertools.chain.from_iterable(futures.values()))
                bench.waiters.until_waiting()
                bench.kill_and_publish(stages, both=kill.both)
                assert stage_of(watcher) == stages
                if not kill.answers_arrive:
                    proxy.cut()
                proxy.pass_through()
                if long_outage:
                    proxy.refuse()
            if long_outage:
                sampler.wait_for_more(3)
                proxy.accept()
            lost += bench.lost({task_id: f"round {number}, {kill}, {stage}" for task_id, stage in stages.items()})
            bench.reconnected(number)
            populated.update(stages.values())
            waiting.append(len(stages))
    stats = watcher.stats()
    print(
        f"seed {bench.seed}: {rounds} kills, {sum(waiting)} results, {len(lost)} lost, {stats.recovered} recovered; "
        f"threads waiting at each kill: {min(waiting)} to {max(waiting)}; ids by stage: {dict(populated)}; "
        f"connections: {sampler.most} at most in {sampler.taken} samples, {sampler.taken_during} of them in outages"
    )
    assert not lost
    assert stats.reconnects == rounds
    assert stats.recovered
    assert min(waiting) >= LEAST_WAITING
    assert set(populated) == set(STAGES)
    assert sampler.most <= 2
    assert proxy.most_connections <= 2


@pytest.mark.parametrize("rounds", [200, pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_killed_at_any_moment(bench: Bench, rounds: int) -> None:
    """Nothing is held: the kill comes while ids are being registered, subscribed and read at full speed."""
    watcher = bench.watcher
    populated: Counter[str] = Counter()
    lost: list[str] = []
    assert watcher.wait_ready(WAIT)
    for number in range(1, rounds + 1):
        futures: list[ResultFuture] = []
        for _ in range(bench.random.randint(1, 8)):
            futures += watcher.watch_many(new_ids(bench.random.randint(1, 6)))
            time.sleep(bench.random.choice((0, 0.0002, 0.001)))
        bench.waiters.take(futures)
        stages = stage_of(watcher)
        bench.kill_and_publish([future.task_id for future in futures], both=True)
        lost += bench.lost({future.task_id: f"round {number}" for future in futures})
        bench.reconnected(number)
        populated.update(stages.values())
    print(f"seed {bench.seed}: {rounds} kills, {len(lost)} lost; ids by stage, about: {dict(populated)}")
    assert not lost
    assert watcher.stats().reconnects == rounds
    assert bench.proxy.most_connections <= 2

"""What web processes cost a Redis: the constants of docs/scale.md. No floor.

64 real watchers, in eight processes, and a server of their own. The server counts its memory, its processor time and
its commands itself; what the watchers, or the workers, need of theirs is not in these figures.

lone: each watcher has one id, and a result is stored by Celery's own code when all of them are subscribed; one round
trip after the other. It is the dearest way: no two commands share a packet. batch: 1000 ids for each watcher, and
results that a publisher sends as fast as the server takes them.

"other web processes" are pairs of idle connections, one of them subscribed, as watchers leave them.
"""

from __future__ import annotations

import time

from bgresults.benchmarking import Lab, Question
from bgresults.benchmarking.bystanders import Bystanders
from bgresults.benchmarking.contenders import OURS, new_app
from bgresults.benchmarking.fleet import Fleet
from bgresults.benchmarking.publisher import Publisher
from bgresults.benchmarking.redis_gauge import RedisGauge, Spent
from bgresults.benchmarking.senders import RedisAddress
from bgresults.benchmarking.waiting import until
from bgresults.benchmarking.wire import new_ids, payload
from bgresults.testing.servers import LOOPBACK, RedisServer

WATCHERS = 64
SIZES = {"200 B": 200, "4 KiB": 4096}
# Seconds: the server takes back what a silent client's buffers have grown to within 5 of them.
REST = 7.0
# As long as two health checks of each connection take.
LONG_REST = 30.0
IDLE = 2.0
# Longer than the longest pause between two attempts to connect.
OUTAGE = 8.0
# The database in which results lie until a swap.
ASIDE = 1
ARGS = ["--maxclients", "19000"]


def measure(lab: Lab) -> None:
    """New servers in each round, so that nothing is left of the one before."""
    for number in lab.rounds():
        with RedisServer(args=ARGS) as server, RedisGauge(server) as gauge:
            before = gauge.read()
            with Fleet(server.url()) as fleet:
                _watchers(lab, gauge, before, count_pings=number == 0)
                _lone(lab, server, gauge, fleet)
                _batch(lab, server, gauge, fleet)
                _others(lab, server, gauge, fleet)
                for each in (1, 100, 1000):
                    _cut(lab, server, gauge, fleet, each)
                _restart(lab, server, fleet)
        with RedisServer(args=ARGS) as server, RedisGauge(server) as gauge:
            _stored(lab, gauge)
            _publish(lab, server, gauge)
        if number == 0:
            with RedisServer() as server:
                _unread(lab, server)
    lab.note(f"{WATCHERS} watchers; processor time and memory are the server's")


def _record(lab: Lab, metric: str, value: float) -> None:
    lab.record(metric, OURS, value)


def _watchers(lab: Lab, gauge: RedisGauge, before: Spent, *, count_pings: bool) -> None:
    """They have connected, and rest."""
    _until_idle(gauge)
    there = gauge.read()
    _record(lab, "a watcher: connections", (there.clients - before.clients) / WATCHERS)
    _record(lab, "a watcher: commands to connect", _answered(there - before) / WATCHERS)
    _record(lab, "a watcher: to connect, processor time, µs", (there - before).seconds * 1e6 / WATCHERS)
    _record(lab, "a watcher: memory right after, bytes", (there - before).memory / WATCHERS)
    time.sleep(REST)
    rested = gauge.read()
    _record(lab, "a watcher: memory at rest, bytes", (rested - before).memory / WATCHERS)
    if count_pings:
        time.sleep(LONG_REST)
        spent = gauge.read() - rested
        _record(lab, "a watcher: PING at rest, per second", spent.called("ping") / WATCHERS / LONG_REST)


def _answered(spent: Spent) -> int:
    """All commands but our own questions."""
    return sum(spent.calls.values()) - spent.called("info")


def _lone(lab: Lab, server: RedisServer, gauge: RedisGauge, fleet: Fleet) -> None:
    """One id for each watcher, over and over; then the same results with nobody there."""
    turns = lab.size(20, 8)
    watched = _lone_results(server, gauge, fleet, turns)
    backend = new_app(server.url(), shared=False).backend
    backend.store_result(new_ids(1)[0], "warm", "SUCCESS")
    before = gauge.read()
    for task_id in new_ids(turns * WATCHERS):
        backend.store_result(task_id, "r" * 60, "SUCCESS")
    alone = gauge.read() - before
    count = turns * WATCHERS
    for name in ("subscribe", "unsubscribe", "mget"):
        _record(lab, f"a lone result: {name.upper()}", watched.called(name) / count)
    worker = ("get", "multi", "setex", "publish", "exec")
    _record(lab, "a lone result: commands of the worker", watched.called(*worker) / count)
    _record(lab, "a lone result: processor time, µs", watched.seconds * 1e6 / count)
    _record(lab, "a lone result: that nobody waits for, µs", alone.seconds * 1e6 / count)


def _batch(lab: Lab, server: RedisServer, gauge: RedisGauge, fleet: Fleet) -> None:
    """1000 ids for each watcher."""
    task_ids = new_ids(WATCHERS * lab.size(1000, 250))
    with Publisher(RedisAddress(LOOPBACK, server.port)) as publisher:
        publisher.prepare(task_ids, 200)
        gauge.client.flushall()
        _until_idle(gauge)
        before = gauge.read()
        fleet.watch(task_ids)
        _until_idle(gauge)
        watched = gauge.read()
        publisher.flood()
        publisher.sent()
        fleet.collect()
        _until_left(gauge)
        after = gauge.read()
    gauge.client.flushall()
    count = len(task_ids)
    _record(lab, "a pending id: memory, bytes", (watched - before).memory / count)
    _record(lab, "a pending id: to subscribe and to look, processor time, µs", (watched - before).seconds * 1e6 / count)
    spent = after - before
    _record(lab, "a result in a batch: SUBSCRIBE, UNSUBSCRIBE and MGET", _own(spent) / count)
    _record(lab, "a result in a batch: processor time, µs", spent.seconds * 1e6 / count)


def _own(spent: Spent) -> int:
    return spent.called("subscribe", "unsubscribe", "mget")


def _stored(lab: Lab, gauge: RedisGauge) -> None:
    """What results take until they expire."""
    count = lab.size(20_000, 5000)
    for label, size in SIZES.items():
        gauge.client.flushall()
        before = gauge.read()
        with gauge.client.pipeline(transaction=False) as pipeline:
            for task_id in new_ids(count):
                pipeline.setex(f"celery-task-meta-{task_id}", 86400, payload(task_id, size))
            pipeline.execute()
        _until_idle(gauge)
        _record(lab, f"a stored result of {label}: memory, bytes", (gauge.read() - before).memory / count)


def _publish(lab: Lab, server: RedisServer, gauge: RedisGauge) -> None:
    """The time of PUBLISH itself, against what others are subscribed to."""
    _record(lab, "PUBLISH: nobody subscribed, µs", _publish_time(lab, gauge, "nobody"))
    for channels in (1000, lab.size(200_000, 50_000)):
        with Bystanders(server.port, 1, channels=channels):
            _record(lab, f"PUBLISH: {channels} channels of others, µs", _publish_time(lab, gauge, "nobody"))
        _until_left(gauge)
    for patterns in (10, 100):
        with Bystanders(server.port, 1, patterns=patterns):
            _record(lab, f"PUBLISH: {patterns} patterns of others, µs", _publish_time(lab, gauge, "nobody"))
    for subscribers in (1, 10, 100):
        with Bystanders(server.port, subscribers), server.client() as client:
            readers = [client.pubsub() for _ in range(subscribers)]
            for reader in readers:
                reader.subscribe("everybody")
            time.sleep(0.1)
            _record(lab, f"PUBLISH: {subscribers} subscribers of it, µs", _publish_time(lab, gauge, "everybody", 1000))
            for reader in readers:
                reader.close()


def _publish_time(lab: Lab, gauge: RedisGauge, channel: str, count: int = 5000) -> float:
    body = payload(new_ids(1)[0], 200)
    before = gauge.read()
    with gauge.client.pipeline(transaction=False) as pipeline:
        for _ in range(count):
            pipeline.publish(channel, body)
        pipeline.execute()
    return (gauge.read() - before).busy["publish"] / count


def _others(lab: Lab, server: RedisServer, gauge: RedisGauge, fleet: Fleet) -> None:
    """What many other web processes, at rest, take, and change."""
    time.sleep(REST)
    before = gauge.read()
    for processes in (0, 1000, lab.size(8000, 4000)):
        with Bystanders(server.port, processes):
            time.sleep(REST)
            there = gauge.read()
            time.sleep(IDLE)
            idle = gauge.read() - there
            name = f"{processes} other web processes"
            if processes:
                taken = there.memory - before.memory
                _record(lab, f"{name}: memory of one at rest, bytes", taken / processes)
            _record(lab, f"{name}: idle server, ms of processor time per second", idle.seconds * 1e3 / IDLE)
            spent = _lone_results(server, gauge, fleet, turns=8)
            _record(lab, f"{name}: a lone result, processor time, µs", spent.seconds * 1e6 / (8 * WATCHERS))


def _lone_results(server: RedisServer, gauge: RedisGauge, fleet: Fleet, turns: int) -> Spent:
    """One for each watcher, ``turns`` times."""
    backend = new_app(server.url(), shared=False).backend
    backend.store_result(new_ids(1)[0], "warm", "SUCCESS")
    before = gauge.read()
    for _ in range(turns):
        task_ids = new_ids(WATCHERS)
        fleet.watch(task_ids)
        # Until all of them are confirmed and looked up; to ask would cost the server more than that.
        time.sleep(0.05)
        for task_id in task_ids:
            backend.store_result(task_id, "r" * 60, "SUCCESS")
        fleet.collect()
    # And unsubscribed.
    time.sleep(0.1)
    return gauge.read() - before


def _cut(lab: Lab, server: RedisServer, gauge: RedisGauge, fleet: Fleet, each: int) -> None:
    """All connections are lost at once, and all results are stored meanwhile."""
    name = f"all cut, {each} pending each"
    before, started, ended = _cut_and_swap(server, gauge, fleet, each)
    spent = gauge.read() - before
    _record(lab, f"{name}: until all {WATCHERS * each} are resolved, s", ended - started)
    _record(lab, f"{name}: processor time of a watcher, µs", spent.seconds * 1e6 / WATCHERS)
    _record(lab, f"{name}: SUBSCRIBE, UNSUBSCRIBE and MGET of a watcher", _own(spent) / WATCHERS)


def _cut_and_swap(server: RedisServer, gauge: RedisGauge, fleet: Fleet, each: int) -> tuple[Spent, float, float]:
    """Returns what had been spent, and the time, before; and when the last result was there."""
    task_ids = new_ids(WATCHERS * each)
    fleet.watch(task_ids)
    gauge.client.flushall()
    with server.client(db=ASIDE) as aside:
        for start in range(0, len(task_ids), 1000):
            part = task_ids[start : start + 1000]
            aside.mset({f"celery-task-meta-{task_id}": payload(task_id, 200) for task_id in part})
    # Not before the last of the bystanders is gone.
    until(lambda: len(_watching(gauge)) == 2 * WATCHERS, "nobody else is connected")
    watching = _watching(gauge)
    before = gauge.read()
    with gauge.client.pipeline(transaction=True) as cut:
        for address in watching:
            cut.execute_command("CLIENT", "KILL", "ADDR", address)
        cut.execute_command("SWAPDB", 0, ASIDE)
        started = time.monotonic()
        cut.execute()
    ended = fleet.collect()
    _until_left(gauge)
    return before, started, ended


def _restart(lab: Lab, server: RedisServer, fleet: Fleet) -> None:
    """The server is away for so long that everybody waits as long as it ever does between two attempts."""
    fleet.watch(new_ids(WATCHERS * 100))
    reconnects = fleet.reconnects()
    server.stop()
    time.sleep(OUTAGE)
    server.start()
    started = time.monotonic()
    ended = fleet.reconnected(reconnects + WATCHERS)
    _record(lab, f"the server is back after {OUTAGE:g} s: until all have caught up, s", ended - started)
    with RedisGauge(server) as after:
        spent = after.read()
    name = "the server is back, 100 pending each: processor time of a watcher"
    _record(lab, f"{name}, µs", spent.seconds * 1e6 / WATCHERS)


def _watching(gauge: RedisGauge) -> list[str]:
    """The addresses of the watchers: what they sent last were these."""
    return [client["addr"] for client in gauge.client.client_list() if client["cmd"] in ("subscribe", "mget")]


def _unread(lab: Lab, server: RedisServer) -> None:
    """A process that stands still, and is sent results until the server cuts it (client-output-buffer-limit)."""
    for label, size in SIZES.items():
        body = payload(new_ids(1)[0], size)
        with Fleet(server.url(), processes=1, each=1) as fleet, server.client() as client:
            task_ids = new_ids(1)
            fleet.watch(task_ids)
            fleet.stop()
            sent = 0
            heard = True
            while heard:
                with client.pipeline(transaction=False) as pipeline:
                    for _ in range(100):
                        pipeline.publish(f"celery-task-meta-{task_ids[0]}", body)
                    answers = pipeline.execute()
                sent += sum(answers)
                heard = all(answers)
            fleet.go_on()
        _record(lab, f"a process that stands still: results of {label} until it is cut", sent)


def _until_idle(gauge: RedisGauge) -> None:
    """Until nothing has come for a tenth of a second but our own question."""
    last = -1
    while (now := sum(gauge.read().calls.values())) != last + 1:
        last = now
        time.sleep(0.1)


def _until_left(gauge: RedisGauge) -> None:
    until(lambda: not gauge.client.info("stats")["pubsub_channels"], "all ids are unsubscribed")


QUESTION = Question(
    title="what web processes cost a Redis",
    unit="as named",
    checks=[],
    measure=measure,
    decimals=2,
)

"""The soak: a process with watchers under load, workers that answer it, and trouble with everything in between."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bgresults.testing import FaultProxy, RabbitMQServer, RedisServer
from tests.soak.children import ENDS
from tests.soak.processes import PublisherProcess, SubjectProcess, SubjectStuck
from tests.soak.troubles import NodeTroubles, RedisTroubles, Troubles
from tests.support.broker import ReplyWriter
from tests.support.waiting import wait_until
from tests.support.workers import TaskWorker

__all__ = ["REDIS_ARGUMENTS", "Outcome", "Plan", "run"]

# What its connections to the broker are called.
_SUBJECT_NAME = "bgresults"
_QUEUES = "bgresults.reply."
# Nothing ends for that long: somebody hangs. An outage takes some seconds, on a busy machine some more.
_STUCK_SECONDS = 75.0
_ANSWER_SECONDS = 150.0
_REST_SECONDS = 120.0
_CONNECTED_SECONDS = 20.0
# As in shelf.py, and a moment for the broker to look.
_EXPIRY_SECONDS = 60.0 + 20.0
#: Redis writes before it answers, and leaves it to the kernel when that gets to the disk: a kill loses nothing.
REDIS_ARGUMENTS = ("--appendonly", "yes", "--appendfsync", "no")


@dataclass(frozen=True)
class Plan:
    """How long, and how much.

    Attributes:
        seconds: of load and trouble; the beginning and the end come on top.
        seed: of everything that is left to chance.
        threads: of the process under test.
        pause: seconds between two things that a thread does, in the mean.
        calm: seconds between two events at one server, in the mean.
        node_restarts: how often the broker is killed, and how often stopped, in each deck of its events.
        real_worker: whether a stock Celery worker takes a share of the tasks.
        expiry: whether to stay until the queues that killed children left have expired; they are deleted otherwise.
    """

    seconds: float
    seed: int
    threads: int = 64
    pause: float = 0.3
    calm: float = 0.7
    node_restarts: int = 1
    real_worker: bool = True
    expiry: bool = True


@dataclass
class Outcome:
    """What there was, and what was wrong."""

    plan: Plan
    began: float = 0.0
    wrongs: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
    written: dict[str, int] = field(default_factory=dict)
    #: By server, how often what happened to it; and what the process under test was made to do.
    events: dict[str, dict[str, int]] = field(default_factory=dict)
    event_times: dict[str, list[float]] = field(default_factory=dict)
    samples: list[dict[str, Any]] = field(default_factory=list)
    overshoot: float = 0.0
    #: Seconds that everything took.
    took: float = 0.0


def run(plan: Plan, server: RedisServer, node: RabbitMQServer) -> Outcome:
    """Run it on two servers that run, and are the caller's alone meanwhile.

    Args:
        plan: what to do.
        server: made with :data:`REDIS_ARGUMENTS`.
        node: left without its queues, apart from those that have yet to expire.

    Raises:
        SubjectStuck: the process under test hangs, or is gone.
    """
    outcome = Outcome(plan, began=time.monotonic())
    with contextlib.ExitStack() as stack:
        proxies = [stack.enter_context(FaultProxy(port)) for port in (server.port, node.port)]
        worker = stack.enter_context(_worker(server)) if plan.real_worker else None
        limit = plan.seconds + 4 * _REST_SECONDS + 2 * _ANSWER_SECONDS
        publisher = PublisherProcess(
            {
                "redis_port": server.port,
                "amqp_url": node.url(),
                "worker": None if worker is None else worker.settings,
                "limit": limit,
            }
        )
        stack.callback(publisher.kill)
        subject = SubjectProcess(
            {
                "urls": {"redis": f"redis://127.0.0.1:{proxies[0].port}/0", "rpc": node.url(port=proxies[1].port)},
                "seed": plan.seed,
                "threads": plan.threads,
                "pause": plan.pause,
                "sample_every": max(0.2, min(1.0, plan.seconds / 60)),
                "real_worker": plan.real_worker,
                "orders": publisher.orders,
                "limit": limit,
            }
        )
        stack.callback(subject.kill)
        publisher.close_orders()
        _until_connected(subject)
        _make_trouble(outcome, subject, server, node, proxies)
        _bring_to_an_end(outcome, subject, publisher, server, node)
    outcome.took = time.monotonic() - outcome.began
    return outcome


@contextlib.contextmanager
def _worker(server: RedisServer) -> Iterator[TaskWorker]:
    """A stock worker that takes its tasks from a broker which nothing happens to, and writes results over and over."""
    with RedisServer() as broker:
        settings = {
            "broker_url": broker.url(),
            "result_backend": server.url(),
            "result_backend_always_retry": True,
            "broker_connection_retry_on_startup": True,
            "task_default_queue": "soak",
            "worker_hijack_root_logger": False,
        }
        worker = TaskWorker(settings, concurrency=1)
        try:
            worker.process.start()
            yield worker
        finally:
            worker.process.close()


def _make_trouble(
    outcome: Outcome, subject: SubjectProcess, server: RedisServer, node: RabbitMQServer, proxies: list[FaultProxy]
) -> None:
    """All the trouble, until the time is over; afterwards there is none."""
    plan = outcome.plan
    troubles: dict[str, Troubles] = {
        "redis": RedisTroubles(server, proxies[0], random.Random(f"{plan.seed} redis"), plan.calm),
        "rabbitmq": NodeTroubles(
            node,
            proxies[1],
            random.Random(f"{plan.seed} rabbitmq"),
            plan.calm,
            lambda at: subject.tell("note_restart", at=at),
            plan.node_restarts,
        ),
    }
    over = threading.Event()
    threads = [threading.Thread(target=_guarded, args=(outcome, one, over), daemon=True) for one in troubles.values()]
    for thread in threads:
        thread.start()
    try:
        _use(outcome, subject, troubles)
    finally:
        over.set()
        for thread in threads:
            thread.join(_REST_SECONDS)
    for name, one in troubles.items():
        outcome.events[name] = dict(one.counts)
        outcome.event_times[name] = one.times


def _guarded(outcome: Outcome, troubles: Troubles, over: threading.Event) -> None:
    try:
        troubles.go_on(over)
    except BaseException as error:
        outcome.wrongs.append(f"{type(troubles).__name__} died of {error!r}")
        raise


def _use(outcome: Outcome, subject: SubjectProcess, troubles: dict[str, Troubles]) -> None:
    """Have the process under test fork, and close and open its watchers, until the time is over."""
    plan = outcome.plan
    chance = random.Random(f"{plan.seed} use")
    events = outcome.events["subject"] = {}
    until = time.monotonic() + plan.seconds
    jobs: list[tuple[str, str]] = []
    moved = (0, time.monotonic())
    while time.monotonic() < until:
        if not jobs:
            jobs = [(how, end) for how in ("os", "c") for end in ENDS] + [("reopen", "")] * 4
            chance.shuffle(jobs)
        how, end = jobs.pop()
        if how == "reopen":
            subject.ask("reopen", _ANSWER_SECONDS, place=chance.randrange(4))
            events["reopened"] = events.get("reopened", 0) + 1
        else:
            fork = {"how": how, "end": end, "count": chance.randint(1, 3), "seed": chance.randrange(2**32)}
            with _calm(subject, troubles) if how == "c" else contextlib.nullcontext():
                subject.noisy.clear()
                subject.tell("fork", **fork)
                if how == "c":
                    subject.noisy.wait(_ANSWER_SECONDS)
            children = subject.hear("fork", _ANSWER_SECONDS)["children"]
            name = f"children by {'fork() in C' if how == 'c' else 'os.fork()'}"
            events[name] = events.get(name, 0) + children
        ids = subject.samples[-1]["ids"] if subject.samples else 0
        if ids != moved[0]:
            moved = (ids, time.monotonic())
        elif time.monotonic() - moved[1] > _STUCK_SECONDS:
            subject.dump_stacks()
            raise SubjectStuck(f"nothing has ended for {_STUCK_SECONDS:g} s")
        time.sleep(min(chance.expovariate(1 / plan.calm), max(0.0, until - time.monotonic())))


@contextlib.contextmanager
def _calm(subject: SubjectProcess, troubles: dict[str, Troubles]) -> Iterator[None]:
    """Nothing happens meanwhile, and all watchers are connected; or not, in which case the fork does not come about."""
    with contextlib.ExitStack() as stack:
        for one in troubles.values():
            stack.enter_context(one.calm_down)
        _until_connected(subject)
        yield


def _until_connected(subject: SubjectProcess) -> None:
    """Return when all watchers are; or after a while, for whatever is wrong will be found out otherwise."""
    deadline = time.monotonic() + _CONNECTED_SECONDS
    while not subject.ask("connected", _ANSWER_SECONDS)["connected"] and time.monotonic() < deadline:
        time.sleep(0.05)


def _bring_to_an_end(
    outcome: Outcome, subject: SubjectProcess, publisher: PublisherProcess, server: RedisServer, node: RabbitMQServer
) -> None:
    """End the load, and look at what is left: at both servers, and in the process under test."""
    subject.ask("rest", _REST_SECONDS)
    _expect(outcome, lambda: not server.channels(), "the end of all subscriptions", 10.0)
    said = subject.ask("end", _REST_SECONDS)
    outcome.counts, outcome.totals, outcome.overshoot = said["counts"], said["totals"], said["overshoot"]
    outcome.wrongs += said["wrongs"]
    subject.finish()
    outcome.samples = subject.samples
    outcome.written = publisher.finish(_REST_SECONDS)
    if not outcome.plan.real_worker:
        # A stock worker has some of its own. The one that asks is there too.
        _expect(outcome, lambda: len(server.clients()) == 1, "the end of all connections to Redis", 10.0)
    _expect(outcome, lambda: not server.clients("pubsub"), "the end of all subscribers", 10.0)
    _expect(outcome, lambda: not node.connections(_SUBJECT_NAME), "the end of all connections to the broker", 20.0)
    left = node.queues(_QUEUES)
    outcome.counts["reply queues left to expire"] = len(left)
    consumed = {name: queue for name, queue in left.items() if queue["consumers"]}
    if consumed:
        outcome.wrongs.append(f"queues with consumers: {consumed}")
    if not outcome.plan.expiry:
        _delete(node, list(left))
    else:
        _expect(outcome, lambda: not node.queues(_QUEUES), "the end of all reply queues", _EXPIRY_SECONDS)


def _delete(node: RabbitMQServer, queues: list[str]) -> None:
    writer = ReplyWriter(node.url())
    writer.delete(*queues)
    writer.close()


def _expect(outcome: Outcome, predicate: Any, what: str, timeout: float) -> None:
    try:
        wait_until(predicate, what, timeout, interval=0.05)
    except AssertionError as error:
        outcome.wrongs.append(str(error))

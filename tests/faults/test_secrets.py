"""Passwords are shown nowhere, whatever goes wrong: looked for in every log line, repr, error and traceback.

Tracebacks with the local variables of each of their functions, as error reporters send them.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
import redis
from celery import Celery

from bgresults import AMQPOptions, BackendUnavailableError, RedisOptions, ResultWatcher
from bgresults.testing import FaultProxy, RabbitMQServer, RedisServer
from tests.support import wait_until
from tests.support.closed import CLOSED_PORT
from tests.support.outages import QUICK
from tests.support.results import new_id
from tests.support.rpc_lines import shared_node

# Asked for to be left out where there is no Redis at all.
pytestmark = pytest.mark.usefixtures("redis_server")

WAIT = 20
# With characters that have to be written in another way in a URL.
SECRET = "S3cret/Pa55:word"
QUOTED = quote(SECRET, safe="")
LOOKED_FOR = (SECRET, QUOTED, "S3cret", "Pa55")


class Vault(redis.CredentialProvider):
    """A credential provider as users write them."""

    def get_credentials(self) -> tuple[str, str]:
        return "default", SECRET


class Evidence:
    """Everything that anybody gets to see."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        # Of all loggers: those of the libraries below as well.
        caplog.set_level(logging.DEBUG)
        self._caplog = caplog
        self._shown: list[str] = []

    def error(self, error: BaseException | None) -> None:
        assert error is not None
        lines = traceback.TracebackException.from_exception(error, capture_locals=True).format()
        self._shown += [str(error), repr(error), *lines]

    def watcher(self, watcher: ResultWatcher) -> None:
        """The watcher, and everything that hangs on it."""
        session = watcher._session
        objects: list[Any] = [watcher, session, session.settings, session.consumer, watcher.stats()]
        for each in [
            *objects[:-1],
            getattr(session.consumer, "_connector", None),
            getattr(session.consumer, "_link", None),
        ]:
            objects += vars(each).values() if hasattr(each, "__dict__") else []
        self._shown += map(repr, objects)

    def is_clean(self, *known: str) -> None:
        """None of it is a password; and it is no silence that is clean."""
        text = "\n".join([*self._shown, self._caplog.text])
        for word in known:
            assert word in text
        for number, line in enumerate(text.splitlines()):
            assert not any(secret in line for secret in LOOKED_FOR), f"line {number}: {line}"


@pytest.fixture
def evidence(caplog: pytest.LogCaptureFixture) -> Evidence:
    return Evidence(caplog)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer(args=["--requirepass", SECRET], password=SECRET) as made:
        yield made


@pytest.fixture(scope="module")
def node() -> Iterator[RabbitMQServer]:
    shared = shared_node()
    shared.control("add_user", "web", SECRET)
    shared.control("set_permissions", "web", ".*", ".*", ".*")
    yield shared
    shared.control("delete_user", "web")


def refused(watcher: ResultWatcher, evidence: Evidence) -> None:
    """For good, by each way in which one may hear of it."""
    with watcher:
        evidence.error(watcher.watch(new_id()).exception(WAIT))
        for ask in (lambda: watcher.wait_ready(WAIT), lambda: watcher.watch(new_id()).result(WAIT)):
            with pytest.raises(BackendUnavailableError) as answered:
                ask()
            evidence.error(answered.value)
        evidence.watcher(watcher)


def cut_and_closed(watcher: ResultWatcher, proxy: FaultProxy, evidence: Evidence) -> None:
    """It works, an outage begins, and the watcher is closed."""
    with watcher:
        future = watcher.watch(new_id())
        assert watcher.wait_ready(WAIT)
        evidence.watcher(watcher)
        proxy.refuse()
        proxy.cut()
        wait_until(lambda: watcher.stats().state == "backoff", "the outage", WAIT)
        evidence.watcher(watcher)
        with pytest.raises(TimeoutError) as waited:
            future.result(0.01)
        evidence.error(waited.value)
    evidence.error(future.exception(WAIT))


class TestRedis:
    @pytest.mark.parametrize(
        ("url", "options"),
        [
            (f"redis://:{QUOTED}@127.0.0.1:{{port}}/0", RedisOptions()),
            (f"redis://127.0.0.1:{{port}}/0?password={QUOTED}", RedisOptions()),
            ("redis://127.0.0.1:{port}/0", RedisOptions(password=SECRET)),
            ("redis://127.0.0.1:{port}/0", RedisOptions(credential_provider=Vault())),
        ],
        ids=["url", "query", "options", "provider"],
    )
    def test_an_outage(self, server: RedisServer, evidence: Evidence, url: str, options: RedisOptions) -> None:
        with FaultProxy(server.port) as proxy:
            watcher = ResultWatcher(url.format(port=proxy.port), redis=options, retry=QUICK)
            cut_and_closed(watcher, proxy, evidence)
        evidence.is_clean("127.0.0.1", "the watcher was closed")

    def test_a_wrong_one(self, evidence: Evidence) -> None:
        with RedisServer(args=["--requirepass", "another"], password="another") as other:
            refused(ResultWatcher(f"redis://:{QUOTED}@127.0.0.1:{other.port}/0"), evidence)
        evidence.is_clean("invalid username-password pair")

    def test_none_was_asked_for(self, evidence: Evidence) -> None:
        with RedisServer() as other:
            refused(ResultWatcher(f"redis://:{QUOTED}@127.0.0.1:{other.port}/0"), evidence)
        evidence.is_clean("AUTH")

    def test_a_server_that_repeats_what_it_does_not_know(self, evidence: Evidence) -> None:
        """Its words are quoted, and it quotes ours."""
        with RedisServer(args=["--rename-command", "AUTH", ""]) as other:
            refused(ResultWatcher(f"redis://:{QUOTED}@127.0.0.1:{other.port}/0"), evidence)
        evidence.is_clean("unknown command")

    def test_of_a_key(self, evidence: Evidence, server: RedisServer) -> None:
        """For a client's certificate that is not there."""
        for url, options in (
            ("rediss://localhost:1/0", RedisOptions(ssl_certfile="/nowhere", ssl_password=SECRET)),
            (f"rediss://localhost:1/0?ssl_certfile=/nowhere&ssl_password={QUOTED}", RedisOptions()),
        ):
            with pytest.raises(ValueError, match="nowhere") as wrong:
                ResultWatcher(url, redis=options)
            evidence_of = str(wrong.value) + repr(wrong.value) + repr(options)
            assert not any(secret in evidence_of for secret in LOOKED_FOR)


@pytest.mark.rabbitmq
def test_a_wrong_one_over_amqp(rabbitmq_url: str, evidence: Evidence) -> None:
    refused(ResultWatcher(rabbitmq_url, amqp=AMQPOptions(username="guest", password=SECRET)), evidence)
    evidence.is_clean("Login was refused")


@pytest.mark.rabbitmq
@pytest.mark.slow
@pytest.mark.timeout(120)
class TestAMQP:
    @pytest.mark.parametrize("where", ["url", "options"])
    def test_an_outage(self, node: RabbitMQServer, evidence: Evidence, where: str) -> None:
        with FaultProxy(node.port) as proxy:
            login = f"web:{QUOTED}" if where == "url" else "web"
            options = AMQPOptions() if where == "url" else AMQPOptions(password=SECRET)
            watcher = ResultWatcher(node.url(port=proxy.port, login=login), amqp=options, retry=QUICK)
            cut_and_closed(watcher, proxy, evidence)
        evidence.is_clean("127.0.0.1", "the watcher was closed")

    def test_a_wrong_one(self, node: RabbitMQServer, evidence: Evidence) -> None:
        refused(ResultWatcher(node.url(login=f"guest:{QUOTED}")), evidence)
        evidence.is_clean("Login was refused")

    def test_no_such_virtual_host(self, node: RabbitMQServer, evidence: Evidence) -> None:
        refused(ResultWatcher(node.url(login=f"web:{QUOTED}", virtual_host="nowhere")), evidence)
        evidence.is_clean("nowhere")

    def test_over_another_transport(self, server: RedisServer, evidence: Evidence) -> None:
        with FaultProxy(server.port) as proxy:
            watcher = ResultWatcher(f"rpc+redis://:{QUOTED}@127.0.0.1:{proxy.port}/0", retry=QUICK)
            cut_and_closed(watcher, proxy, evidence)
        evidence.is_clean("rpc+redis://")


class TestOfACeleryApplication:
    @pytest.mark.parametrize(
        ("backend", "broker"),
        [
            (f"redis://:{QUOTED}@127.0.0.1:{{port}}/0", "memory://"),
            ("rpc://", f"amqp://web:{QUOTED}@127.0.0.1:{{port}}//"),
            ("rpc://", f"redis://:{QUOTED}@127.0.0.1:{{port}}/0"),
        ],
        ids=["redis", "amqp", "rpc+redis"],
    )
    def test_nobody_is_there(self, evidence: Evidence, backend: str, broker: str) -> None:
        backend, broker = (url.format(port=CLOSED_PORT) for url in (backend, broker))
        app = Celery("secrets", backend=backend, broker=broker, set_as_current=False)
        with ResultWatcher.from_celery(app, retry=QUICK) as watcher:
            future = watcher.watch(new_id())
            wait_until(lambda: watcher.stats().state == "backoff", "the outage", WAIT)
            evidence.watcher(watcher)
        evidence.error(future.exception(WAIT))
        app.close()
        evidence.is_clean("127.0.0.1", "the watcher was closed")

    @pytest.mark.parametrize(
        ("backend", "broker"),
        [
            (f"db+postgresql://web:{QUOTED}@nowhere/0", "memory://"),
            (f"redis://:{QUOTED}@nowhere/0?unknown=1", "memory://"),
            ("rpc://", f"amqp://web:{QUOTED}@one//;amqp://web:{QUOTED}@two//"),
            ("rpc://", f"amqp://web:{QUOTED}@nowhere//?unknown=1"),
        ],
    )
    def test_settings_that_make_no_sense(self, evidence: Evidence, backend: str, broker: str) -> None:
        app = Celery("secrets", backend=backend, broker=broker, set_as_current=False)
        with pytest.raises(Exception) as wrong:
            ResultWatcher.from_celery(app).watch(new_id())
        app.close()
        shown = str(wrong.value) + "".join(traceback.format_exception(wrong.value))
        assert not any(secret in shown for secret in LOOKED_FOR), shown
        evidence.is_clean()

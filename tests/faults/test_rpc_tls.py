"""What is peculiar to TLS in front of a broker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from bgresults import AMQPOptions, BackendUnavailableError, ResultWatcher, WatchExpiredError
from bgresults.testing import RabbitMQServer, ThrowAwayCA
from tests.support import wait_until
from tests.support.broker import ReplyWriter
from tests.support.results import new_id, new_ids
from tests.support.rpc_lines import QUICK, RECOVERED, WAIT, Line, line_to, own_node, shared_node, shared_node_ca

pytestmark = [pytest.mark.rabbitmq, pytest.mark.tls, pytest.mark.timeout(120)]


@pytest.fixture
def line(caplog: pytest.LogCaptureFixture) -> Iterator[Line]:
    with line_to(shared_node(), caplog, shared_node_ca()) as made:
        yield made


@pytest.mark.parametrize("size", [10, 3000, 20_000])
def test_a_burst(line: Line, size: int) -> None:
    """Two hundred replies at once. What has been decrypted already, select() does not see; and no other byte comes."""
    with line.watcher(heartbeat=0) as watcher:
        line.consumed(watcher)
        futures = watcher.watch_many(new_ids(200))
        line.proxy.delay(0.3, "to_client")
        writer = ReplyWriter(line.node.url(), confirm=False)
        for future in futures:
            writer.write(watcher.reply_to, future.task_id, future.task_id + "x" * size)
        writer.close()
        line.proxy.pass_through()
        assert [future.result(WAIT) for future in futures] == [future.task_id + "x" * size for future in futures]
        assert watcher.stats().reconnects == 0


@pytest.mark.parametrize("size", [10, 300, 3000])
def test_a_backlog(line: Line, size: int) -> None:
    """What comes together with the answer to a command, in one record with it."""
    with line.watcher(heartbeat=0) as watcher:
        line.consumed(watcher)
        futures = watcher.watch_many(new_ids(50))
        for reconnects in (1, 2):
            line.proxy.refuse()
            line.proxy.cut()
            line.noticed(watcher)
            for future in futures[25 * (reconnects - 1) : 25 * reconnects]:
                line.reply(watcher, future, "x" * size)
            line.proxy.delay(0.05, "to_client")
            line.proxy.accept()
            assert [future.result(WAIT) for future in futures[: 25 * reconnects]] == ["x" * size] * 25 * reconnects
            assert watcher.stats().reconnects == reconnects
            line.proxy.pass_through()


def test_half_a_record(line: Line) -> None:
    """The socket is readable, and there is nothing to be read: the thread goes on with what else there is to do."""
    with line.watcher(heartbeat=0, read_timeout=WAIT) as watcher:
        future = line.consumed(watcher)
        line.proxy.trickle(100, 60)
        before = line.proxy.passed("to_client")
        line.reply(watcher, future, "x" * 4000)
        wait_until(lambda: line.proxy.passed("to_client") > before, "the first half")
        began = time.monotonic()
        assert isinstance(watcher.watch(new_id(), lifetime=0.1).exception(WAIT), WatchExpiredError)
        assert time.monotonic() - began < 10
        line.proxy.pass_through()
        assert future.result(WAIT) == "x" * 4000
        assert watcher.stats().reconnects == 0


@pytest.mark.parametrize("how", ["cut", "reset"])
def test_an_end_with_and_without_a_word(line: Line, how: str) -> None:
    with line.watcher(heartbeat=0) as watcher:
        future = line.consumed(watcher)
        line.proxy.refuse()
        assert getattr(line.proxy, how)() == 1
        line.noticed(watcher)
        line.reply(watcher, future, how)
        line.proxy.accept()
        assert future.result(RECOVERED) == how
        line.is_well_again(watcher)


@pytest.mark.parametrize("garbage", [b"\x00\xff\xfe garbage\r\n", b"\x17\x03\x03\x00\x10" + bytes(16)])
def test_garbage(line: Line, garbage: bytes) -> None:
    with line.watcher() as watcher:
        future = line.consumed(watcher)
        line.proxy.refuse()
        line.proxy.garbage(garbage)
        line.noticed(watcher)
        line.reply(watcher, future, "good")
        line.proxy.accept()
        assert future.result(RECOVERED) == "good"
        line.is_well_again(watcher)


def is_refused(url: str, cure: str, **options: Any) -> None:
    with ResultWatcher(url, amqp=AMQPOptions(**options), retry=QUICK) as watcher:
        error = watcher.watch(new_id()).exception(WAIT)
        assert isinstance(error, BackendUnavailableError)
        assert cure in str(error)
        assert watcher.stats().state == "failed"


def test_a_certificate_of_a_stranger() -> None:
    is_refused(shared_node().tls_url(), "ssl_ca_certs")


def test_a_certificate_for_another_host() -> None:
    url = shared_node().tls_url(host="127.0.0.1")
    is_refused(url, "made for the host in the URL", ssl_ca_certs=str(shared_node_ca()))


def test_a_name_that_need_not_match() -> None:
    options = AMQPOptions(ssl_ca_certs=str(shared_node_ca()), ssl_check_hostname=False)
    with ResultWatcher(shared_node().tls_url(host="127.0.0.1"), amqp=options) as watcher:
        resolves(watcher, shared_node())


@pytest.mark.slow
def test_client_certificates() -> None:
    with ThrowAwayCA() as ca:
        mine = ca.client("me")
        with own_node(tls=ca.server("localhost"), tls_clients=True) as node:
            trusting = {"ssl_ca_certs": str(ca.path)}
            is_refused(node.tls_url(), "ssl_certfile", **trusting)
            options = AMQPOptions(**trusting, ssl_certfile=str(mine.certificate), ssl_keyfile=str(mine.key))  # type: ignore[arg-type]
            with ResultWatcher(node.tls_url(), amqp=options) as watcher:
                resolves(watcher, node)


def resolves(watcher: ResultWatcher, node: RabbitMQServer) -> None:
    writer = ReplyWriter(node.url())
    future = watcher.watch(new_id())
    writer.write(watcher.reply_to, future.task_id, "resolved")
    assert future.result(WAIT) == "resolved"
    writer.close()

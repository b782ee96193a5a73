"""``FakeRedisResults``: the same words, over a Redis protocol; and ``ProxiedServer`` in front of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from kombu.exceptions import EncodeError

from bgresults import BackendUnavailableError, TaskRevokedError
from bgresults.testing import FakeRedisResults, ProxiedServer, RedisServer, no_backoff
from bgresults.watcher import ResultWatcher
from tests.support.results import new_id
from tests.support.waiting import wait_until


@pytest.fixture
def results() -> Iterator[FakeRedisResults]:
    with FakeRedisResults() as results:
        yield results


class TestFakeRedis:
    def test_what_becomes_of_tasks(self, results: FakeRedisResults) -> None:
        watcher = results.watcher(on_disconnect="fail")
        results.resolve("stored", 1)
        stored, later, failed, revoked, unreadable = watcher.watch_many(
            ["stored", "later", "failed", "revoked", "unreadable"]
        )
        assert stored.result(10) == 1
        results.progress("later", {"page": 1})
        wait_until(lambda: later.status == "PROGRESS", "the progress")
        results.resolve("later", 2)
        results.fail("failed", ValueError("no"))
        results.revoke("revoked")
        results.resolve("unreadable", object())
        assert later.result(10) == 2
        with pytest.raises(ValueError, match="no"):
            failed.result(10)
        with pytest.raises(TaskRevokedError):
            revoked.result(10)
        with pytest.raises(EncodeError):
            unreadable.result(10)

    def test_an_outage(self, results: FakeRedisResults) -> None:
        with ProxiedServer(results.url) as proxy, no_backoff():
            watcher = results.watcher(url=proxy.url, on_disconnect="fail")
            future = watcher.watch("a")
            assert watcher.wait_ready(10)
            proxy.refuse()
            proxy.cut()
            with pytest.raises(BackendUnavailableError):
                future.result(10)
            proxy.accept()
            wait_until(lambda: watcher.connected, "the connection")
            watcher.close()

    def test_wrong_use(self, results: FakeRedisResults) -> None:
        results.resolve("a")
        with pytest.raises(ValueError, match="has ended already"):
            results.resolve("a")
        with pytest.raises(RuntimeError, match="with FakeRedisResults"):
            FakeRedisResults().resolve("a")

    def test_without_fakeredis(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "fakeredis", None)
        with pytest.raises(RuntimeError, match=r"no fakeredis: .* pip install"):
            FakeRedisResults()


class TestProxiedServer:
    def test_the_way_through(self, redis_server: RedisServer) -> None:
        with ProxiedServer(redis_server.url(3)) as proxy, ResultWatcher(proxy.url) as watcher:
            assert proxy.url == f"redis://127.0.0.1:{proxy.port}/3"
            future = watcher.watch(new_id())
            assert watcher.wait_ready(10)
            assert proxy.connections == 2
            assert not future.done()

    @pytest.mark.parametrize(
        ("url", "target", "through"),
        [
            ("redis://localhost", ("localhost", 6379), "redis://127.0.0.1:{}"),
            (
                "rediss://u:p%40@localhost:1/0?ssl_check_hostname=no",
                ("localhost", 1),
                "rediss://u:p%40@127.0.0.1:{}/0?ssl_check_hostname=no",
            ),
            ("amqp://u:p@[::1]//", ("::1", 5672), "amqp://u:p@127.0.0.1:{}//"),
            ("amqps://localhost/v", ("localhost", 5671), "amqps://127.0.0.1:{}/v"),
        ],
    )
    def test_urls(self, url: str, target: tuple[str, int], through: str) -> None:
        with ProxiedServer(url) as proxy:
            assert proxy.target == target
            assert proxy.url == through.format(proxy.port)

    @pytest.mark.parametrize("url", ["unix:///run/redis.sock", "http://h", "redis://", "h:6379"])
    def test_urls_without_a_server_to_stand_in_front_of(self, url: str) -> None:
        with pytest.raises(ValueError, match=r"redis://host, rediss://host, amqp://host, amqps://host; .* FaultProxy"):
            ProxiedServer(url)

    def test_no_url(self) -> None:
        with pytest.raises(TypeError, match="url must be a str, not int"):
            ProxiedServer(6379)  # type: ignore[arg-type]

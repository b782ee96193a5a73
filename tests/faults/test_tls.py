"""Results over TLS: whom a watcher trusts, what it says when it does not, and bursts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from bgresults import BackendUnavailableError, RedisOptions, ResultWatcher
from bgresults.consumers.redis import readers
from bgresults.testing import RedisServer, ThrowAwayCA
from tests.support import wait_until
from tests.support.results import ResultWriter, new_id, new_ids, state_body

pytestmark = pytest.mark.tls

WAIT = 30


@pytest.fixture(scope="module")
def ca() -> Iterator[ThrowAwayCA]:
    with ThrowAwayCA() as made:
        yield made


@pytest.fixture(scope="module")
def server(ca: ThrowAwayCA) -> Iterator[RedisServer]:
    with RedisServer(tls=ca.server("localhost", "127.0.0.1")) as made:
        yield made


def works(server: RedisServer, options: RedisOptions, url: str | None = None) -> None:
    """Stored and published results arrive."""
    writer = ResultWriter(server)
    with ResultWatcher(server.tls_url() if url is None else url, redis=options) as watcher:
        stored, published = new_ids(2)
        writer.store(stored, 1)
        assert watcher.watch(stored).result(WAIT) == 1
        future = watcher.watch(published)
        wait_until(lambda: published in writer.channels(), "the subscription")
        writer.publish(published, 2)
        assert future.result(WAIT) == 2
    writer.close()


def refusal(url: str, options: RedisOptions, wait: float = WAIT) -> str:
    """Why the watcher will not have it: it says so at once, instead of trying again for ever."""
    with ResultWatcher(url, redis=options) as watcher:
        error = watcher.watch(new_id()).exception(wait)
        assert isinstance(error, BackendUnavailableError)
        with pytest.raises(BackendUnavailableError):
            watcher.wait_ready(WAIT)
        assert watcher.stats().state == "failed"
    return str(error)


def test_verified_by_default(server: RedisServer) -> None:
    words = refusal(server.tls_url(), RedisOptions())
    assert "certificate verify failed" in words.lower()
    assert "ssl_ca_certs" in words, "the cure"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_an_own_ca(server: RedisServer, ca: ThrowAwayCA, host: str) -> None:
    works(server, RedisOptions(ssl_ca_certs=str(ca.path)), server.tls_url(host=host))


def test_settings_in_the_url(server: RedisServer, ca: ThrowAwayCA) -> None:
    works(server, RedisOptions(), f"{server.tls_url()}?ssl_ca_certs={ca.path}")


def test_another_ca(server: RedisServer) -> None:
    with ThrowAwayCA("another one") as other:
        assert "ssl_ca_certs" in refusal(server.tls_url(), RedisOptions(ssl_ca_certs=str(other.path)))


def test_the_wrong_host(ca: ThrowAwayCA) -> None:
    with RedisServer(tls=ca.server("elsewhere.example")) as server:
        words = refusal(server.tls_url(), RedisOptions(ssl_ca_certs=str(ca.path)))
        assert "localhost" in words
        assert "host in the URL" in words, "the cure"
        works(server, RedisOptions(ssl_ca_certs=str(ca.path), ssl_check_hostname=False))


def test_a_connection_class_of_the_users(server: RedisServer, ca: ThrowAwayCA) -> None:
    """It is told everything, also to check the host: redis-py 5 does not by itself."""
    trusting = RedisOptions(ssl_ca_certs=str(ca.path), connection_class=redis.SSLConnection)
    works(server, trusting)
    assert "verify failed" in refusal(server.tls_url(), RedisOptions(connection_class=redis.SSLConnection))
    with RedisServer(tls=ca.server("elsewhere.example")) as elsewhere:
        assert "verify failed" in refusal(elsewhere.tls_url(), trusting)
        unchecked = RedisOptions(
            ssl_ca_certs=str(ca.path), connection_class=redis.SSLConnection, ssl_check_hostname=False
        )
        works(elsewhere, unchecked)


def test_an_expired_certificate(ca: ThrowAwayCA) -> None:
    with RedisServer(tls=ca.expired("localhost")) as server:
        words = refusal(server.tls_url(), RedisOptions(ssl_ca_certs=str(ca.path)))
        assert "expired" in words
        assert "certificate is valid" in words, "the cure"


def test_a_client_certificate(ca: ThrowAwayCA) -> None:
    mine = ca.client()
    with RedisServer(tls=ca.server("localhost"), tls_clients="yes") as server:
        words = refusal(server.tls_url(), RedisOptions(ssl_ca_certs=str(ca.path)))
        assert "ssl_certfile" in words, "the cure"
        own = RedisOptions(ssl_ca_certs=str(ca.path), ssl_certfile=str(mine.certificate), ssl_keyfile=str(mine.key))
        works(server, own)


def test_a_client_certificate_of_another_ca(ca: ThrowAwayCA) -> None:
    with ThrowAwayCA("another one") as other, RedisServer(tls=ca.server("localhost"), tls_clients="yes") as server:
        wrong = other.client()
        options = RedisOptions(
            ssl_ca_certs=str(ca.path), ssl_certfile=str(wrong.certificate), ssl_keyfile=str(wrong.key)
        )
        assert "ssl_certfile" in refusal(server.tls_url(), options, wait=3)


def test_not_verified_when_told_so(server: RedisServer, ca: ThrowAwayCA) -> None:
    works(server, RedisOptions(ssl_cert_reqs="none"))
    with RedisServer(tls=ca.expired("elsewhere.example")) as expired:
        works(expired, RedisOptions(ssl_cert_reqs="none"))
        works(expired, RedisOptions(), f"{expired.tls_url()}?ssl_cert_reqs=none")


def test_a_file_that_is_not_there(server: RedisServer, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.pem")
    with pytest.raises(ValueError, match=r"ssl_ca_certs.*missing\.pem"):
        ResultWatcher(server.tls_url(), redis=RedisOptions(ssl_ca_certs=missing))


@pytest.mark.parametrize("parser", ["default", "python"])
@pytest.mark.parametrize("size", [20, 4000])
def test_a_burst(server: RedisServer, ca: ThrowAwayCA, parser: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS hides from select what it has decrypted already (pitfall 9a). Only published: no read makes up for it."""
    if parser == "python":
        monkeypatch.setattr(readers, "hiredis", None)
    writer = ResultWriter(server)
    with ResultWatcher(server.tls_url(), redis=RedisOptions(ssl_ca_certs=str(ca.path))) as watcher:
        futures = watcher.watch_many(new_ids(2000))
        wait_until(lambda: len(writer.channels()) == 2000, "the subscriptions")
        wait_until(lambda: watcher.stats().state == "draining", "the stored values to be read")
        with writer.client.pipeline(transaction=True) as pipeline:
            for future in futures:
                pipeline.publish(writer.key(future.task_id), state_body(future.task_id, result="x" * size))
            pipeline.execute()
        assert all(future.result(WAIT) == "x" * size for future in futures)
        assert watcher.stats().reconnects == 0
    writer.close()

"""Passwords and TLS of servers and sentinels, which are not the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from bgresults import BackendUnavailableError, RedisOptions, ResultWatcher
from bgresults.testing import SentinelTrio, ThrowAwayCA
from tests.support.logs import Told
from tests.support.outages import QUICK
from tests.support.results import ResultWriter, new_id

WAIT = 30


@pytest.fixture(scope="module")
def ca() -> Iterator[ThrowAwayCA]:
    with ThrowAwayCA() as made:
        yield made


class Provider(redis.CredentialProvider):
    """Knows who may ask the sentinels."""

    def get_credentials(self) -> tuple[str, str]:
        return "asking", "hidden"


@pytest.mark.slow
def test_users(told: Told) -> None:
    """One at the servers and another one at the sentinels, each with no more than it needs."""
    web = (
        "user web on >secret resetchannels &*celery-task-meta-* ~*celery-task-meta-* -@all "
        "+subscribe +unsubscribe +mget +ping +select"
    )
    asking = "user asking on >hidden resetchannels -@all +ping +sentinel|masters"
    with SentinelTrio(password="root", acl=[web], sentinel_password="other", sentinel_acl=[asking]) as trio:
        url = trio.url(1).replace(":root@", "web:secret@")
        options = RedisOptions(sentinel=RedisOptions(username="asking", password="hidden"), health_check_interval=0.3)
        with ResultWatcher(url, redis=options, retry=QUICK) as watcher:
            future = watcher.watch(new_id())
            assert watcher.wait_ready(WAIT)
            trio.failover()
            writer = ResultWriter(trio, db=1)
            writer.write(future.task_id, 1)
            assert future.result(WAIT) == 1
            writer.close()
        provided = RedisOptions(sentinel=RedisOptions(credential_provider=Provider()))
        with ResultWatcher(url, redis=provided) as watcher:
            assert watcher.wait_ready(WAIT)
        for wrong, words in (
            (RedisOptions(), "NOAUTH|Authentication required"),
            (RedisOptions(username="asking", password="wrong"), "WRONGPASS|invalid username-password"),
        ):
            with (
                ResultWatcher(url, redis=RedisOptions(sentinel=wrong)) as watcher,
                pytest.raises(BackendUnavailableError, match=f"({words}).*of the sentinels in the URL, and RedisO"),
            ):
                watcher.watch(new_id()).result(WAIT)
        with ResultWatcher(url.replace("secret", "wrong"), redis=options) as watcher:
            future = watcher.watch(new_id())
            with pytest.raises(BackendUnavailableError, match="check the user name and the password, in the URL"):
                future.result(WAIT)
    assert "secret" not in told.text
    assert "hidden" not in told.text


@pytest.mark.slow
@pytest.mark.tls
def test_tls(ca: ThrowAwayCA) -> None:
    """To the servers, to the sentinels, or to both; each has to show its certificate."""
    trusted = str(ca.path)
    with SentinelTrio(tls=ca.server("127.0.0.1")) as trio:
        both = RedisOptions(ssl=True, ssl_ca_certs=trusted, sentinel=RedisOptions(ssl=True, ssl_ca_certs=trusted))
        servers = RedisOptions(ssl=True, ssl_ca_certs=trusted)
        for options, url in ((both, trio.url(tls=True)), (servers, trio.url())):
            with ResultWatcher(url, redis=options, retry=QUICK) as watcher:
                future = watcher.watch(new_id())
                assert watcher.wait_ready(WAIT)
                trio.failover()
                direct = ResultWriter(trio.master)
                direct.write(future.task_id, 1)
                assert future.result(WAIT) == 1
                direct.close()
        strangers = RedisOptions(ssl=True, ssl_ca_certs=trusted, sentinel=RedisOptions(ssl=True))
        with ResultWatcher(trio.url(tls=True), redis=strangers) as watcher:
            future = watcher.watch(new_id())
            with pytest.raises(BackendUnavailableError, match="certificate verify failed"):
                future.result(WAIT)

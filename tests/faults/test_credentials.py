"""Credentials that change while a watcher is connected, that are asked for in vain, or that take their time."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import redis

from bgresults import BackendUnavailableError, RedisOptions, ResultWatcher, RetryPolicy
from bgresults.testing import FaultProxy, RedisServer
from tests.support import wait_until
from tests.support.logs import Told
from tests.support.outages import PATIENCE, QUICK, is_refused_at_once, through, vain_attempts, watched_for_good
from tests.support.results import ResultWriter, new_id

FIRST, SECOND = "first-s3cret", "second-s3cret"


class Vault(redis.CredentialProvider):
    """Knows the password of the user ``app``, or does not, or takes its time."""

    def __init__(self) -> None:
        self.password = FIRST
        self.error: Exception | None = None
        self.asked = 0
        #: Cleared: whoever asks has to wait.
        self.open = threading.Event()
        self.open.set()

    def get_credentials(self) -> tuple[str, str]:
        self.asked += 1
        assert self.open.wait(PATIENCE)
        if self.error is not None:
            raise self.error
        return "app", self.password


class Account:
    """The user ``app`` of a server."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._change("on", f">{FIRST}", "~*", "&*", "+@all")

    def rotate(self, password: str) -> None:
        """Another password from now on, and nobody stays who logged in with the old one."""
        with self._server.client() as client, client.pipeline(transaction=True) as both:
            # In one step: who logged in with the new one in between would not stay either.
            both.execute_command("ACL", "SETUSER", "app", "resetpass", f">{password}")
            both.execute_command("CLIENT", "KILL", "USER", "app")
            both.execute()

    def _change(self, *rules: str) -> None:
        self._server.acl("SETUSER", "app", *rules)


@pytest.fixture
def account(own_redis: RedisServer) -> Account:
    return Account(own_redis)


@pytest.fixture
def vault() -> Vault:
    return Vault()


@pytest.fixture(autouse=True)
def no_password_is_told(told: Told) -> Iterator[None]:
    yield
    assert "s3cret" not in told.text


def resolves(watcher: ResultWatcher, writer: ResultWriter) -> None:
    future = watcher.watch(new_id())
    writer.write(future.task_id, "resolved")
    assert future.result(PATIENCE) == "resolved"


class TestWithAProvider:
    def test_a_rotated_password(
        self, own_redis: RedisServer, writer: ResultWriter, account: Account, vault: Vault, told: Told
    ) -> None:
        """The provider is asked at every attempt, so nobody has to restart anything."""
        options = RedisOptions(credential_provider=vault)
        with ResultWatcher(own_redis.url(), redis=options, retry=QUICK) as watcher:
            future = watched_for_good(watcher, writer)
            for number, password in enumerate([SECOND, FIRST, SECOND], 1):
                asked = vault.asked
                told.clear()
                vault.password = password
                account.rotate(password)
                told.just("WARNING", "INFO")
                assert vault.asked > asked
                assert watcher.stats().reconnects == number
                resolves(watcher, writer)
            writer.write(future.task_id, "kept")
            assert future.result(PATIENCE) == "kept"

    @pytest.mark.parametrize("on_disconnect", ["wait", "fail"])
    def test_one_that_lags_behind(
        self,
        writer: ResultWriter,
        account: Account,
        vault: Vault,
        proxy: FaultProxy,
        on_disconnect: str,
        told: Told,
    ) -> None:
        """It still gives the old password for a while: an outage, and no refusal for good."""
        watcher = ResultWatcher(
            through(proxy),
            redis=RedisOptions(credential_provider=vault),
            retry=QUICK,
            on_disconnect=on_disconnect,  # type: ignore[arg-type]
        )
        with watcher:
            future = watched_for_good(watcher, writer)
            account.rotate(SECOND)
            if on_disconnect == "wait":
                vain_attempts(proxy)
                assert not future.done()
            else:
                assert isinstance(future.exception(PATIENCE), BackendUnavailableError)
                vain_attempts(proxy, meanwhile=lambda: is_refused_at_once(watcher))
            assert watcher.stats().state != "failed"
            vault.password = SECOND
            assert watcher.wait_ready(PATIENCE)
            resolves(watcher, writer)
            if on_disconnect == "wait":
                writer.write(future.task_id, "kept")
                assert future.result(PATIENCE) == "kept"
            told.just("WARNING", "INFO")

    @pytest.mark.parametrize(
        "error", [OSError("the vault is sealed"), redis.AuthenticationError("the vault is sealed")]
    )
    def test_one_that_raises_at_first(
        self, own_redis: RedisServer, writer: ResultWriter, account: Account, vault: Vault, error: Exception, told: Told
    ) -> None:
        """That may pass, so it is an outage, told in the provider's words; and the thread lives."""
        vault.error = error
        with ResultWatcher(own_redis.url(), redis=RedisOptions(credential_provider=vault), retry=QUICK) as watcher:
            future = watcher.watch(new_id())
            wait_until(lambda: vault.asked >= 4, "several attempts")
            assert not future.done()
            assert "the vault is sealed" in told.text
            vault.error = None
            writer.write(future.task_id, "opened")
            assert future.result(PATIENCE) == "opened"
            told.just("WARNING", "INFO")

    def test_one_that_raises_later(
        self, own_redis: RedisServer, writer: ResultWriter, account: Account, vault: Vault, told: Told
    ) -> None:
        policy = RetryPolicy(initial=0.01, maximum=0.05, give_up_after=0.3)
        with ResultWatcher(own_redis.url(), redis=RedisOptions(credential_provider=vault), retry=policy) as watcher:
            future = watched_for_good(watcher, writer)
            vault.error = OSError("the vault is sealed")
            account.rotate(SECOND)
            error = future.exception(PATIENCE)
            assert isinstance(error, BackendUnavailableError)
            assert "gave up after 0.3 s" in str(error)
            assert "the vault is sealed" in str(error)
            vault.error = None
            vault.password = SECOND
            wait_until(lambda: not watcher.watch(new_id()).done(), "the probe that a watch asks for")
            resolves(watcher, writer)
            told.just("WARNING", "INFO")

    def test_one_that_takes_longer_than_an_attempt_may(
        self, own_redis: RedisServer, writer: ResultWriter, account: Account, vault: Vault, told: Told
    ) -> None:
        """The time limit is for the server: what the provider takes does not count, or no attempt would succeed."""
        vault.open.clear()
        options = RedisOptions(credential_provider=vault)
        with ResultWatcher(own_redis.url(), redis=options, retry=QUICK, connect_timeout=1.5) as watcher:
            future = watcher.watch(new_id())
            wait_until(lambda: vault.asked, "the question")
            assert not threading.Event().wait(2.0)
            vault.open.set()
            writer.write(future.task_id, "at last")
            assert future.result(PATIENCE) == "at last"
            assert vault.asked == 1, "once for both connections"
            assert told.levels == []


class TestWithoutOne:
    @pytest.mark.parametrize("on_disconnect", ["wait", "fail"])
    def test_a_password_that_is_wrong_for_a_while(
        self, writer: ResultWriter, account: Account, proxy: FaultProxy, on_disconnect: str, told: Told
    ) -> None:
        """It has worked before, so it may work again: attempts go on without end."""
        watcher = ResultWatcher(
            through(proxy),
            redis=RedisOptions(username="app", password=FIRST),
            retry=QUICK,
            on_disconnect=on_disconnect,  # type: ignore[arg-type]
        )
        with watcher:
            future = watched_for_good(watcher, writer)
            account.rotate(SECOND)
            if on_disconnect == "wait":
                vain_attempts(proxy, 20)
                assert not future.done()
            else:
                assert isinstance(future.exception(PATIENCE), BackendUnavailableError)
                vain_attempts(proxy, 20, meanwhile=lambda: is_refused_at_once(watcher))
            assert watcher.stats().state != "failed"
            assert told.levels == ["WARNING"]
            account.rotate(FIRST)
            assert watcher.wait_ready(PATIENCE)
            resolves(watcher, writer)
            if on_disconnect == "wait":
                writer.write(future.task_id, "kept")
                assert future.result(PATIENCE) == "kept"
            told.just("WARNING", "INFO")
            assert watcher.stats().reconnects == 1

"""examine(): every finding is brought about on a real server, and comes with its cure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

from bgresults import RedisOptions, ResultWatcher, RetryPolicy
from bgresults.diagnosis import Diagnosis, Finding, examine, examine_settings
from bgresults.testing import RedisServer, ThrowAwayCA
from tests.support import wait_until
from tests.support.closed import CLOSED_PORT
from tests.support.rpc_lines import own_node
from tests.support.workers import close_app

WAIT = 20
QUICK = RetryPolicy(initial=0.01, maximum=0.05)


def examined(url: str, **settings: Any) -> Diagnosis:
    with ResultWatcher(url, **{"retry": QUICK, **settings}) as watcher:
        diagnosis = examine(watcher, timeout=WAIT)
        assert watcher.pending == 0, "the probe is not left behind"
    assert json.loads(json.dumps(diagnosis.as_dict()))["ok"] is diagnosis.ok
    return diagnosis


def found(diagnosis: Diagnosis, code: str) -> Finding:
    (finding,) = [finding for finding in diagnosis.findings if finding.code == code]
    return finding


def is_error(diagnosis: Diagnosis, code: str, text: str, cure: str) -> None:
    """It is the last finding, and the one thing that is wrong."""
    assert not diagnosis.ok
    assert diagnosis.exit_code == 1
    assert [finding.code for finding in diagnosis.findings if finding.level == "error"] == [code]
    finding = diagnosis.findings[-1]
    assert text in finding.text
    assert cure in (finding.cure or "")


class TestRedis:
    def test_all_is_well(self, redis_server: RedisServer, key_prefix: str) -> None:
        diagnosis = examined(redis_server.url(), key_prefix=key_prefix)
        assert {finding.level for finding in diagnosis.findings} == {"ok"}
        assert (diagnosis.ok, diagnosis.exit_code) == (True, 0)
        assert redis_server.version in found(diagnosis, "server").text
        assert f"'{key_prefix}celery-task-meta-<task id>' in database 0" in found(diagnosis, "prefix").text
        assert "has arrived" in found(diagnosis, "round-trip").text
        with redis_server.client() as client:
            assert client.keys(f"{key_prefix}*") == [], "the probe is removed"

    @pytest.mark.parametrize("serializer", ["json", "pickle", "msgpack", "yaml"])
    def test_every_serializer(self, redis_server: RedisServer, key_prefix: str, serializer: str) -> None:
        assert examined(redis_server.url(), key_prefix=key_prefix, serializer=serializer).ok

    def test_nobody_listens(self) -> None:
        diagnosis = examined(f"redis://:sesame@127.0.0.1:{CLOSED_PORT}/0")
        is_error(diagnosis, "connection", "Connection refused", "check that the server runs")
        assert "sesame" not in repr(diagnosis)

    def test_a_wrong_password(self, own_redis: RedisServer) -> None:
        own_redis.acl("SETUSER", "web", "on", ">right", "+@all", "~*", "&*")
        url = own_redis.url().replace("redis://", "redis://web:sesame@")
        diagnosis = examined(url)
        is_error(diagnosis, "connection", "invalid username-password pair", "check the user name and the password")
        assert "sesame" not in repr(diagnosis)
        own_redis.acl("SETUSER", "default", "resetpass", ">needed")
        is_error(examined(own_redis.url()), "connection", "Authentication required", "check the user name")

    def test_a_database_that_is_not_there(self, redis_server: RedisServer) -> None:
        is_error(examined(redis_server.url(db=99)), "connection", "out of range", "name a database")

    @pytest.mark.parametrize(
        ("denied", "words"),
        [
            (["-subscribe"], "SUBSCRIBE is refused"),
            (["-unsubscribe"], "UNSUBSCRIBE is refused"),
            (["-mget"], "MGET is refused"),
            (["resetchannels", "&other"], "SUBSCRIBE is refused"),
            (["resetkeys", "~other"], "MGET is refused"),
        ],
        ids=["subscribe", "unsubscribe", "mget", "channels", "keys"],
    )
    def test_permissions(self, own_redis: RedisServer, denied: list[str], words: str) -> None:
        own_redis.acl("SETUSER", "web", "on", ">secret", "+@all", "~*", "&*", *denied)
        diagnosis = examined(own_redis.url().replace("redis://", "redis://web:secret@"))
        errors = [finding for finding in diagnosis.findings if finding.level == "error"]
        assert any(words in finding.text for finding in errors)
        assert all("~*celery-task-meta-*" in (finding.cure or "") for finding in errors)

    def test_a_user_who_may_only_read(self, own_redis: RedisServer) -> None:
        """With the least privilege that the README gives; neither the version nor the round trip is to be had then."""
        channels, keys = "&*celery-task-meta-*", "~*celery-task-meta-*"
        commands = ["-@all", "+subscribe", "+unsubscribe", "+mget", "+ping", "+select"]
        own_redis.acl("SETUSER", "web", "on", ">secret", "resetchannels", channels, keys, *commands)
        diagnosis = examined(own_redis.url().replace("redis://", "redis://web:secret@"))
        assert diagnosis.ok
        assert "does not tell its version" in found(diagnosis, "server").text
        trip = found(diagnosis, "round-trip")
        assert trip.level == "note"
        assert "may read results, and not write them" in trip.text

    def test_a_server_that_is_full(self, own_redis: RedisServer) -> None:
        own_redis.config("maxmemory-policy", "noeviction")
        own_redis.config("maxmemory", 1)
        is_error(examined(own_redis.url()), "round-trip", "maxmemory", "memory")

    def test_a_watcher_that_is_full(self, redis_server: RedisServer, key_prefix: str) -> None:
        with ResultWatcher(redis_server.url(), key_prefix=key_prefix, max_pending=1) as watcher:
            pending = watcher.watch("another")
            is_error(
                examine(watcher), "round-trip", "nothing more can be watched: 1 futures may be", "raise max_pending"
            )
            assert not pending.done()

    def test_a_server_that_hangs(self, own_redis: RedisServer) -> None:
        own_redis.pause()
        try:
            hanging = examined(own_redis.url(), redis=RedisOptions(read_timeout=0.2))
        finally:
            own_redis.resume()
        is_error(hanging, "connection", "Timeout", "check that the server runs")

    def test_another_redis_behind_the_same_name(self, own_redis: RedisServer, redis_server: RedisServer) -> None:
        """What was written is not heard of where the watcher listens."""
        with ResultWatcher(own_redis.url()) as watcher:
            assert watcher.wait_ready(WAIT)
            elsewhere = ResultWatcher(redis_server.url())
            # As after a change of a DNS record: those who connect now come to another server.
            watcher._settings = elsewhere._settings
            diagnosis = examine(watcher, timeout=0.2)
            assert watcher.pending == 0
        is_error(diagnosis, "round-trip", "did not arrive within 0.2 s", "one, not two behind one name")

    @pytest.mark.tls
    def test_tls(self) -> None:
        with ThrowAwayCA() as ca, RedisServer(tls=ca.server("localhost", "127.0.0.1")) as server:
            options = RedisOptions(ssl_ca_certs=str(ca.path))
            assert examined(server.tls_url(), redis=options).ok
            is_error(examined(server.tls_url()), "connection", "certificate", "ssl_ca_certs")


@pytest.mark.rabbitmq
class TestBroker:
    @pytest.mark.parametrize("settings", ["", "?binding=task"])
    def test_all_is_well(self, rabbitmq_url: str, settings: str) -> None:
        diagnosis = examined(f"{rabbitmq_url}{settings}")
        assert {finding.level for finding in diagnosis.findings} == {"ok"}
        assert "RabbitMQ" in found(diagnosis, "server").text
        assert "has arrived" in found(diagnosis, "round-trip").text

    def test_a_wrong_password(self, rabbitmq_url: str) -> None:
        host = rabbitmq_url.rpartition("@")[2]
        diagnosis = examined(f"amqp://guest:sesame@{host}")
        is_error(diagnosis, "connection", "ACCESS_REFUSED", "check the user name and the password")
        assert "sesame" not in repr(diagnosis)

    def test_nobody_listens(self) -> None:
        is_error(examined(f"amqp://127.0.0.1:{CLOSED_PORT}//"), "connection", "refused", "check that the server runs")

    @pytest.mark.slow
    @pytest.mark.timeout(120)
    def test_a_broker_without_memory(self) -> None:
        """It lets in and declares, and takes no message: it says nothing at all to who publishes."""
        with own_node() as node:
            node.memory_alarm(True)
            url = f"{node.url()}?read_timeout=1"
            is_error(examined(url), "connection", "no answer in time", "alarms")
            node.memory_alarm(False)
            assert examined(url).ok

    @pytest.mark.slow
    @pytest.mark.timeout(120)
    def test_permissions(self) -> None:
        with own_node() as node:
            node.control("add_user", "web", "secret")
            url = node.url(login="web:secret")
            for rights, expected in (
                (("", "", ""), "error"),
                (("^bgresults", "", "^bgresults"), "note"),
                (("^bgresults", "amq.default", "^bgresults"), "ok"),
            ):
                node.control("set_permissions", "web", *rights)
                finding = examined(url).findings[-1]
                assert finding.level == expected
                if expected == "error":
                    assert "configure and to read" in f"{finding.text} {finding.cure}"


def test_a_transport_of_kombu() -> None:
    diagnosis = examined("memory://")
    assert diagnosis.ok
    assert "has arrived" in found(diagnosis, "round-trip").text


@pytest.fixture
def apps() -> Iterator[list[Celery]]:
    made: list[Celery] = []
    yield made
    for app in made:
        ResultWatcher.from_celery(app).close()
        close_app(app)


class TestSettings:
    """Without a connection."""

    def of_app(self, apps: list[Celery], **settings: Any) -> dict[str, Finding]:
        app = Celery("web", set_as_current=False)
        app.conf.update({"broker_url": "memory://", "task_track_started": True, **settings})
        apps.append(app)
        watcher = ResultWatcher.from_celery(app)
        findings = examine_settings(watcher)
        assert not watcher.stats().thread_alive
        return {finding.code: finding for finding in findings}

    def test_no_backend(self, apps: list[Celery]) -> None:
        for setting in (None, "disabled://"):
            finding = self.of_app(apps, result_backend=setting)["no-backend"]
            assert finding.level == "error"
            assert "set result_backend" in (finding.cure or "")

    @pytest.mark.parametrize("backend", ["cache+memory://", "file:///tmp", "db+sqlite:///x.sqlite3"])
    def test_a_backend_that_has_to_be_polled(self, apps: list[Celery], backend: str) -> None:
        finding = self.of_app(apps, result_backend=backend)["not-watchable"]
        assert finding.level == "error"
        assert "'rpc://'" in (finding.cure or "")

    def test_a_setting_that_makes_no_sense(self, apps: list[Celery]) -> None:
        finding = self.of_app(apps, result_backend="redis://localhost/x")["settings"]
        assert finding.level == "error"

    def test_what_keeps_results_from_coming(self, apps: list[Celery]) -> None:
        fine = self.of_app(apps, result_backend="redis://localhost")
        assert set(fine) == {"settings", "tls"}
        wrong = self.of_app(
            apps,
            result_backend="redis://localhost",
            task_always_eager=True,
            task_ignore_result=True,
            task_track_started=False,
        )
        levels = {code: wrong[code].level for code in ("eager", "ignored-results", "started")}
        assert levels == {"eager": "warning", "ignored-results": "warning", "started": "note"}
        assert all(wrong[code].cure for code in levels)

    @pytest.mark.parametrize(
        ("url", "level"),
        [
            ("redis://localhost", "ok"),
            ("redis://127.0.0.9", "ok"),
            ("redis://[::1]", "ok"),
            ("unix:///run/redis.sock", "ok"),
            ("redis://cache.example", "warning"),
            ("redis://10.0.0.5", "warning"),
            ("amqp://broker.example//", "warning"),
            ("rediss://cache.example", "ok"),
            ("amqps://broker.example//", "ok"),
            ("rediss://cache.example?ssl_cert_reqs=none", "warning"),
            ("rediss://cache.example?ssl_check_hostname=false", "warning"),
        ],
    )
    def test_tls(self, url: str, level: str) -> None:
        (finding,) = [f for f in examine_settings(ResultWatcher(url)) if f.code == "tls"]
        assert finding.level == level
        assert (finding.cure is None) == (level == "ok")

    @pytest.mark.parametrize(
        ("hosts", "query", "expected"),
        [
            ("localhost", "", []),
            ("a.example;localhost", "", ["servers", "sentinels (a.example)"]),
            ("a.example;b.example", "&ssl=true", ["ok", "sentinels (a.example, b.example)"]),
            ("a.example", "&ssl=true&sentinel_ssl=true", ["ok"]),
            ("a.example", "&sentinel_ssl=true", ["servers"]),
            ("localhost", "&ssl=true&ssl_cert_reqs=none", ["servers"]),
            ("a.example", "&ssl=true&sentinel_ssl=true&sentinel_ssl_cert_reqs=none", ["ok", "sentinels"]),
        ],
    )
    def test_tls_behind_sentinels(self, hosts: str, query: str, expected: list[str]) -> None:
        """To the servers and to the sentinels; of sentinels on this machine, only they know where the servers are."""
        watcher = ResultWatcher(f"sentinel://{hosts}/0?master_name=m{query}")
        told = [finding for finding in examine_settings(watcher) if finding.code == "tls"]
        assert len(told) == len(expected)
        for finding, words in zip(told, expected, strict=True):
            assert (words == "ok") == (finding.level == "ok") == (finding.cure is None)
            assert words == "ok" or f"the connection to the {words}" in finding.text


def test_of_a_celery_application(redis_server: RedisServer, key_prefix: str, apps: list[Celery]) -> None:
    app = Celery("web", set_as_current=False)
    app.conf.update(
        broker_url="memory://",
        result_backend=redis_server.url(),
        result_backend_transport_options={"global_keyprefix": key_prefix},
    )
    apps.append(app)
    watcher = ResultWatcher.from_celery(app)
    diagnosis = examine(watcher, timeout=WAIT)
    assert diagnosis.ok
    assert key_prefix in found(diagnosis, "prefix").text
    assert "has arrived" in found(diagnosis, "round-trip").text
    wait_until(lambda: watcher.pending == 0, "the end of the probe")


def test_bad_arguments(redis_url: str) -> None:
    with pytest.raises(ValueError, match="timeout"):
        examine(ResultWatcher(redis_url), timeout=0)

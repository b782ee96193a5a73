"""What an application with result_backend="rpc://" says of its broker is what the watcher does."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery

from bgresults import AMQPOptions, NotWatchableError, RedisOptions, ResultDecodeError, ResultWatcher
from bgresults.broker_urls import parse_broker_url
from bgresults.integrations.celery import CeleryResultWatcher
from bgresults.integrations.celery.settings import read_settings
from bgresults.testing import RedisServer
from tests.support.broker import ReplyWriter
from tests.support.results import new_id, state_body
from tests.support.rpc_workers import WebApps

WAIT = 20

FromCelery = Callable[..., CeleryResultWatcher]


def rpc_app(apps: WebApps, broker_url: Any, **settings: Any) -> Celery:
    return apps({"result_backend": "rpc://", "broker_url": broker_url, **settings})


def read(app: Celery, **overrides: Any) -> Any:
    """All that the settings say of the broker, as the watcher understands it."""
    found = read_settings(app, overrides)
    return parse_broker_url(found["url"], found["amqp"])


def finds(watcher: ResultWatcher, url: str) -> bool:
    """Whether the watcher is told what is sent to its queue there."""
    writer = ReplyWriter(url)
    try:
        task_id = new_id()
        future = watcher.watch(task_id)
        assert watcher.reply_to is not None
        writer.write(watcher.reply_to, task_id, "found")
        return bool(future.result(WAIT) == "found")
    finally:
        writer.close()


@pytest.mark.rabbitmq
class TestABroker:
    def test_lazily(self, rabbitmq_url: str, apps: WebApps, from_celery: FromCelery) -> None:
        app = rpc_app(apps, "amqp://nowhere.invalid")
        watcher = from_celery(app)
        assert not watcher.connected
        app.conf.broker_url = rabbitmq_url
        assert finds(watcher, rabbitmq_url)
        assert "amqp://" in repr(watcher)
        assert "guest" not in repr(watcher)
        assert "bgresults-tests" in {name.removeprefix("bgresults-") for name in thread_names()}

    def test_an_override(self, rabbitmq_url: str, apps: WebApps, from_celery: FromCelery) -> None:
        """Which of several, say."""
        app = rpc_app(apps, ["amqp://nowhere.invalid", rabbitmq_url])
        assert finds(from_celery(app, url=rabbitmq_url), rabbitmq_url)

    def test_one_queue_per_task(self, rabbitmq_url: str, apps: WebApps, from_celery: FromCelery) -> None:
        watcher = from_celery(rpc_app(apps, rabbitmq_url), amqp=AMQPOptions(binding="task"))
        task_id = new_id()
        assert watcher.declare_for(task_id) == task_id
        assert watcher.reply_to is None
        writer = ReplyWriter(rabbitmq_url)
        writer.write(task_id, task_id, 5)
        assert watcher.watch(task_id).result(WAIT) == 5
        writer.close()

    def test_serializers(self, rabbitmq_url: str, apps: WebApps, from_celery: FromCelery) -> None:
        app = rpc_app(apps, rabbitmq_url, result_accept_content=["json", "yaml"], result_serializer="yaml")
        watcher = from_celery(app)
        writer = ReplyWriter(rabbitmq_url)
        outcomes = []
        for content_type in ("application/x-yaml", "application/json", "application/x-python-serialize"):
            task_id = new_id()
            future = watcher.watch(task_id)
            assert watcher.reply_to is not None
            body = state_body(task_id, result=[1])
            writer.write_raw(watcher.reply_to, body, content_type=content_type, correlation_id=task_id)
            outcomes.append(future.exception(WAIT) or future.result(0))
        writer.close()
        assert outcomes[:2] == [[1], [1]]
        assert isinstance(outcomes[2], ResultDecodeError)


def thread_names() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


class TestOtherTransports:
    def test_redis(self, redis_server: RedisServer, apps: WebApps, from_celery: FromCelery) -> None:
        """The scheme alone would mean results in Redis."""
        url = redis_server.url(7)
        app = rpc_app(apps, url)
        assert read_settings(app, {})["url"] == f"rpc+{url}"
        watcher = from_celery(app)
        assert finds(watcher, url)
        assert "rpc+redis" in repr(watcher)

    def test_in_memory(self, apps: WebApps, from_celery: FromCelery) -> None:
        assert finds(from_celery(rpc_app(apps, "memory://")), "memory://")

    def test_their_options(self, apps: WebApps) -> None:
        app = rpc_app(apps, "redis://:se%2Fcret@cache:6380/3", broker_transport_options={"global_keyprefix": "mine"})
        address = read(app)
        assert address.kombu_url == "redis://:se%2Fcret@cache:6380/3"
        assert address.options.transport_options == {"global_keyprefix": "mine"}
        assert "cret" not in address.text + repr(address)

    def test_tls(self, apps: WebApps) -> None:
        in_the_url = rpc_app(apps, "rediss://cache/0?ssl_cert_reqs=none&ssl_ca_certs=ca.pem")
        setting = rpc_app(
            apps, "rediss://cache/0", broker_use_ssl={"ssl_cert_reqs": ssl.CERT_NONE, "ssl_ca_certs": "ca.pem"}
        )
        for app in (in_the_url, setting):
            assert read_settings(app, {})["amqp"] == AMQPOptions(ssl_cert_reqs="none", ssl_ca_certs="ca.pem")


class TestAddresses:
    @pytest.mark.parametrize(
        ("url", "host", "port", "virtual_host"),
        [
            ("amqp://broker.example:5673/mine", "broker.example", 5673, "mine"),
            ("amqp://broker//", "broker", 5672, "/"),
            ("amqp://broker/", "broker", 5672, "/"),
            ("amqp://broker/a%2Fb", "broker", 5672, "a/b"),
            ("pyamqp://[::1]:7/x", "::1", 7, "x"),
            ("amqps://broker/x", "broker", 5671, "x"),
            (None, "localhost", 5672, "/"),
        ],
    )
    def test_where(self, apps: WebApps, url: str | None, host: str, port: int, virtual_host: str) -> None:
        address = read(rpc_app(apps, url))
        assert (address.host, address.port, address.virtual_host) == (host, port, virtual_host)
        assert address.tls == bool(url and url.startswith("amqps"))

    def test_results_come_where_tasks_are_sent(self, apps: WebApps) -> None:
        assert read(rpc_app(apps, "amqp://a", broker_read_url="amqp://r", broker_write_url="amqp://w")).host == "w"

    def test_credentials(self, apps: WebApps) -> None:
        app = rpc_app(apps, "amqp://us%40er:p%40ss%2F@broker/x", broker_login_method="AMQPLAIN")
        address = read(app)
        assert (address.options.username, address.options.password) == ("us@er", "p@ss/")
        assert address.options.login_method == "AMQPLAIN"
        watcher = ResultWatcher.from_celery(app)
        assert watcher.pending == 0
        assert "ss" not in repr(watcher) + repr(read_settings(app, {})["amqp"]).partition("password")[2]
        watcher.close()

    def test_overrides_win_one_by_one(self, apps: WebApps) -> None:
        app = rpc_app(apps, "amqp://user:secret@broker")
        options = read_settings(app, {"amqp": AMQPOptions(binding="task", username="mine")})["amqp"]
        assert options == AMQPOptions(binding="task", username="mine", password="secret")

    def test_times(self, apps: WebApps) -> None:
        found = read_settings(rpc_app(apps, "amqp://a", broker_connection_timeout=0.5, result_expires=7), {})
        assert (found["connect_timeout"], found["default_lifetime"]) == (0.5, 7.0)
        assert read_settings(rpc_app(apps, "amqp://a"), {"connect_timeout": 9.0})["connect_timeout"] == 9.0


class TestTLS:
    EXPECTED = AMQPOptions(ssl_ca_certs="ca.pem", ssl_certfile="me.pem", ssl_keyfile="me.key", ssl_cert_reqs="required")

    @pytest.mark.parametrize("prefix", ["", "ssl_"])
    @pytest.mark.parametrize("requirement", [ssl.CERT_REQUIRED, "required", "CERT_REQUIRED"])
    def test_both_spellings(self, apps: WebApps, prefix: str, requirement: Any) -> None:
        setting = {"ca_certs": "ca.pem", "certfile": "me.pem", "keyfile": "me.key", "cert_reqs": requirement}
        use_ssl = {prefix + name: value for name, value in setting.items()}
        found = read_settings(rpc_app(apps, "amqp://broker", broker_use_ssl=use_ssl), {})
        assert found["url"] == "amqps://broker/%2F"
        assert found["amqp"] == self.EXPECTED

    def test_just_on(self, apps: WebApps) -> None:
        address = read(rpc_app(apps, "amqp://broker", broker_use_ssl=True))
        assert address.tls
        assert address.port == 5671
        assert address.options.ssl_cert_reqs is None, "so certificates are verified"

    def test_the_host(self, apps: WebApps) -> None:
        use_ssl = {"cert_reqs": ssl.CERT_OPTIONAL, "ssl_check_hostname": False}
        options = read(rpc_app(apps, "amqps://broker", broker_use_ssl=use_ssl)).options
        assert (options.ssl_cert_reqs, options.ssl_check_hostname) == ("optional", False)

    @pytest.mark.parametrize(
        ("setting", "named"),
        [({"ciphers": "NULL"}, "ciphers"), ({"cert_reqs": 7}, "CERT_REQUIRED"), ({"cert_reqs": "no"}, "required")],
    )
    def test_settings_that_make_no_sense(
        self, apps: WebApps, from_celery: FromCelery, setting: dict[str, Any], named: str
    ) -> None:
        watcher = from_celery(rpc_app(apps, "amqp://broker", broker_use_ssl=setting))
        with pytest.raises(ValueError, match=named):
            watcher.watch("id")


class TestRefused:
    @pytest.mark.parametrize("url", ["amqp://u:secret@a;amqp://u:secret@b", ["amqp://u:secret@a", "amqp://b"]])
    def test_several_brokers(self, apps: WebApps, from_celery: FromCelery, url: Any) -> None:
        watcher = from_celery(rpc_app(apps, url))
        with pytest.raises(ValueError, match=r"several brokers.*url=") as caught:
            watcher.watch("id")
        assert "secret" not in str(caught.value)

    def test_the_same_one_twice(self, apps: WebApps) -> None:
        assert read(rpc_app(apps, ["amqp://a", "amqp://a"])).host == "a"

    def test_options_for_redis(self, apps: WebApps, from_celery: FromCelery) -> None:
        watcher = from_celery(rpc_app(apps, "amqp://a"), redis=RedisOptions(read_timeout=3.0))
        with pytest.raises(ValueError, match="amqp="):
            watcher.watch("id")
        prefixed = from_celery(rpc_app(apps, "amqp://a"), key_prefix="mine")
        with pytest.raises(ValueError, match="key_prefix"):
            prefixed.watch("id")

    def test_options_for_a_broker(self, redis_server: RedisServer, apps: WebApps, from_celery: FromCelery) -> None:
        app = apps({"result_backend": redis_server.url(), "broker_url": "memory://"})
        watcher = from_celery(app, amqp=AMQPOptions(binding="task"))
        with pytest.raises(ValueError, match="redis="):
            watcher.watch("id")

    def test_both_at_once(self, apps: WebApps, from_celery: FromCelery) -> None:
        """At the call: no application could make sense of it."""
        with pytest.raises(ValueError, match="redis="):
            from_celery(
                rpc_app(apps, "amqp://a"), amqp=AMQPOptions(binding="task"), redis=RedisOptions(read_timeout=3.0)
            )

    @pytest.mark.parametrize("url", ["amqp://u:se/cret@host/", "nonsense://", "amqp://a:99999999/x"])
    def test_what_celery_cannot_read(self, apps: WebApps, from_celery: FromCelery, url: str) -> None:
        watcher = from_celery(rpc_app(apps, url))
        for use in (lambda: watcher.watch("id"), lambda: watcher.wait_ready(1), lambda: watcher.submit("add", (1, 2))):
            with pytest.raises(ValueError, match="broker connection of app 'bgresults-tests'") as caught:
                use()
            assert "'se" not in str(caught.value)
            assert "cret" not in str(caught.value)
        assert watcher.pending == 0

    def test_a_backend_that_cannot_be_watched(self, apps: WebApps, from_celery: FromCelery) -> None:
        """The sentence names this one as well."""
        watcher = from_celery(apps({"result_backend": "disabled://", "broker_url": "memory://"}))
        with pytest.raises(NotWatchableError, match="rpc://"):
            watcher.watch("id")

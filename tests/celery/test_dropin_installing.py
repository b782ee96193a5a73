"""The drop-in: how an application gets it and how it loses it again; what it is, without waiting for anything."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery
from celery.backends.redis import RedisBackend as StockRedisBackend
from celery.backends.redis import SentinelBackend
from celery.backends.rpc import RPCBackend as StockRPCBackend
from celery.exceptions import ImproperlyConfigured

from bgresults import NotWatchableError, ResultWatcher
from bgresults.integrations.celery import install, uninstall
from bgresults.integrations.celery.dropin.backends import RedisBackend, RPCBackend
from bgresults.testing import RedisServer
from tests.support import wait_until
from tests.support.results import ResultWriter, new_id

NewApp = Callable[..., Celery]

WAIT = 20


def _configured(app: Celery) -> ResultWatcher:
    """The watcher, after it has read the application's settings."""
    watcher = ResultWatcher.from_celery(app)
    watcher._configure()
    return watcher


class OwnBackend(StockRedisBackend):
    """A user's subclass."""

    def encode(self, data: Any) -> Any:
        return super().encode(data)


class TestBySetting:
    @pytest.mark.parametrize(
        ("setting", "kind", "stock"),
        [
            ("bgresults+redis://localhost:1/2", RedisBackend, StockRedisBackend),
            ("bgresults+rediss://localhost:1/2?ssl_cert_reqs=required", RedisBackend, StockRedisBackend),
            ("bgresults+socket:///tmp/redis.sock?virtual_host=3", RedisBackend, StockRedisBackend),
            ("bgresults+rpc://", RPCBackend, StockRPCBackend),
        ],
    )
    def test_kinds(self, new_app: NewApp, setting: str, kind: type, stock: type) -> None:
        app = new_app(result_backend=setting)
        backend = app.backend
        assert type(backend) is kind
        assert isinstance(backend, stock)
        in_another_thread: list[Any] = []
        thread = threading.Thread(target=lambda: in_another_thread.append(app.backend))
        thread.start()
        thread.join()
        assert in_another_thread == [backend], "one for all threads"

    def test_sentinels(self, new_app: NewApp) -> None:
        app = new_app(
            result_backend="bgresults+sentinel://a:26379/3;sentinel://b:26379/3",
            result_backend_transport_options={"master_name": "mymaster"},
        )
        assert isinstance(app.backend, SentinelBackend)
        assert isinstance(app.backend, RedisBackend)
        assert [host["host"] for host in app.backend.connparams["hosts"]] == ["a", "b"]
        assert "sentinel://a:26379;b:26379/3" in repr(_configured(app))
        app.set_default()
        try:
            assert type(pickle.loads(pickle.dumps(app.backend))) is type(app.backend)
        finally:
            from celery import _state

            _state.default_app = None

    def test_it_means_the_same_server(self, new_app: NewApp) -> None:
        app, stock = (
            new_app(result_backend=f"{prefix}redis://user:p%40ss@example.com:7000/5") for prefix in ("bgresults+", "")
        )
        for name in ("host", "port", "db", "username", "password"):
            assert app.backend.connparams[name] == stock.backend.connparams[name]
        path = new_app(result_backend="bgresults+socket:///tmp/redis.sock?virtual_host=3").backend.connparams["path"]
        assert path == "/tmp/redis.sock"

    @pytest.mark.parametrize(
        "setting", ["bgresults+database://", "bgresults", "bgresults+nonsense://x", "bgresults+cache+memory://"]
    )
    def test_what_cannot_be_waited_for(self, new_app: NewApp, setting: str) -> None:
        with pytest.raises(ImproperlyConfigured, match=r"allowed are bgresults\+redis://…, .*bgresults\+rpc://"):
            new_app(result_backend=setting).backend  # noqa: B018

    def test_no_secret_is_told(self, new_app: NewApp) -> None:
        with pytest.raises(ImproperlyConfigured) as raised:
            new_app(result_backend="bgresults+mongodb://user:secret@localhost").backend  # noqa: B018
        assert "secret" not in str(raised.value)

    def test_a_watcher_beside_it(self, new_app: NewApp, redis_server: RedisServer) -> None:
        app = new_app(result_backend=f"bgresults+{redis_server.url()}")
        with ResultWatcher.from_celery(app) as watcher:
            assert watcher.wait_ready(WAIT)
            assert app.backend.result_consumer.watcher is watcher


class TestInstalling:
    def test_there_and_back(self, new_app: NewApp) -> None:
        app = new_app(result_backend="redis://localhost:1")
        before = app.backend
        assert type(before) is StockRedisBackend
        old = app.AsyncResult(new_id())
        install(app)
        install(app)
        assert type(app.backend) is RedisBackend
        assert app.AsyncResult(new_id()).backend is app.backend
        assert old.backend is before, "results that exist keep what they have"
        assert app.conf.result_backend == "redis://localhost:1"
        uninstall(app)
        uninstall(app)
        assert app.backend is before

    def test_a_shared_backend_comes_back(self, new_app: NewApp) -> None:
        app = new_app(result_backend="redis://localhost:1", result_backend_thread_safe=True)
        before = app.backend
        install(app)
        uninstall(app)
        assert app.backend is before

    def test_rpc(self, new_app: NewApp) -> None:
        app = new_app(result_backend="rpc://")
        install(app)
        assert type(app.backend) is RPCBackend
        with pytest.raises(TimeoutError):
            app.backend.result_consumer.drain_events(timeout=0)
        uninstall(app)
        assert type(app.backend) is StockRPCBackend

    def test_a_subclass_of_the_users(self, new_app: NewApp) -> None:
        app = new_app(result_backend=f"{__name__}:{OwnBackend.__name__}")
        install(app)
        assert isinstance(app.backend, OwnBackend)
        assert isinstance(app.backend, RedisBackend)
        app.set_default()
        try:
            assert isinstance(pickle.loads(pickle.dumps(app.backend)), OwnBackend)
        finally:
            from celery import _state

            _state.default_app = None

    def test_before_the_settings_are_loaded(self) -> None:
        app = Celery("web", set_as_current=False)
        asked: list[str] = []

        @app.on_after_configure.connect
        def configured(**_: Any) -> None:
            asked.append("settings")

        app.add_defaults(lambda: {"result_backend": "redis://localhost:1"})
        install(app)
        assert not asked
        assert type(app.backend) is RedisBackend
        assert asked == ["settings"]
        later = Celery("web", set_as_current=False)
        install(later)
        later.add_defaults(lambda: {"result_backend": "file:///tmp"})
        with pytest.raises(NotWatchableError, match="FilesystemBackend"):
            later.backend  # noqa: B018

    def test_where_the_setting_has_it_already(self, new_app: NewApp) -> None:
        app = new_app(result_backend="bgresults+redis://localhost:1")
        backend = app.backend
        install(app)
        assert app.backend is backend
        uninstall(app)
        assert app.backend is backend

    @pytest.mark.parametrize("setting", [None, "cache+memory://", "file:///tmp"])
    def test_what_cannot_be_waited_for(self, new_app: NewApp, setting: str | None) -> None:
        app = new_app(result_backend=setting)
        assert app.conf.result_backend == setting, "it is loaded"
        with pytest.raises(NotWatchableError, match=r"cannot be waited for: results have to be in Redis .*sentinel://"):
            install(app)

    @pytest.mark.parametrize("wrong", [None, "app", object()])
    def test_no_application(self, wrong: Any) -> None:
        for function in (install, uninstall):
            with pytest.raises(TypeError, match="must be a Celery application"):
                function(wrong)


class TestCelerysInterface:
    """What others may call of a result consumer."""

    @pytest.fixture
    def app(self, new_app: NewApp, redis_server: RedisServer) -> Any:
        app = new_app(result_backend=f"bgresults+{redis_server.url()}")
        yield app
        ResultWatcher.from_celery(app).close()

    def test_draining_by_hand(self, app: Celery, redis_server: RedisServer) -> None:
        consumer, writer = app.backend.result_consumer, ResultWriter(redis_server)
        consumer.drain_events(timeout=0)
        seen: list[Any] = []
        consumer.on_message = seen.append
        first, second = new_id(), new_id()
        consumer.start(first)
        consumer.consume_from(second)
        consumer.cancel_for(second)
        consumer.drain_events(timeout=0.01)
        assert not seen
        writer.write(first, 5)
        consumer.drain_events(timeout=WAIT)
        assert [meta["result"] for meta in seen] == [5]
        # Somebody closed the watcher: nothing comes of what it had been asked for, and the next one has it.
        consumer.consume_from(second)
        ResultWatcher.from_celery(app).close()
        consumer.drain_events(timeout=WAIT)
        assert len(seen) == 1
        consumer.consume_from(second)
        consumer.on_after_fork()
        consumer.drain_events(timeout=0)
        consumer.stop()
        writer.close()

    def test_cancelled_by_its_id(self, app: Celery) -> None:
        """Also what somebody has called then() on."""
        task_id = new_id()
        app.AsyncResult(task_id).then(lambda _: None)
        watcher = ResultWatcher.from_celery(app)
        wait_until(lambda: watcher.pending == 1, "the watch")
        app.backend.result_consumer.cancel_for(task_id)
        wait_until(lambda: watcher.pending == 0, "its end")

    def test_nothing_is_subscribed_before_somebody_waits(
        self, app: Celery, redis_server: RedisServer, own_redis: RedisServer
    ) -> None:
        app.conf.result_backend = f"bgresults+{own_redis.url()}"

        @app.task(name="any")
        def task() -> None: ...

        sent = [task.delay() for _ in range(3)]
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("bgresults")]
        with own_redis.client() as client:
            assert len(client.client_list()) == 1, "its own"
            waiting = threading.Thread(target=lambda: sent[0].get(timeout=WAIT))
            waiting.start()
            wait_until(lambda: len(client.pubsub_channels()) == 1, "the subscription")
            writer = ResultWriter(own_redis)
            writer.write(sent[0].id, 1)
            waiting.join(WAIT)
            writer.close()
            wait_until(lambda: not client.pubsub_channels(), "its end")

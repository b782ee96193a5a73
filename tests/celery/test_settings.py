"""What the application says is what the watcher does: each setting, with a value that matters."""

from __future__ import annotations

import inspect
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from celery import Celery
from celery.backends.redis import RedisBackend

from bgresults import NotWatchableError, RedisOptions, ResultDecodeError, ResultWatcher, WatchExpiredError
from bgresults.integrations.celery import CeleryResultWatcher
from bgresults.integrations.celery.settings import read_settings
from bgresults.testing import RedisServer, ThrowAwayCA
from tests.support.results import ResultWriter, new_id, state_body

WAIT = 20

NewApp = Callable[..., Celery]
FromCelery = Callable[..., CeleryResultWatcher]


def finds(watcher: ResultWatcher, server: RedisServer, *, prefix: str = "", db: int = 0) -> bool:
    """Whether the watcher finds what is stored there, and hears what is published there."""
    writer = ResultWriter(server, prefix, db)
    try:
        stored, published = new_id(), new_id()
        writer.store(stored, "stored")
        assert watcher.watch(stored).result(WAIT) == "stored"
        future = watcher.watch(published)
        writer.write(published, "published")
        return bool(future.result(WAIT) == "published")
    finally:
        writer.close()


def test_the_url(redis_server: RedisServer, new_app: NewApp, from_celery: FromCelery) -> None:
    assert finds(from_celery(new_app(result_backend=redis_server.url(3))), redis_server, db=3)


def test_an_application_that_is_configured_later(
    redis_server: RedisServer, new_app: NewApp, from_celery: FromCelery
) -> None:
    app = new_app()
    watcher = from_celery(app)
    assert "web" in repr(watcher)
    assert watcher.pending == 0
    assert not watcher.connected
    app.conf.result_backend = redis_server.url()
    assert finds(watcher, redis_server)
    assert str(redis_server.port) in repr(watcher)


def test_the_backend_of_the_constructor(redis_server: RedisServer, from_celery: FromCelery) -> None:
    app = Celery("web", set_as_current=False, broker="memory://", backend=redis_server.url())
    assert finds(from_celery(app), redis_server)
    app.close()


def test_single_settings_instead_of_a_url(own_redis: RedisServer, new_app: NewApp, from_celery: FromCelery) -> None:
    with own_redis.client() as client:
        client.execute_command("ACL", "SETUSER", "web", "on", ">p@ss/word#1", "~*", "&*", "+@all")
    app = new_app(
        result_backend="redis",
        redis_host="127.0.0.1",
        redis_port=own_redis.port,
        redis_db=2,
        redis_username="web",
        redis_password="p@ss/word#1",
    )
    watcher = from_celery(app)
    assert finds(watcher, own_redis, db=2)
    with own_redis.client() as client:
        users = {entry["user"] for entry in client.client_list() if entry["sub"] == "1" or entry["cmd"] == "mget"}
    assert users == {"web"}
    assert "p@ss" not in repr(watcher) + repr(watcher._settings)


def test_a_password_in_the_url(own_redis: RedisServer, new_app: NewApp, from_celery: FromCelery) -> None:
    with own_redis.client() as client:
        client.execute_command("ACL", "SETUSER", "web", "on", ">p@ss/word#1", "~*", "&*", "+@all")
        client.execute_command("ACL", "SETUSER", "default", "off")
        url = f"redis://web:p%40ss%2Fword%231@127.0.0.1:{own_redis.port}/0"
        watcher = from_celery(new_app(result_backend=url))
        assert watcher.wait_ready(WAIT)
        assert "p@ss" not in repr(watcher)
        assert "p%40" not in repr(watcher)


KNOWS_PROVIDERS = "credential_provider" in inspect.getsource(RedisBackend)


class Provider(redis.CredentialProvider):
    asked = 0

    def get_credentials(self) -> tuple[str, str]:
        Provider.asked += 1
        return "web", "from the provider"


@pytest.mark.skipif(not KNOWS_PROVIDERS, reason="this Celery knows no credential providers")
def test_a_credential_provider(own_redis: RedisServer, new_app: NewApp, from_celery: FromCelery) -> None:
    with own_redis.client() as client:
        client.execute_command("ACL", "SETUSER", "web", "on", ">from the provider", "~*", "&*", "+@all")
    app = new_app(
        result_backend=own_redis.url(),
        redis_backend_credential_provider=Provider(),
        redis_username="nobody",
        redis_password="wrong",
    )
    Provider.asked = 0
    assert finds(from_celery(app), own_redis)
    assert Provider.asked


def test_a_unix_socket(new_app: NewApp, from_celery: FromCelery) -> None:
    with RedisServer(unix_socket=True) as server:
        watcher = from_celery(new_app(result_backend=f"redis+socket://{server.socket_path}?virtual_host=1"))
        assert finds(watcher, server, db=1)
        watcher.close()


@pytest.fixture(scope="module")
def ca() -> Iterator[ThrowAwayCA]:
    with ThrowAwayCA() as made:
        yield made


@pytest.mark.tls
@pytest.mark.parametrize("how", ["in the URL", "redis_backend_use_ssl"])
def test_tls(how: str, ca: ThrowAwayCA, new_app: NewApp, from_celery: FromCelery) -> None:
    with RedisServer(tls=ca.server("localhost", "127.0.0.1")) as server:
        if how == "in the URL":
            url = f"{server.tls_url()}?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs={ca.path}"
            app = new_app(result_backend=url)
        else:
            app = new_app(
                result_backend=server.tls_url(),
                redis_backend_use_ssl={"ssl_cert_reqs": "required", "ssl_ca_certs": str(ca.path)},
            )
        assert finds(from_celery(app), server)


@pytest.mark.tls
def test_tls_with_a_client_certificate(ca: ThrowAwayCA, new_app: NewApp, from_celery: FromCelery) -> None:
    client = ca.client("web")
    with RedisServer(tls=ca.server("localhost", "127.0.0.1"), tls_clients="yes") as server:
        options = {
            "ssl_cert_reqs": "required",
            "ssl_ca_certs": str(ca.path),
            "ssl_certfile": str(client.certificate),
            "ssl_keyfile": str(client.key),
        }
        assert finds(from_celery(new_app(result_backend=server.tls_url(), redis_backend_use_ssl=options)), server)


@pytest.mark.tls
def test_tls_that_is_not_verified(ca: ThrowAwayCA, new_app: NewApp, from_celery: FromCelery) -> None:
    """As the application asks for; Celery warns of it."""
    with RedisServer(tls=ca.server("elsewhere.example")) as server:
        app = new_app(result_backend=f"{server.tls_url()}?ssl_cert_reqs=CERT_NONE")
        assert finds(from_celery(app), server)


@pytest.mark.parametrize("prefix", ["mine", "mine:"])
def test_the_key_prefix(redis_server: RedisServer, new_app: NewApp, from_celery: FromCelery, prefix: str) -> None:
    app = new_app(result_backend=redis_server.url(), result_backend_transport_options={"global_keyprefix": prefix})
    # Before 5.6 or so Celery put a second separator behind one.
    complete = app.backend.task_keyprefix.decode().removesuffix("celery-task-meta-")
    assert complete in {"mine_", "mine:", "mine:_"}
    assert finds(from_celery(app), redis_server, prefix=complete)


def test_the_serializer(redis_server: RedisServer, new_app: NewApp, from_celery: FromCelery) -> None:
    app = new_app(
        result_backend=redis_server.url(), result_serializer="pickle", result_accept_content=["pickle", "json"]
    )
    watcher = from_celery(app)
    writer = ResultWriter(redis_server)
    task_id = new_id()
    body: dict[str, Any] = {
        "status": "SUCCESS",
        "result": {1, 2},
        "task_id": task_id,
        "traceback": None,
        "children": [],
    }
    writer.write_body(task_id, pickle.dumps(body))
    assert watcher.watch(task_id).result(WAIT) == {1, 2}
    other = new_id()
    writer.write_body(other, state_body(other))
    assert isinstance(watcher.watch(other).exception(WAIT), ResultDecodeError)
    writer.close()


@pytest.mark.parametrize("setting", ["result_accept_content", "accept_content"])
def test_what_is_accepted(redis_server: RedisServer, new_app: NewApp, from_celery: FromCelery, setting: str) -> None:
    """A serializer that is not accepted would make every result unreadable: refused at the first use instead."""
    app = new_app(result_backend=redis_server.url(), result_serializer="yaml", **{setting: ["json"]})
    with pytest.raises(ValueError, match="not in accept"):
        from_celery(app).watch(new_id())
    app.conf[setting] = ["json", "yaml"]
    assert from_celery(app).wait_ready(WAIT), "mended, it works"


def test_how_long_results_live(redis_server: RedisServer, new_app: NewApp, from_celery: FromCelery) -> None:
    """A result that nobody stored within its lifetime is not waited for any longer."""
    watcher = from_celery(new_app(result_backend=redis_server.url(), result_expires=1))
    assert isinstance(watcher.watch(new_id()).exception(WAIT), WatchExpiredError)


@pytest.mark.parametrize(
    ("settings", "read"),
    [
        ({}, {"default_lifetime": 86400.0}),
        ({"result_expires": 7200}, {"default_lifetime": 7200.0}),
        ({"result_expires": 0}, {"default_lifetime": 86400.0}),
        ({"redis_socket_connect_timeout": 0.5}, {"connect_timeout": 0.5}),
        ({"redis_socket_timeout": 2.5}, {"read_timeout": 2.5}),
        ({}, {"read_timeout": None, "health_check_interval": None, "socket_keepalive": None}),
        ({"redis_backend_health_check_interval": 7}, {"health_check_interval": 7}),
        ({"redis_socket_keepalive": True}, {"socket_keepalive": True}),
        ({"redis_max_connections": 3, "redis_retry_on_timeout": True}, {}),
    ],
)
def test_times_and_the_like(new_app: NewApp, settings: dict[str, Any], read: dict[str, Any]) -> None:
    found = read_settings(new_app(result_backend="redis://localhost/0", **settings), {})
    options: RedisOptions = found["redis"]
    for name, value in read.items():
        assert (found[name] if name in found else getattr(options, name)) == value
    assert found["name"] == "web"


def test_options_in_the_url(new_app: NewApp) -> None:
    url = "redis://user:secret@cache.example:7000/4?socket_timeout=3.5&health_check_interval=9&socket_connect_timeout=1"
    found = read_settings(new_app(result_backend=url), {})
    assert found["url"] == "redis://cache.example:7000/4"
    assert found["redis"] == RedisOptions(username="user", password="secret", read_timeout=3.5, health_check_interval=9)
    assert found["connect_timeout"] == 1.0


def test_the_name_of_the_thread(redis_server: RedisServer, new_app: NewApp, from_celery: FromCelery) -> None:
    assert from_celery(new_app(result_backend=redis_server.url())).wait_ready(WAIT)
    assert "bgresults-web" in [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize(
    ("setting", "shown"),
    [
        ("db+sqlite:///results.sqlite", "db+sqlite"),
        ("cache+memory://", "cache+memory"),
        ("django-db", "django-db"),
        ("disabled://", "disabled"),
        (None, "not set"),
        ("file:///tmp", "file"),
        ("nonsense://x", "nonsense"),
    ],
)
def test_a_backend_that_cannot_be_watched(
    new_app: NewApp, from_celery: FromCelery, setting: str | None, shown: str
) -> None:
    watcher = from_celery(new_app(result_backend=setting))
    for use in (lambda: watcher.watch("id"), lambda: watcher.wait_ready(1), lambda: watcher.updates("id")):
        with pytest.raises(NotWatchableError, match="redis://") as caught:
            use()
        assert shown in str(caught.value)
        assert "'web'" in str(caught.value)
        assert "secret" not in str(caught.value)
    assert not watcher.connected
    watcher.close()
    assert watcher.closed


class OwnKeys(RedisBackend):
    task_keyprefix = "results-of-mine-"


def test_a_subclass_with_keys_of_its_own(new_app: NewApp, from_celery: FromCelery) -> None:
    app = Celery("web", set_as_current=False, broker="memory://", backend=f"{__name__}:OwnKeys")
    with pytest.raises(NotWatchableError, match="global_keyprefix"):
        from_celery(app).watch("id")
    app.close()


def test_an_unknown_setting(new_app: NewApp, from_celery: FromCelery) -> None:
    app = new_app(result_backend="rediss://localhost?ssl_cert_reqs=required&ssl_ciphers=NULL")
    with pytest.raises(ValueError, match="ssl_ciphers"):
        from_celery(app).watch("id")


def test_overrides_win(redis_server: RedisServer, new_app: NewApp, from_celery: FromCelery) -> None:
    app = new_app(result_backend="redis://user:secret@nowhere.invalid/5", result_expires=60)
    watcher = from_celery(
        app, url=redis_server.url(), key_prefix="other", default_lifetime=None, max_pending=2, name="mine"
    )
    assert finds(watcher, redis_server, prefix="other_")
    assert "bgresults-mine" in [thread.name for thread in threading.enumerate()]
    options = RedisOptions(username="override", health_check_interval=3)
    found = read_settings(app, {"redis": options})
    assert found["redis"] == RedisOptions(username="override", password="secret", health_check_interval=3)


def test_the_largest_body(redis_server: RedisServer, new_app: NewApp, from_celery: FromCelery) -> None:
    writer, small, large = ResultWriter(redis_server), new_id(), new_id()
    writer.store(small, "x")
    writer.store(large, "x" * 1000)
    watcher = from_celery(new_app(result_backend=redis_server.url()), max_body_size=1000)
    assert watcher.watch(small).result(WAIT) == "x"
    with pytest.raises(ResultDecodeError, match=r"1000 bytes.*max_body_size"):
        watcher.watch(large).result(WAIT)
    writer.close()

"""Applications whose results are behind sentinels: what Celery's backend reads from them, the watcher does too."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery

from bgresults import RedisOptions
from bgresults.integrations.celery import CeleryResultWatcher
from bgresults.integrations.celery.settings import read_settings
from bgresults.testing import RedisServer, SentinelTrio, ThrowAwayCA
from tests.support.results import new_id, new_ids
from tests.support.workers import WorkerPool

WAIT = 30
NAMED: dict[str, Any] = {"master_name": "mymaster"}

NewApp = Callable[..., Celery]
FromCelery = Callable[..., CeleryResultWatcher]


@pytest.mark.parametrize(
    ("backend", "url", "options"),
    [
        ("sentinel://a:26379/3;sentinel://b:26380/3", "sentinel://a:26379;b:26380/3", {}),
        ("sentinel://a:26379", "sentinel://a:26379/0", {}),
        # Celery has the port of a server where none is given.
        ("sentinel://a;sentinel://b", "sentinel://a:6379;b:6379/0", {}),
        # And it reads the first one alone.
        ("sentinel://a:1/2;sentinel://b:2", "sentinel://a:1;b:2/2", {}),
        ("sentinel://:s%40cret@a:1/0;sentinel://:other@b:2/0", "sentinel://a:1;b:2/0", {"password": "s@cret"}),
    ],
)
def test_urls(new_app: NewApp, backend: str, url: str, options: dict[str, Any]) -> None:
    found = read_settings(new_app(result_backend=backend, result_backend_transport_options=NAMED), {})
    assert found["url"] == url
    assert found["redis"] == RedisOptions(**NAMED, **options)


@pytest.mark.parametrize(
    ("transport", "options"),
    [
        ({"min_other_sentinels": 2}, {"min_other_sentinels": 2}),
        ({"sentinel_kwargs": {}}, {}),
        (
            {"sentinel_kwargs": {"username": "asking", "password": "hidden", "socket_timeout": 0.5}},
            {"sentinel": RedisOptions(username="asking", password="hidden", read_timeout=0.5)},
        ),
        (
            {"sentinel_kwargs": {"ssl": True, "ssl_ca_certs": "/ca.pem", "ssl_cert_reqs": "required"}},
            {"sentinel": RedisOptions(ssl=True, ssl_ca_certs="/ca.pem", ssl_cert_reqs="required")},
        ),
        (
            {"sentinel_kwargs": {"ssl": True, "ssl_cert_reqs": ssl.CERT_NONE}},
            {"sentinel": RedisOptions(ssl=True, ssl_cert_reqs="none")},
        ),
    ],
)
def test_transport_options(new_app: NewApp, transport: dict[str, Any], options: dict[str, Any]) -> None:
    app = new_app(result_backend="sentinel://a:1", result_backend_transport_options={**NAMED, **transport})
    assert read_settings(app, {})["redis"] == RedisOptions(**NAMED, **options)


def test_settings_of_the_servers(new_app: NewApp) -> None:
    app = new_app(
        result_backend="sentinel://a:1/4",
        result_backend_transport_options={**NAMED, "global_keyprefix": "mine:"},
        redis_username="web",
        redis_socket_timeout=3.5,
        redis_socket_connect_timeout=1.5,
        redis_backend_health_check_interval=7,
        redis_backend_use_ssl={"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": "/ca.pem"},
    )
    found = read_settings(app, {})
    assert found["connect_timeout"] == 1.5
    assert found["key_prefix"].startswith("mine:")
    assert found["redis"] == RedisOptions(
        **NAMED,
        username="web",
        read_timeout=3.5,
        health_check_interval=7,
        ssl=True,
        ssl_cert_reqs="required",
        ssl_ca_certs="/ca.pem",
    )


def test_overrides_win(new_app: NewApp) -> None:
    app = new_app(result_backend="sentinel://:secret@a:1", result_backend_transport_options=NAMED)
    found = read_settings(app, {"redis": RedisOptions(master_name="other", sentinel=RedisOptions(password="hidden"))})
    assert found["redis"] == RedisOptions(
        master_name="other", password="secret", sentinel=RedisOptions(password="hidden")
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"result_backend": "sentinel://a:1"}, "result_backend_transport_options={'master_name': 'mymaster'}"),
        ({"result_backend": "sentinel"}, "names no sentinels"),
        (
            {
                "result_backend": "sentinel://a:1",
                "result_backend_transport_options": {**NAMED, "sentinel_kwargs": {"ssl_ciphers": "NULL"}},
            },
            "sentinel_kwargs of Celery app 'web' has settings that this library does not know: ssl_ciphers",
        ),
        (
            {
                "result_backend": "sentinel://a:1",
                "result_backend_transport_options": {**NAMED, "min_other_sentinels": -1},
            },
            "min_other_sentinels",
        ),
        (
            {
                "result_backend": "sentinel://a:1",
                "result_backend_transport_options": {**NAMED, "sentinel_kwargs": "password"},
            },
            "sentinel_kwargs of Celery app 'web' must be a dict, not str",
        ),
    ],
)
def test_settings_that_make_no_sense(
    new_app: NewApp, from_celery: FromCelery, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=r"Celery app|RedisOptions") as caught:
        from_celery(new_app(**settings)).watch("id")
    assert words in str(caught.value)


@pytest.fixture(scope="module")
def trio() -> Iterator[SentinelTrio]:
    with SentinelTrio() as made:
        yield made


@pytest.fixture(scope="module")
def workers(redis_server: RedisServer) -> Iterator[WorkerPool]:
    """Ended before the servers that their results go to."""
    pool = WorkerPool(redis_server.url())
    yield pool
    pool.close()


@pytest.mark.slow
def test_a_worker_whose_broker_is_a_server(trio: SentinelTrio, workers: WorkerPool, from_celery: FromCelery) -> None:
    """Through a failover too: the worker's own backend finds the new master."""
    worker = workers(result_backend=trio.celery_url(), result_backend_transport_options=NAMED)
    app = worker.make_app()
    watcher = from_celery(app, redis=RedisOptions(health_check_interval=0.3))
    assert watcher.submit(app.signature("add", (1, 2))).result(WAIT) == 3
    futures = watcher.watch_many(new_ids(20))
    trio.failover()
    for number, future in enumerate(futures):
        worker.send("echo", number, task_id=future.task_id)
    assert [future.result(WAIT) for future in futures] == list(range(20))
    workers.disconnect()


@pytest.mark.slow
def test_a_worker_whose_broker_is_behind_sentinels(
    trio: SentinelTrio, workers: WorkerPool, from_celery: FromCelery
) -> None:
    worker = workers(
        broker_url=trio.celery_url(1),
        broker_transport_options=NAMED,
        result_backend=trio.celery_url(2),
        result_backend_transport_options={**NAMED, "global_keyprefix": "mine"},
    )
    app = worker.make_app()
    watcher = from_celery(app)
    assert watcher.submit(app.signature("add", (1, 2))).result(WAIT) == 3
    group = watcher.submit(app.signature("echo", (1,)) | app.signature("add", (1,)))
    assert group.result(WAIT) == 2
    workers.disconnect()


# Celery calls what redis-py 8 has deprecated.
@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")
@pytest.mark.slow
@pytest.mark.tls
def test_passwords_and_tls(new_app: NewApp, from_celery: FromCelery) -> None:
    """Stored through Celery's own backend, with its own settings."""
    with (
        ThrowAwayCA() as ca,
        SentinelTrio(password="secret", sentinel_password="hidden", tls=ca.server("127.0.0.1")) as trio,
    ):
        files = {"ssl_cert_reqs": "required", "ssl_ca_certs": str(ca.path)}
        app = new_app(
            result_backend=trio.celery_url(tls=True),
            redis_backend_use_ssl=files,
            result_backend_transport_options={
                **NAMED,
                "sentinel_kwargs": {"password": "hidden", "ssl": True, **files},
            },
        )
        watcher = from_celery(app, redis=RedisOptions(health_check_interval=0.3))
        early, late = watcher.watch(new_id()), watcher.watch(new_id())
        app.backend.store_result(early.task_id, "early", "SUCCESS")
        assert early.result(WAIT) == "early"
        trio.failover()
        app.backend.store_result(late.task_id, "late", "SUCCESS")
        assert late.result(WAIT) == "late"
        watcher.close()
        for sentinel in app.backend.client.connection_pool.sentinel_manager.sentinels:
            sentinel.close()


@pytest.mark.slow
def test_the_drop_in(trio: SentinelTrio, workers: WorkerPool) -> None:
    worker = workers(result_backend=trio.celery_url(), result_backend_transport_options=NAMED)
    app = worker.make_app(result_backend=f"bgresults+{trio.celery_url()}")
    assert app.tasks["add"].delay(1, 2).get(timeout=WAIT) == 3
    trio.failover()
    assert app.tasks["add"].delay(3, 4).get(timeout=WAIT) == 7
    CeleryResultWatcher.from_celery(app).close()
    workers.disconnect()

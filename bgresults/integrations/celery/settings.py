"""What a Celery application says of its result backend, as arguments of a watcher.

Celery itself reads its settings: its backend object is made, which connects to nothing, and asked. So defaults, old
names, URL options and subclasses of the backend mean here what they mean there, in every version.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from celery.app.backends import by_url
from celery.backends.redis import RedisBackend, SentinelBackend
from celery.backends.rpc import RPCBackend

from bgresults.consumers import kind_of
from bgresults.errors import NotWatchableError
from bgresults.integrations.celery.applications import name_of
from bgresults.integrations.celery.broker_settings import merged, read_broker
from bgresults.integrations.celery.connection_settings import redis_options, uses_tls
from bgresults.integrations.celery.schemes import WATCHABLE, stock_setting
from bgresults.integrations.celery.sentinel_settings import read_sentinels
from bgresults.options import AMQPOptions, RedisOptions, filled_up

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["read_settings"]

_TASK_KEY: Final = b"celery-task-meta-"


def read_settings(app: Celery, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a watcher of the application's results; ``overrides`` win.

    Raises:
        NotWatchableError: the results are where nobody can be told of them; the text names what can be watched.
        TypeError, ValueError: a setting makes no sense; Celery's own complaints among them.
    """
    elsewhere = "url" in overrides
    backend = _new_backend(app, elsewhere=elsewhere)
    found: dict[str, Any] = {
        "serializer": backend.serializer,
        "accept": sorted(backend.accept or ()),
        "default_lifetime": _lifetime(backend.expires),
        "name": app.main or "celery",
    }
    # Options of the application's server mean nothing to another one.
    if not elsewhere and isinstance(backend, RPCBackend):
        url, options, seconds = read_broker(app)
        found |= {"url": url, "connect_timeout": seconds}
        return {**found, **overrides, "amqp": merged(overrides.get("amqp", AMQPOptions()), options)}
    if not elsewhere:
        found["url"], options = _server(app, backend)
        found["redis"] = filled_up(overrides.get("redis", RedisOptions()), options)
    if not elsewhere or kind_of(overrides["url"]) == "redis":
        found["key_prefix"] = _key_prefix(app, backend)
    connect_timeout = backend.connparams.get("socket_connect_timeout")
    if connect_timeout:
        found["connect_timeout"] = float(connect_timeout)
    return {**found, **{name: value for name, value in overrides.items() if elsewhere or name != "redis"}}


def _new_backend(app: Celery, *, elsewhere: bool) -> Any:
    """A backend object of our own, so that nobody else's state is touched; it makes no connection.

    ``elsewhere``: the results are not where the application says, so whatever it says will do.
    """
    backend_class, url = (RedisBackend, None) if elsewhere else _found_backend(app)
    try:
        return backend_class(app=app, url=url)
    except Exception as error:  # noqa: BLE001 - whatever Celery, kombu or a subclass makes of a setting
        # It may quote what it cannot read, and that may be a piece of a password.
        words = f": {error}" if "@" not in str(url) else ""
        raise ValueError(
            f"Celery cannot make the result backend of app {name_of(app)}: {type(error).__name__}{words}; check the "
            "result_… and redis_… settings, and that special characters in the URL are percent-encoded"
        ) from None


def _found_backend(app: Celery) -> tuple[Any, str | None]:
    setting = stock_setting(app.backend_cls or app.conf.result_backend)
    shown = _shown(setting)
    try:
        backend_class, url = by_url(setting, app.loader)
    except Exception as error:
        raise NotWatchableError(
            f"the result backend {shown} of Celery app {name_of(app)} cannot be loaded: {error}; {WATCHABLE}"
        ) from error
    if not issubclass(backend_class, (RedisBackend, RPCBackend)):
        raise NotWatchableError(
            f"the result backend {shown} of Celery app {name_of(app)} cannot be watched: {WATCHABLE}"
        )
    return backend_class, url


def _shown(setting: Any) -> str:
    """The setting without its password."""
    if setting is None:
        return "None (result_backend is not set)"
    if isinstance(setting, str):
        scheme, separator, _ = setting.partition("://")
        return f"{scheme}{separator}…" if separator else repr(setting)
    return getattr(setting, "__name__", type(setting).__name__)


def _server(app: Celery, backend: Any) -> tuple[str, dict[str, Any]]:
    """The URL of the results, and fields of their RedisOptions."""
    params = backend.connparams
    if isinstance(backend, SentinelBackend):
        return read_sentinels(app, params)
    return _url(params), redis_options(app, "the result backend", params, tls=uses_tls(params))


def _url(params: Mapping[str, Any]) -> str:
    """Without credentials: those go into the options, where nothing has to be percent-encoded."""
    database = int(params.get("db") or 0)
    if "path" in params:
        return f"unix://{quote(params['path'])}?db={database}"
    host = str(params.get("host") or "localhost")
    if ":" in host:
        host = f"[{host}]"
    scheme = "rediss" if uses_tls(params) else "redis"
    return f"{scheme}://{host}:{int(params.get('port') or 6379)}/{database}"


def _key_prefix(app: Celery, backend: Any) -> str:
    """The ``global_keyprefix``, complete with its separator."""
    prefix: bytes = backend.task_keyprefix
    if not prefix.endswith(_TASK_KEY):
        raise NotWatchableError(
            f"the result backend of Celery app {name_of(app)} stores results under {prefix!r}, which does not end in "
            f"{_TASK_KEY!r}; set global_keyprefix in result_backend_transport_options instead"
        )
    return prefix[: -len(_TASK_KEY)].decode()


def _lifetime(expires: Any) -> float | None:
    """``result_expires``; results that never expire are no reason to watch for ever."""
    return float(expires) if expires else 86400.0

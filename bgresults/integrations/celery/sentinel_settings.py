"""What a Celery application says of sentinels, where its results are behind them (``result_backend="sentinel://…"``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bgresults.integrations.celery.applications import name_of
from bgresults.integrations.celery.connection_settings import redis_options, uses_tls
from bgresults.options import RedisOptions

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["read_sentinels"]


def read_sentinels(app: Celery, params: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the URL of a watcher of the application's results, and fields of its RedisOptions.

    Args:
        app: the application.
        params: ``connparams`` of its backend. What is in them is for the servers, except the places of the sentinels.

    Raises:
        TypeError, ValueError: the settings name no sentinel, or make no sense.
    """
    of_servers = dict(params)
    hosts = of_servers.pop("hosts", None)
    if not hosts:
        raise ValueError(
            f"result_backend of Celery app {name_of(app)} names no sentinels; write it such as "
            "'sentinel://localhost:26379/0;sentinel://localhost:26380/0'"
        )
    tls = uses_tls(of_servers)
    found = redis_options(app, "the result backend", of_servers, tls=tls)
    if tls:
        found["ssl"] = True
    transport = app.conf.get("result_backend_transport_options") or {}
    for name in ("master_name", "min_other_sentinels"):
        if transport.get(name) is not None:
            found[name] = transport[name]
    kwargs = transport.get("sentinel_kwargs") or {}
    if not isinstance(kwargs, Mapping):
        raise TypeError(f"sentinel_kwargs of Celery app {name_of(app)} must be a dict, not {type(kwargs).__name__}")
    if kwargs:
        found["sentinel"] = _sentinel_options(app, kwargs)
    places = ";".join(_place(host) for host in hosts)
    return f"sentinel://{places}/{int(of_servers.get('db') or 0)}", found


def _place(host: Mapping[str, Any]) -> str:
    """Host and port as Celery understands them: a port that is not given is that of a server."""
    name = str(host.get("host") or "localhost")
    return f"{f'[{name}]' if ':' in name else name}:{int(host.get('port') or 6379)}"


def _sentinel_options(app: Celery, kwargs: Mapping[str, Any]) -> RedisOptions:
    """``sentinel_kwargs``: what Celery gives to redis-py for the connections to the sentinels."""
    tls = bool(kwargs.get("ssl"))
    found = redis_options(app, "sentinel_kwargs", {k: v for k, v in kwargs.items() if k != "ssl"}, tls=tls)
    return RedisOptions(**found, ssl=tls or None)

"""Sources of task states, chosen by the scheme of a URL."""

from __future__ import annotations

from typing import Any

from bgresults.broker_urls import AMQP_SCHEMES
from bgresults.consumers.base import BaseResultConsumer, ConnectionLost
from bgresults.forking import import_lock
from bgresults.options import AMQPOptions, RedisOptions
from bgresults.urls import REDIS_SCHEMES, scheme_of

__all__ = ["BaseResultConsumer", "ConnectionLost", "consumer_for", "kind_of"]


def consumer_for(
    url: str,
    *,
    key_prefix: str = "",
    redis: RedisOptions = RedisOptions(),
    amqp: AMQPOptions = AMQPOptions(),
    **settings: Any,
) -> BaseResultConsumer:
    """Return a consumer for ``url``, not connected yet.

    Raises:
        ValueError: the scheme is unknown, or a setting makes no sense; the text names what is allowed.
        TypeError: an argument has the wrong type.
    """
    kind = kind_of(url)
    if kind == "redis":
        if amqp != AMQPOptions():
            raise ValueError("amqp=AMQPOptions(…) is for results that come through a broker; for Redis it is redis=")
    elif redis != RedisOptions():
        raise ValueError("redis=RedisOptions(…) is for results in Redis; for those through a broker it is amqp=")
    elif key_prefix:
        raise ValueError("key_prefix is for results in Redis; replies through a broker have no keys")
    # Imported here, so that a process that uses one kind of backend does not import the libraries of the other. A new
    # consumer imports the transport of kombu that it needs.
    with import_lock():
        if kind == "redis":
            from bgresults.consumers.redis import ResultConsumer as RedisConsumer

            return RedisConsumer(url, options=redis, key_prefix=key_prefix, **settings)
        from bgresults.consumers.rpc import ResultConsumer as RPCConsumer

        return RPCConsumer(url, options=amqp, **settings)


def kind_of(url: str) -> str:
    """``"redis"`` for results that are stored in Redis, ``"rpc"`` for replies through a broker.

    Raises:
        TypeError: it is no str.
        ValueError: nobody has results at such a URL; the text names what is allowed.
    """
    scheme = scheme_of(url)
    if scheme in REDIS_SCHEMES:
        return "redis"
    if scheme == "rpc":
        allowed = ", ".join(f"{name}://" for name in (*REDIS_SCHEMES, *AMQP_SCHEMES))
        raise ValueError(
            f"there is no consumer for results at rpc://; allowed are {allowed}, other transports of kombu such "
            "as memory://, and rpc+<the URL of a broker>; of an application with result_backend='rpc://', use "
            "from_celery()"
        )
    return "rpc"

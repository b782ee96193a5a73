""":func:`configured`: what a user says of a watcher, checked, as what its sessions need."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bgresults.consumers import BaseResultConsumer, consumer_for, kind_of
from bgresults.meta import MAX_BODY_SIZE
from bgresults.options import LONGEST_LIFETIME, AMQPOptions, RedisOptions, RetryPolicy, check_choice, check_seconds
from bgresults.session import SessionSettings
from bgresults.urls import redacted

__all__ = ["Configuration", "configured"]


@dataclass(frozen=True)
class Configuration:
    """Of one watcher. See :class:`~bgresults.ResultWatcher` for what the values mean."""

    session: SessionSettings
    default_lifetime: float | None
    max_pending: int
    connect_timeout: float


def configured(
    url: str,
    *,
    key_prefix: str = "",
    serializer: str = "json",
    accept: Iterable[str] | None = None,
    max_body_size: int | None = MAX_BODY_SIZE,
    default_lifetime: float | None = 86400.0,
    max_pending: int = 100_000,
    on_disconnect: str = "wait",
    retry: RetryPolicy = RetryPolicy(),
    connect_timeout: float = 2.0,
    redis: RedisOptions = RedisOptions(),
    amqp: AMQPOptions = AMQPOptions(),
    name: str | None = None,
) -> Configuration:
    """Check the arguments of a watcher; makes no connection.

    Raises:
        TypeError, ValueError: an argument makes no sense; the text names it and what is allowed.
    """
    check_seconds("default_lifetime", default_lifetime, optional=True, most=LONGEST_LIFETIME)
    if isinstance(max_pending, bool) or not isinstance(max_pending, int):
        raise TypeError(f"max_pending must be an int above 0, not {type(max_pending).__name__}")
    if max_pending < 1:
        raise ValueError(f"max_pending must be an int above 0, not {max_pending}")
    check_choice("on_disconnect", on_disconnect, ("wait", "fail"))
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name must be a str or None, not {type(name).__name__}")
    for argument, value, kind in (
        ("retry", retry, RetryPolicy),
        ("redis", redis, RedisOptions),
        ("amqp", amqp, AMQPOptions),
    ):
        if not isinstance(value, kind):
            raise TypeError(f"{argument} must be a {kind.__name__}, not {type(value).__name__}")
    accepted = accept if accept is None or isinstance(accept, (str, bytes)) else list(accept)

    def make_consumer(**callbacks: Any) -> BaseResultConsumer:
        # A function, since the repr of a partial() would show the URL with its password.
        return consumer_for(
            url,
            key_prefix=key_prefix,
            serializer=serializer,
            accept=accepted,
            max_body_size=max_body_size,
            connect_timeout=connect_timeout,
            redis=redis,
            amqp=amqp,
            **callbacks,
        )

    # Made and thrown away: it checks everything that only the backend's own consumer knows.
    backend = kind_of(url)
    binding = make_consumer().binding
    session = SessionSettings(
        name=name or backend,
        address=redacted(url),
        logger=logging.getLogger(f"bgresults.{backend}"),
        make_consumer=make_consumer,
        retry=retry,
        on_disconnect=on_disconnect,
        binding=binding,
    )
    return Configuration(session, default_lifetime, max_pending, connect_timeout)

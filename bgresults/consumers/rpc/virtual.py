"""What is particular about the transports of kombu that are not AMQP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import kombu.transport

from bgresults.broker_urls import AMQP_SCHEMES, BrokerAddress
from bgresults.consumers.tls import tls_settings
from bgresults.urls import REDIS_SCHEMES, scheme_of

__all__ = ["check_transport", "close_inherited", "close_poller", "connection_settings"]

_get_transport_cls: Any = kombu.transport.get_transport_cls
# They sleep between two looks, for a second unless told otherwise.
_POLLED = ("memory", "filesystem")
_POLLING_INTERVAL = 0.01
_REDIS = ("redis", "rediss", "sentinel")


def check_transport(address: BrokerAddress) -> None:
    """Raise unless kombu has a transport for this address, and what that needs is installed.

    Raises:
        ValueError: names what is allowed.
    """
    assert address.kombu_url is not None
    name = scheme_of(address.kombu_url).partition("+")[0]
    if name not in kombu.transport.TRANSPORT_ALIASES:
        allowed = ", ".join(f"{scheme}://" for scheme in (*REDIS_SCHEMES, *AMQP_SCHEMES))
        others = sorted(
            alias for alias in kombu.transport.TRANSPORT_ALIASES if alias.islower() and alias not in AMQP_SCHEMES
        )
        raise ValueError(
            f"url {address.text!r}: there is no consumer for results at {name}://; allowed are {allowed}, and what "
            f"kombu has a transport for: {', '.join(others)}"
        )
    try:
        # Now, and not in the drain thread: a fork in the middle of an import leaves the child with a locked module.
        _get_transport_cls(name)
    except (ImportError, NameError) as error:
        # A package is missing; of Kafka's, kombu finds that out when it needs a name of it.
        raise ValueError(f"url {address.text!r}: kombu cannot use {name}:// here: {error}") from error


def connection_settings(address: BrokerAddress, seconds: float) -> dict[str, Any]:
    """Arguments of a ``kombu.Connection``, whose connecting may take so many seconds."""
    assert address.kombu_url is not None
    options = address.options
    scheme = scheme_of(address.kombu_url)
    transport_options: dict[str, Any] = {}
    if scheme in _REDIS:
        transport_options = {
            "socket_connect_timeout": seconds,
            # Longer than the second that a BRPOP takes.
            "socket_timeout": max(options.read_timeout, 2.0),
            "socket_keepalive": True,
        }
    elif scheme in _POLLED:
        transport_options = {"polling_interval": _POLLING_INTERVAL}
    settings: dict[str, Any] = {
        "hostname": address.kombu_url,
        "connect_timeout": seconds,
        "transport_options": {**transport_options, **(options.transport_options or {})},
    }
    if options.username is not None:
        settings["userid"] = options.username
    if options.password is not None:
        settings["password"] = options.password
    if scheme == "rediss":
        # Without any, kombu would not verify the certificate.
        settings["ssl"] = {"ssl_cert_reqs": "required", **tls_settings(options)}
    return settings


def close_poller(transport: Any) -> None:
    """Close the epoll of a transport that has one; kombu leaves that to the garbage collector."""
    poller = getattr(getattr(transport, "cycle", None), "poller", None)
    if poller is not None and hasattr(poller, "close"):
        poller.close()


def close_inherited(transport: Any) -> None:
    """In a forked child: close the descriptors of a transport, and send nothing.

    Only those over Redis hold connections of which anything is known; for others, dropping them has to do.
    """
    for channel in list(getattr(transport, "channels", None) or ()):
        for connection in _redis_connections(channel):
            sock, connection._sock = connection._sock, None
            if sock is not None:
                sock.close()
    close_poller(transport)


def _redis_connections(channel: Any) -> Iterator[Any]:
    for name in ("client", "subclient"):
        connection = getattr(channel.__dict__.get(name), "connection", None)
        if hasattr(connection, "_sock"):
            yield connection
    for name in ("_pool", "_async_pool"):
        pool = getattr(channel, name, None)
        for kind in ("_available_connections", "_in_use_connections"):
            yield from list(getattr(pool, kind, ()))

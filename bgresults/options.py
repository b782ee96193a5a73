"""What a user can set: how to reconnect, and how to speak to a Redis server.

Options are plain frozen values. They are checked when they are made, so that a wrong one fails where it was written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["LONGEST_LIFETIME", "RedisOptions", "RetryPolicy", "check_choice", "check_seconds"]

_CERT_REQUIREMENTS = ("required", "optional", "none")


# What sockets and locks can wait for on every platform: eleven days, thirty years.
LONGEST_WAIT = 1e6
LONGEST_LIFETIME = 1e9


def check_seconds(name: str, value: object, *, optional: bool = False, most: float = LONGEST_WAIT) -> None:
    """Raise unless ``value`` is a number of seconds above zero, and at most ``most`` (or None, where ``optional``)."""
    if value is None and optional:
        return
    allowed = f"a number of seconds above 0 and at most {most:g}" + (", or None" if optional else "")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be {allowed}, not {type(value).__name__}")
    # Written so that a NaN fails it.
    if not 0 < value <= most:
        shown = repr(value) if isinstance(value, float) or abs(value) < most else "a larger one"
        raise ValueError(f"{name} must be {allowed}, not {shown}")


def check_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Raise unless ``value`` is one of the words in ``allowed``."""
    if value not in allowed:
        words = ", ".join(repr(word) for word in allowed)
        raise ValueError(f"{name} must be one of {words}, not {value!r}")


def _check_type(name: str, value: object, kinds: type | tuple[type, ...], allowed: str) -> None:
    if not isinstance(value, kinds):
        raise TypeError(f"{name} must be {allowed}, not {type(value).__name__}")


@dataclass(frozen=True)
class RetryPolicy:
    """How a lost connection is made again.

    The wait before attempt *n* is drawn evenly between 0 and ``initial * 2 ** (n - 1)`` seconds, at most ``maximum``
    ("full jitter": many processes that lost one server at the same moment do not come back at the same moment). It
    starts over once a connection has been made and caught up with.

    Attributes:
        initial: upper bound of the first wait, in seconds.
        maximum: upper bound of any wait, in seconds.
        give_up_after: seconds of vain attempts after which pending futures end with ``BackendUnavailableError``; None
            means never. A watcher that gave up tries again when it is used again.
    """

    initial: float = 0.05
    maximum: float = 5.0
    give_up_after: float | None = None

    def __post_init__(self) -> None:
        check_seconds("RetryPolicy.initial", self.initial)
        check_seconds("RetryPolicy.maximum", self.maximum)
        check_seconds("RetryPolicy.give_up_after", self.give_up_after, optional=True)
        if self.maximum < self.initial:
            raise ValueError(
                f"RetryPolicy.maximum must not be below initial: maximum={self.maximum!r}, initial={self.initial!r}"
            )


@dataclass(frozen=True)
class RedisOptions:
    """How to speak to a Redis server, beyond what its URL says.

    An option that is None here is taken from the URL (its user part or its query), then from the default named below.

    Attributes:
        username, password: credentials for ``AUTH``; never part of a ``repr``.
        credential_provider: a ``redis.CredentialProvider`` that is asked, on the drain thread, at every attempt to
            connect; excludes the two above. What it raises is an outage.
        ssl_cert_reqs: ``"required"`` (default), ``"optional"`` or ``"none"``. All ``ssl_*`` are for ``rediss://`` only.
        ssl_ca_certs: path of a file with the CA certificates to trust instead of the system's.
        ssl_certfile, ssl_keyfile, ssl_password: client certificate, its key and the password of that key.
        ssl_check_hostname: whether the certificate must be for the URL's host (default True).
        socket_keepalive: TCP keepalive on both connections (default True).
        health_check_interval: seconds of silence after which a PING asks whether the link is alive (default 15).
        read_timeout: seconds that the server may take for an answer before the link counts as dead (default 5).
        connection_class: a subclass of ``redis.Connection`` to use instead of the library's own.
    """

    username: str | None = None
    password: str | None = None
    credential_provider: Any = None
    ssl_cert_reqs: str | None = None
    ssl_ca_certs: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    ssl_password: str | None = None
    ssl_check_hostname: bool | None = None
    socket_keepalive: bool | None = None
    health_check_interval: float | None = None
    read_timeout: float | None = None
    connection_class: type | None = None

    def __post_init__(self) -> None:
        for name in (
            "username",
            "password",
            "ssl_cert_reqs",
            "ssl_ca_certs",
            "ssl_certfile",
            "ssl_keyfile",
            "ssl_password",
        ):
            _check_type(f"RedisOptions.{name}", getattr(self, name), (str, type(None)), "a str or None")
        for name in ("ssl_check_hostname", "socket_keepalive"):
            _check_type(f"RedisOptions.{name}", getattr(self, name), (bool, type(None)), "a bool or None")
        for name in ("health_check_interval", "read_timeout"):
            check_seconds(f"RedisOptions.{name}", getattr(self, name), optional=True)
        if self.ssl_cert_reqs is not None:
            check_choice("RedisOptions.ssl_cert_reqs", self.ssl_cert_reqs, _CERT_REQUIREMENTS)
        _check_type("RedisOptions.connection_class", self.connection_class, (type, type(None)), "a class or None")
        if self.credential_provider is not None:
            if self.username is not None or self.password is not None:
                raise ValueError("RedisOptions takes either credential_provider or username and password, not both")
            if not callable(getattr(self.credential_provider, "get_credentials", None)):
                raise TypeError("RedisOptions.credential_provider must have a get_credentials() method")

    def __repr__(self) -> str:
        shown = []
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if value is not None:
                shown.append(f"{name}={'***' if 'password' in name else repr(value)}")
        return f"RedisOptions({', '.join(shown)})"

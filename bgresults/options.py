"""What a user can set: how to reconnect, and how to speak to a Redis server or to a message broker.

Options are plain frozen values. They are checked when they are made, so that a wrong one fails where it was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypeAlias

__all__ = [
    "LONGEST_LIFETIME",
    "AMQPOptions",
    "Binding",
    "RedisOptions",
    "RetryPolicy",
    "check_choice",
    "check_seconds",
    "filled_up",
]

#: Which reply queues there are: one for this process, or one for each task.
Binding: TypeAlias = Literal["process", "task"]

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


def _check_count(name: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int from {least} to {most}, not {type(value).__name__}")
    if not least <= value <= most:
        raise ValueError(f"{name} must be an int from {least} to {most}, not {value}")


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
        ssl_cert_reqs: ``"required"`` (default), ``"optional"`` or ``"none"``. All ``ssl_*`` are for ``rediss://``, or
            ``ssl=True``, only.
        ssl_ca_certs: path of a file with the CA certificates to trust instead of the system's.
        ssl_certfile, ssl_keyfile, ssl_password: client certificate, its key and the password of that key.
        ssl_check_hostname: whether the certificate must be for the URL's host (default True).
        socket_keepalive: TCP keepalive on both connections (default True).
        health_check_interval: seconds of silence after which a PING asks whether the link is alive (default 15).
        read_timeout: seconds that the server may take for an answer before the link counts as dead (default 5).
        connection_class: a subclass of ``redis.Connection`` to use instead of the library's own.
        master_name: what the sentinels call the master; needed for ``sentinel://``, and for that only, as are the next
            three.
        min_other_sentinels: how many others a sentinel has to know of to be believed (default 0).
        ssl: whether the connections to the master are encrypted, which the scheme of the URL does not say (default
            False). The certificate has to be for the host, or the IP address, that the sentinels give.
        sentinel: how to speak to the sentinels themselves: another ``RedisOptions``, of which the credentials, ``ssl``
            and all ``ssl_*`` count. Nothing of what is said of the servers holds for the sentinels, and no credentials
            of the URL do; None means no credentials, and no TLS.
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
    master_name: str | None = None
    min_other_sentinels: int | None = None
    ssl: bool | None = None
    sentinel: RedisOptions | None = None

    def __post_init__(self) -> None:
        _check_common(self)
        for name in ("socket_keepalive", "ssl"):
            _check_type(f"RedisOptions.{name}", getattr(self, name), (bool, type(None)), "a bool or None")
        for name in ("health_check_interval", "read_timeout"):
            check_seconds(f"RedisOptions.{name}", getattr(self, name), optional=True)
        _check_type("RedisOptions.connection_class", self.connection_class, (type, type(None)), "a class or None")
        if self.credential_provider is not None:
            if self.username is not None or self.password is not None:
                raise ValueError("RedisOptions takes either credential_provider or username and password, not both")
            if not callable(getattr(self.credential_provider, "get_credentials", None)):
                raise TypeError("RedisOptions.credential_provider must have a get_credentials() method")
        self._check_sentinel()

    def _check_sentinel(self) -> None:
        _check_type("RedisOptions.master_name", self.master_name, (str, type(None)), "a str or None")
        if self.master_name == "":
            raise ValueError("RedisOptions.master_name must be the name of a master, such as 'mymaster', and not empty")
        if self.min_other_sentinels is not None:
            _check_count("RedisOptions.min_other_sentinels", self.min_other_sentinels, 0, 1000)
        _check_type("RedisOptions.sentinel", self.sentinel, (RedisOptions, type(None)), "a RedisOptions or None")
        if self.sentinel is not None:
            for name in ("master_name", "min_other_sentinels", "sentinel", "connection_class"):
                if getattr(self.sentinel, name) is not None:
                    raise ValueError(
                        f"RedisOptions.sentinel says how to speak to the sentinels; {name} has no place in it"
                    )

    def __repr__(self) -> str:
        return _shown(self)


def filled_up(options: RedisOptions, found: Mapping[str, object]) -> RedisOptions:
    """``options``, and what was ``found`` for those that are None.

    Raises:
        TypeError, ValueError: together they make no sense.
    """
    rest = {name: value for name, value in found.items() if getattr(options, name) is None}
    if options.credential_provider is not None:
        rest.pop("username", None)
        rest.pop("password", None)
    elif options.username is not None or options.password is not None:
        rest.pop("credential_provider", None)
    return replace(options, **rest)  # type: ignore[arg-type]


@dataclass(frozen=True)
class AMQPOptions:
    """How to receive replies from a message broker, beyond what its URL says.

    An option that has its default here is taken from the URL's query, if it is there.

    Attributes:
        binding: ``"process"``: one reply queue for this process. ``"task"``: one queue for each task, named after it,
            so that another process than the sender can watch it.
        no_ack: whether the broker forgets a reply as soon as it has sent it: a little faster, and what was on its way
            is lost with the connection.
        prefetch: replies that the broker sends ahead of their acknowledgement, for each queue.
        queue_expires: seconds without a consumer after which the broker deletes a queue, with what is in it: how long
            an outage may last.
        queue_type: ``"classic"``, ``"quorum"`` or another ``x-queue-type``; None for the broker's default.
        heartbeat: seconds between two heartbeats, or the broker's if that is less; a link that has been silent for
            two of them is dead. 0 for none.
        read_timeout: seconds that the broker may take for an answer before the link counts as dead.
        unclaimed_max, unclaimed_max_bytes, unclaimed_max_age: how many replies that nobody watches yet are kept, of
            how many bytes in all, and for how many seconds. The last results that were delivered are among them, for
            a second ``watch()``.
        on_reply_loss: what happens to the futures that wait when the reply queue turns out to have been deleted:
            ``"wait"`` keeps them, ``"fail"`` ends them with ``ReplyLostError``.
        username, password: credentials, instead of those in the URL; never part of a ``repr``.
        login_method: ``"PLAIN"``, ``"AMQPLAIN"`` or ``"EXTERNAL"``.
        ssl_cert_reqs, ssl_ca_certs, ssl_certfile, ssl_keyfile, ssl_password, ssl_check_hostname: as in
            :class:`RedisOptions`, for ``amqps://``.
        transport_options: for a transport of kombu other than AMQP, what kombu calls so.
    """

    binding: Binding = "process"
    no_ack: bool = False
    prefetch: int = 500
    queue_expires: float = 600.0
    queue_type: str | None = None
    heartbeat: int = 10
    read_timeout: float = 5.0
    unclaimed_max: int = 8192
    unclaimed_max_bytes: int = 64 * 1024 * 1024
    unclaimed_max_age: float = 600.0
    on_reply_loss: Literal["wait", "fail"] = "wait"
    username: str | None = None
    password: str | None = None
    login_method: str = "PLAIN"
    ssl_cert_reqs: str | None = None
    ssl_ca_certs: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    ssl_password: str | None = None
    ssl_check_hostname: bool | None = None
    transport_options: Mapping[str, Any] | None = field(default=None, hash=False)

    def __post_init__(self) -> None:
        _check_common(self)
        check_choice("AMQPOptions.binding", self.binding, ("process", "task"))
        check_choice("AMQPOptions.on_reply_loss", self.on_reply_loss, ("wait", "fail"))
        check_choice("AMQPOptions.login_method", self.login_method, ("PLAIN", "AMQPLAIN", "EXTERNAL"))
        _check_type("AMQPOptions.no_ack", self.no_ack, (bool,), "a bool")
        _check_type("AMQPOptions.queue_type", self.queue_type, (str, type(None)), "a str or None")
        for name, least, most in (
            ("prefetch", 1, 65535),
            ("heartbeat", 0, 3600),
            ("unclaimed_max", 0, 10**9),
            ("unclaimed_max_bytes", 0, 10**12),
        ):
            _check_count(f"AMQPOptions.{name}", getattr(self, name), least, most)
        for name in ("queue_expires", "read_timeout", "unclaimed_max_age"):
            check_seconds(f"AMQPOptions.{name}", getattr(self, name))
        if self.queue_expires < 1:
            raise ValueError(f"AMQPOptions.queue_expires must be at least 1 second, not {self.queue_expires!r}")
        _check_type("AMQPOptions.transport_options", self.transport_options, (Mapping, type(None)), "a dict or None")

    def __repr__(self) -> str:
        return _shown(self)


def _check_common(options: RedisOptions | AMQPOptions) -> None:
    """Credentials and TLS."""
    kind = type(options).__name__
    for name in (
        "username",
        "password",
        "ssl_cert_reqs",
        "ssl_ca_certs",
        "ssl_certfile",
        "ssl_keyfile",
        "ssl_password",
    ):
        _check_type(f"{kind}.{name}", getattr(options, name), (str, type(None)), "a str or None")
    _check_type(f"{kind}.ssl_check_hostname", options.ssl_check_hostname, (bool, type(None)), "a bool or None")
    if options.ssl_cert_reqs is not None:
        check_choice(f"{kind}.ssl_cert_reqs", options.ssl_cert_reqs, _CERT_REQUIREMENTS)


def _shown(options: RedisOptions | AMQPOptions) -> str:
    """What differs from the defaults, without secrets: transport options may have some as well."""
    shown = []
    for item in fields(options):
        value = getattr(options, item.name)
        if value != item.default:
            secret = "password" in item.name or item.name == "transport_options"
            shown.append(f"{item.name}={'***' if secret else repr(value)}")
    return f"{type(options).__name__}({', '.join(shown)})"

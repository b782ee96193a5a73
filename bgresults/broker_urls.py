"""URL of a message broker → its parts, and a text of it that may be logged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from urllib.parse import parse_qsl, unquote, urlsplit

from bgresults.options import AMQPOptions, check_seconds
from bgresults.urls import BADLY_ENCODED, certificate_requirement, credentials, flag, redacted, scheme_of, split_url

__all__ = ["AMQP_SCHEMES", "RPC_PREFIX", "BrokerAddress", "parse_broker_url"]

#: Schemes that mean AMQP. Every other one is the name of a transport of kombu.
AMQP_SCHEMES = ("amqp", "amqps", "pyamqp")
#: In front of the URL of any broker: replies over that one, also where the scheme alone would mean a Redis backend.
RPC_PREFIX = "rpc+"

_PORT, _TLS_PORT = 5672, 5671


@dataclass(frozen=True)
class BrokerAddress:
    """Where a broker is and how to speak to it: what a URL and :class:`AMQPOptions` say together.

    Attributes:
        text: the URL without its password, for logs and error messages.
        kombu_url: the URL as kombu takes it, password included, where the transport is not AMQP; else None.
        host, port, virtual_host, tls: for AMQP.
        connect_timeout: seconds from the URL's query, or None.
        options: user and password of the URL included.
    """

    text: str
    kombu_url: str | None = field(default=None, repr=False)
    host: str = "localhost"
    port: int = _PORT
    virtual_host: str = "/"
    tls: bool = False
    connect_timeout: float | None = None
    options: AMQPOptions = field(default=AMQPOptions(), repr=False)


def parse_broker_url(url: str, options: AMQPOptions) -> BrokerAddress:
    """Return what ``url`` and ``options`` say together; an option that is not the default wins over the URL.

    Raises:
        TypeError: it is no str.
        ValueError: a part of the URL makes no sense; the text names it and what is allowed, and shows no password.
    """
    given_url = url
    if scheme_of(url).startswith(RPC_PREFIX):
        url = url[len(RPC_PREFIX) :]
    scheme = scheme_of(url)
    if scheme not in AMQP_SCHEMES:
        # What is in its query is kombu's.
        return BrokerAddress(text=_shown(given_url), kombu_url=url, options=options)
    parts, host, port = split_url(url)
    text = redacted(given_url)
    found: dict[str, object] = {**credentials(parts)}
    connect_timeout = None
    for name, value in _settings(parts.query, text):
        if name == "connect_timeout":
            assert isinstance(value, float)
            connect_timeout = value
        else:
            found[name] = value
    given = {item.name for item in fields(options) if getattr(options, item.name) != item.default}
    try:
        merged = replace(options, **{name: value for name, value in found.items() if name not in given})  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise ValueError(f"url {text!r}: {error}") from error
    tls = scheme == "amqps"
    return BrokerAddress(
        text=text,
        host=unquote(host) if host else "localhost",
        port=port or (_TLS_PORT if tls else _PORT),
        # kombu's rule, and Celery's: "//" at the end is the virtual host "/", and so is none at all.
        virtual_host=unquote(parts.path[1:]) or "/",
        tls=tls,
        connect_timeout=connect_timeout,
        options=merged,
    )


def _shown(url: str) -> str:
    """:func:`redacted`, of a URL that only kombu can read: some have several hosts. Raises ValueError."""
    text: str | None = None
    try:
        parts = urlsplit(url)
        if not parts.fragment and "@" not in parts.path and "@" not in parts.query:
            text = redacted(url)
    except ValueError:
        pass
    # Outside of the clause: the error of urlsplit() quotes what it dislikes.
    if text is None:
        raise ValueError(BADLY_ENCODED)
    return text


# Setting in the query → how its text is read.
_SETTINGS: dict[str, Callable[[str], object]] = {
    **dict.fromkeys(("binding", "login_method", "on_reply_loss", "queue_type"), str),
    **dict.fromkeys(("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_password"), str),
    **dict.fromkeys(("heartbeat", "prefetch", "unclaimed_max", "unclaimed_max_bytes"), int),
    **dict.fromkeys(("queue_expires", "read_timeout", "unclaimed_max_age"), float),
    "no_ack": flag,
    "ssl_check_hostname": flag,
    "ssl_cert_reqs": certificate_requirement,
    "connect_timeout": float,
}


def _settings(query: str, text: str) -> Iterator[tuple[str, object]]:
    """The settings in the query. Each must be known, or what the user meant would be lost in silence."""
    values = dict(parse_qsl(query, keep_blank_values=True))
    unknown = sorted(set(values) - set(_SETTINGS))
    if unknown:
        known = ", ".join(sorted(_SETTINGS))
        raise ValueError(f"url {text!r} has unknown settings: {', '.join(unknown)}; known ones are {known}")
    for name, value in values.items():
        try:
            converted = _SETTINGS[name](value)
            if name == "connect_timeout":
                check_seconds(name, converted)
        except (TypeError, ValueError) as error:
            shown = "***" if "password" in name else repr(value)
            raise ValueError(f"url {text!r}: {name}={shown} cannot be read: {error}") from error
        yield name, converted

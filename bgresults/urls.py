"""URL of a result backend → its parts, and a text of it that may be logged. Sentinels: see ``sentinel_urls``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from bgresults.options import RedisOptions, check_seconds, filled_up

__all__ = [
    "BADLY_ENCODED",
    "OPTIONS",
    "REDIS_SCHEMES",
    "SENTINEL_SCHEME",
    "QuerySettings",
    "RedisAddress",
    "Setting",
    "certificate_requirement",
    "credentials",
    "flag",
    "parse_redis_url",
    "redacted",
    "scheme_of",
    "sentinel_pieces",
    "split_url",
]

#: Of a URL that cannot be taken apart without showing what may be a piece of a password.
BADLY_ENCODED = (
    "url is malformed: the characters / ? # and @ must be percent-encoded in the user name, the password "
    "and the settings, such as %2F for /"
)
SENTINEL_SCHEME = "sentinel"
REDIS_SCHEMES = ("redis", "rediss", "unix", "socket", "redis+socket", SENTINEL_SCHEME)
_SOCKET_SCHEMES = ("unix", "socket", "redis+socket")

# Names that redis-py or Celery accept in a URL, and that mean nothing to two connections of our own. They are let
# through, so that one URL can serve the application and this library.
_WITHOUT_EFFECT = frozenset(
    {
        "client_name",
        "decode_responses",
        "encoding",
        "encoding_errors",
        "max_connections",
        "protocol",
        "retry_on_error",
        "retry_on_timeout",
        "socket_read_size",
        "timeout",
    }
)
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off", "f", "n"})
_BETWEEN_SENTINELS = re.compile(f";(?={SENTINEL_SCHEME}://)", re.IGNORECASE)
_CERT_REQUIREMENTS = {"cert_required": "required", "cert_optional": "optional", "cert_none": "none"}


@dataclass(frozen=True)
class RedisAddress:
    """Where a Redis server is and how to speak to it: what a URL and :class:`RedisOptions` say together.

    Attributes:
        host, port: for TCP; ``path`` is None then.
        path: the socket file, for a Unix socket.
        database: number of the database of the stored results. Channels do not belong to one.
        tls: whether the connection is encrypted.
        connect_timeout: seconds from the URL's query, or None.
        options: user and password of the URL included.
        text: the URL without its password, for logs and error messages.
        sentinels: host and port of each sentinel, which know where the server is; ``host``, ``port`` and ``path`` mean
            nothing then. Empty if the server is not to be looked for.
    """

    text: str
    host: str = "localhost"
    port: int = 6379
    path: str | None = None
    database: int = 0
    tls: bool = False
    connect_timeout: float | None = None
    options: RedisOptions = field(default=RedisOptions(), repr=False)
    sentinels: tuple[tuple[str, int], ...] = ()


def scheme_of(url: str) -> str:
    """Return the scheme of ``url`` in lower case.

    Raises:
        TypeError: it is no str.
        ValueError: it has no scheme.
    """
    if not isinstance(url, str):
        raise TypeError(f"url must be a str such as 'redis://localhost:6379/0', not {type(url).__name__}")
    scheme, separator, _ = url.partition("://")
    if not separator or not scheme:
        # The text may be a bare password or a host with one: it is not shown.
        raise ValueError("url must look like 'redis://localhost:6379/0'; there is no '://' in it")
    return scheme.lower()


def redacted(url: str) -> str:
    """Return ``url`` with its password, and passwords in its query, as ``***``."""
    return ";".join(map(_redacted, sentinel_pieces(url)))


def sentinel_pieces(url: str) -> list[str]:
    """The URLs in ``url``: Celery's form of several sentinels is one URL for each, with semicolons in between."""
    return _BETWEEN_SENTINELS.split(url)


def _redacted(url: str) -> str:
    parts = urlsplit(url)
    userinfo, at, address = parts.netloc.rpartition("@")
    if at and ":" in userinfo:
        userinfo = userinfo.partition(":")[0] + ":***"
    query = "&".join(
        f"{name}={'***' if 'password' in name.lower() else value}"
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
    )
    return f"{parts.scheme}://{userinfo}{at}{address}{parts.path}{'?' + query if query else ''}"


def parse_redis_url(url: str, options: RedisOptions) -> RedisAddress:
    """Return what ``url`` and ``options`` say together; an option that is set wins over the URL.

    Raises:
        ValueError: a part of the URL makes no sense; the text names it and what is allowed, and shows no password.
    """
    parts, host, port = split_url(url)
    scheme = parts.scheme.lower()
    text = redacted(url)
    settings = QuerySettings(parts, text, OPTIONS)
    path: str | None = None
    if scheme in _SOCKET_SCHEMES:
        path = unquote(parts.path)
        if host:
            raise ValueError(f"url {text!r}: a Unix socket takes a path and no host, such as 'unix:///run/redis.sock'")
        if not path.strip("/"):
            raise ValueError(f"url {text!r} has no path; write it such as 'unix:///run/redis.sock'")
        in_path = None
    else:
        in_path = unquote(parts.path).strip("/") or None
    database = settings.database(in_path)
    connect_timeout = settings.connect_timeout()
    found = settings.redis_options(parts)
    settings.finish()
    try:
        merged = filled_up(options, found)
    except (TypeError, ValueError) as error:
        raise ValueError(f"url {text!r}: {error}") from error
    return RedisAddress(
        text=text,
        host=unquote(host) if host else "localhost",
        port=6379 if port is None else port,
        path=path,
        database=database,
        tls=scheme == "rediss",
        connect_timeout=connect_timeout,
        options=merged,
    )


def split_url(url: str) -> tuple[SplitResult, str | None, int | None]:
    """The parts of ``url``. Nothing that may be a piece of a password comes up, in a message or behind one."""
    parts: SplitResult | None = None
    host: str | None = None
    port: int | None = None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        if host is not None:
            host.encode("idna")
    except ValueError:
        parts = None
    # Outside of the clause: the error of urlsplit() quotes what it dislikes.
    if parts is None:
        raise ValueError(
            "url is malformed: host and port must look like 'localhost:6379' or '[::1]:6379', "
            "and special characters in the user name and password must be percent-encoded, such as %2F for /"
        )
    if parts.fragment or "@" in parts.path or "@" in parts.query:
        raise ValueError(BADLY_ENCODED)
    return parts, host, port


def credentials(parts: SplitResult) -> dict[str, str]:
    """User name and password of a URL, as far as it has them."""
    given = {"username": parts.username, "password": parts.password}
    return {name: unquote(value) for name, value in given.items() if value}


def flag(text: str) -> bool:
    lowered = text.lower()
    if lowered in _TRUE:
        return True
    if lowered in _FALSE:
        return False
    raise ValueError("use true or false")


def certificate_requirement(text: str) -> str:
    return _CERT_REQUIREMENTS.get(text.lower(), text.lower())


Setting = tuple[str, Callable[[str], object]]

# Option in the query → (field of RedisOptions, how its text is read); redis-py's and Celery's names where there are.
OPTIONS: dict[str, Setting] = {
    "username": ("username", str),
    "password": ("password", str),
    "ssl_cert_reqs": ("ssl_cert_reqs", certificate_requirement),
    "ssl_ca_certs": ("ssl_ca_certs", str),
    "ssl_certfile": ("ssl_certfile", str),
    "ssl_keyfile": ("ssl_keyfile", str),
    "ssl_password": ("ssl_password", str),
    "ssl_check_hostname": ("ssl_check_hostname", flag),
    "socket_keepalive": ("socket_keepalive", flag),
    "health_check_interval": ("health_check_interval", float),
    "socket_timeout": ("read_timeout", float),
    "read_timeout": ("read_timeout", float),
}


class QuerySettings:
    """The settings in the query of one URL. Each must be known, or what the user meant would be lost in silence.

    Args:
        parts: of the URL.
        text: the URL without its password.
        options: those that may be there, such as :data:`OPTIONS`.
    """

    def __init__(self, parts: SplitResult, text: str, options: Mapping[str, Setting]) -> None:
        self._text = text
        self._options = options
        self._values = dict(parse_qsl(parts.query, keep_blank_values=True))

    def connect_timeout(self) -> float | None:
        given = [self._values.pop(name, None) for name in ("connect_timeout", "socket_connect_timeout")]
        value = given[0] or given[1]
        if value is None:
            return None
        try:
            seconds = float(value)
            check_seconds("connect_timeout", seconds)
        except ValueError as error:
            raise ValueError(
                f"url {self._text!r}: connect_timeout must be a number of seconds above 0, not {value!r}"
            ) from error
        return seconds

    def database(self, in_path: str | None) -> int:
        """The number of the database: ``db`` (or Celery's ``virtual_host``) in the query, else the path."""
        given = self._values.pop("db", None) or self._values.pop("virtual_host", None) or in_path or "0"
        if not given.strip("/").isdecimal():
            raise ValueError(f"url {self._text!r}: the database must be a number such as 0, not {given!r}")
        return int(given.strip("/"))

    def redis_options(self, parts: SplitResult) -> dict[str, object]:
        found: dict[str, object] = {**credentials(parts)}
        for name, (option, convert) in self._options.items():
            if name not in self._values:
                continue
            value = self._values.pop(name)
            try:
                found[option] = convert(value)
            except ValueError as error:
                shown = "***" if "password" in name else repr(value)
                raise ValueError(f"url {self._text!r}: {name}={shown} cannot be read: {error}") from error
        return found

    def finish(self) -> None:
        unknown = sorted(set(self._values) - _WITHOUT_EFFECT)
        if unknown:
            others = ("connect_timeout", "db", "socket_connect_timeout", "virtual_host")
            known = ", ".join(sorted({*self._options, *others}))
            raise ValueError(f"url {self._text!r} has unknown settings: {', '.join(unknown)}; known ones are {known}")

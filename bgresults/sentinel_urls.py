"""``sentinel://`` URL → where the sentinels are, and how to speak to the master that they name."""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import SplitResult, unquote, urlsplit

from bgresults.options import RedisOptions, filled_up
from bgresults.urls import (
    OPTIONS,
    SENTINEL_SCHEME,
    QuerySettings,
    RedisAddress,
    Setting,
    flag,
    parse_redis_url,
    redacted,
    scheme_of,
    sentinel_pieces,
    split_url,
)

__all__ = ["parse_address"]

_PORT = 26379
_PREFIX = "sentinel_"


# What a query may say besides: of the master, and, with the prefix, of the sentinels.
_OPTIONS: dict[str, Setting] = {
    **OPTIONS,
    "master_name": ("master_name", str),
    "min_other_sentinels": ("min_other_sentinels", int),
    "ssl": ("ssl", flag),
    f"{_PREFIX}ssl": (f"{_PREFIX}ssl", flag),
    **{
        _PREFIX + name: (_PREFIX + option, convert)
        for name, (option, convert) in OPTIONS.items()
        if name.startswith("ssl_") or name in {"username", "password"}
    },
}


def parse_address(url: str, options: RedisOptions) -> RedisAddress:
    """Return what ``url``, of a server or of sentinels, and ``options`` say together; an option that is set wins.

    Several sentinels are written ``sentinel://a:26379;b:26379/0``, or, as Celery has it, each with a scheme of its own:
    ``sentinel://a:26379/0;sentinel://b:26379/0``. User and password are those of the servers, not of the sentinels.

    Raises:
        TypeError: it is no str.
        ValueError: a part of the URL makes no sense; the text names it and what is allowed, and shows no password.
    """
    if scheme_of(url) != SENTINEL_SCHEME:
        address = parse_redis_url(url, options)
        _check_no_sentinel(address)
        return address
    pieces = sentinel_pieces(url)
    # First, since it notices what is malformed: up to here nobody knows which part is a password.
    sentinels = tuple(place for piece in pieces for place in _places(piece))
    text = redacted(url)
    parts = _common_parts(pieces, text)
    settings = QuerySettings(parts, text, _OPTIONS)
    database = settings.database(unquote(parts.path).strip("/") or None)
    connect_timeout = settings.connect_timeout()
    found = settings.redis_options(parts)
    settings.finish()
    of_sentinels = {name.removeprefix(_PREFIX): found.pop(name) for name in list(found) if name.startswith(_PREFIX)}
    try:
        if of_sentinels:
            options = replace(options, sentinel=filled_up(options.sentinel or RedisOptions(), of_sentinels))
        merged = filled_up(options, found)
    except (TypeError, ValueError) as error:
        raise ValueError(f"url {text!r}: {error}") from error
    if merged.master_name is None:
        raise ValueError(
            f"url {text!r} does not say which master: add ?master_name=mymaster or RedisOptions(master_name='mymaster')"
            "; a Celery app says so in result_backend_transport_options={'master_name': 'mymaster'}"
        )
    return RedisAddress(
        text=text,
        database=database,
        tls=bool(merged.ssl),
        connect_timeout=connect_timeout,
        options=merged,
        sentinels=sentinels,
    )


def _check_no_sentinel(address: RedisAddress) -> None:
    """Raise if there are options for a server that has to be looked for."""
    for name in ("master_name", "min_other_sentinels", "sentinel", "ssl"):
        if getattr(address.options, name) is not None:
            hint = "; TLS is asked for by the scheme rediss://" if name == "ssl" else ""
            raise ValueError(f"url {address.text!r}: RedisOptions.{name} is for sentinel:// URLs{hint}")


def _places(piece: str) -> list[tuple[str, int]]:
    """Host and port of each sentinel of one URL."""
    address = piece.partition("://")[2]
    netloc = re.split("[/?#]", address, maxsplit=1)[0]
    rest = address[len(netloc) :]
    userinfo, at, hosts = netloc.rpartition("@")
    if "@" in userinfo:
        raise ValueError(
            "url is malformed: user name and password stand once, in front of the first sentinel, and @ must be "
            "percent-encoded in them: %40"
        )
    places = []
    for place in hosts.split(";"):
        # One by one, each looks like the URL of one host.
        _, host, port = split_url(f"{SENTINEL_SCHEME}://{userinfo}{at}{place}{rest}")
        if host is None:
            raise ValueError(
                "url names no sentinel, or has an empty place among them: write it such as "
                "'sentinel://localhost:26379;localhost:26380/0?master_name=mymaster'"
            )
        places.append((unquote(host), _PORT if port is None else port))
    return places


def _common_parts(pieces: list[str], text: str) -> SplitResult:
    """User, password, path and query: what the first URL says, and what the others may repeat.

    Celery reads the first one alone. Whoever wrote something else into another one meant something that it does not do.
    """
    first, *others = map(urlsplit, pieces)
    for other in others:
        for name, own, others_own in (
            ("user name", first.username, other.username),
            ("password", first.password, other.password),
            ("database", first.path.strip("/"), other.path.strip("/")),
            ("settings", first.query, other.query),
        ):
            if others_own and own != others_own:
                raise ValueError(
                    f"url {text!r}: the first of several URLs counts, and the others say something else of the {name}"
                )
    return first

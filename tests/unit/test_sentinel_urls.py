"""``sentinel://`` URL → where the sentinels are and how to speak to the master; and no password in any text."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from bgresults import RedisOptions, ResultWatcher
from bgresults.consumers.redis import ResultConsumer
from bgresults.consumers.redis.masters import _leads_to, connector_for
from bgresults.sentinel_urls import parse_address
from bgresults.urls import redacted

NAMED: dict[str, Any] = {"master_name": "mymaster"}


def parse(url: str, **options: Any) -> Any:
    return parse_address(url, RedisOptions(**{**NAMED, **options}))


@pytest.mark.parametrize(
    ("url", "sentinels", "database"),
    [
        ("sentinel://a:26379;b:26380/3", (("a", 26379), ("b", 26380)), 3),
        ("SENTINEL://a;b", (("a", 26379), ("b", 26379)), 0),
        ("sentinel://a", (("a", 26379),), 0),
        ("sentinel://a:1?db=5", (("a", 1),), 5),
        ("sentinel://[::1]:1;[fe80::1]/2", (("::1", 1), ("fe80::1", 26379)), 2),
        ("sentinel://a:1/3;sentinel://b:2/3;sentinel://c:3/3", (("a", 1), ("b", 2), ("c", 3)), 3),
        ("sentinel://a:1/3;sentinel://b:2", (("a", 1), ("b", 2)), 3),
        ("sentinel://u:p@a:1/3;sentinel://u:p@b:2/3", (("a", 1), ("b", 2)), 3),
        ("sentinel://a;b/1?ssl_ca_certs=/ca.pem&ssl=true", (("a", 26379), ("b", 26379)), 1),
    ],
)
def test_places(url: str, sentinels: Any, database: int) -> None:
    address = parse(url)
    assert (address.sentinels, address.database) == (sentinels, database)


def test_a_server_is_still_a_server() -> None:
    address = parse_address("redis://example.org:7000/3", RedisOptions())
    assert (address.sentinels, address.host, address.port, address.database) == ((), "example.org", 7000, 3)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sentinel://user:s%40cret@a;b", RedisOptions(username="user", password="s@cret", **NAMED)),
        ("sentinel://a?master_name=other", RedisOptions(master_name="mymaster")),
        ("sentinel://a?password=se;cret", RedisOptions(password="se;cret", **NAMED)),
        ("sentinel://:se;cret@a;b", RedisOptions(password="se;cret", **NAMED)),
        ("sentinel://a?min_other_sentinels=2", RedisOptions(min_other_sentinels=2, **NAMED)),
        ("sentinel://a?ssl=true&ssl_cert_reqs=none", RedisOptions(ssl=True, ssl_cert_reqs="none", **NAMED)),
        (
            "sentinel://a?sentinel_username=u&sentinel_password=p&sentinel_ssl=1&sentinel_ssl_check_hostname=no",
            RedisOptions(
                sentinel=RedisOptions(username="u", password="p", ssl=True, ssl_check_hostname=False), **NAMED
            ),
        ),
        ("sentinel://a?health_check_interval=3", RedisOptions(health_check_interval=3, **NAMED)),
    ],
)
def test_settings_in_the_url(url: str, expected: RedisOptions) -> None:
    assert parse(url).options == expected


def test_the_name_in_the_url() -> None:
    address = parse_address("sentinel://a?master_name=other&connect_timeout=3", RedisOptions())
    assert (address.options.master_name, address.connect_timeout) == ("other", 3.0)


def test_an_option_that_is_set_wins() -> None:
    options = parse(
        "sentinel://u:p@a?sentinel_password=q&sentinel_username=v&ssl=true",
        password="other",
        ssl=False,
        sentinel=RedisOptions(password="another"),
    ).options
    assert (options.username, options.password, options.ssl) == ("u", "other", False)
    assert options.sentinel == RedisOptions(username="v", password="another")


def test_tls_is_an_option() -> None:
    assert not parse("sentinel://a").tls
    assert parse("sentinel://a", ssl=True).tls
    assert not parse("sentinel://a", sentinel=RedisOptions(ssl=True)).tls, "the sentinels alone"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sentinel://", "names no sentinel"),
        ("sentinel:///0", "names no sentinel"),
        ("sentinel://a;;b", "empty place"),
        ("sentinel://a;/0", "empty place"),
        ("sentinel://a:port", "malformed"),
        ("sentinel://a:1,b:2", "malformed"),
        ("sentinel://u:secret@a:1;u:secret@b:2", "stand once"),
        ("sentinel://user:sec/ret@a", "malformed"),
        ("sentinel://a;b/zero", "must be a number"),
        ("sentinel://a?colour=red", "unknown settings: colour; known ones are .*master_name"),
        ("sentinel://a?min_other_sentinels=many", "min_other_sentinels='many'"),
        ("sentinel://a?min_other_sentinels=-1", "from 0 to"),
        ("sentinel://a?sentinel_ssl=perhaps", "sentinel_ssl='perhaps'"),
        ("sentinel://a?sentinel_ssl_cert_reqs=some", "ssl_cert_reqs"),
        ("sentinel://a/1;sentinel://b/2", "something else of the database"),
        ("sentinel://a;sentinel://b/2", "something else of the database"),
        ("sentinel://u:secret@a;sentinel://u:other@b", "something else of the password"),
        ("sentinel://a;sentinel://b?master_name=x", "something else of the settings"),
    ],
)
def test_what_makes_no_sense(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        parse(url)
    assert "secret" not in str(caught.value)
    assert "sec/ret" not in str(caught.value)


@pytest.mark.parametrize("make", [ResultConsumer, ResultWatcher])
def test_which_master(make: Any) -> None:
    """Nobody can guess it, so it is asked for at once."""
    with pytest.raises(ValueError, match=r"\?master_name=mymaster or RedisOptions\(master_name='mymaster'\)"):
        make("sentinel://user:secret@localhost:26379/0")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"master_name": "mymaster"}, r"RedisOptions\.master_name is for sentinel://"),
        ({"min_other_sentinels": 1}, r"RedisOptions\.min_other_sentinels is for sentinel://"),
        ({"sentinel": RedisOptions()}, r"RedisOptions\.sentinel is for sentinel://"),
        ({"ssl": True}, "rediss://"),
    ],
)
def test_options_for_sentinels_alone(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ResultWatcher("redis://localhost", redis=RedisOptions(**options))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"master_name": ""}, ValueError),
        ({"master_name": 1}, TypeError),
        ({"min_other_sentinels": -1}, ValueError),
        ({"min_other_sentinels": "1"}, TypeError),
        ({"ssl": "yes"}, TypeError),
        ({"sentinel": {"password": "secret"}}, TypeError),
        ({"sentinel": RedisOptions(master_name="mymaster")}, ValueError),
        ({"sentinel": RedisOptions(sentinel=RedisOptions())}, ValueError),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=f"RedisOptions.{next(iter(options))}"):
        RedisOptions(**options)


def test_files_of_the_sentinels_are_looked_at_too() -> None:
    options = RedisOptions(master_name="mymaster", sentinel=RedisOptions(ssl=True, ssl_ca_certs="/no/such/file"))
    with pytest.raises(ValueError, match="ssl_ca_certs"):
        ResultWatcher("sentinel://localhost", redis=options)


def test_no_password_is_shown() -> None:
    urls = (
        "sentinel://user:secret@a:1;b:2/0?sentinel_password=secret&master_name=m",
        "sentinel://user:secret@a:1/0;sentinel://user:secret@b:2/0",
        "sentinel://a:1;sentinel://:secret@b:2",
    )
    for url in urls:
        assert "secret" not in redacted(url)
        assert "a:1" in redacted(url)
        assert "b:2" in redacted(url)
    watcher = ResultWatcher(urls[0], redis=RedisOptions(sentinel=RedisOptions(username="sam")))
    assert "secret" not in repr(watcher)
    assert "secret" not in repr(parse(urls[0])) + repr(parse(urls[0]).options)


def test_where_the_master_is_is_not_known_before_it_was_asked_for() -> None:
    connector = connector_for(parse("sentinel://:s3cret@a:26379;b:26380/3"), 1.0)
    assert connector.where == connector.address.text
    assert "s3cret" not in connector.where


def test_a_closed_connection_leads_nowhere() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    ours.close()
    assert not _leads_to(ours, "127.0.0.1", 6379)
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()) as link:
        port = listening.getsockname()[1]
        assert _leads_to(link, "127.0.0.1", port)
        assert not _leads_to(link, "127.0.0.1", port - 1)
        # Sentinels may say anything.
        assert not _leads_to(link, "127.0.0.1", 1 << 70)

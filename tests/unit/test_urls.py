"""URL → where the server is and how to speak to it; and no password in any text."""

from __future__ import annotations

from typing import Any

import pytest

from bgresults import RedisOptions, ResultWatcher
from bgresults.urls import parse_redis_url, redacted, scheme_of


def parse(url: str, **options: Any) -> Any:
    return parse_redis_url(url, RedisOptions(**options))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://", {"host": "localhost", "port": 6379, "database": 0, "path": None, "tls": False}),
        ("redis://example.org", {"host": "example.org", "port": 6379, "database": 0}),
        ("REDIS://example.org", {"host": "example.org"}),
        ("redis://example.org:7000/3", {"port": 7000, "database": 3}),
        ("redis://example.org/3/", {"database": 3}),
        ("redis://example.org?db=4", {"database": 4}),
        ("redis://example.org/3?db=4", {"database": 4}),
        ("redis://[::1]:7000/1", {"host": "::1", "port": 7000, "database": 1}),
        ("rediss://example.org", {"tls": True}),
        ("unix:///run/redis.sock", {"path": "/run/redis.sock", "database": 0, "tls": False}),
        ("unix:///run/redis.sock?db=2", {"path": "/run/redis.sock", "database": 2}),
        ("socket:///run/redis.sock?virtual_host=2", {"path": "/run/redis.sock", "database": 2}),
        ("redis+socket:///run/a%20b.sock", {"path": "/run/a b.sock"}),
        ("redis://example.org?socket_connect_timeout=1.5", {"connect_timeout": 1.5}),
        ("redis://example.org?connect_timeout=2", {"connect_timeout": 2.0}),
        ("redis://example.org?max_connections=10&protocol=3", {"host": "example.org"}),
    ],
)
def test_addresses(url: str, expected: dict[str, Any]) -> None:
    address = parse(url)
    assert {name: getattr(address, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://:secret@h", {"username": None, "password": "secret"}),
        ("redis://user:secret@h", {"username": "user", "password": "secret"}),
        ("redis://us%2Fer:se%40cr%3Aet@h", {"username": "us/er", "password": "se@cr:et"}),
        ("redis://h?username=user&password=secret", {"username": "user", "password": "secret"}),
        ("unix://user:secret@/run/redis.sock", {"username": "user", "password": "secret"}),
        ("rediss://h?ssl_cert_reqs=CERT_NONE", {"ssl_cert_reqs": "none"}),
        (
            "rediss://h?ssl_cert_reqs=required&ssl_ca_certs=/ca.pem",
            {"ssl_cert_reqs": "required", "ssl_ca_certs": "/ca.pem"},
        ),
        ("rediss://h?ssl_check_hostname=false", {"ssl_check_hostname": False}),
        (
            "redis://h?socket_keepalive=True&health_check_interval=30",
            {"socket_keepalive": True, "health_check_interval": 30},
        ),
        ("redis://h?socket_timeout=7", {"read_timeout": 7.0}),
        ("redis://h?read_timeout=7", {"read_timeout": 7.0}),
    ],
)
def test_settings_in_the_url(url: str, expected: dict[str, Any]) -> None:
    options = parse(url).options
    assert {name: getattr(options, name) for name in expected} == expected


def test_an_option_that_is_set_wins() -> None:
    options = parse("redis://user:secret@h?read_timeout=7", password="other", read_timeout=3).options
    assert (options.username, options.password, options.read_timeout) == ("user", "other", 3)


def test_a_false_option_is_set_too() -> None:
    assert parse("redis://h?socket_keepalive=true", socket_keepalive=False).options.socket_keepalive is False


def test_a_credential_provider_replaces_what_the_url_says() -> None:
    class Provider:
        def get_credentials(self) -> tuple[str, ...]:
            return ("user", "secret")

    options = parse("redis://user:secret@h", credential_provider=Provider()).options
    assert (options.username, options.password) == (None, None)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://h:port", "localhost:6379"),
        ("redis://h:99999", "localhost:6379"),
        ("redis://[::1", "malformed"),
        ("redis://h/zero", "database.*'zero'"),
        ("redis://h?db=-1", "database.*'-1'"),
        ("redis://h?no_such_setting=1", "no_such_setting.*known ones are.*db"),
        ("redis://h?connect_timeout=soon", "connect_timeout.*'soon'"),
        ("redis://h?connect_timeout=0", "connect_timeout.*above 0"),
        ("redis://h?socket_keepalive=maybe", "socket_keepalive.*true or false"),
        ("redis://h?read_timeout=-1", "read_timeout.*above 0"),
        ("rediss://h?ssl_cert_reqs=sometimes", "ssl_cert_reqs.*'required'"),
        ("unix://", "path"),
        ("unix:///", "path"),
        ("unix://host/run/redis.sock", "no host"),
    ],
)
def test_what_makes_no_sense_is_named(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse(url)


class TestScheme:
    @pytest.mark.parametrize(("url", "scheme"), [("redis://h", "redis"), ("RedisS://h", "rediss"), ("x+y://h", "x+y")])
    def test_found(self, url: str, scheme: str) -> None:
        assert scheme_of(url) == scheme

    @pytest.mark.parametrize("url", ["", "localhost:6379", "://h", "redis:/h", ":s3cret@localhost"])
    def test_missing(self, url: str) -> None:
        with pytest.raises(ValueError, match="redis://localhost:6379/0") as caught:
            scheme_of(url)
        assert "s3cret" not in str(caught.value)

    @pytest.mark.parametrize("url", [None, 1, b"redis://h", ["redis://h"]])
    def test_no_str(self, url: Any) -> None:
        with pytest.raises(TypeError, match="url must be a str"):
            scheme_of(url)

    @pytest.mark.parametrize("url", ["http://h", "redi://:s3cret@h", "amqq://h"])
    def test_unknown_to_a_watcher(self, url: str) -> None:
        with pytest.raises(ValueError, match=r"redis://.*rediss://.*unix://") as caught:
            ResultWatcher(url)
        assert "s3cret" not in str(caught.value)


class TestNoPassword:
    URLS = (
        "redis://user:s3cret@h:1/0",
        "redis://:s3cret@h:1/0",
        "redis://h?password=s3cret",
        "rediss://h?ssl_password=s3cret&PASSWORD=s3cret",
        "redis://user:s3cret@h?no_such_setting=1",
        "redis://user:s3cret@h/zero",
        "redis://user:s3cret@h:port/0",
        "redis://user:s3cret@[::1/0",
        "redis://user:s3cret@h?connect_timeout=soon",
        "unix://user:s3cret@h/run/redis.sock",
    )

    @pytest.mark.parametrize("url", URLS)
    def test_in_addresses_and_errors(self, url: str) -> None:
        try:
            address = parse(url)
        except ValueError as error:
            text = f"{error} {error!r}"
        else:
            text = f"{address} {address!r} {address.text}"
            assert "***" in address.text
        assert "s3cret" not in text

    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("redis://h:1/0", "redis://h:1/0"),
            ("redis://user:s3cret@h:1/0", "redis://user:***@h:1/0"),
            ("redis://:s3:cr@t@h:1/0", "redis://:***@h:1/0"),
            ("redis://user@h", "redis://user@h"),
            ("redis://h?db=1&password=s3cret", "redis://h?db=1&password=***"),
        ],
    )
    def test_redacted(self, url: str, shown: str) -> None:
        assert redacted(url) == shown

    def test_in_a_watchers_repr(self) -> None:
        text = repr(ResultWatcher("redis://user:s3cret@h/0"))
        assert "redis://user:***@h/0" in text
        assert "s3cret" not in text

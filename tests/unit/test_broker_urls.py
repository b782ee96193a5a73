"""URL of a broker → where it is and how to speak to it; and no password in any text."""

from __future__ import annotations

from typing import Any

import pytest
from kombu.transport import resolve_transport

from bgresults import AMQPOptions, ResultWatcher
from bgresults.broker_urls import BrokerAddress, parse_broker_url
from bgresults.consumers import kind_of
from bgresults.consumers.redis import ResultConsumer as RedisConsumer
from bgresults.consumers.rpc import ResultConsumer
from bgresults.consumers.rpc.virtual import connection_settings


def parse(url: str, **options: Any) -> BrokerAddress:
    return parse_broker_url(url, AMQPOptions(**options))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("amqp://", {"host": "localhost", "port": 5672, "virtual_host": "/", "tls": False, "kombu_url": None}),
        ("amqp://example.org", {"host": "example.org", "port": 5672}),
        ("AMQP://example.org", {"host": "example.org", "tls": False}),
        ("pyamqp://example.org", {"host": "example.org", "port": 5672, "kombu_url": None}),
        ("rpc+amqp://example.org", {"host": "example.org", "kombu_url": None}),
        ("amqp://example.org:7000", {"port": 7000}),
        ("amqp://[::1]:7000", {"host": "::1", "port": 7000}),
        ("amqp://user@example.org:7000", {"host": "example.org", "port": 7000}),
        ("amqps://example.org", {"port": 5671, "tls": True}),
        ("amqps://example.org:7000", {"port": 7000, "tls": True}),
        ("amqp://example.org?connect_timeout=1.5", {"connect_timeout": 1.5}),
        ("amqp://example.org", {"connect_timeout": None}),
    ],
)
def test_addresses(url: str, expected: dict[str, Any]) -> None:
    address = parse(url)
    assert {name: getattr(address, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("path", "virtual_host"),
    [
        ("", "/"),
        ("/", "/"),
        ("//", "/"),
        ("/%2F", "/"),
        ("/%2f", "/"),
        ("/name", "name"),
        ("//name", "/name"),
        ("/%2Fname", "/name"),
        ("/two%20words", "two words"),
        ("/a%2Fb", "a/b"),
    ],
)
def test_virtual_hosts(path: str, virtual_host: str) -> None:
    assert parse(f"amqp://h:1{path}").virtual_host == virtual_host
    assert parse(f"amqp://h:1{path}?heartbeat=5").virtual_host == virtual_host


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("amqp://user:secret@h", {"username": "user", "password": "secret"}),
        ("amqp://us%2Fer:se%40cr%3Aet@h", {"username": "us/er", "password": "se@cr:et"}),
        ("amqp://h", {"username": None, "password": None}),
        ("amqp://h?binding=task&prefetch=5", {"binding": "task", "prefetch": 5}),
        ("amqp://h?heartbeat=0&no_ack=yes", {"heartbeat": 0, "no_ack": True}),
        ("amqp://h?queue_expires=60&queue_type=quorum", {"queue_expires": 60.0, "queue_type": "quorum"}),
        ("amqp://h?read_timeout=7", {"read_timeout": 7.0}),
        ("amqp://h?unclaimed_max=1&unclaimed_max_bytes=2", {"unclaimed_max": 1, "unclaimed_max_bytes": 2}),
        ("amqp://h?unclaimed_max_age=3.5&on_reply_loss=fail", {"unclaimed_max_age": 3.5, "on_reply_loss": "fail"}),
        ("amqp://h?login_method=EXTERNAL", {"login_method": "EXTERNAL"}),
        ("amqps://h?ssl_cert_reqs=CERT_NONE", {"ssl_cert_reqs": "none"}),
        ("amqps://h?ssl_ca_certs=%2Fca.pem&ssl_password=x", {"ssl_ca_certs": "/ca.pem", "ssl_password": "x"}),
        ("amqps://h?ssl_certfile=c&ssl_keyfile=k", {"ssl_certfile": "c", "ssl_keyfile": "k"}),
        ("amqps://h?ssl_check_hostname=false", {"ssl_check_hostname": False}),
    ],
)
def test_settings_in_the_url(url: str, expected: dict[str, Any]) -> None:
    options = parse(url).options
    assert {name: getattr(options, name) for name in expected} == expected


def test_an_option_that_is_set_wins() -> None:
    options = parse("amqp://user:secret@h?prefetch=7&heartbeat=3", password="other", prefetch=3).options
    assert (options.username, options.password, options.prefetch, options.heartbeat) == ("user", "other", 3, 3)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("amqp://h:port", "malformed"),
        ("amqp://h:99999", "malformed"),
        ("amqp://[::1", "malformed"),
        ("amqp://user:pass/word@h", "percent-encoded"),
        ("amqp://h?no_such=1&another=2", "unknown settings: another, no_such; known ones are .*prefetch"),
        ("amqp://h?prefetch=many", "prefetch='many' cannot be read"),
        ("amqp://h?prefetch=0", "AMQPOptions.prefetch must be an int from 1 to 65535, not 0"),
        ("amqp://h?heartbeat=1.5", "heartbeat='1.5' cannot be read"),
        ("amqp://h?no_ack=maybe", "no_ack='maybe' cannot be read: use true or false"),
        ("amqp://h?binding=thread", "'process', 'task', not 'thread'"),
        ("amqp://h?on_reply_loss=cry", "'wait', 'fail', not 'cry'"),
        ("amqp://h?login_method=magic", "'PLAIN', 'AMQPLAIN', 'EXTERNAL', not 'magic'"),
        ("amqp://h?queue_expires=0.5", "queue_expires must be at least 1 second, not 0.5"),
        ("amqp://h?queue_expires=nan", "queue_expires must be a number of seconds above 0"),
        ("amqp://h?connect_timeout=0", "connect_timeout.*above 0"),
        ("amqp://h?connect_timeout=soon", "connect_timeout='soon'"),
        ("amqps://h?ssl_cert_reqs=sometimes", "'required', 'optional', 'none', not 'sometimes'"),
    ],
)
def test_what_makes_no_sense_is_named(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse(url)


@pytest.mark.parametrize("url", [None, b"amqp://h", 1])
def test_no_str(url: Any) -> None:
    with pytest.raises(TypeError, match="url must be a str"):
        parse(url)


@pytest.mark.parametrize("url", ["localhost:5672", "", "user:s3cret@h"])
def test_no_scheme(url: str) -> None:
    with pytest.raises(ValueError, match="no '://'") as caught:
        parse(url)
    assert "s3cret" not in str(caught.value)


class TestOtherTransports:
    @pytest.mark.parametrize(
        ("url", "kombu_url"),
        [
            ("memory://", "memory://"),
            ("rpc+memory://", "memory://"),
            ("rpc+redis://:secret@h:1/2", "redis://:secret@h:1/2"),
            ("RPC+rediss://h/0?ssl_cert_reqs=none", "rediss://h/0?ssl_cert_reqs=none"),
            ("filesystem:///tmp/x", "filesystem:///tmp/x"),
        ],
    )
    def test_their_urls_are_kombus(self, url: str, kombu_url: str) -> None:
        assert parse(url).kombu_url == kombu_url

    @pytest.mark.parametrize("url", ["memory://", "rpc+redis://h", "amqp://h", "rpc+amqp://h", "amqps://h"])
    def test_are_for_the_rpc_consumer(self, url: str) -> None:
        assert kind_of(url) == "rpc"

    def test_the_prefix_makes_the_difference(self) -> None:
        assert kind_of("redis://h") == "redis"
        with pytest.raises(ValueError, match=r"rpc\+<the URL of a broker>.*from_celery"):
            kind_of("rpc://")

    @pytest.mark.parametrize("url", ["amqq://:s3cret@h", "rpc+http://:s3cret@h", "http://:s3cret@h"])
    def test_unknown_ones_are_refused(self, url: str) -> None:
        with pytest.raises(ValueError, match=r"there is no consumer for results at .*amqp://.*memory") as caught:
            ResultWatcher(url)
        assert "s3cret" not in str(caught.value)

    @pytest.mark.parametrize("scheme", ["sqs", "mongodb", "confluentkafka"])
    def test_what_kombu_needs_a_package_for(self, scheme: str) -> None:
        """Said by whoever makes the watcher, not by its thread; kombu's of Kafka is a NameError."""
        try:
            resolve_transport(scheme)
        except (ImportError, NameError):
            pass
        else:
            pytest.skip(f"there is all that {scheme} needs")
        with pytest.raises(ValueError, match=f"kombu cannot use {scheme}:// here"):
            ResultWatcher(f"rpc+{scheme}://host")

    def test_a_watcher_of_each_is_inert(self) -> None:
        for url in ("amqp://127.0.0.1:1", "memory://", "rpc+redis://127.0.0.1:1/0"):
            watcher = ResultWatcher(url)
            assert watcher.stats().state == "idle"
            assert not watcher.stats().thread_alive


class TestNoPassword:
    URLS = (
        "amqp://user:s3cret@h:1//",
        "amqp://:s3cret@h:1/name",
        "amqps://h?ssl_password=s3cret&SSL_PASSWORD=s3cret",
        "amqps://h?ssl_password=s3cret",
        "amqp://user:s3cret@h?no_such_setting=1",
        "amqp://user:s3cret@h?prefetch=0",
        "amqp://user:s3cret@h?prefetch=many",
        "amqp://user:s3cret@h?connect_timeout=soon",
        "amqp://user:s3cret@h:port//",
        "amqp://user:s3cret@[::1//",
        "amqp://user:s3cret/more@h",
        "rpc+amqp://user:s3cret@h",
        "rpc+redis://user:s3cret@h/0",
        "rpc+redis://h/0?password=s3cret",
        "rpc+redis://user:s3cret/more@h",
        "rpc+redis://user:s3cret#more@h",
        "rpc+redis://user:s3cret@[::1",
        "rpc+redis://user:s3cret@h\u2100",
        "amqp://user:s3cret@h\u2100",
        "mongodb://user:s3cret@h1:1,h2:2/name",
        "memory://user:s3cret@h",
    )

    @pytest.mark.parametrize("url", URLS)
    def test_in_addresses_and_errors(self, url: str) -> None:
        try:
            address = parse(url)
        except ValueError as error:
            text = f"{error} {error!r} {error.__cause__!r} {error.__context__!r}"
        else:
            text = f"{address} {address!r} {address.text}"
            assert "***" in address.text
        assert "s3cret" not in text

    @pytest.mark.parametrize("url", ["amqp://user:s3cret@127.0.0.1:1//", "rpc+redis://user:s3cret@127.0.0.1:1/0"])
    def test_in_a_watchers_repr(self, url: str) -> None:
        text = repr(ResultWatcher(url))
        assert "user:***@127.0.0.1:1" in text
        assert "s3cret" not in text

    def test_of_the_options(self) -> None:
        watcher = ResultWatcher("amqp://127.0.0.1:1", amqp=AMQPOptions(username="user", password="s3cret"))
        assert "s3cret" not in repr(watcher)


@pytest.mark.parametrize("kind", [RedisConsumer, ResultConsumer], ids=["redis", "rpc"])
def test_the_time_limit_of_the_url_is_the_consumers(kind: Any) -> None:
    scheme = "redis" if kind is RedisConsumer else "amqp"
    assert kind(f"{scheme}://host?connect_timeout=1.5").connect_timeout == 1.5
    assert kind(f"{scheme}://host").connect_timeout == 2.0


def test_what_other_transports_are_told() -> None:
    address = parse(
        "rpc+rediss://host/3", username="user", password="s3cret", transport_options={"visibility_timeout": 9}
    )
    settings = connection_settings(address, 1.5)
    assert settings["ssl"]["ssl_cert_reqs"] == "required"
    assert (settings["userid"], settings["password"], settings["connect_timeout"]) == ("user", "s3cret", 1.5)
    assert settings["transport_options"]["visibility_timeout"] == 9
    assert settings["transport_options"]["socket_connect_timeout"] == 1.5

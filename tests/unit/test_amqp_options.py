"""Options of a broker are checked where they are written, and show no password."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from bgresults import AMQPOptions, RedisOptions, ResultWatcher

NO_NUMBERS = ["1", True, None, [], object()]


def options(**values: Any) -> AMQPOptions:
    """Of any type, as a program without type checks would give them."""
    return AMQPOptions(**values)


def test_defaults() -> None:
    made = AMQPOptions()
    assert (made.binding, made.no_ack, made.prefetch, made.on_reply_loss) == ("process", False, 500, "wait")
    assert (made.queue_expires, made.queue_type, made.heartbeat, made.read_timeout) == (600, None, 10, 5)
    assert (made.unclaimed_max, made.unclaimed_max_bytes, made.unclaimed_max_age) == (8192, 64 * 1024**2, 600)
    assert (made.username, made.password, made.ssl_cert_reqs, made.ssl_check_hostname) == (None,) * 4


def test_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        AMQPOptions().prefetch = 1  # type: ignore[misc]


def test_hashable() -> None:
    assert len({AMQPOptions(), AMQPOptions(), AMQPOptions(prefetch=1), AMQPOptions(transport_options={"x": 1})}) == 3


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("binding", ("process", "task")),
        ("on_reply_loss", ("wait", "fail")),
        ("login_method", ("PLAIN", "AMQPLAIN", "EXTERNAL")),
        ("ssl_cert_reqs", ("required", "optional", "none")),
    ],
)
def test_choices(name: str, allowed: tuple[str, ...]) -> None:
    for word in allowed:
        assert getattr(options(**{name: word}), name) == word
    named = ", ".join(repr(word) for word in allowed)
    for wrong in ("other", "", allowed[0].swapcase()):
        with pytest.raises(ValueError, match=f"AMQPOptions.{name} must be one of {named}, not"):
            options(**{name: wrong})


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("prefetch", 1, 65535),
        ("heartbeat", 0, 3600),
        ("unclaimed_max", 0, 10**9),
        ("unclaimed_max_bytes", 0, 10**12),
    ],
)
def test_counts(name: str, least: int, most: int) -> None:
    for value in (least, most):
        assert getattr(options(**{name: value}), name) == value
    for value in (least - 1, most + 1):
        with pytest.raises(ValueError, match=f"AMQPOptions.{name} must be an int from {least} to {most}, not {value}"):
            options(**{name: value})
    for other in (*NO_NUMBERS, 1.0):
        with pytest.raises(TypeError, match=f"AMQPOptions.{name} must be an int .*not {type(other).__name__}"):
            options(**{name: other})


@pytest.mark.parametrize("name", ["queue_expires", "read_timeout", "unclaimed_max_age"])
def test_seconds(name: str) -> None:
    assert getattr(options(**{name: 1.5}), name) == 1.5
    for value in (0, -1, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"AMQPOptions.{name}"):
            options(**{name: value})
    for other in NO_NUMBERS:
        with pytest.raises(TypeError, match=f"AMQPOptions.{name}"):
            options(**{name: other})


def test_a_queue_lives_for_a_second_at_least() -> None:
    assert AMQPOptions(queue_expires=1).queue_expires == 1
    with pytest.raises(ValueError, match=r"queue_expires must be at least 1 second, not 0\.9"):
        AMQPOptions(queue_expires=0.9)


def test_a_queue_expires_before_the_brokers_own_limit() -> None:
    """RabbitMQ counts in milliseconds, in 32 bits."""
    with pytest.raises(ValueError, match="queue_expires"):
        AMQPOptions(queue_expires=2**32 / 1000 + 1)
    assert AMQPOptions(queue_expires=1e6).queue_expires == 1e6


@pytest.mark.parametrize(
    "name", ["username", "password", "queue_type", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_password"]
)
def test_texts(name: str) -> None:
    assert getattr(options(**{name: "x"}), name) == "x"
    with pytest.raises(TypeError, match=f"AMQPOptions.{name} must be a str or None, not bytes"):
        options(**{name: b"x"})


def test_flags() -> None:
    assert AMQPOptions(no_ack=True, ssl_check_hostname=False).no_ack
    with pytest.raises(TypeError, match=r"AMQPOptions\.no_ack must be a bool, not int"):
        options(no_ack=1)
    with pytest.raises(TypeError, match=r"AMQPOptions\.ssl_check_hostname must be a bool or None, not int"):
        options(ssl_check_hostname=1)


def test_transport_options() -> None:
    assert AMQPOptions(transport_options={"polling_interval": 1}).transport_options == {"polling_interval": 1}
    with pytest.raises(TypeError, match=r"AMQPOptions\.transport_options must be a dict or None, not list"):
        options(transport_options=[1])


def test_repr_shows_what_is_set_but_no_secret() -> None:
    shown = AMQPOptions(
        username="user", password="s3cret", ssl_password="s3cret", prefetch=3, transport_options={"password": "s3cret"}
    )
    assert repr(shown) == (
        "AMQPOptions(prefetch=3, username='user', password=***, ssl_password=***, transport_options=***)"
    )
    assert str(shown) == repr(shown)
    assert repr(AMQPOptions()) == "AMQPOptions()"


@pytest.mark.parametrize(
    ("url", "arguments", "error", "words"),
    [
        ("amqp://h", {"amqp": {}}, TypeError, "amqp must be a AMQPOptions, not dict"),
        ("amqp://h", {"redis": RedisOptions(read_timeout=1)}, ValueError, "for those through a broker it is amqp="),
        ("amqp://h", {"key_prefix": "x"}, ValueError, "key_prefix is for results in Redis"),
        ("redis://h", {"amqp": AMQPOptions(prefetch=1)}, ValueError, "for Redis it is redis="),
        ("amqp://h", {"serializer": "no-such"}, ValueError, "'no-such'; allowed: .*json"),
        ("amqp://h", {"accept": ["pickle"]}, ValueError, "'json' is not in accept"),
        ("amqp://h?x=1", {}, ValueError, "unknown settings: x"),
        ("amqps://h", {"amqp": AMQPOptions(ssl_ca_certs="/no/such/file.pem")}, ValueError, "there is no file"),
    ],
)
def test_a_watcher_checks_its_arguments(url: str, arguments: dict[str, Any], error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        ResultWatcher(url, **arguments)

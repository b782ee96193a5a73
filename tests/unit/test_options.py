"""Options are checked where they are written, and show no password."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import redis

from bgresults import RedisOptions, ResultWatcher, RetryPolicy

NO_SECONDS = [0, -1, math.inf, math.nan]
NO_NUMBERS = ["1", True, [], object()]


def options(**values: Any) -> RedisOptions:
    """Of any type, as a program without type checks would give them."""
    return RedisOptions(**values)


class TestRetryPolicy:
    def test_defaults(self) -> None:
        assert RetryPolicy() == RetryPolicy(initial=0.05, maximum=5.0, give_up_after=None)

    @pytest.mark.parametrize("name", ["initial", "maximum", "give_up_after"])
    @pytest.mark.parametrize("value", NO_SECONDS)
    def test_bad_values(self, name: str, value: float) -> None:
        with pytest.raises(ValueError, match=f"RetryPolicy.{name} must be a number of seconds above 0"):
            RetryPolicy(**{name: value})

    @pytest.mark.parametrize("name", ["initial", "maximum", "give_up_after"])
    @pytest.mark.parametrize("value", NO_NUMBERS)
    def test_bad_types(self, name: str, value: Any) -> None:
        with pytest.raises(TypeError, match=f"RetryPolicy.{name} must be .* not {type(value).__name__}"):
            RetryPolicy(**{name: value})

    def test_the_maximum_is_one(self) -> None:
        with pytest.raises(ValueError, match=r"maximum=1, initial=2"):
            RetryPolicy(initial=2, maximum=1)

    def test_frozen(self) -> None:
        with pytest.raises(dataclasses.FrozenInstanceError):
            RetryPolicy().initial = 1  # type: ignore[misc]


class TestRedisOptions:
    def test_everything_is_optional(self) -> None:
        assert all(getattr(RedisOptions(), field.name) is None for field in dataclasses.fields(RedisOptions))

    @pytest.mark.parametrize(
        "name", ["username", "password", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_password"]
    )
    def test_texts(self, name: str) -> None:
        assert getattr(options(**{name: "x"}), name) == "x"
        with pytest.raises(TypeError, match=f"RedisOptions.{name} must be a str or None, not bytes"):
            options(**{name: b"x"})

    @pytest.mark.parametrize("name", ["ssl_check_hostname", "socket_keepalive"])
    def test_flags(self, name: str) -> None:
        assert getattr(options(**{name: False}), name) is False
        with pytest.raises(TypeError, match=f"RedisOptions.{name} must be a bool or None, not int"):
            options(**{name: 1})

    @pytest.mark.parametrize("name", ["health_check_interval", "read_timeout"])
    def test_seconds(self, name: str) -> None:
        assert getattr(options(**{name: 0.5}), name) == 0.5
        for value in NO_SECONDS:
            with pytest.raises(ValueError, match=f"RedisOptions.{name}"):
                options(**{name: value})
        for other in NO_NUMBERS:
            with pytest.raises(TypeError, match=f"RedisOptions.{name}"):
                options(**{name: other})

    def test_certificate_requirements(self) -> None:
        assert RedisOptions(ssl_cert_reqs="none").ssl_cert_reqs == "none"
        with pytest.raises(ValueError, match="'required', 'optional', 'none', not 'never'"):
            RedisOptions(ssl_cert_reqs="never")

    def test_connection_class(self) -> None:
        assert RedisOptions(connection_class=redis.Connection).connection_class is redis.Connection
        with pytest.raises(TypeError, match="must be a class or None, not str"):
            options(connection_class="redis.Connection")

    def test_credential_provider(self) -> None:
        provider = redis.UsernamePasswordCredentialProvider("user", "s3cret")
        assert RedisOptions(credential_provider=provider).credential_provider is provider
        with pytest.raises(ValueError, match="not both"):
            RedisOptions(credential_provider=provider, password="x")
        with pytest.raises(TypeError, match="get_credentials"):
            RedisOptions(credential_provider=("user", "s3cret"))

    def test_repr_shows_what_is_set_but_no_password(self) -> None:
        shown = RedisOptions(username="user", password="s3cret", ssl_password="s3cret", read_timeout=3)
        assert repr(shown) == "RedisOptions(username='user', password=***, ssl_password=***, read_timeout=3)"
        assert str(shown) == repr(shown)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"key_prefix": b"x"}, TypeError, "key_prefix must be a str, not bytes"),
        ({"serializer": 1}, TypeError, "serializer"),
        ({"serializer": "no-such"}, ValueError, "'no-such'; allowed: .*json"),
        ({"accept": "json"}, TypeError, "accept is a list"),
        ({"accept": ["pickle"]}, ValueError, "'json' is not in accept"),
        ({"accept": []}, ValueError, "'json' is not in accept"),
        ({"default_lifetime": 0}, ValueError, "default_lifetime"),
        ({"default_lifetime": "1"}, TypeError, "default_lifetime"),
        ({"max_pending": 0}, ValueError, "max_pending must be an int above 0, not 0"),
        ({"max_pending": 1.5}, TypeError, "max_pending must be an int above 0, not float"),
        ({"max_pending": True}, TypeError, "max_pending"),
        ({"max_body_size": 0}, ValueError, "max_body_size must be a number of bytes from 1 .*None.*, not 0"),
        ({"max_body_size": 2**50}, ValueError, "max_body_size"),
        ({"max_body_size": 1e6}, TypeError, "max_body_size must be a number of bytes .*, not float"),
        ({"max_body_size": True}, TypeError, "max_body_size"),
        ({"on_disconnect": "retry"}, ValueError, "'wait', 'fail', not 'retry'"),
        ({"on_disconnect": ["wait"]}, (TypeError, ValueError), "on_disconnect"),
        ({"retry": 3}, TypeError, "retry must be a RetryPolicy"),
        ({"redis": {}}, TypeError, "redis must be a RedisOptions"),
        ({"connect_timeout": 0}, ValueError, "connect_timeout"),
        ({"connect_timeout": None}, TypeError, "connect_timeout"),
        ({"name": 1}, TypeError, "name must be a str"),
        ({"no_such_option": 1}, TypeError, "no_such_option"),
    ],
)
def test_a_watcher_checks_its_arguments(arguments: dict[str, Any], error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        ResultWatcher("redis://localhost", **arguments)


def test_the_url_is_checked_as_well() -> None:
    with pytest.raises(ValueError, match="unknown settings: x"):
        ResultWatcher("redis://localhost?x=1")


def test_files_that_are_not_there() -> None:
    with pytest.raises(ValueError, match="ssl_ca_certs: there is no file"):
        ResultWatcher("rediss://localhost", redis=RedisOptions(ssl_ca_certs="/no/such/file.pem"))

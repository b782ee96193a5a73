"""What becomes of errors of the libraries: whether trying again helps, and what to do if it does not."""

from __future__ import annotations

import ssl

import pytest
from amqp import exceptions as amqp_errors
from redis import exceptions as redis_errors

from bgresults.consumers.base import ConnectionLost
from bgresults.consumers.redis import failures as redis_failures
from bgresults.consumers.rpc import failures as rpc_failures

ADDRESS = "scheme://host"


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        (ConnectionResetError("gone"), None),
        (TimeoutError(), None),
        (ssl.SSLCertVerificationError("self-signed"), "ssl_ca_certs"),
        (ssl.SSLError("tlsv13 alert certificate required"), "ssl_certfile"),
        (amqp_errors.AccessRefused("Login was refused"), "the password"),
        (amqp_errors.AccessRefused("access to queue 'a' refused"), "permissions"),
        (amqp_errors.NotAllowed("vhost / not found"), "virtual host"),
        (amqp_errors.NotAllowed("connection refused: connection limit (100) is reached"), None),
        (amqp_errors.PreconditionFailed("inequivalent arg 'x-expires'"), "queue_expires"),
    ],
)
def test_of_a_broker(error: Exception, cure: str | None) -> None:
    lost = rpc_failures.connection_lost(error, ADDRESS, proven=False)
    assert lost.permanent == (cure is not None)
    assert cure is None or cure in str(lost)
    assert str(lost).startswith(f"{ADDRESS}: ")
    # What has worked before works again.
    assert not rpc_failures.connection_lost(error, ADDRESS, proven=True).permanent


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        (redis_errors.ConnectionError("gone"), None),
        (redis_errors.BusyLoadingError("Redis is loading the dataset in memory"), None),
        (redis_errors.AuthenticationError("invalid username-password pair"), "password"),
        (redis_errors.ResponseError("NOAUTH Authentication required."), "password"),
        (redis_errors.ResponseError("WRONGPASS invalid username-password pair"), "password"),
    ],
)
def test_of_a_redis_server(error: Exception, cure: str | None) -> None:
    lost = redis_failures.connection_lost(error, ADDRESS, proven=False)
    assert lost.permanent == (cure is not None)
    assert cure is None or cure in str(lost)
    assert not redis_failures.connection_lost(error, ADDRESS, proven=True).permanent


@pytest.mark.parametrize("module", [rpc_failures, redis_failures], ids=["rpc", "redis"])
def test_what_is_one_already_stays_what_it_is(module: object) -> None:
    lost = ConnectionLost("known", permanent=True, cure="do something")
    assert module.connection_lost(lost, ADDRESS, proven=True) is lost  # type: ignore[attr-defined]

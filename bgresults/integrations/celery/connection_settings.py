"""What Celery tells redis-py of a connection, as fields of :class:`~bgresults.RedisOptions`."""

from __future__ import annotations

import math
import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from celery.backends.redis import RedisBackend

from bgresults.integrations.celery.applications import name_of
from bgresults.urls import certificate_requirement

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["CERTIFICATE_REQUIREMENTS", "redis_options", "uses_tls"]

#: Of the standard library → as this library has them.
CERTIFICATE_REQUIREMENTS: Final = {ssl.CERT_REQUIRED: "required", ssl.CERT_OPTIONAL: "optional", ssl.CERT_NONE: "none"}

# connparams of Celery's backend → fields of RedisOptions.
_OPTIONS: Final = {
    "username": "username",
    "password": "password",
    "credential_provider": "credential_provider",
    "ssl_ca_certs": "ssl_ca_certs",
    "ssl_certfile": "ssl_certfile",
    "ssl_keyfile": "ssl_keyfile",
    "ssl_password": "ssl_password",
    "ssl_check_hostname": "ssl_check_hostname",
    "health_check_interval": "health_check_interval",
}
# Meant for Celery's pool of connections, its client's name, or its way to retry: two connections of our own have no use
# for them. Whatever is in no table is refused, or a setting would be lost in silence.
_WITHOUT_EFFECT: Final = frozenset(
    {
        "client_name",
        "decode_responses",
        "driver_info",
        "encoding",
        "encoding_errors",
        "lib_name",
        "lib_version",
        "max_connections",
        "protocol",
        "retry_on_error",
        "retry_on_timeout",
        "socket_keepalive_options",
        "socket_read_size",
        "timeout",
    }
)
_READ_HERE: Final = frozenset(
    {
        "connection_class",
        "db",
        "host",
        "path",
        "port",
        "socket_connect_timeout",
        "socket_keepalive",
        "socket_timeout",
        "ssl_cert_reqs",
    }
)


def redis_options(app: Celery, whose: str, params: Mapping[str, Any], *, tls: bool) -> dict[str, Any]:
    """Return the fields that ``params`` set.

    Args:
        app: for error messages.
        whose: the connections, for error messages, such as ``"the result backend"``.
        params: what redis-py is given.
        tls: whether the connections are encrypted.

    Raises:
        ValueError: there is something in them that is not known here.
    """
    unknown = sorted(set(params) - set(_OPTIONS) - _READ_HERE - _WITHOUT_EFFECT)
    if unknown:
        raise ValueError(
            f"{whose} of Celery app {name_of(app)} has settings that this library does not know: "
            f"{', '.join(unknown)}; known are {', '.join(sorted({*_OPTIONS, *_READ_HERE}))}"
        )
    found = {field: params[name] for name, field in _OPTIONS.items() if params.get(name) not in (None, "")}
    if not found.get("health_check_interval"):
        # redis-py's word for "never"; ours is not to be switched off.
        found.pop("health_check_interval", None)
    if "credential_provider" in found:
        # As redis-py has it: a provider excludes the other two.
        found.pop("username", None)
        found.pop("password", None)
    if "password" in found:
        found["password"] = str(found["password"])
    requirement = params.get("ssl_cert_reqs")
    if requirement is not None and tls:
        # In a dictionary it may be a word, which the backend has replaced already.
        known = isinstance(requirement, ssl.VerifyMode)
        found["ssl_cert_reqs"] = (
            CERTIFICATE_REQUIREMENTS[requirement] if known else certificate_requirement(str(requirement))
        )
    if params.get("socket_keepalive"):
        found["socket_keepalive"] = True
    timeout = params.get("socket_timeout")
    if timeout and not math.isclose(timeout, _default("redis_socket_timeout")):
        found["read_timeout"] = float(timeout)
    return found


def uses_tls(params: Mapping[str, Any]) -> bool:
    """Whether the connections of a backend of Celery are encrypted."""
    connection_class: Any = params.get("connection_class")
    with_tls: Any = RedisBackend.connection_class_ssl
    return isinstance(connection_class, type) and issubclass(connection_class, with_tls)


def _default(setting: str) -> float:
    """What Celery has where the user says nothing. Its two minutes are too long to find a dead link."""
    from celery.app.defaults import DEFAULTS

    return float(DEFAULTS[setting] or math.inf)

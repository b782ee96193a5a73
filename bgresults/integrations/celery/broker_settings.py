"""What a Celery application says of its broker, where results come back through it (``result_backend="rpc://"``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from bgresults.integrations.celery.applications import name_of
from bgresults.integrations.celery.connection_settings import CERTIFICATE_REQUIREMENTS
from bgresults.options import AMQPOptions
from bgresults.urls import certificate_requirement

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["merged", "read_broker"]

_AMQP: Final = ("amqp", "amqps", "pyamqp", "librabbitmq")
# Of broker_use_ssl: py-amqp's names, and redis-py's.
_TLS: Final = {
    "ca_certs": "ssl_ca_certs",
    "certfile": "ssl_certfile",
    "keyfile": "ssl_keyfile",
    "cert_reqs": "ssl_cert_reqs",
    "ssl_ca_certs": "ssl_ca_certs",
    "ssl_certfile": "ssl_certfile",
    "ssl_keyfile": "ssl_keyfile",
    "ssl_password": "ssl_password",
    "ssl_cert_reqs": "ssl_cert_reqs",
    "ssl_check_hostname": "ssl_check_hostname",
}


def read_broker(app: Celery) -> tuple[str, dict[str, Any], float]:
    """Return the URL of a watcher of the application's replies, fields of its AMQPOptions, and its connect timeout.

    Raises:
        ValueError: the settings name several brokers, or make no sense; the text names them.
    """
    connection = _connection(app)
    if connection.alt and len(set(connection.alt)) > 1:
        raise ValueError(
            f"Celery app {name_of(app)} has several brokers, and a reply queue is at one of them: say which one with "
            "from_celery(app, url='amqp://…')"
        )
    found = _tls(app, connection.ssl)
    seconds = float(connection.connect_timeout or 2.0)
    transport = str(connection.transport_cls)
    if transport not in _AMQP:
        if connection.transport_options:
            found["transport_options"] = dict(connection.transport_options)
        return f"rpc+{connection.as_uri(include_password=True)}", found, seconds
    if connection.userid:
        found["username"] = str(connection.userid)
    if connection.password:
        found["password"] = str(connection.password)
    if connection.login_method:
        found["login_method"] = str(connection.login_method)
    scheme = "amqps" if connection.ssl or transport == "amqps" else "amqp"
    host = str(connection.hostname or "localhost")
    if ":" in host:
        host = f"[{host}]"
    port = f":{int(connection.port)}" if connection.port else ""
    return f"{scheme}://{host}{port}/{quote(str(connection.virtual_host or '/'), safe='')}", found, seconds


def _connection(app: Celery) -> Any:
    """What Celery would send tasks with; nothing is connected."""
    try:
        return app.connection_for_write()
    except Exception as error:  # noqa: BLE001 - whatever Celery or kombu makes of a setting
        # It may quote what it cannot read, and that may be a piece of a password.
        words = f": {error}" if "@" not in str(app.conf.broker_write_url) else ""
        raise ValueError(
            f"Celery cannot make the broker connection of app {name_of(app)}: {type(error).__name__}{words}; check the "
            "broker_… settings, and that special characters in the URL are percent-encoded"
        ) from None


def merged(given: AMQPOptions, found: Mapping[str, Any]) -> AMQPOptions:
    """The options of the caller, filled up with those of the application."""
    defaults = AMQPOptions()
    names = given.__dataclass_fields__
    chosen = {name: getattr(given, name) for name in names if getattr(given, name) != getattr(defaults, name)}
    return AMQPOptions(**{**found, **chosen})


def _tls(app: Celery, setting: Any) -> dict[str, Any]:
    """``broker_use_ssl``: False, True or a dict."""
    if not isinstance(setting, Mapping):
        return {}
    unknown = sorted(set(setting) - set(_TLS))
    if unknown:
        raise ValueError(
            f"broker_use_ssl of Celery app {name_of(app)} has settings that this library does not know: "
            f"{', '.join(unknown)}; known are {', '.join(sorted(_TLS))}"
        )
    found = {_TLS[name]: value for name, value in setting.items() if value is not None}
    requirement = found.get("ssl_cert_reqs")
    if isinstance(requirement, str):
        found["ssl_cert_reqs"] = certificate_requirement(requirement)
    elif requirement is not None:
        if requirement not in CERTIFICATE_REQUIREMENTS:
            raise ValueError(
                f"broker_use_ssl of Celery app {name_of(app)}: cert_reqs must be ssl.CERT_REQUIRED, ssl.CERT_OPTIONAL "
                f"or ssl.CERT_NONE, not {requirement!r}"
            )
        found["ssl_cert_reqs"] = CERTIFICATE_REQUIREMENTS[requirement]
    return found

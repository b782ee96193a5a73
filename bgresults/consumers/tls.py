"""TLS as the options of a watcher ask for it."""

from __future__ import annotations

import os
import ssl
from typing import Any, Protocol

__all__ = [
    "CHECK_CERTIFICATES",
    "CHECK_CLIENT_CERTIFICATE",
    "TLSOptions",
    "check_files",
    "checks_host",
    "tls_context",
    "tls_settings",
]

#: What to change, where the server's certificate is not trusted, or ours is turned down.
CHECK_CERTIFICATES = "check ssl_ca_certs, and that the certificate is valid and made for the host in the URL"
CHECK_CLIENT_CERTIFICATE = "check ssl_certfile, ssl_keyfile and ssl_password"


class TLSOptions(Protocol):
    """What :class:`~bgresults.RedisOptions` and :class:`~bgresults.AMQPOptions` have in common."""

    @property
    def ssl_cert_reqs(self) -> str | None: ...
    @property
    def ssl_ca_certs(self) -> str | None: ...
    @property
    def ssl_certfile(self) -> str | None: ...
    @property
    def ssl_keyfile(self) -> str | None: ...
    @property
    def ssl_password(self) -> str | None: ...
    @property
    def ssl_check_hostname(self) -> bool | None: ...


def tls_context(options: TLSOptions) -> ssl.SSLContext:
    """A context for one connection.

    Raises:
        ssl.SSLError, OSError: a file cannot be used.
    """
    context = ssl.create_default_context(cafile=options.ssl_ca_certs)
    requirement = options.ssl_cert_reqs or "required"
    context.check_hostname = checks_host(options)
    context.verify_mode = {
        "required": ssl.CERT_REQUIRED,
        "optional": ssl.CERT_OPTIONAL,
        "none": ssl.CERT_NONE,
    }[requirement]
    if options.ssl_certfile is not None or options.ssl_keyfile is not None:
        certificate = options.ssl_certfile or options.ssl_keyfile or ""
        # Never None: OpenSSL would ask the terminal for the password of an encrypted key.
        context.load_cert_chain(certificate, options.ssl_keyfile, options.ssl_password or "")
    return context


def tls_settings(options: TLSOptions) -> dict[str, Any]:
    """The same under redis-py's names, for connections that it makes; older ones would not check the host."""
    given = {
        name: getattr(options, name)
        for name in ("ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_password")
        if getattr(options, name) is not None
    }
    return {**given, "ssl_check_hostname": checks_host(options)}


def checks_host(options: TLSOptions) -> bool:
    """Whether the certificate has to be for the host of the URL."""
    return options.ssl_cert_reqs != "none" and options.ssl_check_hostname is not False


def check_files(options: TLSOptions, *, used: bool) -> None:
    """Raise unless the files are there, and can be read as what they are for where TLS is ``used``.

    Raises:
        ValueError: names the option.
    """
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        path = getattr(options, name)
        if path is not None and not os.path.isfile(path):
            raise ValueError(f"{name}: there is no file {path!r}")
    if used:
        try:
            tls_context(options)
        except (ssl.SSLError, OSError) as error:
            raise ValueError(
                f"the files named by ssl_ca_certs, ssl_certfile and ssl_keyfile cannot be used: {error}"
            ) from error

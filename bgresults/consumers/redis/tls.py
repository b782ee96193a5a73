"""TLS as the options ask for it: for sockets of our own, and for a connection class of the user's."""

from __future__ import annotations

import ssl
from typing import Any

from bgresults.options import RedisOptions

__all__ = ["tls_context", "tls_settings"]


def tls_context(options: RedisOptions) -> ssl.SSLContext:
    """A context for one connection.

    Raises:
        ssl.SSLError, OSError: a file cannot be used.
    """
    context = ssl.create_default_context(cafile=options.ssl_ca_certs)
    requirement = options.ssl_cert_reqs or "required"
    context.check_hostname = _checks_host(options)
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


def tls_settings(options: RedisOptions) -> dict[str, Any]:
    """The same as arguments of ``redis.SSLConnection``; of which older ones would not check the host by themselves."""
    given = {
        name: getattr(options, name)
        for name in ("ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_password")
        if getattr(options, name) is not None
    }
    return {**given, "ssl_check_hostname": _checks_host(options)}


def _checks_host(options: RedisOptions) -> bool:
    return options.ssl_cert_reqs != "none" and options.ssl_check_hostname is not False

"""Whether results travel in the clear, or to anybody: what the address of a server says about it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from bgresults.consumers.tls import TLSOptions, checks_host
from bgresults.diagnosis.findings import Finding

__all__ = ["examine_encryption"]

_CODE = "tls"
_USE_TLS = "use rediss:// or amqps://, with ssl_ca_certs for a certificate authority of your own"
_USE_TLS_TO_SERVERS = "set RedisOptions.ssl (?ssl=true), and ssl_ca_certs for a certificate authority of your own"
_USE_TLS_TO_SENTINELS = (
    "set RedisOptions.sentinel=RedisOptions(ssl=True) (?sentinel_ssl=true), and its ssl_ca_certs for a certificate "
    "authority of your own"
)
_VERIFY = "leave ssl_cert_reqs and ssl_check_hostname at their defaults"


def examine_encryption(address: Any) -> list[Finding]:
    """Look at the address of a consumer. Of a transport of kombu other than AMQP, only kombu knows."""
    if getattr(address, "kombu_url", None) is not None:
        return []
    if getattr(address, "sentinels", ()):
        return list(_behind_sentinels(address))
    if getattr(address, "path", None) is not None or _is_local(address.host):
        return [Finding("ok", _CODE, "the connection does not leave this machine")]
    return [_connection(address.host, address.tls, address.options, _USE_TLS)]


def _behind_sentinels(address: Any) -> Iterator[Finding]:
    """Where the servers are, only the sentinels know; those that are asked here cannot tell of others elsewhere."""
    remote = [host for host, _ in address.sentinels if not _is_local(host)]
    if remote or address.tls:
        yield _connection("the servers that the sentinels name", address.tls, address.options, _USE_TLS_TO_SERVERS)
    if remote:
        options = address.options.sentinel
        tls = options is not None and bool(options.ssl)
        harm = "their password can be read on the way, and another master be named"
        finding = _connection(f"the sentinels ({', '.join(remote)})", tls, options, _USE_TLS_TO_SENTINELS, harm)
        if finding.level != "ok":
            yield finding


def _connection(
    peer: str,
    tls: bool,
    options: TLSOptions | None,
    cure: str,
    harm: str = "passwords and results can be read on the way",
) -> Finding:
    if not tls or options is None:
        return Finding("warning", _CODE, f"the connection to {peer} is not encrypted: {harm}", cure)
    if options.ssl_cert_reqs in ("none", "optional") or not checks_host(options):
        text = f"the connection to {peer} is encrypted, but anybody may be at its other end"
        return Finding("warning", _CODE, text, _VERIFY)
    return Finding("ok", _CODE, "the connection is encrypted, and the certificate is verified")


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

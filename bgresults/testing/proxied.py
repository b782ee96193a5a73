""":class:`ProxiedServer`: a :class:`~bgresults.testing.FaultProxy` in front of the server of a URL."""

from __future__ import annotations

from urllib.parse import urlsplit

from bgresults.testing.faults import FaultProxy

__all__ = ["ProxiedServer"]

_PORTS = {"redis": 6379, "rediss": 6379, "amqp": 5672, "amqps": 5671}


class ProxiedServer(FaultProxy):
    """A proxy that knows the URL of its server, and has one itself.

    Args:
        url: of the server: ``redis://``, ``rediss://``, ``amqp://`` or ``amqps://``. With TLS the certificate has to be
            for 127.0.0.1 as well, or must not be checked for the host.
        record: as for :class:`FaultProxy`.

    Raises:
        TypeError, ValueError: the URL makes no sense; the text says what is allowed.
    """

    def __init__(self, url: str, *, record: bool = False) -> None:
        if not isinstance(url, str):
            raise TypeError(f"url must be a str, not {type(url).__name__}")
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            allowed = ", ".join(f"{scheme}://host" for scheme in _PORTS)
            raise ValueError(f"a proxy stands in front of {allowed}; for any other server use FaultProxy(port)")
        super().__init__(parts.port or _PORTS[parts.scheme], host=parts.hostname, record=record)
        self._parts = parts

    @property
    def url(self) -> str:
        """The URL of the server, through the proxy; known once it was started."""
        credentials, at, _ = self._parts.netloc.rpartition("@")
        return self._parts._replace(netloc=f"{credentials}{at}127.0.0.1:{self.port}").geturl()

"""Whether TLS can be tested on this machine."""

from __future__ import annotations

from bgresults.testing import ThrowAwayCA, find_redis_server

__all__ = ["TLS_IS_MISSING"]


def _missing() -> str | None:
    if not ThrowAwayCA.available():
        return "no openssl command: apt-get install openssl"
    binary = find_redis_server()
    if binary is None or not binary.has_tls:
        return "no redis-server with TLS: apt-get install redis-server"
    return None


#: Why TLS cannot be tested here, and what to install; None if it can. Tests of TLS carry the marker ``tls``, by which
#: the conftest leaves them out; where the servers are promised to be there they run, and say what is missing.
TLS_IS_MISSING = _missing()

"""Whether TLS can be tested on this machine."""

from __future__ import annotations

import os

import pytest

from bgresults.testing import ThrowAwayCA, find_redis_server

__all__ = ["needs_tls"]


def _missing() -> str | None:
    if not ThrowAwayCA.available():
        return "no openssl command: apt-get install openssl"
    binary = find_redis_server()
    if binary is None or not binary.has_tls:
        return "no redis-server with TLS: apt-get install redis-server"
    return None


_REASON = _missing()

#: Skips, unless the servers are promised to be there: then the test fails, and says what is missing.
needs_tls = pytest.mark.skipif(
    _REASON is not None and os.environ.get("BGRESULTS_REQUIRE_SERVERS") != "1", reason=_REASON or ""
)

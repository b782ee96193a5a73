"""No descriptor left, when a connection is made or made anew: an outage like any other, and no end of the thread.

Each runs in a process of its own, whose limit is lowered; see :mod:`tests.limits.programs.descriptors`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bgresults.testing import RedisServer, ThrowAwayCA
from tests.limits.running import run

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="descriptors are counted in /proc")


def test_none_for_the_wake_up(url: str) -> None:
    """``watch()`` says so, and so does ``wait_ready()``; the next call works when there are some again."""
    run("descriptors", "start", url)


def test_too_few_to_connect(url: str) -> None:
    """Whichever is the first that cannot be had, it is one outage, told once, and ends by itself."""
    outages = int(run("descriptors", "connect", url))
    # One socket, or two, and what waits for them and the wake-up.
    assert outages >= (3 if url.startswith("redis") else 2)


def test_none_to_reconnect(url: str) -> None:
    run("descriptors", "reconnect", url)


@pytest.fixture(scope="module")
def ca() -> Iterator[ThrowAwayCA]:
    with ThrowAwayCA() as made:
        yield made


@pytest.mark.tls
@pytest.mark.parametrize("where", ["file", pytest.param("folder", marks=pytest.mark.slow)])
def test_too_few_to_read_the_certificates(ca: ThrowAwayCA, tmp_path: Path, where: str) -> None:
    """The system's certificates are read in silence, or not at all. That must not end as a certificate of a stranger.

    That one would be final before the first success.
    """
    nothing = tmp_path / "nothing"
    # Where OpenSSL looks for one, when it wants one.
    name = subprocess.run(["openssl", "x509", "-hash", "-noout", "-in", ca.path], capture_output=True, check=True)
    (tmp_path / f"{name.stdout.decode().strip()}.0").symlink_to(ca.path)
    env = {"SSL_CERT_FILE": str(nothing), "SSL_CERT_DIR": str(nothing)}
    env |= {"SSL_CERT_FILE": str(ca.path)} if where == "file" else {"SSL_CERT_DIR": str(tmp_path)}
    with RedisServer(tls=ca.server("localhost")) as server:
        assert int(run("descriptors", "connect", server.tls_url(host="localhost"), server.url(), env=env)) >= 3

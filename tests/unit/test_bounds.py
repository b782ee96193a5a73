"""Bodies that are larger than they look: what they cost, and what is said of them."""

from __future__ import annotations

import bz2
import json
import lzma
import os
import tracemalloc
import zlib
from collections.abc import Callable
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest
from kombu import compression, serialization

from bgresults import decompression
from bgresults.decompression import TooLargeError, decompressed
from bgresults.errors import ResultDecodeError
from bgresults.meta import MAX_BODY_SIZE, Decoder

KIB = 1024
MIB = 1024 * KIB
MARK = b"\x00celery-compressed\x00"
# kombu has no annotations.
_compression: Any = compression
_serialization: Any = serialization
METHODS = ["gzip", "bzip2", "lzma", "brotli", "zstd"]


def body(size: int) -> bytes:
    """A result of so many bytes."""
    empty = json.dumps({"status": "SUCCESS", "task_id": "t", "result": ""}).encode()
    return empty[:-2] + b"x" * (size - len(empty)) + empty[-2:]


def compressed(payload: bytes, method: str) -> bytes:
    """As Celery stores it."""
    if method in ("brotli", "zstd") and method not in _compression._aliases:
        pytest.skip(f"kombu has no {method} here")
    data, content_type = _compression.compress(payload, method)
    mark: bytes = MARK + content_type.encode() + b"\x00"
    assert isinstance(data, bytes)
    return mark + data


def refused(decoder: Decoder, payload: bytes, **properties: Any) -> str:
    with pytest.raises(ResultDecodeError) as caught:
        decoder.decode(payload, **properties)
    assert caught.value.__context__ is None
    return str(caught.value)


class TestBodySize:
    def test_of_what_is_not_compressed(self) -> None:
        decoder = Decoder(max_body_size=KIB)
        assert len(decoder.decode(body(KIB))["result"]) < KIB
        assert refused(decoder, body(KIB + 1)) == (
            "the result has more than 1024 bytes, which is the most that max_body_size allows"
        )

    @pytest.mark.parametrize("method", METHODS)
    def test_of_what_is(self, method: str) -> None:
        decoder = Decoder(max_body_size=100 * KIB)
        assert decoder.decode(compressed(body(100 * KIB), method))["status"] == "SUCCESS"
        assert "more than 102400 bytes" in refused(decoder, compressed(body(100 * KIB + 1), method))

    def test_of_what_a_message_says_is_compressed(self) -> None:
        decoder = Decoder(max_body_size=KIB)
        assert decoder.decode(zlib.compress(body(KIB)), compression="gzip")["task_id"] == "t"
        assert "max_body_size" in refused(decoder, zlib.compress(body(KIB + 1)), compression="application/x-gzip")

    def test_of_what_is_compressed_twice(self) -> None:
        inner = compressed(body(10 * KIB), "gzip")
        assert Decoder().decode(bz2.compress(inner), compression="bzip2")["task_id"] == "t"
        assert "max_body_size" in refused(Decoder(max_body_size=9 * KIB), bz2.compress(inner), compression="bzip2")

    def test_the_default_and_none(self) -> None:
        assert MAX_BODY_SIZE == 64 * MIB
        large = zlib.compress(body(MAX_BODY_SIZE + 1), 1)
        assert "more than 67108864 bytes" in refused(Decoder(), large, compression="gzip")
        unbounded = Decoder(max_body_size=None).decode(large, compression="gzip")
        assert len(unbounded["result"]) > MAX_BODY_SIZE - KIB

    def test_of_a_method_that_somebody_else_registered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is run as a whole, and what comes out is measured."""
        monkeypatch.setitem(_compression._decoders, "x/twice", lambda data: data + data)
        assert decompressed(b"ab", "x/twice", 4) == b"abab"
        with pytest.raises(TooLargeError):
            decompressed(b"ab", "x/twice", 3)


class TestDecompression:
    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("size", [0, 1, 100, 40 * KIB])
    def test_gives_what_was_compressed(self, method: str, size: int) -> None:
        compressed(b"", method)
        plain = os.urandom(size // 2) + bytes(size - size // 2)
        data, _ = _compression.compress(plain, method)
        assert decompressed(data, method, max(size, 1)) == plain
        for broken in (data[:-1], data[: len(data) // 2], data + b"rest"):
            with pytest.raises(Exception, match=r".") as caught:
                decompressed(broken, method, size + KIB)
            assert not isinstance(caught.value, TooLargeError)

    def test_lzma_may_not_ask_for_any_memory(self) -> None:
        filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 512 * MIB}]
        header_alone = lzma.compress(b"", filters=filters)
        with pytest.raises(lzma.LZMAError, match="Memory"):
            decompressed(lzma.compress(b"x", filters=filters), "xz", KIB)
        assert len(header_alone) < 100


def bomb(method: str, size: int) -> bytes:
    """So many zeros, of which nobody has more than a piece at a time."""
    compressed(b"", method)
    stream: Any
    if method == "gzip":
        stream = zlib.compressobj(1)
    elif method == "bzip2":
        stream = bz2.BZ2Compressor()
    elif method == "lzma":
        stream = lzma.LZMACompressor(preset=0)
    elif method == "zstd":
        stream = _compression.zstd.ZstdCompressor()
        if hasattr(stream, "compressobj"):
            # Of the package that older versions of kombu take.
            stream = stream.compressobj()
    else:
        stream = _compression.brotli.Compressor(quality=2)
    feed, end = (stream.process, stream.finish) if method == "brotli" else (stream.compress, stream.flush)
    piece = bytes(8 * MIB)
    return b"".join(feed(piece) for _ in range(size // len(piece))) + bytes(end())


def peak_of(call: Callable[[], object]) -> int:
    """The most bytes that a call had at a time."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class TestBombs:
    @pytest.mark.parametrize("method", METHODS)
    def test_cost_what_is_allowed(self, method: str) -> None:
        payload = MARK + method.encode() + b"\x00" + bomb(method, 64 * MIB)
        decoder = Decoder(max_body_size=100 * KIB)
        # The largest piece is the window of brotli.
        assert peak_of(lambda: refused(decoder, payload)) < 24 * MIB

    def test_ten_gigabytes(self) -> None:
        """Of a stream that has no end: nobody gets there."""
        stream = zlib.compressobj(9)
        start = stream.compress(b"") + stream.flush(zlib.Z_SYNC_FLUSH)
        piece = stream.compress(bytes(16 * MIB)) + stream.flush(zlib.Z_FULL_FLUSH)
        payload = start + piece * 640
        assert peak_of(lambda: refused(Decoder(max_body_size=MIB), payload, compression="gzip")) < 40 * MIB

    @pytest.mark.parametrize("library", ["brotli", "zstandard"])
    def test_libraries_that_cannot_be_told_when_to_stop(self, library: str) -> None:
        """Older releases of brotli, and what kombu used for zstd until 5.5."""
        module = pytest.importorskip(library)
        if library == "brotli":

            class Old:
                """The methods of brotli 1.1."""

                def __init__(self) -> None:
                    real = module.Decompressor()
                    self.process = real.process
                    self.is_finished = real.is_finished

            bounded = decompression._brotli(SimpleNamespace(Decompressor=Old))
            data = bomb("brotli", 256 * MIB)
            plain = module.compress(bytes(range(256)) * 5000)
        else:
            bounded = decompression._zstandard(module)
            stream = module.ZstdCompressor().compressobj()
            data = b"".join(stream.compress(bytes(8 * MIB)) for _ in range(32)) + stream.flush()
            plain = module.ZstdCompressor().compress(bytes(range(256)) * 5000)
        assert peak_of(lambda: bounded(data, MIB)) < 80 * MIB
        assert bounded(plain, 5000 * 256) == bytes(range(256)) * 5000
        with pytest.raises(EOFError):
            bounded(plain[:-3], 5000 * 256)


class TestYAML:
    @staticmethod
    def merging(levels: int) -> bytes:
        lines = ["status: SUCCESS", "task_id: t", "a0: &a0 {x: 1}"]
        lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, levels)]
        return "\n".join(lines).encode()

    def test_merging_what_was_merged(self) -> None:
        """A kilobyte that stands for 9 to the power of 20 pairs."""
        decoder = Decoder("yaml")
        assert decoder.decode(self.merging(3))["a2"] == {"x": 1}
        payload = self.merging(20)
        assert len(payload) < 1500
        assert "too much is merged" in refused(decoder, payload)

    def test_merging_one_mapping_often(self) -> None:
        pairs = ", ".join(f"k{n}: 1" for n in range(300))
        payload = f"a: &a {{{pairs}}}\nb: {{<<: [{', '.join(['*a'] * 300)}]}}".encode()
        assert "too much is merged" in refused(Decoder("yaml"), payload)

    def test_what_several_places_share_is_made_once(self) -> None:
        lines = ["status: SUCCESS", "task_id: t", "a0: &a0 [x]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40)]
        decoded = Decoder("yaml").decode("\n".join(lines).encode())
        assert decoded["a39"][0] is decoded["a39"][8] is decoded["a38"]

    def test_numbers_to_the_base_of_sixty(self) -> None:
        decoder = Decoder("yaml")
        head = "status: SUCCESS\ntask_id: t\nresult: "
        assert decoder.decode(f"{head}190:20:30".encode())["result"] == 190 * 3600 + 20 * 60 + 30
        assert decoder.decode(f"{head}'1{':1' * 30}'".encode())["result"] == "1" + ":1" * 30
        for number in ("1" + ":1" * 100_000, '!!int "1' + ":1" * 300_000 + '"'):
            assert "too many parts" in refused(decoder, f"{head}{number}".encode())

    def test_is_otherwise_read_as_kombu_reads_it(self) -> None:
        value = {"a": [1, 0x1F, 1.5, None, True, datetime(2026, 1, 2), b"\xff", "1:2"], 7: {"x": "ä"}}
        _, _, payload = _serialization.dumps({"status": "SUCCESS", "task_id": "t", "result": value}, "yaml")
        assert Decoder("yaml").decode(payload.encode())["result"] == value
        assert "ConstructorError" in refused(Decoder("yaml"), b"!!python/object/apply:os.getcwd []")


class TestMsgpack:
    def test_more_announced_than_there_is(self) -> None:
        """Each of these lists is announced with as many items as there are bytes: 80 MB, that is, a hundred times."""
        size = 1_000_000
        payload = (b"\xdd" + size.to_bytes(4, "big")) * 100
        payload += b"\xc0" * (size - len(payload))
        assert peak_of(lambda: refused(Decoder("msgpack"), payload)) < 20 * MIB

    def test_is_otherwise_read_as_kombu_reads_it(self) -> None:
        value = {"a": [1, None, b"\xff", "ä", 1.5], "b": {"c": list(range(20))}}
        _, _, payload = _serialization.dumps({"status": "SUCCESS", "task_id": "t", "result": value}, "msgpack")
        assert Decoder("msgpack").decode(payload)["result"] == value
        refused(Decoder("msgpack"), payload + b"\xc0")


@pytest.mark.parametrize("name", ["yaml", "msgpack"])
def test_somebody_elses_reader_is_obeyed(name: str) -> None:
    registry = _serialization.registry
    content_type, kombus = registry.name_to_type[name], registry._decoders[registry.name_to_type[name]]
    decoder = Decoder(name)
    registry.register(name, None, lambda _: {"status": "OTHER", "task_id": "t"}, content_type=content_type)
    try:
        assert decoder.decode(b"x")["status"] == "OTHER"
    finally:
        registry.register(name, None, kombus, content_type=content_type)

"""Taking a body out of its compression, and no more of it than is allowed.

Compression is cheap to abuse: a kilobyte may stand for gigabytes. So the libraries that kombu uses are asked for one
byte more than is allowed and no further, in place of kombu's own calls, which would give all of it. A method that
somebody else registered with kombu can only be run as a whole; its outcome is measured afterwards.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from kombu import compression as _compression

__all__ = ["TooLargeError", "decompressed"]

_Decoder = Callable[[bytes], bytes]
#: The beginning of what is in a body, at least one byte more than the limit if there are as many.
_Bounded = Callable[[bytes, int], bytes]

# kombu's functions have no annotations; this name tells mypy so.
_get_decoder: Callable[[str], _Decoder] = _compression.get_decoder

# The dictionary of LZMA is as large as the body says; `xz -9` needs 65 MiB.
_LZMA_MEMORY: Final = 128 * 1024 * 1024
# Libraries that cannot be told when to stop get a few bytes at a time: of zstd, 4 may stand for 128 KiB, of brotli even
# for 16 MiB.
_ZSTD_PIECE: Final = 256
_BROTLI_PIECE: Final = 8


class TooLargeError(ValueError):
    """There is more in it than is allowed."""


def decompressed(body: bytes, method: str, limit: int) -> bytes:
    """Take a body out of its compression.

    Args:
        body: what was compressed: one stream, with nothing behind it.
        method: content type or alias, as kombu has it.
        limit: how many bytes it may have then.

    Raises:
        TooLargeError: it has more.
        KeyError: kombu does not know the method, or its library is not installed.
        Exception: it is broken; each library has errors of its own, with no common base.
    """
    decoder = _get_decoder(method)
    bounded = _BOUNDED.get(decoder)
    plain = bytes(decoder(body)) if bounded is None else bounded(body, limit)
    if len(plain) > limit:
        raise TooLargeError(f"it has more than {limit} bytes")
    return plain


def _deflated(body: bytes, limit: int) -> bytes:
    stream = zlib.decompressobj()
    # To zlib, 0 would mean "all of it".
    plain = stream.decompress(body, limit + 1)
    return plain if len(plain) > limit else _complete(plain, stream)


def _bzipped(body: bytes, limit: int) -> bytes:
    return _read(bz2.BZ2Decompressor(), body, limit)


def _lzma(body: bytes, limit: int) -> bytes:
    return _read(lzma.LZMADecompressor(memlimit=_LZMA_MEMORY), body, limit)


def _read(stream: Any, body: bytes, limit: int) -> bytes:
    """From one of the standard library's decompressors, or of those made after their model."""
    plain: bytes = stream.decompress(body, limit + 1)
    return plain if len(plain) > limit else _complete(plain, stream)


def _zstandard(module: Any) -> _Bounded:
    """With the library that kombu used until 5.5."""

    def bounded(body: bytes, limit: int) -> bytes:
        stream = module.ZstdDecompressor().decompressobj()
        plain = _in_pieces(stream.decompress, body, limit, _ZSTD_PIECE)
        return plain if len(plain) > limit else _complete(plain, stream)

    return bounded


def _brotli(module: Any) -> _Bounded:
    def bounded(body: bytes, limit: int) -> bytes:
        stream = module.Decompressor()
        process: Callable[..., bytes] = getattr(stream, "process", None) or stream.decompress
        if hasattr(stream, "can_accept_more_data"):
            plain = bytearray(process(body, output_buffer_limit=limit + 1))
            # The limit is a hint: each call may give somewhat more or less.
            while len(plain) <= limit and not stream.is_finished():
                piece = process(b"", output_buffer_limit=limit + 1 - len(plain))
                if not piece:
                    break
                plain += piece
        else:
            plain = bytearray(_in_pieces(process, body, limit, _BROTLI_PIECE))
        if len(plain) <= limit and not stream.is_finished():
            raise EOFError("it ends in the middle")
        return bytes(plain)

    return bounded


def _in_pieces(feed: _Decoder, body: bytes, limit: int, size: int) -> bytes:
    """From a decompressor that gives all that it can: fed in pieces, until that is enough."""
    plain = bytearray()
    for start in range(0, len(body), size):
        plain += feed(body[start : start + size])
        if len(plain) > limit:
            break
    return bytes(plain)


def _complete(plain: bytes, stream: Any) -> bytes:
    """What was read, if that was all there is. Raises EOFError, ValueError."""
    if not stream.eof:
        raise EOFError("it ends in the middle")
    if stream.unused_data:
        raise ValueError("there is something behind its end")
    return plain


def _bounded_decoders() -> Mapping[_Decoder, _Bounded]:
    """kombu's own decoders → how to bound them."""
    found: dict[_Decoder, _Bounded] = {zlib.decompress: _deflated, bz2.decompress: _bzipped, lzma.decompress: _lzma}
    # Optional libraries are where kombu has put them, if it has found them.
    brotli: Any = getattr(_compression, "brotli", None)
    if brotli is not None:
        found[brotli.decompress] = _brotli(brotli)
    zstd: Any = getattr(_compression, "zstd", None)
    with_zstandard: Any = getattr(_compression, "zstd_decompress", None)
    if with_zstandard is not None:
        found[with_zstandard] = _zstandard(zstd)
    elif zstd is not None:
        found[zstd.decompress] = lambda body, limit: _read(zstd.ZstdDecompressor(), body, limit)
    return found


_BOUNDED: Final = _bounded_decoders()

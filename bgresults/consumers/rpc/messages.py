"""Messages that arrive whatever is in them.

By default kombu decompresses a body as soon as it has arrived, however large that makes it. And to py-amqp properties
that cannot be read are the end of the connection: the broker would deliver that message again, and end the next one
with it. Here the body stays as it came, for the decoder, and unreadable properties are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import unpack_from
from typing import Any, Final

import kombu.message
from amqp.exceptions import UnexpectedFrame

__all__ = ["Frame", "keep_compressed", "tolerant"]

#: Type, channel, payload.
Frame = tuple[int, int, bytes]

_HEADER: Final = 2
# Class, weight, size of the body; then the properties: no flags are none.
_FIXED_PART: Final = 12
_NO_PROPERTIES: Final = b"\x00\x00"
# RabbitMQ takes no larger one. What claims to be larger would be collected for as long as it comes.
_LARGEST_BODY: Final = 512 * 1024 * 1024

# kombu has no types of its own.
_Message: Any = kombu.message.Message


class _Compressed(_Message):  # type: ignore[misc]
    """Behind kombu's class of a transport's messages, which knows where the headers are.

    Attributes:
        compression: what the header of this name says; None if there is none.
    """

    def __init__(self, *args: Any, headers: Any = None, **settings: Any) -> None:
        rest = dict(headers) if isinstance(headers, dict) else {}
        self.compression = rest.pop("compression", None)
        super().__init__(*args, headers=rest, **settings)


class _Restorable(_Message):  # type: ignore[misc]
    """In front of it."""

    def serializable(self) -> dict[str, Any]:
        """What a transport of kombu puts back into its queue."""
        serialized: dict[str, Any] = super().serializable()
        if self.compression is not None:
            serialized["headers"]["compression"] = self.compression
        return serialized


def keep_compressed(channel: Any) -> None:
    """Have a channel of kombu's leave the bodies of its messages as they came; they have a ``compression`` then."""
    transports = channel.Message
    channel.Message = type(transports.__name__, (_Restorable, transports, _Compressed), {})


def tolerant(on_frame: Callable[[Frame], Any]) -> Callable[[Frame], Any]:
    """py-amqp's handler of frames; if it cannot read the properties of a message, the message has none.

    Without a content type it is read as what the reader expects, and the id in its body is enough to find its task.
    """

    def handle(frame: Frame) -> Any:
        kind, channel, payload = frame
        if kind != _HEADER:
            return on_frame(frame)
        (size,) = unpack_from(">Q", payload, 4)
        if size > _LARGEST_BODY:
            raise UnexpectedFrame(f"a message of {size} bytes is announced; no broker sends such")
        try:
            return on_frame(frame)
        except Exception as error:  # noqa: BLE001 - what reads them raises whatever their bytes lead to
            unreadable = error
        try:
            return on_frame((kind, channel, payload[:_FIXED_PART] + _NO_PROPERTIES))
        except Exception:  # noqa: BLE001 - any of these
            # It was not because of them.
            raise unreadable from None

    return handle

"""Server-sent events as a browser reads them, and both kinds of streams behind one face."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from bgresults import ResultWatcher
from bgresults.sse import asse, sse

__all__ = ["KINDS", "Event", "Follower", "chunks_of", "parsed"]

KINDS = ["sse", "asse"]


@dataclass(frozen=True)
class Event:
    """What a listener gets, and what a comment or the hint of a retry would be to it: names in brackets."""

    name: str
    data: Any
    last_event_id: str = ""

    @property
    def json(self) -> Any:
        return json.loads(self.data)


def parsed(chunks: Iterable[bytes]) -> Iterator[Event]:
    """What the specification makes of a stream: https://html.spec.whatwg.org/multipage/server-sent-events.html"""
    last_event_id, name, data = "", "", ""
    for line in _lines(chunks):
        if line == "":
            if data:
                yield Event(name or "message", data.removesuffix("\n"), last_event_id)
            name, data = "", ""
            continue
        if line.startswith(":"):
            yield Event("[comment]", line[1:].strip())
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data += value + "\n"
        elif field == "id" and "\0" not in value:
            last_event_id = value
        elif field == "retry" and value.isascii() and value.isdigit():
            yield Event("[retry]", int(value))


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Ended by CR LF, LF or CR; what no line end follows is no line."""
    rest = b""
    for chunk in chunks:
        *lines, rest = re.split(b"\r\n|\n|\r", rest + chunk)
        for line in lines:
            yield line.decode()


class Follower(Iterator[Event]):
    """One stream, followed event by event in the thread that asks; an asynchronous one in a loop of its own."""

    def __init__(self, kind: str, watcher: ResultWatcher, task_id: Any, **options: Any) -> None:
        self._loop = asyncio.new_event_loop() if kind == "asse" else None
        try:
            self.stream: Any = self._opened(watcher, task_id, options)
        except BaseException:
            self._close_loop()
            raise
        #: All that was sent.
        self.sent = b""
        self._events = parsed(self._chunks())

    def _opened(self, watcher: ResultWatcher, task_id: Any, options: dict[str, Any]) -> Any:
        if self._loop is None:
            return sse(watcher, task_id, **options)

        async def opened() -> Any:
            return asse(watcher, task_id, **options)

        return self._loop.run_until_complete(opened())

    def _chunks(self) -> Iterator[bytes]:
        while True:
            try:
                chunk = next(self.stream) if self._loop is None else self._loop.run_until_complete(anext(self.stream))
            except (StopIteration, StopAsyncIteration):
                return
            self.sent += chunk
            yield chunk

    def __next__(self) -> Event:
        return next(self._events)

    def event(self) -> Event:
        """The next that is neither a comment nor the hint of a retry."""
        return next(event for event in self._events if not event.name.startswith("["))

    def events(self) -> list[Event]:
        """All that follow, without those."""
        return [event for event in self._events if not event.name.startswith("[")]

    def close(self) -> None:
        """Close the stream, and the loop."""
        self.stream.close()
        self._close_loop()

    def _close_loop(self) -> None:
        if self._loop is not None:
            self._loop.close()

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


async def chunks_of(stream: AsyncIterator[bytes]) -> bytes:
    """Everything that it sends."""
    return b"".join([chunk async for chunk in stream])

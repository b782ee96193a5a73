"""Payload bytes → the decoded mapping (:class:`Decoder`) → what users see of it (:class:`TaskMeta`).

Whatever cannot be read is a :class:`~bgresults.errors.ResultDecodeError` and nothing else, so that one bad message ends
its own future and never the thread that reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bgresults.decompression import TooLargeError, decompressed
from bgresults.errors import ResultDecodeError
from bgresults.serializers import DECODERS, JSON, KOMBU_JSON, content_type_of, loads
from bgresults.untyped_json import TYPED, untyped_json

__all__ = ["MAX_BODY_SIZE", "READY_STATES", "Decoder", "TaskMeta"]

#: The states after which no other follows, as far as a waiter is concerned.
READY_STATES: Final = frozenset({"SUCCESS", "FAILURE", "REVOKED"})

# Celery 5.7 stores compressed payloads as this + content type + NUL + body. No serializer's output starts with NUL.
_COMPRESSED: Final = b"\x00celery-compressed\x00"

_FROM_RAW: Final[Any] = object()

#: Bytes of a body, unless somebody says otherwise: far more than anybody should send to a web page, and few enough to
#: be read within seconds.
MAX_BODY_SIZE: Final = 64 * 1024 * 1024
# No body is larger, and one more still fits where the libraries count.
_UNLIMITED: Final = 2**48


class Decoder:
    """Reads task results in one serializer, or in those that are accepted.

    Immutable once made: any number of threads may share one.

    Args:
        serializer: name (or content type) of what Redis payloads are written in; they do not say so themselves.
        accept: names or content types that a message may declare; None means the serializer alone.
        max_body_size: bytes that a body may have, once decompressed; None for any number of them.

    Raises:
        TypeError: ``serializer`` is no str, ``accept`` is a single str or holds something else than str, or
            ``max_body_size`` is no int.
        ValueError: a serializer is unknown to kombu or not installed, ``serializer`` is not among ``accept``, or
            ``max_body_size`` is below 1.
    """

    __slots__ = ("_accept", "_content_type", "_limit")

    def __init__(
        self,
        serializer: str = "json",
        accept: Iterable[str] | None = None,
        *,
        max_body_size: int | None = MAX_BODY_SIZE,
    ) -> None:
        if not isinstance(serializer, str):
            raise TypeError(f"serializer is a name such as 'json', not {type(serializer).__name__}")
        if isinstance(accept, (str, bytes)):
            raise TypeError(f"accept is a list of names such as ['json'], not the single {accept!r}")
        self._content_type = content_type_of(serializer)
        names = [serializer] if accept is None else list(accept)
        self._accept = frozenset(content_type_of(name) for name in names)
        if self._content_type not in self._accept:
            allowed = ", ".join(map(repr, names)) or "nothing"
            raise ValueError(f"serializer {serializer!r} is not in accept, which allows {allowed}")
        self._limit = _limit(max_body_size)

    def __repr__(self) -> str:
        return f"<Decoder {self._content_type}, accepts {', '.join(sorted(self._accept))}>"

    def decode(
        self,
        payload: bytes,
        *,
        content_type: str | None = None,
        content_encoding: str | None = None,
        compression: str | None = None,
    ) -> dict[str, Any]:
        """Read one result.

        Args:
            payload: the body as it came; Celery's mark of a compressed one is honoured.
            content_type: what the message says it is; None (or empty) means the reader's serializer, as on Redis.
            content_encoding: what the message says.
            compression: content type or alias of the message's ``compression`` header.

        Returns:
            A new plain dict whose ``status`` and ``task_id`` are non-empty plain strings.

        Raises:
            ResultDecodeError: whatever is wrong with it. Nothing else comes out, whatever an unpickler raises.
        """
        if not content_type:
            content_type = self._content_type
        elif type(content_type) is not str or content_type not in self._accept:
            allowed = ", ".join(sorted(self._accept))
            raise ResultDecodeError(f"the content type {_quoted(content_type)} is not accepted (accepted: {allowed})")
        if type(payload) is not bytes or compression or payload.startswith(_COMPRESSED):
            payload = _plain(payload, compression, self._limit)
        if len(payload) > self._limit:
            raise _too_large(self._limit)
        problem: str | None = None
        if content_type == JSON and DECODERS.get(JSON) is KOMBU_JSON:
            try:
                value = untyped_json(payload)
                if value is not TYPED:
                    return _checked(value)
            except (ValueError, RecursionError, MemoryError) as exc:
                problem = _reason(exc)
        if problem is None:
            try:
                return _checked(loads(payload, content_type, content_encoding, self._accept))
            except ResultDecodeError:
                raise
            except BaseException as exc:  # noqa: BLE001 - an unpickler runs the sender's code: SystemExit is data here
                problem = _reason(exc)
        # Outside the except clauses: the error that a future keeps must not keep the reader's error with the payload.
        raise ResultDecodeError(f"the result cannot be read as {content_type}: {problem}")

    def decode_plain(self, payload: Any, *, content_type: Any, compression: Any) -> dict[str, Any] | None:
        """As :meth:`decode`, if that takes plain JSON alone; None if not, or if it cannot be read.

        For a thread of the user's: it runs no code that came with the message, or that somebody registered, so whatever
        is raised in the middle is a signal handler's, and comes out.
        """
        if (
            (content_type or self._content_type) != JSON
            or JSON not in self._accept
            or DECODERS.get(JSON) is not KOMBU_JSON
            or compression
            or type(payload) is not bytes
            or payload.startswith(_COMPRESSED)
            or len(payload) > self._limit
        ):
            return None
        try:
            value = untyped_json(payload)
            return None if value is TYPED else _checked(value)
        except (ResultDecodeError, ValueError, RecursionError, MemoryError):
            return None

    def decode_for(self, task_id: str, payload: bytes) -> dict[str, Any]:
        """Read a result that was found under the key, or on the channel, of ``task_id`` (Redis).

        Raises:
            ResultDecodeError: as :meth:`decode`, and when the body is that of another task.
        """
        decoded = self.decode(payload)
        if decoded["task_id"] != task_id:
            raise ResultDecodeError(
                f"the result stored for {_quoted(task_id)} says that it belongs to {_quoted(decoded['task_id'])}"
            )
        return decoded


@dataclass(frozen=True, slots=True)
class TaskMeta:
    """What the backend says about a task. A field that was not sent is None; a mistyped one is passed on as it came.

    Immutable, as long as nobody changes the values inside: any thread may read it.

    Attributes:
        task_id: the task's id.
        status: Celery's name of the state: ``"SUCCESS"``, ``"PROGRESS"`` …
        result: the value; of a failed or revoked task the exception that the future raises; else the state's details.
        traceback: the text of the worker's traceback.
        children: the tasks that this one called, as Celery writes them down.
        date_done: when it ended: ISO 8601 text, or a ``datetime``, as the serializer has it.
        group_id: id of the group it belongs to.
        parent_id: id of the task that called it.
        name, args, kwargs, worker, retries, queue: sent with Celery's ``result_extended`` only.
        raw: the decoded mapping itself.
    """

    task_id: str
    status: str
    result: Any = None
    traceback: str | None = None
    children: list[Any] | None = None
    date_done: Any = None
    group_id: str | None = None
    parent_id: str | None = None
    name: str | None = None
    args: Any = None
    kwargs: Any = None
    worker: str | None = None
    retries: int | None = None
    queue: str | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def ready(self) -> bool:
        """Whether the task has ended."""
        status: object = self.status
        return isinstance(status, str) and status in READY_STATES

    @classmethod
    def from_raw(cls, raw: Mapping[str, Any], result: Any = _FROM_RAW) -> TaskMeta:
        """From a decoded mapping.

        Args:
            raw: what :meth:`Decoder.decode` returned; kept, not copied.
            result: stands in for the mapping's own result (the rebuilt exception of a failure); any value, None too.
        """
        get = raw.get
        return cls(
            task_id=get("task_id"),  # type: ignore[arg-type]  # a Decoder has checked these two
            status=get("status"),  # type: ignore[arg-type]
            result=get("result") if result is _FROM_RAW else result,
            traceback=get("traceback"),
            children=get("children"),
            date_done=get("date_done"),
            group_id=get("group_id"),
            parent_id=get("parent_id"),
            name=get("name"),
            args=get("args"),
            kwargs=get("kwargs"),
            worker=get("worker"),
            retries=get("retries"),
            queue=get("queue"),
            raw=raw,
        )


def _limit(max_body_size: int | None) -> int:
    if max_body_size is None:
        return _UNLIMITED
    allowed = f"a number of bytes from 1 to {_UNLIMITED}, or None for no bound"
    if isinstance(max_body_size, bool) or not isinstance(max_body_size, int):
        raise TypeError(f"max_body_size must be {allowed}, not {type(max_body_size).__name__}")
    if not 1 <= max_body_size <= _UNLIMITED:
        raise ValueError(f"max_body_size must be {allowed}, not {max_body_size}")
    return max_body_size


def _plain(payload: object, compression: str | None, limit: int) -> bytes:
    """The body as bytes: out of other buffers, and out of its compression. Raises ResultDecodeError."""
    try:
        # Some transports of kombu hand out text or views.
        body = payload.encode() if isinstance(payload, str) else bytes(memoryview(payload))  # type: ignore[arg-type]
        if compression:
            body = decompressed(body, compression, limit)
        if body.startswith(_COMPRESSED):
            method, _, body = body[len(_COMPRESSED) :].partition(b"\x00")
            body = decompressed(body, method.decode(), limit)
        return body
    except TooLargeError:
        error = _too_large(limit)
    except Exception as exc:  # noqa: BLE001 - each compression library has errors of its own, with no common base
        error = ResultDecodeError(f"the result cannot be decompressed: {_reason(exc)}")
    raise error


def _too_large(limit: int) -> ResultDecodeError:
    return ResultDecodeError(f"the result has more than {limit} bytes, which is the most that max_body_size allows")


def _checked(decoded: Any) -> dict[str, Any]:
    """A plain dict with a usable state and id. Raises ResultDecodeError."""
    if type(decoded) is dict:
        status, task_id = decoded.get("status"), decoded.get("task_id")
        if type(status) is str and type(task_id) is str and status and task_id:
            return decoded
    else:
        if not isinstance(decoded, Mapping):
            raise ResultDecodeError(f"the result is not a mapping but {type(decoded).__name__}")
        # A subclass out of a pickle may do anything on access: from here on there is none.
        decoded = dict(decoded)
    mapping: dict[str, Any] = decoded
    for key in ("status", "task_id"):
        value: Any = mapping.get(key)
        if type(value) is not str:
            if not issubclass(type(value), str):
                found = f"is {type(value).__name__}" if key in mapping else "is missing"
                raise ResultDecodeError(f"the result's {key} {found}; it has to be text")
            mapping[key] = value = str.__str__(value)
        if not value:
            raise ResultDecodeError(f"the result's {key} is empty")
    return mapping


def _quoted(value: object) -> str:
    """At most 80 characters of a text, printable; of anything else its type."""
    if not isinstance(value, str):
        return type(value).__name__
    return repr(value if len(value) <= 60 else f"{value[:57]}...")[:80]


def _reason(exc: BaseException) -> str:
    """What an error says, in at most 160 printable characters. It may quote the payload, or raise when it is asked."""
    try:
        # kombu wraps what its decoders raise.
        inner = exc.args[0] if exc.args and isinstance(exc.args[0], BaseException) else exc
        text = f"{type(inner).__name__}: {inner}"[:160]
        # Somebody's terminal shows this: no escape sequences.
        words = text.encode("ascii", "backslashreplace").decode().split()
        return "".join(letter if letter.isprintable() else "?" for letter in " ".join(words))[:160]
    except BaseException:  # noqa: BLE001 - an exception out of a pickle is the sender's code
        return type(exc).__name__

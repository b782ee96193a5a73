""":class:`FakeCelery`: what Celery applications do while their watchers have a memory in the place of a server.

All that Celery does around a task is done: ids, signals, routes, serializing. The message goes nowhere, and a worker's
part is done where the outcome is known: by Celery's own code for that, of its result backends.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from unittest import mock

from celery import Celery
from celery.app.control import Control
from celery.app.task import Context
from celery.backends.base import KeyValueStoreBackend
from kombu import serialization
from kombu.connection import Connection
from kombu.exceptions import EncodeError, OperationalError

from bgresults.forking import leaf_lock
from bgresults.testing.encoding import traceback_of
from bgresults.testing.memory import Memory, Stored
from bgresults.testing.sent_tasks import SentTask

if TYPE_CHECKING:
    from celery.backends.base import Backend

__all__ = ["FakeCelery", "MemoryBackend"]

_KeyValueStoreBackend: Any = KeyValueStoreBackend
_Context: Any = Context
_Connection: Any = Connection
_dumps: Any = serialization.dumps
_loads: Any = serialization.loads

# Seconds between two looks of AsyncResult.get().
_INTERVAL = 0.005


class MemoryBackend(_KeyValueStoreBackend):  # type: ignore[misc]
    """A result backend over a :class:`~bgresults.testing.memory.Memory`.

    Args:
        memory: where the states are.
        publish: stores a state, and tells it.
    """

    implements_incr = True

    def __init__(self, memory: Memory, publish: Callable[[str, Stored], None], **options: Any) -> None:
        super().__init__(**options)
        self._memory = memory
        self._publish = publish
        # Groups, and the counters of chords.
        self._others: dict[bytes, Any] = {}

    def get(self, key: bytes) -> Any:
        task_id = self._task_id(key)
        if task_id is None:
            return self._others.get(key)
        stored = self._memory.stored(task_id)
        self._memory.asked_for.add(task_id)
        return None if stored is None else stored.payload

    def mget(self, keys: list[bytes]) -> list[Any]:
        return [self.get(key) for key in keys]

    def set(self, key: bytes, value: Any) -> None:
        payload = value.encode() if isinstance(value, str) else bytes(value)
        task_id = self._task_id(key)
        if task_id is None:
            self._others[key] = payload
        else:
            self._publish(task_id, Stored(payload, self.content_type))

    def delete(self, key: bytes) -> None:
        task_id = self._task_id(key)
        if task_id is None:
            self._others.pop(key, None)
        else:
            self._memory.forget(task_id)

    def incr(self, key: bytes) -> int:
        with leaf_lock():
            count = self._others[key] = self._others.get(key, 0) + 1
        return int(count)

    def wait_for(self, task_id: str, timeout: float | None = None, interval: float = 0.5, **options: Any) -> Any:
        return super().wait_for(task_id, timeout=timeout, interval=_INTERVAL, **options)

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Nobody subscribes to anything."""

    def _task_id(self, key: bytes) -> str | None:
        prefix: bytes = self.task_keyprefix
        return key[len(prefix) :].decode() if key.startswith(prefix) else None


class FakeCelery:
    """For all applications of this process.

    Args:
        memory: where results are.
        publish: stores a state of a task, and tells it.
        on_sent: called with each task that is sent.
        on_revoke: called with the id of each task that workers are told to revoke.
    """

    def __init__(
        self,
        memory: Memory,
        publish: Callable[[str, Stored], None],
        on_sent: Callable[[SentTask], None],
        on_revoke: Callable[[str], None],
    ) -> None:
        self._memory = memory
        self._publish = publish
        self._on_sent = on_sent
        self._on_revoke = on_revoke
        self._backends: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
        self._requests: dict[str, tuple[Any, Any]] = {}
        self._undo = contextlib.ExitStack()
        #: Why nothing can be sent; None while it can.
        self.broker_outage: str | None = None

    def start(self) -> None:
        """From now on no application of this process connects anywhere."""
        fake = self

        def producer_or_acquire(app: Any, _producer: Any = None) -> Any:
            return contextlib.nullcontext(_Producer(fake, app))

        def broadcast(_control: Any, command: str, arguments: Any = None, *_: Any, **options: Any) -> Any:
            fake._broadcast(command, arguments or {})
            return [] if options.get("reply") else None

        for place, name, value in (
            (Celery, "producer_or_acquire", producer_or_acquire),
            (Celery, "default_producer", producer_or_acquire),
            (Celery, "backend", property(self.backend_of, lambda *_: None)),
            (Control, "broadcast", broadcast),
        ):
            self._undo.enter_context(mock.patch.object(place, name, value))

    def stop(self) -> None:
        """Undo it."""
        self._undo.close()

    def backend_of(self, app: Any) -> Backend:
        """The backend of an application: one for all threads."""
        with leaf_lock():
            found = self._backends.get(app)
        if found is None:
            found = MemoryBackend(self._memory, self._publish, app=app)
            with leaf_lock():
                found = self._backends.setdefault(app, found)
        return found

    @property
    def serializer(self) -> str | None:
        """What results are written in: as the last application says that did anything here."""
        apps = list(self._backends)
        return str(apps[-1].conf.result_serializer) if apps else None

    def knows(self, task_id: str) -> bool:
        """Whether it was sent here."""
        return task_id in self._requests

    # -- a worker's part ---------------------------------------------------------------------------------------------

    def succeed(self, task_id: str, value: Any) -> None:
        """A task that was sent has returned ``value``: what comes after it is sent, and its result stored."""
        app, request = self._requests[task_id]
        backend: Any = self.backend_of(app)
        try:
            following = list(request.callbacks or ())
            chain = list(request.chain or ())
            root_id = request.root_id or task_id
            for signature in following:
                app.signature(signature).apply_async((value,), parent_id=task_id, root_id=root_id)
            if chain:
                # The next one is the last in the list, and takes the others with it.
                app.signature(chain.pop()).apply_async((value,), chain=chain, parent_id=task_id, root_id=root_id)
            backend.mark_as_done(task_id, value, request)
        except EncodeError as error:
            # As in a worker: the task has failed with this.
            self.fail(task_id, error)

    def fail(self, task_id: str, error: Exception) -> None:
        """A task that was sent has raised ``error``."""
        app, request = self._requests[task_id]
        backend: Any = self.backend_of(app)
        store = not request.ignore_result
        backend.mark_as_failure(task_id, error, traceback_of(error), request=request, store_result=store)

    def progress(self, task_id: str, state: str, meta: Any) -> None:
        """It has said how far it is.

        Raises:
            kombu.exceptions.EncodeError: the details cannot be written.
        """
        app, request = self._requests[task_id]
        backend: Any = self.backend_of(app)
        backend.store_result(task_id, meta, state, request=request)

    def revoke(self, task_id: str, reason: str) -> None:
        """It was revoked."""
        app, request = self._requests[task_id]
        backend: Any = self.backend_of(app)
        backend.mark_as_revoked(task_id, reason, request, store_result=not request.ignore_result)

    # -- sending -----------------------------------------------------------------------------------------------------

    def send(self, app: Any, body: Any, options: dict[str, Any]) -> None:
        """A message of this application.

        Raises:
            kombu.exceptions.OperationalError: there is no broker.
            kombu.exceptions.EncodeError: the arguments cannot be written.
        """
        if self.broker_outage is not None:
            raise OperationalError(self.broker_outage)
        headers = dict(options.get("headers") or {})
        body = _as_received(body, options.get("serializer"))
        if isinstance(body, dict) and "task" in body:
            # Version 1 of Celery's protocol has it all in one.
            headers = {**headers, **body}
            args, kwargs, embedded = body["args"], body["kwargs"], {}
        elif "task" in headers and "id" in headers:
            args, kwargs, embedded = body
        else:
            # An event, for whoever watches workers.
            return
        queue = options.get("routing_key")
        request = _Context(
            {
                **headers,
                **embedded,
                "args": args,
                "kwargs": kwargs,
                "delivery_info": {"exchange": options.get("exchange"), "routing_key": queue, "priority": None},
                "hostname": "bgresults-testing",
                "called_directly": False,
            }
        )
        self._requests[headers["id"]] = app, request
        self._on_sent(SentTask(headers["id"], headers["task"], args, kwargs, queue, headers))

    def _broadcast(self, command: str, arguments: dict[str, Any]) -> None:
        if self.broker_outage is not None:
            raise OperationalError(self.broker_outage)
        if command == "revoke":
            ids = arguments.get("task_id") or ()
            for task_id in [ids] if isinstance(ids, str) else ids:
                self._on_revoke(str(task_id))


class _Producer:
    """What Celery publishes with."""

    def __init__(self, fake: FakeCelery, app: Any) -> None:
        self._fake = fake
        self._app = app
        # Asked for what counts as an error of a connection; never connected.
        self.connection = _Connection("memory://")

    def publish(self, body: Any, **options: Any) -> None:
        self._fake.send(self._app, body, options)


def _as_received(body: Any, serializer: str | None) -> Any:
    """Written and read again.

    Raises:
        kombu.exceptions.EncodeError: it cannot be written.
    """
    content_type, encoding, payload = _dumps(body, serializer=serializer)
    return _loads(payload, content_type, encoding, accept={content_type})

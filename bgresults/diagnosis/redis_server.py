"""The doctor at a Redis server: with a connection of its own, made as the watcher makes its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from kombu.serialization import dumps
from redis.exceptions import ResponseError

from bgresults.consumers.base import ConnectionLost
from bgresults.consumers.redis import ResultConsumer
from bgresults.consumers.redis.failures import connection_lost, is_denied
from bgresults.diagnosis.findings import Finding
from bgresults.diagnosis.round_trip import (
    UNREACHABLE,
    arrival,
    connecting,
    new_probe_id,
    no_room,
    probe_state,
    read_only,
)
from bgresults.errors import TooManyPendingError
from bgresults.watcher import ResultWatcher

__all__ = ["Conversation", "escaped", "examine_redis", "watched_ids"]

# kombu has no types of its own.
_dumps: Any = dumps
_CHECK_PATH = (
    "check that nothing between here and the server holds back published messages, and that the server is one, not two "
    "behind one name"
)
_CHECK_MEMORY = (
    "workers will be told the same: check the server's memory, its disk, and that it is no read-only replica"
)
# Seconds that a probe stays where it cannot be removed.
_PROBE_EXPIRES = 60
# What is asked of the server, and for what. A connection that is subscribed may ask for nothing else, so that is last.
_COMMANDS = (
    ("MGET", "to read results that are stored already"),
    ("SUBSCRIBE", "to hear of results"),
    ("UNSUBSCRIBE", "to stop hearing of them"),
)


class Conversation:
    """One connection, one question at a time.

    Raises:
        ConnectionLost: there is no connection to be had.
    """

    def __init__(self, consumer: ResultConsumer) -> None:
        self._address = consumer.address.text
        self._connector = connector = consumer._connector
        connector.ask_for_credentials()
        try:
            self._connection, self._socket = connector.open(time.monotonic() + consumer.connect_timeout)
        except Exception as error:
            raise connection_lost(error, self._address, proven=False) from error

    def ask(self, *command: Any) -> Any:
        """Return the answer.

        Raises:
            ResponseError: the server says no.
            ConnectionLost: it says nothing.
        """
        try:
            self._connection.send_command(*command)
            return self._connection.read_response()
        except ResponseError:
            raise
        except Exception as error:
            raise connection_lost(error, self._address, proven=False) from error

    def close(self) -> None:
        self._connector.close(self._connection, self._socket)


def examine_redis(watcher: ResultWatcher, consumer: ResultConsumer, timeout: float) -> Iterator[Finding]:
    """Yield what is found, until something makes the rest pointless."""
    try:
        conversation = Conversation(consumer)
    except ConnectionLost as lost:
        yield Finding("error", "connection", lost.reason, lost.cure or UNREACHABLE)
        return
    try:
        # A connection that is refused says so to the first command at the latest.
        yield _version(conversation)
        yield Finding("ok", "prefix", f"a result is looked for under {_shown(consumer, '<task id>')}")
        refused = list(_refused(conversation, consumer))
        yield from refused
        if not refused:
            yield Finding("ok", "permissions", "the user may subscribe to results and read them")
            yield from _round_trip(watcher, consumer, conversation, timeout)
    except ConnectionLost as lost:
        yield Finding("error", "connection", lost.reason, lost.cure or UNREACHABLE)
    finally:
        conversation.close()


def watched_ids(consumer: ResultConsumer) -> int | None:
    """How many ids all processes together watch, under this prefix; None if the server does not say.

    Raises:
        ConnectionLost: there is no connection to be had.
    """
    conversation = Conversation(consumer)
    try:
        return len(conversation.ask("PUBSUB", "CHANNELS", escaped(consumer._keys.key("")) + b"*"))
    except ResponseError:
        return None
    finally:
        conversation.close()


def _version(conversation: Conversation) -> Finding:
    try:
        answer: bytes = conversation.ask("INFO", "server")
    except ResponseError as error:
        if not is_denied(error) and "unknown command" not in str(error).lower():
            raise connection_lost(error, conversation._address, proven=False) from error
        return Finding("ok", "server", "connected; the server does not tell its version to this user, which is fine")
    lines = dict(line.split(":", 1) for line in answer.decode(errors="replace").splitlines() if ":" in line)
    # Valkey says which Redis it is like, too.
    shown = f"Valkey {lines['valkey_version']}" if "valkey_version" in lines else f"Redis {lines.get('redis_version')}"
    return Finding("ok", "server", f"connected to {shown}")


def _refused(conversation: Conversation, consumer: ResultConsumer) -> Iterator[Finding]:
    """Try what a watcher does, one command after the other."""
    key = consumer._keys.key(new_probe_id())
    for command, purpose in _COMMANDS:
        try:
            conversation.ask(command, key)
        except ResponseError as error:
            lost = connection_lost(error, conversation._address, proven=False)
            text = f"{command} is refused, which is needed {purpose}: {error}"
            yield Finding("error", "permissions", text, lost.cure)


def _round_trip(
    watcher: ResultWatcher, consumer: ResultConsumer, conversation: Conversation, timeout: float
) -> Iterator[Finding]:
    if trouble := connecting(watcher, timeout):
        yield trouble
        return
    task_id = new_probe_id()
    key = consumer._keys.key(task_id)
    body = _dumps(probe_state(task_id), serializer=consumer.serializer)[2]
    try:
        future = watcher.watch(task_id, lifetime=2 * timeout)
    except TooManyPendingError as error:
        yield no_room(error)
        return
    begun = time.monotonic()
    try:
        conversation.ask("SET", key, body, "EX", _PROBE_EXPIRES)
        conversation.ask("PUBLISH", key, body)
    except ResponseError as error:
        if is_denied(error):
            yield read_only(str(error))
        else:
            yield Finding("error", "round-trip", f"the server stores no results: {error}", _CHECK_MEMORY)
    else:
        yield arrival(future, begun, timeout, _CHECK_PATH)
    finally:
        future.cancel()
        _remove(conversation, key)


def _remove(conversation: Conversation, key: bytes) -> None:
    try:
        conversation.ask("DEL", key)
    except (ResponseError, ConnectionLost):
        # It expires.
        pass


def _shown(consumer: ResultConsumer, task_id: str) -> str:
    key = consumer._keys.key("").decode(errors="replace") + task_id
    return f"{key!r} in database {consumer.address.database}"


def escaped(pattern: bytes) -> bytes:
    """For a glob: a prefix may have any character."""
    return b"".join(b"\\" + bytes([code]) if bytes([code]) in b"*?[]\\^" else bytes([code]) for code in pattern)

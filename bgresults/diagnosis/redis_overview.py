"""What a Redis server knows of all that wait for results there."""

from __future__ import annotations

from typing import Any

from redis.exceptions import ResponseError

from bgresults.consumers.redis import ResultConsumer
from bgresults.diagnosis.redis_server import Conversation, escaped

__all__ = ["redis_overview"]


def redis_overview(consumer: ResultConsumer, most_ids: int) -> dict[str, Any]:
    """As :func:`~bgresults.diagnosis.overview.overview_of`."""
    conversation = Conversation(consumer)
    refused: list[str] = []

    def ask(*command: Any) -> Any:
        try:
            return conversation.ask(*command)
        except ResponseError:
            # Possibly for want of permission, which such a user need not have.
            refused.append(" ".join(str(word) for word in command[:2]))
            return None

    try:
        info = {name: _fields(ask("INFO", name), "\r\n") for name in ("server", "persistence", "stats")}
        prefix = consumer._keys.key("")
        channels = ask("PUBSUB", "CHANNELS", escaped(prefix) + b"*")
        clients = ask("CLIENT", "LIST", "TYPE", "pubsub")
    finally:
        conversation.close()
    server, stats = info["server"], info["stats"]
    product = "valkey" if "valkey_version" in server else "redis"
    version = server.get(f"{product}_version")
    ids = None if channels is None else sorted(channel[len(prefix) :].decode(errors="replace") for channel in channels)
    return {
        "server": product.capitalize() + (f" {version}" if version else ""),
        "address": consumer.address.text,
        "up_seconds": _number(server, "uptime_in_seconds"),
        "persistence": _persistence(info["persistence"]),
        "evicted_keys": _number(stats, "evicted_keys"),
        "cut_off_readers": _number(stats, "client_output_buffer_limit_disconnections"),
        "watched": None if ids is None else len(ids),
        "task_ids": None if ids is None else ids[:most_ids],
        # Who has patterns alone is no reader of results: a worker whose broker this is.
        "subscribers": None
        if clients is None
        else [_subscriber(line) for line in clients.splitlines() if b" sub=0 " not in line],
        "refused": refused,
    }


def _fields(text: bytes | None, separator: str, sign: str = ":") -> dict[str, str]:
    parts = [] if text is None else text.decode(errors="replace").split(separator)
    return dict(part.split(sign, 1) for part in parts if sign in part)


def _number(fields: dict[str, str], name: str) -> int | None:
    value = fields.get(name, "")
    return int(value) if value.isdecimal() else None


def _persistence(fields: dict[str, str]) -> str | None:
    """What would be there again after a crash: ``"aof"``, ``"snapshots"`` or None if that is not told."""
    if not fields:
        return None
    return "aof" if fields.get("aof_enabled") == "1" else "snapshots"


def _subscriber(line: bytes) -> dict[str, Any]:
    fields = _fields(line, " ", "=")
    return {
        "address": fields.get("addr", ""),
        "name": fields.get("name", ""),
        "user": fields.get("user"),
        "age": _number(fields, "age"),
        "idle": _number(fields, "idle"),
        "channels": _number(fields, "sub"),
        # What the server has written, and this connection has not taken yet.
        "unread_bytes": _number(fields, "omem"),
    }

"""What ``bgresults status`` says of a server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bgresults.cli.terminal import Row
from bgresults.cli.text import counted, duration

__all__ = ["server_rows"]

# Bytes that the server holds for one reader. By default it cuts those off that have 8 MiB for a minute, or 32 at once.
_MUCH = 1024 * 1024
_UNKNOWN = "not told to this user"


def server_rows(server: Mapping[str, Any], connections: Mapping[str, str], most: int) -> Iterator[Row]:
    """Rows about what ``overview_of()`` returned; ``connections`` says which address is of which process."""
    if "trouble" in server:
        yield Row("error", "server", server["trouble"], () if server["cure"] is None else (f"-> {server['cure']}",))
    elif "queues" in server:
        yield Row("ok", "server", server["server"] or "a transport of kombu")
        for name, queue in server["queues"].items():
            yield _queue(name, queue)
    else:
        yield from _redis(server, connections, most)


def _queue(name: str, queue: Mapping[str, Any]) -> Row:
    if queue["trouble"] is not None:
        return Row("error", "reply queue", f"{name}: {queue['trouble']}")
    text = (
        f"{name}: {counted(queue['messages'], 'message')} that nobody has taken, {counted(queue['readers'], 'reader')}"
    )
    return Row("ok" if queue["readers"] else "warning", "reply queue", text)


def _redis(server: Mapping[str, Any], connections: Mapping[str, str], most: int) -> Iterator[Row]:
    up = "" if server["up_seconds"] is None else f", up for {duration(server['up_seconds'])}"
    yield Row("ok", "server", f"{server['server']}{up}")
    yield from _losses(server)
    if server["watched"] is None:
        yield Row("note", "watched", f"the ids are {_UNKNOWN} (PUBSUB CHANNELS)")
    else:
        ids = tuple(server["task_ids"][:most])
        more = (f"… and {server['watched'] - len(ids)} more",) if server["watched"] > len(ids) else ()
        yield Row("ok", "watched", f"{counted(server['watched'], 'id')}, by all processes together", (*ids, *more))
    if server["subscribers"] is None:
        yield Row("note", "readers", f"the connections are {_UNKNOWN} (CLIENT LIST)")
        return
    for reader in server["subscribers"]:
        yield _reader(reader, connections)


def _losses(server: Mapping[str, Any]) -> Iterator[Row]:
    """What may have cost results, since the server was started."""
    if server["persistence"] == "snapshots":
        yield Row("note", "persistence", "no append-only file: after a crash, results since the last snapshot are gone")
    if server["evicted_keys"]:
        text = f"keys thrown away for want of memory, results perhaps among them: {server['evicted_keys']}"
        yield Row("warning", "evicted", text, ("-> give the server more memory, or results a shorter life",))
    if server["cut_off_readers"]:
        text = f"connections that did not read fast enough, and were closed: {server['cut_off_readers']}"
        yield Row("warning", "cut off", text, ("a watcher reads what it has missed as soon as it is connected again",))


def _reader(reader: Mapping[str, Any], connections: Mapping[str, str]) -> Row:
    who = connections.get(reader["address"])
    whose = f" ({who})" if who else f" ({reader['name']})" if reader["name"] else ""
    age = "" if reader["age"] is None else f", connected for {duration(reader['age'])}"
    ids = counted(reader["channels"] or 0, "id")
    text = f"{reader['address']}{whose}: {ids}{age}, {counted(reader['unread_bytes'] or 0, 'byte')} not taken"
    return Row("warning" if (reader["unread_bytes"] or 0) > _MUCH else "ok", "reader", text)

"""What ``bgresults status`` says of processes and of their server, and whether that is all right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bgresults.cli.server_rows import server_rows
from bgresults.cli.terminal import Row, show
from bgresults.cli.text import clock, counted, duration
from bgresults.diagnosis import Answer

__all__ = ["Block", "told"]

# Seconds until a drain thread answers, and bytes that it has not read: beyond these it is behind.
_SLOW = 0.5
_MUCH = 1024 * 1024
# What may have been counted, and is nobody's outage: the counter, and how to call it.
_NOTEWORTHY = (
    ("undecodable", "messages that could not be read"),
    ("evicted", "replies given up before anybody asked for them"),
    ("queues_lost", "reply queues found deleted"),
    ("expired", "futures that reached their lifetime"),
    ("callback_errors", "exceptions of callbacks"),
)


@dataclass(frozen=True)
class Block:
    """Of one process, or of the server."""

    heading: str
    rows: list[Row]

    @property
    def wrong(self) -> bool:
        """Whether something has to be done."""
        return any(row.level == "error" for row in self.rows)

    def show(self) -> None:
        """Write it."""
        show(self.heading, self.rows)


def told(answers: list[Answer] | None, server: dict[str, Any] | None, directory: Path | None, most: int) -> list[Block]:
    """One block for each process that was asked, and one for the server, if there is one."""
    blocks = []
    connections: dict[str, str] = {}
    if answers is not None and not answers:
        text = "no process answers there; has one been started with that directory, and used a watcher?"
        blocks.append(Block(str(directory), [Row("error", "processes", text)]))
    for answer in answers or []:
        blocks.append(_process(answer, most))
        for watcher in (answer.status or {}).get("watchers", []):
            connections |= dict.fromkeys(watcher["pace"]["connections"], answer.process)
    if server is not None:
        rows = [*server_rows(server, connections, most), *_restart(server, answers or [])]
        blocks.append(Block(server.get("address", "the server"), rows))
    return blocks


def _restart(server: dict[str, Any], answers: list[Answer]) -> Iterator[Row]:
    """Whether the server was started in the last outage of one of the processes that use it."""
    up = server.get("up_seconds")
    for status in (answer.status for answer in answers if answer.status is not None and up is not None):
        for watcher in status["watchers"]:
            if watcher["health"]["address"] != server["address"] or not watcher["outages"]:
                continue
            last = watcher["outages"][-1]
            started = status["at"] - up
            # The server tells whole seconds.
            if last["began"] - 1 <= started <= last["began"] + last["seconds"] + 1:
                text = f"it was started at about {clock(started)}, in the outage that began at {clock(last['began'])}"
                harm = "results that it had and had not saved are gone: whoever still waits for one waits in vain"
                yield Row("warning", "restarted", text, (harm,))
                return


def _process(answer: Answer, most: int) -> Block:
    status = answer.status
    if status is None:
        if answer.gone:
            row = Row("warning", "gone", "it has ended without a word: killed, or the machine was restarted")
        else:
            row = Row("error", "silent", f"it does not answer: {answer.trouble}")
        return Block(answer.process, [row])
    heading = f"{answer.process} ({status['program'] or 'python'})"
    if not status["watchers"]:
        return Block(heading, [Row("note", "idle", "no watcher is in use")])
    rows: list[Row] = []
    for watcher in status["watchers"]:
        if len(status["watchers"]) > 1:
            rows.append(Row("note", "watcher", watcher["health"]["name"]))
        rows += [_connected(watcher, status["at"]), _pace(watcher), _waiting(watcher, most)]
        rows += _outages(watcher)
        rows += _noteworthy(watcher["stats"])
    return Block(heading, rows)


def _connected(watcher: dict[str, Any], now: float) -> Row:
    health = watcher["health"]
    since = f"{clock(health['since'])} ({duration(max(0.0, now - health['since']))})"
    if health["connected"] and health["healthy"]:
        return Row("ok", "connected", f"to {health['address']} since {since}")
    if health["connected"]:
        return Row("warning", "connected", f"to {health['address']} again, catching up; the outage began at {since}")
    if health["healthy"]:
        return Row("note", "connected", f"not yet, to {health['address']}: {health['state']} since {since}")
    why = () if health["last_error"] is None else (health["last_error"],)
    return Row("error", "connected", f"no, {health['state']} since {since}", why)


def _pace(watcher: dict[str, Any]) -> Row:
    pace, health = watcher["pace"], watcher["health"]
    heard = (
        "no message yet" if health["last_message"] is None else f"last message {duration(health['last_message'])} ago"
    )
    unread = "" if pace["unread_bytes"] is None else f"{_bytes(pace['unread_bytes'])} unread; "
    if not pace["asked"]:
        return Row("note", "keeping up", f"not connected; {heard}")
    if pace["answered_in"] is None:
        where = tuple(
            f"it is in {line}" if not number else f"from {line}" for number, line in enumerate(pace["at"] or ())
        )
        return Row("error", "keeping up", f"no, its thread does not answer; {unread}{heard}", where)
    behind = pace["answered_in"] > _SLOW or (pace["unread_bytes"] or 0) > _MUCH
    text = f"its thread answered in {duration(pace['answered_in'])}; {unread}{heard}"
    return Row("warning", "keeping up", f"barely: {text}") if behind else Row("ok", "keeping up", text)


def _waiting(watcher: dict[str, Any], most: int) -> Row:
    health, waiting = watcher["health"], watcher["waiting"]
    if not waiting:
        return Row("ok", "waiting", "nobody")
    shown = [
        "  ".join([waited["task_id"], duration(waited["seconds"]), *waited["threads"]]) for waited in waiting[:most]
    ]
    if len(waiting) > most:
        shown.append(f"… and ids that are younger ({most} of {len(waiting)} are shown)")
    text = f"{counted(health['pending'], 'future')}, the oldest for {duration(waiting[0]['seconds'])}"
    return Row("ok", "waiting", text, tuple(shown))


def _outages(watcher: dict[str, Any]) -> Iterator[Row]:
    outages, stats = watcher["outages"], watcher["stats"]
    if not outages:
        yield Row("ok", "last outage", "none")
        return
    last = outages[-1]
    lasted = f"since {clock(last['began'])}, {duration(last['seconds'])}"
    if last["over"]:
        lasted = f"{clock(last['began'])} to {clock(last['began'] + last['seconds'])}, {duration(last['seconds'])}"
    counts = [
        f"{counted(last['pending'], 'future')} waited then",
        f"{counted(last['recovered'], 'result')} recovered",
        f"{last['given_up']} given up",
        f"{last['expired']} expired",
    ]
    if last["queues_lost"]:
        counts.append(f"{counted(last['queues_lost'], 'reply queue')} lost")
    counts.append(f"{last['still_pending']} {'still waiting then' if last['over'] else 'waiting now'}")
    lost = last["given_up"] or last["expired"] or last["queues_lost"] or not last["over"]
    text = f"{lasted}; {counted(stats['reconnects'], 'reconnect')} in all"
    yield Row("warning" if lost else "ok", "last outage", text, (last["reason"], ", ".join(counts)))


def _noteworthy(stats: dict[str, Any]) -> Iterator[Row]:
    told = [f"{text}: {stats[name]}" for name, text in _NOTEWORTHY if stats[name]]
    if told:
        yield Row("warning", "since its start", ", ".join(told))


def _bytes(count: int) -> str:
    return f"{count} bytes" if count < 10_000 else f"{count / 1024 / 1024:.2f} MiB"

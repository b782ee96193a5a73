"""The :class:`ResultConsumer` for results that Celery workers store in, and publish through, a Redis server.

A worker writes ``SETEX key value`` and ``PUBLISH key value`` in one transaction. Hence the order here, for a new id as
after every reconnect: subscribe, wait for the server's confirmation, then read the stored value. Whatever the moment
of the write was, it is either in the value or in a message that follows.

Two connections: the server forbids MGET on one that subscribes, and a large answer must not count against the
subscriber's output limit, at which the server would cut it off.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from bgresults.consumers.base import BaseResultConsumer, ConnectionLost
from bgresults.consumers.ids import ids_of
from bgresults.consumers.redis.keys import KeyNames
from bgresults.consumers.redis.link import Link
from bgresults.consumers.redis.links import Links
from bgresults.consumers.redis.masters import connector_for
from bgresults.consumers.redis.requests import checked_answer, send_due
from bgresults.consumers.redis.stored import Read, StoredReads
from bgresults.consumers.redis.subscriptions import Subscriptions
from bgresults.errors import ResultDecodeError
from bgresults.meta import READY_STATES
from bgresults.options import RedisOptions
from bgresults.sentinel_urls import parse_address

__all__ = ["ResultConsumer"]

# What no task is called.
_REHEARSAL = "bgresults-rehearsal"


class ResultConsumer(BaseResultConsumer):
    """Receives task states from Redis. See the base class for what the arguments and methods mean.

    Args:
        options: how to speak to the server, beyond what the URL says.
        key_prefix: Celery's ``global_keyprefix``, if the workers have one.

    Raises:
        TypeError, ValueError: an argument makes no sense; the text names it and what is allowed.
    """

    def __init__(self, url: str, *, options: RedisOptions | None = None, key_prefix: str = "", **settings: Any) -> None:
        address = parse_address(url, RedisOptions() if options is None else options)
        super().__init__(url, **settings)
        if address.connect_timeout is not None:
            self.connect_timeout = address.connect_timeout
        self.address = address
        self._keys = KeyNames(key_prefix)
        self._connector = connector_for(address, self.connect_timeout)
        self._subscriptions = Subscriptions()
        self._stored = StoredReads()
        self._links: Links | None = None
        self._next_check = 0.0
        # What has worked once is refused later only in passing; see connection_lost().
        self._logged_in = False
        self._permitted = False
        self._attempted = False
        self._synced = False

    # -- life --------------------------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        return self._links is not None

    @property
    def synced(self) -> bool:
        return self._synced

    @property
    def subscribed(self) -> int:
        return len(self._subscriptions)

    def consumed_ids(self) -> list[str]:
        return list(self._subscriptions.wanted)

    def start(self, initial_task_id: str | None, no_ack: bool = True, **kwargs: Any) -> None:
        self._started = True
        if initial_task_id is not None:
            self._subscriptions.consume((initial_task_id,))
        if not self.connected:
            self.reconnect()
        self._flush(time.monotonic())

    def reconnect(self) -> None:
        self._started = True
        self._disconnect()
        # Catching up shows whether the server can be used again; where there is nothing to catch up with, try it out.
        rehearse = self._attempted and not len(self._subscriptions)
        self._attempted = True
        self._links = links = Links(
            self._connector,
            self._attempt_seconds(),
            logged_in=self._logged_in,
            permitted=self._permitted,
            wakeup=self._wakeup,
            rehearsal=self._keys.key(_REHEARSAL) if rehearse else None,
        )
        self._logged_in = True
        self._permitted = links.permitted
        self._subscriptions.restart()
        self._stored.restart()
        self._synced = not len(self._subscriptions)
        self._next_check = 0.0

    def stop(self) -> None:
        self._started = False
        self._disconnect()

    def on_after_fork(self) -> None:
        self._started = False
        links, self._links = self._links, None
        # First the sockets: what redis-py's objects do when they go must find nothing left to do it to.
        self._connector.sockets.close_all()
        if links is not None:
            links.defuse()
        # What was consumed is the parent's as well: a child that starts this consumer again begins with nothing.
        self._subscriptions = Subscriptions()
        self._stored = StoredReads()

    def _disconnect(self) -> None:
        links, self._links = self._links, None
        self._synced = False
        if links is not None:
            links.close()

    # -- ids ---------------------------------------------------------------------------------------------------------

    def consume_from_many(self, task_ids: Iterable[str]) -> None:
        self._stored.want(self._subscriptions.consume(task_ids))
        if self.auto_reconnect:
            if not self._started:
                self.start(None)
            elif self.connected:
                self._flush(time.monotonic())

    def cancel_for_many(self, task_ids: Iterable[str]) -> None:
        ids = list(task_ids)
        self._subscriptions.cancel(ids)
        self._stored.cancel(ids)

    # -- states ------------------------------------------------------------------------------------------------------

    def _drain(self, timeout: float | None) -> int:
        try:
            return self._turn(timeout)
        except ConnectionLost:
            self._disconnect()
            raise

    def _turn(self, timeout: float | None) -> int:
        links = self._links
        if links is None:
            raise ConnectionLost(f"{self.address.text}: not connected")
        now = time.monotonic()
        # Also what an exception left behind in the last turn.
        self._stored.handled()
        self._flush(now)
        ready = links.wait(0.0 if links.unread else self._patience(timeout, now))
        # Read, but not handled yet: what the subscriber has is older or the same.
        answers = self._read_answers(links) if links.reader in ready or links.reader.unread else []
        count = 0
        if links.subscriber in ready or links.subscriber.unread:
            count = self._read_messages(links.subscriber)
        for read, values in answers:
            count += self._handle_stored(read, values)
        if not self._synced and not self._subscriptions.resyncing() and not self._stored.resyncing():
            self._synced = True
        now = time.monotonic()
        if now >= self._next_check:
            # After the reading: a thread that was held up has not been left without an answer.
            self._next_check = now + links.check(now)
        return count

    def _patience(self, timeout: float | None, now: float) -> float:
        """How long the select may last, at most ``timeout``: until something of our own is due."""
        until = self._next_check
        due = self._subscriptions.next_due()
        if due is not None and due < until:
            until = due
        limit = max(0.0, until - now)
        return limit if timeout is None else min(timeout, limit)

    def _flush(self, now: float) -> None:
        """Send what is due."""
        links = self._links
        if links is not None and send_due(links, self._subscriptions, self._stored, self._keys, now):
            # Answers are due as well: look after the links as soon as these may be late.
            self._next_check = min(self._next_check, now + self._connector.read_timeout)

    def _read_messages(self, subscriber: Link) -> int:
        confirmations = handled = 0
        for message in subscriber.receive():
            kind, channel, payload = message if type(message) is list and len(message) == 3 else (None, None, None)
            if kind == b"message" and type(channel) is bytes and type(payload) is bytes:
                if confirmations:
                    # First: the read that they make possible may find what this message says.
                    self._confirmed(subscriber, confirmations)
                    confirmations = 0
                self._on_message(channel, payload)
                handled += 1
            elif kind in (b"subscribe", b"unsubscribe"):
                confirmations += 1
            else:
                raise ConnectionLost(f"{self.address.text}: the server sent something that is no pub/sub message")
        if confirmations:
            self._confirmed(subscriber, confirmations)
        return handled

    def _confirmed(self, subscriber: Link, count: int) -> None:
        """So many more (un)subscriptions are confirmed: what is subscribed now can be read."""
        subscriber.answered(count)
        still_wanted = self._subscriptions.wanted
        for batch in self._subscriptions.confirmed(count):
            wanted = [task_id for task_id in batch.ids if task_id in still_wanted]
            self._stored.want(wanted, resync=batch.resync)

    def _on_message(self, channel: bytes, payload: bytes) -> None:
        task_id = self._keys.task_id(channel)
        if task_id not in self._subscriptions.wanted:
            if self._subscriptions.resolved_lately(task_id):
                self.counters.duplicate += 1
            else:
                self.counters.late += 1
            return
        meta = self._decode(task_id, payload)
        if meta is None:
            return
        if meta["status"] not in READY_STATES and not self._stored.is_news(task_id, payload):
            self.counters.duplicate += 1
            return
        self.on_state_change(meta, payload)

    def _read_answers(self, links: Links) -> list[tuple[Read, list[bytes | None]]]:
        """Read what the second connection has: each MGET with what is stored for its ids."""
        answers = []
        for values in links.reader.receive():
            links.reader.answered()
            checked = checked_answer(values, self._stored.asked_for(), self.address.text)
            answers.append((self._stored.answered(checked), checked))
            # SUBSCRIBE was confirmed before this was asked, so now both have worked.
            self._permitted = links.permitted = True
        return answers

    def _handle_stored(self, read: Read, values: list[bytes | None]) -> int:
        handled = 0
        for task_id, payload in zip(read.ids, values, strict=True):
            # Asked for each: a callback may fork, and a child consumes nothing.
            if payload is None or task_id not in self._subscriptions.wanted:
                continue
            meta = self._decode(task_id, payload)
            if meta is None:
                continue
            final = meta["status"] in READY_STATES
            if not final and not self._stored.is_current(read, task_id, payload):
                self.counters.duplicate += 1
                continue
            if final and read.resync:
                self.counters.recovered += 1
            self.on_state_change(meta, payload)
            handled += 1
        return handled

    def _decode(self, task_id: str, payload: bytes) -> dict[str, Any] | None:
        """Decode a state; if that fails, end the id with the reason and return None."""
        try:
            return self._decoder.decode_for(task_id, payload)
        except ResultDecodeError as error:
            self.counters.undecodable += 1
            self.cancel_for(task_id)
            if self._on_error is not None:
                self._on_error(task_id, error)
            return None

    def on_state_change(self, meta: Mapping[str, Any], message: Any) -> None:
        task_id = meta["task_id"]
        if meta["status"] in READY_STATES:
            # First: whoever is woken by the callback needs the interpreter's lock, which this thread keeps until it
            # waits again. So what is left to do afterwards is little.
            self._subscriptions.resolved(task_id)
            self._stored.forget(task_id)
        if self._on_state is not None:
            self._on_state(task_id, meta)  # type: ignore[arg-type]

    def on_wait_for_pending(self, result: Any, **kwargs: Any) -> None:
        if self._links is None:
            self.reconnect()
        try:
            self._read_now(list(ids_of(result)))
        except ConnectionLost:
            self._disconnect()
            raise

    def _read_now(self, task_ids: list[str]) -> None:
        """Read these ids and wait for the answers, whether or not they are consumed."""
        wanted = StoredReads()
        wanted.want(task_ids)
        while (links := self._links) is not None and (read := wanted.next_read()) is not None:
            while self._stored.in_flight:
                # Answers come in order: those that drain_events() asked for are first.
                links.reader.wait()
                for earlier, stored in self._read_answers(links):
                    self._handle_stored(earlier, stored)
            links.reader.send("MGET", *self._keys.keys(read.ids), answers=1)
            values = checked_answer(links.reader.answer(), len(read.ids), self.address.text)
            wanted.answered(values)
            for task_id, payload in zip(read.ids, values, strict=True):
                meta = None if payload is None else self._decode(task_id, payload)
                if meta is not None:
                    self.on_state_change(meta, payload)

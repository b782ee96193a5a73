""":func:`process_status`: everything that somebody who is on call wants to know of the watchers of this process."""

from __future__ import annotations

import dataclasses
import os
import socket
import sys
import time
from typing import Any

from bgresults.forking import registered
from bgresults.health import health_of
from bgresults.session import State
from bgresults.session_holder import SessionHolder
from bgresults.status.pace import Question
from bgresults.status.waiters import waiting_threads

__all__ = ["FORMAT", "MOST_IDS", "process_status"]

#: Of what is returned; another number means that a key has another meaning.
FORMAT = 1
#: Ids that are told of one watcher: those that are waited for longest.
MOST_IDS = 1000


def process_status(*, patience: float = 2.0, most_ids: int = MOST_IDS) -> dict[str, Any]:
    """Return what this process knows, made of what ``json.dumps()`` takes. Any thread.

    Starts no watcher, and asks no server. No password is in it; task ids are, and names of functions of the
    application. Watchers that were closed, or never used, are left out.

    Args:
        patience: seconds that the drain threads are given to answer, all together.
        most_ids: how many ids to tell of each watcher; the number of all is told in any case.
    """
    holders = [item for item in registered() if isinstance(item, SessionHolder)]
    sessions = [holder._session_here() for holder in holders]
    told = [session for session in sessions if session.state not in (State.IDLE, State.CLOSED)]
    questions = [Question(session) for session in sorted(told, key=lambda session: session.settings.name)]
    deadline = time.monotonic() + patience
    watchers = [_watcher(question, deadline, most_ids) for question in questions]
    return {
        "format": FORMAT,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        # Its arguments may have a password among them.
        "program": os.path.basename(sys.argv[0]) if sys.argv else "",
        "at": time.time(),
        "watchers": watchers,
    }


def _watcher(question: Question, deadline: float, most_ids: int) -> dict[str, Any]:
    session = question.session
    # First, since the rest takes no time, and shall be true together.
    pace = question.pace(deadline)
    threads = waiting_threads()
    refs, now = session.pending.references(most_ids), time.monotonic()
    return {
        "health": health_of(session).as_dict(),
        "stats": dataclasses.asdict(session.stats()),
        "pace": pace,
        "waiting": [
            {
                "task_id": ref.task_id,
                # Of the last moment, the drain thread may not have heard.
                "seconds": now - getattr(ref, "seen_at", now),
                "ends_in": None if ref.deadline is None else max(0.0, ref.deadline - now),
                "threads": threads.get(ref.task_id, []),
            }
            for ref in refs
        ],
        "outages": [outage.as_dict() for outage in session.outage_log.outages(len(session.pending))],
        "reply_queue": session.reply_to,
    }

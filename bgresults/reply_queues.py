"""Names of reply queues."""

from __future__ import annotations

import uuid

__all__ = ["new_reply_queue"]


def new_reply_queue() -> str:
    """A name that nobody else uses. It is told to workers, so whoever has it keeps it."""
    return f"bgresults.reply.{uuid.uuid4().hex}"

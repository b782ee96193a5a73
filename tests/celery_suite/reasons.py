"""Tests of Celery's that end otherwise with the drop-in, each with its reason."""

from __future__ import annotations

__all__ = ["REASONS"]

_SUBSCRIBES = "expects a subscription right after delay(); the drop-in subscribes when somebody waits"

_INSIDE = "looks into the connection of Celery's own consumer for Redis; the drop-in's has none"

_BETTER = "Celery expects its own way to fail there (xfail, strict), and it passes"

#: End of a test's id → why it does not hold.
REASONS = {
    "test_asyncresult_forget_cancels_subscription": _SUBSCRIBES,
    "test_asyncresult_get_cancels_subscription": _SUBSCRIBES,
    "test_redis_subscribed_channels_leak": _BETTER,
    "test_pubsub_subscribe_churn_while_draining": _INSIDE,
    "test_pubsub_reentrant_cancel_from_finalizer": _INSIDE,
}

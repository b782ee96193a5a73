"""Celery applications as settings name them."""

from __future__ import annotations

from celery import Celery

__all__ = ["nothing", "redis", "wrong"]

redis = Celery("web", broker="memory://", backend="redis://localhost:6379/0", set_as_current=False)
nothing = Celery("nothing", broker="memory://", set_as_current=False)
polled = Celery("polled", broker="memory://", backend="cache+memory://", set_as_current=False)
broken = Celery("broken", broker="memory://", backend="redis://localhost/x", set_as_current=False)
quiet = Celery("quiet", broker="memory://", backend="redis://localhost:6379/0", set_as_current=False)
quiet.conf.task_ignore_result = True
eager = Celery("eager", broker="memory://", backend="redis://localhost:6379/0", set_as_current=False)
eager.conf.task_always_eager = True
#: No application.
wrong = 5

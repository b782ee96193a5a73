"""A module that cannot be imported, for want of an attribute."""

from __future__ import annotations

from typing import Any

from celery import Celery

app: Any = Celery("misspelt", set_as_current=False)
app.confg.timezone = "UTC"

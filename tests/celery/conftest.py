"""Fixtures around Celery applications as a web process has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import kombu.pools
import pytest
from celery import Celery

from bgresults import ResultWatcher
from bgresults.integrations.celery import CeleryResultWatcher
from tests.support.workers import close_app

NewApp = Callable[..., Celery]
FromCelery = Callable[..., CeleryResultWatcher]


@pytest.fixture
def new_app() -> Iterator[NewApp]:
    """``new_app(**settings)`` → an application that is nobody's default one; closed at the end."""
    made: list[Celery] = []

    def make(**settings: Any) -> Celery:
        app = Celery("web", set_as_current=False)
        app.conf.update({"broker_url": "memory://", **settings})
        made.append(app)
        return app

    yield make
    for app in made:
        close_app(app)
    # Every pooled connection of this process to a broker; kombu does not type this function.
    reset_pools: Callable[[], None] = kombu.pools.reset
    reset_pools()


@pytest.fixture
def from_celery() -> Iterator[FromCelery]:
    """``ResultWatcher.from_celery()``; the watchers are closed at the end."""
    made: list[CeleryResultWatcher] = []

    def make(app: Any, **overrides: Any) -> CeleryResultWatcher:
        watcher = ResultWatcher.from_celery(app, **overrides)
        made.append(watcher)
        return watcher

    yield make
    for watcher in made:
        watcher.close()

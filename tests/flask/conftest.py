"""Fixtures around Flask applications."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import kombu.pools
import pytest
from flask import Flask

from bgresults.integrations.flask import BgResults
from tests.support.workers import close_app

NewApp = Callable[..., Flask]


@pytest.fixture
def results() -> BgResults:
    """An extension object that was given no application yet."""
    return BgResults()


@pytest.fixture
def new_app(results: BgResults) -> Iterator[NewApp]:
    """``new_app(name="web", extension=results, **config)`` → an application; what it opened is closed at the end."""
    made: list[Flask] = []
    celery_apps: list[Any] = []

    def make(name: str = "web", extension: BgResults | None = results, **config: Any) -> Flask:
        app = Flask(name)
        app.config.from_mapping(config)
        if extension is not None:
            extension.init_app(app)
        made.append(app)
        celery_apps.append(config.get("BGRESULTS_CELERY_APP"))
        return app

    yield make
    for app in made:
        if "bgresults" in app.extensions:
            app.extensions["bgresults"].close()
    for celery_app in celery_apps:
        if hasattr(celery_app, "close"):
            close_app(celery_app)
    # Every pooled connection of this process to a broker; kombu does not type this function.
    reset_pools: Callable[[], None] = kombu.pools.reset
    reset_pools()

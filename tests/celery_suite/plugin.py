"""A pytest plugin: in Celery's own tests, every application waits on the background thread.

The URLs stay as they are, since many of those tests skip unless the setting starts with ``redis``. So the drop-in is
put in with ``install()``: into the application of the session before its worker is started, and into that of each test.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from bgresults import ResultWatcher
from bgresults.integrations.celery import install


@pytest.fixture(scope="session", autouse=True)
def _waiting_session_app(celery_session_app: Any) -> Iterator[None]:
    install(celery_session_app)
    yield
    ResultWatcher.from_celery(celery_session_app).close()


@pytest.fixture(autouse=True)
def _waiting_app(celery_app: Any) -> Iterator[None]:
    install(celery_app)
    yield
    ResultWatcher.from_celery(celery_app).close()

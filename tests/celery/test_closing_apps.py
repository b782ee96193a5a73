"""An application that a test has closed stays closed, whatever of it the garbage collector finds afterwards."""

from __future__ import annotations

import celery.exceptions
import pytest
from celery import Celery

from bgresults.testing import RedisServer
from tests.support.results import new_id
from tests.support.sockets import connections
from tests.support.workers import close_app


def test_a_result_that_outlives_its_app_opens_no_connection(redis_server: RedisServer) -> None:
    others = connections(redis_server.port)
    app = Celery("web", set_as_current=False)
    app.conf.update(broker_url="memory://", result_backend=redis_server.url())
    result = app.AsyncResult(new_id())
    with pytest.raises(celery.exceptions.TimeoutError):
        result.get(timeout=0.1)  # Still subscribed: for Celery, its result may come.
    close_app(app)
    assert connections(redis_server.port) == others
    result.__del__()
    assert connections(redis_server.port) == others

"""What a web process does with workers that reply: the same with every version of Celery on either side.

Run as a program by the interpreter of another environment: ``python -m tests.support.rpc_scene '{…}'`` with the
settings of the application as JSON. It prints the versions that it was played with.
"""

from __future__ import annotations

import json
import sys

import celery
from celery import Celery, chain, group

from bgresults import AMQPOptions, NotWatchableError, ResultWatcher
from bgresults.integrations.celery import CeleryResultWatcher
from bgresults.options import Binding
from tests.support.rpc_workers import WebApps
from tests.support.tasks import adding_chain

__all__ = ["play"]

WAIT = 30


def play(app: Celery, binding: Binding) -> str | None:
    """Play it, and return what the reply queue was called. Raises AssertionError."""
    with ResultWatcher.from_celery(app, amqp=AMQPOptions(binding=binding)) as watcher:
        assert isinstance(watcher, CeleryResultWatcher)
        assert watcher.submit("add", (1, 2)).result(WAIT) == 3
        assert watcher.submit(adding_chain(app, 1, 2, 3)).result(WAIT) == 6
        fails = app.signature("fail", ("KeyError", "k"), immutable=True, app=app)
        failing = watcher.submit(chain(fails, app.signature("add", (1,), app=app), app=app))
        assert isinstance(failing.exception(WAIT), KeyError)
        both = group(adding_chain(app, 1, 2, 3), app.signature("echo", ("x",), app=app), app=app)
        assert watcher.submit(both).result(WAIT) == [6, "x"]
        with watcher.route_replies():
            assert watcher.watch(app.signature("add", (3, 4), app=app).delay()).result(WAIT) == 7
            assert watcher.watch(adding_chain(app, 2, 3, 4).delay().id).result(WAIT) == 9
            assert watcher.watch_group(both.clone().delay()).result(WAIT) == [6, "x"]
        sent = app.signature("add", (3, 4), app=app).delay()
        try:
            watcher.watch(sent)
        except NotWatchableError:
            pass
        else:
            raise AssertionError("it goes to Celery's own queue")
        assert sent.get(timeout=WAIT) == 7
        return watcher.reply_to


def _main() -> None:
    apps = WebApps()
    for binding in ("process", "task"):
        play(apps(json.loads(sys.argv[1])), binding)
    apps.close()
    print(celery.__version__)


if __name__ == "__main__":
    _main()

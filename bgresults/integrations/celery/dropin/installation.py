"""Putting the drop-in into an application that exists already, and taking it out again."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

from celery.app.backends import by_url

from bgresults.errors import NotWatchableError
from bgresults.forking import leaf_lock
from bgresults.integrations.celery.applications import application, name_of
from bgresults.integrations.celery.dropin.backends import Waiting, watching
from bgresults.integrations.celery.dropin.replies import let_go_of_queues
from bgresults.integrations.celery.schemes import WATCHABLE

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["install", "uninstall"]

# On the application: what makes its backend; Celery's own is on its class.
_MAKER: Final = "_get_backend"
# On the application: what it had in the place of the drop-in, for all threads.
_REPLACED: Final = "_bgresults_replaced"


def install(app: Any) -> None:
    """Have ``AsyncResult.get()``, groups, ``then()`` and all that of an application wait on the background thread.

    For results that are made from now on; those that exist keep their backend. Makes no connection, and does not ask
    for settings that are not loaded yet. Idempotent; any thread, but do it once, where the application is made: another
    thread that has a backend of Celery's already may go on with that.

    Args:
        app: the application. Its ``result_backend`` stays as it is: in Redis, or ``rpc://``.

    Raises:
        TypeError: ``app`` is no Celery application.
        NotWatchableError: its results are where nobody can be told of them; the text names what can be watched. If its
            settings are not loaded yet, whoever uses its backend first is told.
    """
    app = application(app)
    if app.configured:
        _waiting_class(app)
    with leaf_lock():
        if _REPLACED in vars(app):
            return
        in_use = app._backend
        setattr(app, _REPLACED, app._backend_cache)
        setattr(app, _MAKER, functools.partial(_new_backend, app))
    if in_use is not None and not isinstance(in_use, Waiting):
        # Threads that have one would go on with it.
        app._backend_cache = _new_backend(app)


def uninstall(app: Any) -> None:
    """Undo :func:`install`: results that are made from now on wait in Celery's own way. Idempotent; any thread.

    Results that exist keep the backend they have and can still be waited for. The watcher stays open, since others may
    use it; ``ResultWatcher.from_celery(app).close()`` closes it.

    Raises:
        TypeError: ``app`` is no Celery application.
    """
    app = application(app)
    with leaf_lock():
        if _REPLACED not in vars(app):
            return
        app._backend_cache = vars(app).pop(_REPLACED)
        vars(app).pop(_MAKER)
    let_go_of_queues(app)


def _new_backend(app: Celery) -> Any:
    waiting, url = _waiting_class(app)
    return waiting(app=app, url=url)


def _waiting_class(app: Celery) -> tuple[Any, str | None]:
    """What makes a backend that waits, and its URL."""
    kind, url = by_url(app.backend_cls or app.conf.result_backend, app.loader)
    if not isinstance(kind, type):
        # The setting has the drop-in already.
        return kind, url
    try:
        return watching(kind), url
    except TypeError:
        raise NotWatchableError(
            f"the result backend {kind.__name__} of Celery app {name_of(app)} cannot be waited for: {WATCHABLE}"
        ) from None

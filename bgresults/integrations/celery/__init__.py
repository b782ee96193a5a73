"""For web processes that have a Celery application: ``pip install 'bgresults[celery]'``.

.. code-block:: python

    watcher = ResultWatcher.from_celery(app)
    future = watcher.submit(add, (1, 2))
    future.result(timeout=5)
"""

try:
    from bgresults.integrations.celery.dropin import install, uninstall
    from bgresults.integrations.celery.futures import CeleryResultFuture
    from bgresults.integrations.celery.groups import GroupFutures
    from bgresults.integrations.celery.registry import from_celery
    from bgresults.integrations.celery.watcher import CeleryResultWatcher
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] != "celery":
        raise
    raise ImportError("bgresults.integrations.celery needs Celery: pip install 'bgresults[celery]'") from error

__all__ = ["CeleryResultFuture", "CeleryResultWatcher", "GroupFutures", "from_celery", "install", "uninstall"]

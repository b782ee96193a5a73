"""For Django projects: ``pip install 'bgresults[django]'``.

.. code-block:: python

    # settings.py
    INSTALLED_APPS = [..., "bgresults.integrations.django"]
    BGRESULTS = {"default": {"CELERY_APP": "proj.celery:app"}}

    # views.py
    from bgresults.integrations.django import watcher

    future = watcher.submit(build_report, (request.user.id,))
"""

try:
    from bgresults.integrations.django.handler import watcher, watchers
    from bgresults.integrations.django.streaming import event_stream
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] != "django":
        raise
    raise ImportError("bgresults.integrations.django needs Django: pip install 'bgresults[django]'") from error

__all__ = ["event_stream", "watcher", "watchers"]

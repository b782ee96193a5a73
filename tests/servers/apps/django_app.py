"""A Django project in one file, with pages that follow tasks; for servers of either kind."""

from __future__ import annotations

import os
from typing import Any

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["*"],
    BGRESULTS={
        "default": {"URL": os.environ["BGRESULTS_TEST_BACKEND"], "RETRY": {"INITIAL": 0.01, "MAXIMUM": 0.05}},
    },
    # It collects what it can, and every browser lets it.
    MIDDLEWARE=["django.middleware.gzip.GZipMiddleware"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="of a test",
)
django.setup()

from bgresults.integrations.django import event_stream, watcher  # noqa: E402 - Django wants to be set up first


def root(_request: HttpRequest) -> JsonResponse:
    return JsonResponse({"pid": os.getpid(), "pending": watcher.pending})


def events(request: HttpRequest, task_id: str) -> Any:
    return event_stream(request, watcher, task_id, heartbeat=float(request.GET.get("heartbeat", 15)))


async def awaited_events(request: HttpRequest, task_id: str) -> Any:
    return event_stream(request, watcher, task_id, heartbeat=float(request.GET.get("heartbeat", 15)))


urlpatterns = [path("", root), path("events/<task_id>", events), path("awaited/<task_id>", awaited_events)]
wsgi = get_wsgi_application()
asgi = get_asgi_application()

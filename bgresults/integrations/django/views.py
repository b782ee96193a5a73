"""A view for load balancers and monitoring."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from bgresults.diagnosis import checked_health
from bgresults.integrations.django.handler import watchers

__all__ = ["health"]

# Seconds that a watcher is given for its first connection, before it is said how it is doing.
_PATIENCE = 1.0
# What an outsider need not know: names of servers.
_INTERNAL = ("address", "last_error")


def _open_to_all(view: Any) -> Any:
    """A load balancer does not log in. Of Django 5.1 and later, as ``login_not_required()``."""
    view.login_required = False
    return view


@_open_to_all
@never_cache
@require_safe
def health(request: HttpRequest, *, details: bool | None = None) -> JsonResponse:  # noqa: ARG001 - what a view takes
    """Say how the watchers of this process are doing: 200 if all are healthy, 503 otherwise.

    A watcher that was not used yet is started, and given a second to connect; nothing else waits.

    Args:
        request: GET or HEAD.
        details: whether to tell addresses and error messages; None for ``settings.DEBUG``.
    """
    shown = {alias: _health_of(alias) for alias in watchers}
    healthy = all(each["healthy"] for each in shown.values())
    if not (settings.DEBUG if details is None else details):
        for each in shown.values():
            for name in _INTERNAL:
                each.pop(name, None)
    body: dict[str, Any] = {"healthy": healthy, "watchers": shown}
    return JsonResponse(body, status=200 if healthy else 503)


def _health_of(alias: str) -> dict[str, Any]:
    try:
        watcher = watchers[alias]
    except ImproperlyConfigured as error:
        return {"healthy": False, "last_error": str(error)}
    return checked_health(watcher, _PATIENCE).as_dict()

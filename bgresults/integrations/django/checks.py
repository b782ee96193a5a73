"""System checks: ``manage.py check``, and ``check --deploy``. They connect to nothing and start no thread.

Unlike the app's ``ready()``, they do import the Celery application: what decides whether results can be watched at all
is written there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured

from bgresults import greenlets
from bgresults.diagnosis import Finding, examine_settings
from bgresults.diagnosis.gunicorn import gunicorn_workers
from bgresults.integrations.django.configuration import CELERY_APP, SETTING, import_app, trial_watcher
from bgresults.integrations.django.handler import DEFAULT_ALIAS, watchers

__all__ = [
    "check_gunicorn",
    "check_monkey_patching",
    "check_setting",
    "check_tls",
    "check_transactions",
    "check_watchers",
    "register_checks",
]

TAG = "bgresults"

# ``Error`` or ``Warning``.
_Kind = Callable[..., CheckMessage]

# Code of a finding → what a check makes of it.
_CHECKS: dict[str, tuple[_Kind, str]] = {
    "no-backend": (Error, "bgresults.E003"),
    "not-watchable": (Error, "bgresults.E004"),
    "settings": (Error, "bgresults.E005"),
    "ignored-results": (Warning, "bgresults.W001"),
    "eager": (Warning, "bgresults.W002"),
}
_DEPLOY_CHECKS: dict[str, tuple[_Kind, str]] = {"tls": (Warning, "bgresults.W005")}


def register_checks() -> None:
    """Called once, by the app."""
    for check in (check_setting, check_watchers, check_monkey_patching, check_transactions):
        register(check, TAG)
    for check in (check_tls, check_gunicorn):
        register(check, TAG, deploy=True)


def check_setting(**_: Any) -> list[CheckMessage]:
    """E001: ``BGRESULTS`` is missing, or an alias in it makes no sense. E002: a ``CELERY_APP`` cannot be imported."""
    messages = []
    try:
        aliases = list(watchers)
    except ImproperlyConfigured as error:
        return [_wrong(error)]
    if DEFAULT_ALIAS not in aliases:
        hint = f"add the alias {DEFAULT_ALIAS!r}, or use watchers['…'] alone and silence this check"
        messages.append(Error(f"{SETTING} has no alias {DEFAULT_ALIAS!r}.", hint=hint, id="bgresults.E001"))
    for alias in aliases:
        try:
            import_app(alias, watchers.settings[alias].get(CELERY_APP))
        except ImproperlyConfigured as error:
            messages.append(_wrong(error, "bgresults.E002"))
            continue
        try:
            watchers[alias]
        except ImproperlyConfigured as error:
            messages.append(_wrong(error))
    return messages


def check_watchers(**_: Any) -> list[CheckMessage]:
    """E003: no result backend. E004: one that has to be polled. E005: a setting. W001: ignored results. W002: eager."""
    return list(_of_findings(_CHECKS, lambda finding: finding.level != "ok"))


def check_tls(**_: Any) -> list[CheckMessage]:
    """W005: results and passwords travel unencrypted, or to anybody."""
    return list(_of_findings(_DEPLOY_CHECKS, lambda finding: finding.level == "warning"))


def check_monkey_patching(**_: Any) -> list[CheckMessage]:
    """W003: gevent or eventlet came after this library, or has not patched all that it needs."""
    text = greenlets.complaint()
    if text is None:
        return []
    hint = (
        "patch first of all, and everything, at the top of manage.py, wsgi.py and the settings of the web server "
        "(gunicorn's gevent workers with --preload import the application before they patch)"
    )
    return [Warning(f"{text}.", hint=hint, id="bgresults.W003")]


def check_transactions(**_: Any) -> list[CheckMessage]:
    """W004: with ``ATOMIC_REQUESTS``, a view that sends a task sends it before its data is there."""
    aliases = sorted(alias for alias, database in settings.DATABASES.items() if database.get("ATOMIC_REQUESTS"))
    if not aliases or not getattr(settings, SETTING, None):
        return []
    hint = (
        "send with watcher.submit_on_commit() and wait in another request; or let a view that waits for a result run "
        "outside of a transaction, with @transaction.non_atomic_requests, and use transaction.atomic() inside of it"
    )
    text = (
        f"ATOMIC_REQUESTS is set for {', '.join(map(repr, aliases))}: a task that a view sends may run before the "
        "view's transaction has committed, and a view that waits for it keeps the transaction open meanwhile."
    )
    return [Warning(text, hint=hint, id="bgresults.W004")]


def check_gunicorn(**_: Any) -> list[CheckMessage]:
    """W006: gunicorn's sync workers serve one request at a time, whether it works or waits."""
    workers = gunicorn_workers()
    if workers is None or workers.worker_class != "sync":
        return []
    hint = (
        "use threads, such as --worker-class gthread --threads 16: waiting threads cost next to nothing here; a "
        "stream of updates is cut by the --timeout of a sync worker"
    )
    text = f"gunicorn's workers are sync ones ({workers.source}): each of them waits for one result at a time."
    return [Warning(text, hint=hint, id="bgresults.W006")]


def _of_findings(table: dict[str, tuple[_Kind, str]], is_wrong: Callable[[Finding], bool]) -> Iterator[CheckMessage]:
    try:
        aliases = list(watchers)
    except ImproperlyConfigured:
        # Said by check_setting().
        return
    for alias in aliases:
        try:
            # Whether it makes sense.
            watchers[alias]
            with trial_watcher(alias, watchers.settings[alias]) as trial:
                findings = examine_settings(trial)
        except ImproperlyConfigured:
            continue
        for finding in findings:
            if finding.code in table and is_wrong(finding):
                kind, identifier = table[finding.code]
                yield kind(f"{SETTING}[{alias!r}]: {finding.text}.", hint=finding.cure, id=identifier)


def _wrong(error: ImproperlyConfigured, identifier: str = "bgresults.E001") -> CheckMessage:
    return Error(str(error), hint="see docs/django.md for the keys of the setting", id=identifier)

"""``BGRESULTS`` of Django's settings → arguments of a watcher."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured

from bgresults.forking import import_lock
from bgresults.options import AMQPOptions, RedisOptions, RetryPolicy
from bgresults.watcher import ResultWatcher

__all__ = ["CELERY_APP", "SETTING", "aliases_in", "import_app", "new_watcher", "trial_watcher"]

SETTING: Final = "BGRESULTS"
CELERY_APP: Final = "CELERY_APP"
_EXAMPLE: Final = """BGRESULTS = {"default": {"CELERY_APP": "proj.celery:app"}}"""

# Key → argument. What the watcher learns to take is a key at once.
_ARGUMENTS: Final = {
    name.upper(): name for name in inspect.signature(ResultWatcher.__init__).parameters if name != "self"
}
_OPTIONS: Final[dict[str, type]] = {"RETRY": RetryPolicy, "REDIS": RedisOptions, "AMQP": AMQPOptions}


def aliases_in(setting: Any) -> dict[str, Mapping[str, Any]]:
    """Return what ``BGRESULTS`` says, alias by alias.

    Raises:
        ImproperlyConfigured: it is missing, or has another shape.
    """
    if setting is None:
        raise ImproperlyConfigured(f"the setting {SETTING} is missing; write it such as {_EXAMPLE}")
    if not isinstance(setting, Mapping):
        raise ImproperlyConfigured(
            f"{SETTING} must be a dict of aliases, not {type(setting).__name__}; write it such as {_EXAMPLE}"
        )
    for alias, value in setting.items():
        if isinstance(value, Mapping) and isinstance(alias, str):
            continue
        if alias in _ARGUMENTS or alias == CELERY_APP:
            raise ImproperlyConfigured(
                f"{SETTING} maps aliases to dicts, and {alias!r} is a key of one of those; write it such as {_EXAMPLE}"
            )
        raise ImproperlyConfigured(f"{_place(alias)} must be a dict, not {type(value).__name__}; such as {_EXAMPLE}")
    return dict(setting)


def new_watcher(alias: str, value: Mapping[str, Any]) -> ResultWatcher:
    """Return a watcher as one alias describes it. Of a Celery application, the one that ``from_celery()`` returns.

    Raises:
        ImproperlyConfigured: the description makes no sense; the text names the key and what is allowed.
    """
    arguments = _arguments(alias, value)
    try:
        if CELERY_APP in value:
            return ResultWatcher.from_celery(_application(alias, value[CELERY_APP]), **arguments)
        return ResultWatcher(**{"name": alias, **arguments})
    except (TypeError, ValueError, ImportError) as error:
        raise ImproperlyConfigured(f"{_place(alias)}: {error}") from error


def trial_watcher(alias: str, value: Mapping[str, Any]) -> ResultWatcher:
    """As :func:`new_watcher`, of a description that makes sense; but nobody else has this one.

    A watcher reads the settings of its application when it is first used, and looking at them must not be that.
    """
    if CELERY_APP not in value:
        return new_watcher(alias, value)
    from bgresults.integrations.celery import CeleryResultWatcher

    return CeleryResultWatcher(_application(alias, value[CELERY_APP]), _arguments(alias, value))


def import_app(alias: str, value: Any) -> Any:
    """Return the Celery application that ``CELERY_APP`` names, as ``celery -A`` would find it.

    Raises:
        ImproperlyConfigured: it cannot be imported, or names something else.
    """
    if not isinstance(value, str):
        # Possibly the application itself; whoever takes it will say.
        return value
    place = f"{_place(alias)}[{CELERY_APP!r}]"
    try:
        with import_lock():
            from bgresults.integrations.celery.applications import import_application
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "celery":
            raise
        raise ImproperlyConfigured(f"{place} needs Celery: pip install 'bgresults[celery]'") from error
    try:
        return import_application(value)
    except Exception as error:
        raise ImproperlyConfigured(
            f"{place}: {value!r} cannot be imported ({type(error).__name__}: {error}); write it as for celery -A, such "
            "as 'proj.celery:app'"
        ) from error


def _application(alias: str, value: Any) -> Any:
    app = import_app(alias, value)
    from bgresults.integrations.celery.applications import application

    try:
        return application(app)
    except TypeError as error:
        raise ImproperlyConfigured(
            f"{_place(alias)}[{CELERY_APP!r}] must be a Celery application, or the place of one such as "
            f"'proj.celery:app'; {value!r} is {type(app).__name__}"
        ) from error


def _arguments(alias: str, value: Mapping[str, Any]) -> dict[str, Any]:
    _check_keys(_place(alias), value, [CELERY_APP, *_ARGUMENTS])
    if CELERY_APP not in value and "URL" not in value:
        raise ImproperlyConfigured(f"{_place(alias)} has no {CELERY_APP} and no URL, of which it needs one")
    return {
        argument: _option(f"{_place(alias)}[{key!r}]", value[key], _OPTIONS.get(key))
        for key, argument in _ARGUMENTS.items()
        if key in value
    }


def _option(place: str, value: Any, kind: type | None) -> Any:
    """A dict stands for the options that it names."""
    if kind is None or not isinstance(value, Mapping):
        return value
    names = {item.name.upper(): item.name for item in fields(kind)}
    _check_keys(place, value, list(names))
    try:
        return kind(**{names[key]: option for key, option in value.items()})
    except (TypeError, ValueError) as error:
        raise ImproperlyConfigured(f"{place}: {error}") from error


def _check_keys(place: str, value: Mapping[str, Any], allowed: list[str]) -> None:
    unknown = sorted(str(key) for key in value if key not in allowed)
    if unknown:
        raise ImproperlyConfigured(f"{place} has unknown keys: {', '.join(unknown)}; allowed are {', '.join(allowed)}")


def _place(alias: object) -> str:
    return f"{SETTING}[{alias!r}]"

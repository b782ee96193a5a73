"""The ``BGRESULTS_…`` keys of a Flask application's config, as arguments of a watcher."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from bgresults.options import AMQPOptions, RedisOptions, RetryPolicy
from bgresults.watcher import ResultWatcher

__all__ = ["CELERY_APP", "URL", "Settings", "read_config"]

_PREFIX: Final = "BGRESULTS_"
URL: Final = "BGRESULTS_URL"
CELERY_APP: Final = "BGRESULTS_CELERY_APP"
# Key → argument of a watcher.
_ARGUMENTS: Final = {f"{_PREFIX}{name.upper()}": name for name in inspect.signature(ResultWatcher).parameters}
# What a file or an environment variable can only give as a mapping.
_OPTIONS: Final[Mapping[str, Any]] = {"retry": RetryPolicy, "redis": RedisOptions, "amqp": AMQPOptions}


@dataclass(frozen=True)
class Settings:
    """Checked.

    Attributes:
        celery_app: the application, or where to import it from; None if the config does not say.
        arguments: of a watcher; ``url`` is among them if the config says it.
    """

    celery_app: Any
    arguments: Mapping[str, Any]


def read_config(name: str, config: Mapping[str, Any]) -> Settings:
    """Read and check the config of the Flask application of that name; imports nothing, connects to nothing.

    Raises:
        TypeError, ValueError: a key is unknown, or its value makes no sense; the text names it and what is allowed.
    """
    found = {key: value for key, value in config.items() if key.startswith(_PREFIX)}
    allowed = {CELERY_APP, *_ARGUMENTS}
    if unknown := sorted(set(found) - allowed):
        raise ValueError(
            f"config of Flask app {name!r}: unknown {', '.join(unknown)}; allowed are {', '.join(sorted(allowed))}"
        )
    celery_app = found.pop(CELERY_APP, None)
    # An application, or a proxy that stands for one, is known by its class: none is looked into before it is needed.
    kind = type(celery_app)
    stands_for_one = hasattr(kind, "conf") or hasattr(kind, "_get_current_object")
    if not (celery_app is None or stands_for_one or (isinstance(celery_app, str) and celery_app)):
        raise TypeError(
            f"config of Flask app {name!r}: {CELERY_APP} must be a Celery application or the place of one, such as "
            f"'proj.celery:app', not {celery_app!r}"
        )
    if found.get(URL, "") is None:
        # `os.environ.get(…)`: not set.
        del found[URL]
    arguments = {_ARGUMENTS[key]: _value(name, key, value) for key, value in found.items()}
    if "url" in arguments:
        _check(f"config of Flask app {name!r}, {', '.join(sorted(found))}", **arguments)
    return Settings(celery_app, arguments)


def _value(name: str, key: str, value: Any) -> Any:
    """One value, checked by itself, so that a complaint can name its key."""
    argument = _ARGUMENTS[key]
    where = f"config of Flask app {name!r}, {key}"
    kind = _OPTIONS.get(argument)
    if kind is not None and isinstance(value, Mapping):
        allowed = {field.name for field in fields(kind)}
        if unknown := sorted(map(str, set(value) - allowed)):
            raise ValueError(f"{where}: unknown {', '.join(unknown)}; allowed are {', '.join(sorted(allowed))}")
        try:
            value = kind(**value)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{where}: {error}") from error
    if argument != "url":
        _check(where, **{"url": "memory://" if argument == "amqp" else "redis://localhost", argument: value})
    return value


def _check(where: str, **arguments: Any) -> None:
    """Have a watcher check its arguments; it is thrown away."""
    try:
        ResultWatcher(**arguments)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{where}: {error}") from error

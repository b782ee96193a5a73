"""``watchers`` and ``watcher``: the watchers of the settings, made when they are first used.

They are modelled on Django's ``caches`` and ``cache``, with one difference: those are one for each thread or coroutine,
and a watcher is for all threads of the process.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.connection import BaseConnectionHandler, ConnectionProxy

from bgresults.forking import leaf_lock
from bgresults.integrations.django.configuration import SETTING, aliases_in, new_watcher
from bgresults.watcher import ResultWatcher

if TYPE_CHECKING:
    from bgresults.integrations.celery import CeleryResultWatcher

__all__ = ["DEFAULT_ALIAS", "WatcherHandler", "watcher", "watchers"]

DEFAULT_ALIAS = "default"


class WatcherHandler(BaseConnectionHandler):
    """``watchers["alias"]`` is the watcher of that alias, the same one in all threads until it is closed.

    Making one is free: no thread, no connection. Any thread may ask, and a forked child. Iterating yields the aliases.
    When the setting changes, as with ``override_settings()``, the watchers are closed, and made anew at the next use.

    Raises:
        ImproperlyConfigured: there is no such alias, or the setting makes no sense; the text names what is allowed.
    """

    settings_name = SETTING
    exception_class = ImproperlyConfigured

    def __init__(self) -> None:
        super().__init__()
        # The base class would have one for each thread and coroutine.
        self._connections = SimpleNamespace()
        self._aliases: dict[str, Mapping[str, Any]] | None = None

    @property
    def settings(self) -> dict[str, Mapping[str, Any]]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What the setting says, alias by alias; read at the first use."""
        aliases = self._aliases
        if aliases is None:
            aliases = self._aliases = aliases_in(getattr(django_settings, SETTING, None))
        return aliases

    def __getitem__(self, alias: str) -> CeleryResultWatcher:
        made: dict[str, ResultWatcher] = vars(self._connections)
        # Of which class it is, the settings say; to type checkers it is that of `watcher` below.
        found: Any = made.get(alias)
        if found is not None and not found.closed:
            return found  # type: ignore[no-any-return]
        if alias not in self.settings:
            known = ", ".join(map(repr, self.settings)) or "none"
            raise ImproperlyConfigured(f"{SETTING} has no alias {alias!r}; it has {known}")
        # Outside of the lock: the application may have to be imported. One that comes second is dropped, unused.
        fresh = self.create_connection(alias)
        with leaf_lock():
            found = made.get(alias)
            if found is None or found.closed:
                made[alias] = found = fresh
        return found  # type: ignore[no-any-return]

    def create_connection(self, alias: str) -> ResultWatcher:
        """Make the watcher of an alias that is there."""
        return new_watcher(alias, self.settings[alias])

    def close_all(self) -> None:
        """Close the watchers that were made. One that is used afterwards is made anew."""
        former, self._connections = self._connections, SimpleNamespace()
        for made in vars(former).values():
            made.close()

    def reset(self) -> None:
        """:meth:`close_all`, and read the setting again at the next use."""
        self._aliases = None
        self.close_all()


watchers = WatcherHandler()

# Stands for whatever the alias stands for at the time.
_proxy: Any = ConnectionProxy(watchers, DEFAULT_ALIAS)
#: ``watchers["default"]``. It is a ``CeleryResultWatcher`` where the alias has a ``CELERY_APP``, and to a type checker;
#: otherwise a plain ``ResultWatcher``, which has no ``submit()``.
watcher: CeleryResultWatcher = _proxy


def _follow(*, setting: str, **_: Any) -> None:
    if setting == SETTING:
        watchers.reset()


setting_changed.connect(_follow, dispatch_uid="bgresults.integrations.django")

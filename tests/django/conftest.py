"""Django in the test process. Its settings are process-wide: the first that configures them does so for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import django
import pytest


@pytest.fixture(scope="session", autouse=True)
def _configured(tmp_path_factory: pytest.TempPathFactory) -> None:
    from django.conf import settings

    if not settings.configured:
        folder = tmp_path_factory.mktemp("django")
        database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "db.sqlite3")}
        other = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "other.sqlite3")}
        # Whoever comes first configures it for all: Django 4.2 needs a key to report a view that raises.
        settings.configure(DATABASES={"default": database, "other": other}, SECRET_KEY="of a test", USE_TZ=True)
        django.setup()


@pytest.fixture
def project(request: pytest.FixtureRequest) -> Iterator[Any]:
    """``project(BGRESULTS={…}, …)`` changes settings for this test; the watchers are closed at its end."""
    from django.test import override_settings

    from bgresults.integrations.django import watchers

    overrides: list[Any] = []

    def change(**settings: Any) -> Any:
        override = override_settings(**settings)
        override.enable()
        overrides.append(override)
        return watchers

    yield change
    for override in reversed(overrides):
        override.disable()
    watchers.reset()

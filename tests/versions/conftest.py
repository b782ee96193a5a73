"""Left out unless BGRESULTS_CELERY_VERSIONS is set: making the environments takes a minute, and pip."""

from __future__ import annotations

import pytest

from tests.versions.environments import chosen_versions


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave these tests out where nobody asked for them."""
    if chosen_versions():
        return
    left_out = [item for item in items if item.get_closest_marker("versions")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]

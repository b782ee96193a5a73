"""``result_backend``: what it may be, and what stands behind ``"bgresults+redis://…"``."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["PREFIX", "WATCHABLE", "stock_setting"]

#: What to say to somebody whose results are elsewhere.
WATCHABLE: Final = (
    "results have to be in Redis (result_backend = 'redis://…', 'rediss://…', 'redis+socket://…' or 'sentinel://…') or "
    "to come as replies (result_backend = 'rpc://')"
)

#: What comes before the rest of the URL.
PREFIX: Final = "bgresults+"
# Celery has it under a longer name than the URL that its backend takes.
_LONG_NAMES: Final = {"socket": "redis+socket"}


def stock_setting(setting: Any) -> Any:
    """Return the ``result_backend`` that would have Celery's own backend in its place; any other setting as it is."""
    if not isinstance(setting, str) or not setting.lower().startswith(PREFIX):
        return setting
    rest = setting[len(PREFIX) :]
    scheme, separator, address = rest.partition("://")
    return f"{_LONG_NAMES.get(scheme.lower(), scheme)}{separator}{address}"

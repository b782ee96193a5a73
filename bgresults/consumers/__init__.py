"""Sources of task states, chosen by the scheme of a URL."""

from __future__ import annotations

from typing import Any

from bgresults.consumers.base import BaseResultConsumer, ConnectionLost
from bgresults.urls import REDIS_SCHEMES, scheme_of

__all__ = ["BaseResultConsumer", "ConnectionLost", "consumer_for"]


def consumer_for(url: str, **settings: Any) -> BaseResultConsumer:
    """Return a consumer for ``url``, not connected yet.

    Raises:
        ValueError: the scheme is unknown, or a setting makes no sense; the text names what is allowed.
        TypeError: an argument has the wrong type.
    """
    scheme = scheme_of(url)
    if scheme not in REDIS_SCHEMES:
        allowed = ", ".join(f"{name}://" for name in REDIS_SCHEMES)
        raise ValueError(f"there is no consumer for results at {scheme}://; allowed are {allowed}")
    # Here, so that a process that uses one kind of backend does not import the libraries of the other.
    from bgresults.consumers.redis import ResultConsumer

    return ResultConsumer(url, **settings)

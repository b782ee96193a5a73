"""redis-py's client behind sentinels, which closes all that it has opened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis
from redis.sentinel import Sentinel

__all__ = ["master_client"]


class _MasterClient(redis.Redis):
    """redis-py leaves the connections to the sentinels to whoever made them."""

    def close(self) -> None:
        super().close()
        manager: Any = getattr(self.connection_pool, "sentinel_manager", None)
        for sentinel in manager.sentinels if manager is not None else ():
            sentinel.close()


def master_client(
    places: Sequence[tuple[str, int]], name: str, password: str | None, options: dict[str, Any]
) -> redis.Redis:
    """A client of the master ``name`` of these sentinels, whose own ``password`` is not that of the servers."""
    manager: Any = Sentinel(places, sentinel_kwargs={"password": password}, **options)
    client: redis.Redis = manager.master_for(name, redis_class=_MasterClient)
    return client

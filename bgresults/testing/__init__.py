"""Tools to test programs that use bgresults: servers to kill, and real workers."""

from bgresults.testing.servers import (
    FakeRedisServer,
    RedisBinary,
    RedisServer,
    embedded_redis,
    find_redis_server,
    free_port,
)
from bgresults.testing.workers import CeleryWorker

__all__ = [
    "CeleryWorker",
    "FakeRedisServer",
    "RedisBinary",
    "RedisServer",
    "embedded_redis",
    "find_redis_server",
    "free_port",
]

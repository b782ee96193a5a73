"""Tools to test programs that use bgresults: servers to kill, links to cut, certificates, and real workers."""

from bgresults.testing.faults import Direction, FaultProxy
from bgresults.testing.rabbitmq import RabbitMQServer, find_rabbitmq
from bgresults.testing.sentinel import SentinelServer, SentinelTrio
from bgresults.testing.servers import (
    FakeRedisServer,
    RedisBinary,
    RedisServer,
    embedded_redis,
    find_redis_server,
    free_port,
)
from bgresults.testing.tls import Certificate, ThrowAwayCA
from bgresults.testing.workers import CeleryWorker

__all__ = [
    "CeleryWorker",
    "Certificate",
    "Direction",
    "FakeRedisServer",
    "FaultProxy",
    "RabbitMQServer",
    "RedisBinary",
    "RedisServer",
    "SentinelServer",
    "SentinelTrio",
    "ThrowAwayCA",
    "embedded_redis",
    "find_rabbitmq",
    "find_redis_server",
    "free_port",
]

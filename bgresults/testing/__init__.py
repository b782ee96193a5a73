"""Tools to test programs that use bgresults: fakes without any server, servers to kill, links to cut, real workers."""

from bgresults.testing.backoff import is_backoff_active, no_backoff, set_backoff_active
from bgresults.testing.fake_results import FakeResults
from bgresults.testing.fakeredis_results import FakeRedisResults
from bgresults.testing.faults import Direction, FaultProxy
from bgresults.testing.proxied import ProxiedServer
from bgresults.testing.rabbitmq import RabbitMQServer, find_rabbitmq
from bgresults.testing.rules import Rule
from bgresults.testing.sent_tasks import SentTask
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
    "FakeRedisResults",
    "FakeRedisServer",
    "FakeResults",
    "FaultProxy",
    "ProxiedServer",
    "RabbitMQServer",
    "RedisBinary",
    "RedisServer",
    "Rule",
    "SentTask",
    "SentinelServer",
    "SentinelTrio",
    "ThrowAwayCA",
    "embedded_redis",
    "find_rabbitmq",
    "find_redis_server",
    "free_port",
    "is_backoff_active",
    "no_backoff",
    "set_backoff_active",
]

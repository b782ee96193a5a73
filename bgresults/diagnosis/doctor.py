""":func:`examine`: does everything once that a watcher will do, and says of each thing whether it works."""

from __future__ import annotations

from bgresults.diagnosis.findings import Diagnosis, Finding
from bgresults.diagnosis.settings import examine_settings, new_consumer
from bgresults.options import check_seconds
from bgresults.watcher import ResultWatcher

__all__ = ["examine"]


def examine(watcher: ResultWatcher, *, timeout: float = 5.0) -> Diagnosis:
    """Look at a watcher's settings, its server, what it may do there, and whether a result arrives.

    For the last of these, one result is written to the server as a worker would, under an id that nobody else uses, and
    removed at once. Starts the watcher if need be. Never raises because of what it finds.

    Args:
        watcher: stays open.
        timeout: seconds that each step may take; connecting takes ``connect_timeout`` at most.

    Raises:
        TypeError, ValueError: ``timeout`` makes no sense.
    """
    check_seconds("timeout", timeout)
    findings = examine_settings(watcher)
    if not any(finding.level == "error" for finding in findings):
        findings += _examine_server(watcher, timeout)
    return Diagnosis(watcher._settings.name, watcher._settings.address, tuple(findings))


def _examine_server(watcher: ResultWatcher, timeout: float) -> list[Finding]:
    consumer = new_consumer(watcher)
    # As in consumers: a process that uses one kind of backend does not import the libraries of the other.
    if consumer.binding is None:
        from bgresults.diagnosis.redis_server import examine_redis

        return list(examine_redis(watcher, consumer, timeout))
    from bgresults.diagnosis.broker import examine_broker

    return list(examine_broker(watcher, consumer, timeout))

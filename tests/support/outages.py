"""What a test waits for, and looks at, while a server cannot be used."""

from __future__ import annotations

from collections.abc import Callable

from bgresults import BackendUnavailableError, RedisOptions, ResultFuture, ResultWatcher, RetryPolicy
from bgresults.testing import FaultProxy
from tests.support.results import ResultWriter, new_id
from tests.support.waiting import wait_until

__all__ = ["ALERT", "PATIENCE", "QUICK", "is_refused_at_once", "through", "vain_attempts", "watched_for_good"]

#: Seconds after which something that should happen will not.
PATIENCE = 30
#: Attempts to connect follow each other at once.
QUICK = RetryPolicy(initial=0.01, maximum=0.05)
#: What is wrong with a link that is silent is found at once.
ALERT = RedisOptions(health_check_interval=0.1)


def through(proxy: FaultProxy) -> str:
    """The URL of the server behind the proxy."""
    return f"redis://127.0.0.1:{proxy.port}/0"


def watched_for_good(watcher: ResultWatcher, writer: ResultWriter) -> ResultFuture:
    """A pending future for which everything has been done, over a link that works."""
    future = watcher.watch(new_id())
    wait_until(lambda: future.task_id in writer.channels(), "the subscription")
    assert watcher.wait_ready(PATIENCE)
    # Answers come in order: when this one is there, the first id has been read too.
    other = watcher.watch(new_id())
    writer.write(other.task_id, 1)
    assert other.result(PATIENCE) == 1
    return future


def vain_attempts(proxy: FaultProxy, connections: int = 6, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Wait for more attempts to connect, each of which makes one or two connections; look at something meanwhile.

    The proxy counts them, also while the server behind it cannot be asked.
    """
    made = proxy.connections_made

    def enough() -> bool:
        meanwhile()
        return proxy.connections_made >= made + connections

    wait_until(enough, "several attempts to connect", PATIENCE)


def is_refused_at_once(watcher: ResultWatcher) -> None:
    """A new watch has failed before it is handed out."""
    future = watcher.watch(new_id())
    assert future.done(), "as long as it is not over, a new one has failed already"
    assert isinstance(future.exception(0), BackendUnavailableError)

"""What has to be true in a forked child, whatever its parent was in the middle of."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.interleavings.actions import unheard_fork
from tests.model.book import CLOSED, FORKED, end_of
from tests.support.forks import c_fork_with_child_hook

if TYPE_CHECKING:
    from tests.model.play import Play

__all__ = ["FORKS", "check_child"]

FORKS: dict[str, Callable[[], int]] = {"fork": os.fork}
if sys.version_info < (3, 13):
    # From then on Python cannot be told of a fork in the child alone.
    FORKS.update(unheard_fork=unheard_fork, hook_only_fork=c_fork_with_child_hook)


def check_child(play: Play) -> None:
    """Futures that were pending have failed, nothing of the parent's is used, and the watcher works, or is closed.

    Raises:
        AssertionError: it is not so.
    """
    inherited, closing, certain = play.session, play.closing, play.certain
    for entry in play.book.entries:
        future = entry.future()
        if future is not None:
            assert future.done()
            # In the middle of something it may have ended a moment before the fork.
            if certain:
                assert end_of(future) == (entry.end or FORKED)
            else:
                assert end_of(future) in (entry.end or end_of(future), FORKED)
    play.in_this_process()
    consumer, wakeup = inherited.consumer, inherited.wakeup
    assert consumer is None or consumer.abandoned  # type: ignore[attr-defined]
    assert wakeup is None or wakeup.fileno() == -1
    if closing:
        play.book.always.add(CLOSED)
    play.watch(("child",))
    if closing:
        assert not play.book.entries
        return
    play.come_to_rest()
    play.publish("child", "success")
    play.come_to_rest()
    play.check()
    assert [entry.end for entry in play.book.entries] == [f"value {play.serial}"]
    play.close()
    play.come_to_rest()
    assert not play.lockstep.running
    play.check_end()

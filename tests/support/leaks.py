"""What a test may leave behind: nothing."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

__all__ = ["KINDS", "Snapshot", "check_leaks"]

KINDS = ("threads", "descriptors", "channels")
_FD_FOLDER = "/proc/self/fd"


def _descriptors() -> dict[int, str]:
    """Open descriptors and what they refer to; nothing on systems without /proc."""
    try:
        numbers = os.listdir(_FD_FOLDER)
    except OSError:
        return {}
    found = {}
    for number in numbers:
        try:
            found[int(number)] = os.readlink(f"{_FD_FOLDER}/{number}")
        except OSError:
            continue  # The descriptor of the listing itself.
    return found


def _by_kind(descriptors: Mapping[int, str]) -> Counter[str]:
    # socket:[123] and socket:[124] are one kind: a connection that was replaced by another one is no leak.
    return Counter(target.partition(":[")[0] for target in descriptors.values())


@dataclass(frozen=True)
class Snapshot:
    """The threads, descriptors and server channels at one moment."""

    channels: frozenset[str] = frozenset()
    threads: frozenset[threading.Thread] = field(default_factory=lambda: frozenset(threading.enumerate()))
    descriptors: Mapping[int, str] = field(default_factory=_descriptors)

    def new_in(self, later: Snapshot) -> dict[str, list[str]]:
        """Kind → what is there later and was not there at this moment, in words."""
        leaks = {
            "threads": sorted(repr(thread) for thread in later.threads - self.threads),
            "channels": sorted(later.channels - self.channels),
            "descriptors": [],
        }
        more = _by_kind(later.descriptors) - _by_kind(self.descriptors)
        for number, target in sorted(later.descriptors.items()):
            if self.descriptors.get(number) != target and target.partition(":[")[0] in more:
                leaks["descriptors"].append(f"{number} -> {target}")
        return {kind: found for kind, found in leaks.items() if found}


def check_leaks(before: Snapshot, take: Callable[[], Snapshot], kinds: Collection[str], grace: float = 5.0) -> None:
    """Compare with the state now, after a while for what is about to go away.

    Args:
        before: the state at the start of the test.
        take: gives the state now.
        kinds: which of :data:`KINDS` to look at.
        grace: seconds.

    Raises:
        AssertionError: something stayed; lists it.
    """
    deadline = time.monotonic() + grace
    collected = False
    while True:
        leaks = {kind: found for kind, found in before.new_in(take()).items() if kind in kinds}
        if not leaks:
            return
        if not collected:
            # A full collection takes tens of milliseconds, so only where something is left.
            gc.collect()
            collected = True
        elif time.monotonic() >= deadline:
            listed = "\n".join(f"  {kind}: {item}" for kind, found in leaks.items() for item in found)
            raise AssertionError(f"the test left this behind (still there {grace:g} s after its end):\n{listed}")
        else:
            time.sleep(0.01)

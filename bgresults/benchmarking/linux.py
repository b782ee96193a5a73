"""What Linux counts of a process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bgresults.benchmarking.question import Question

__all__ = ["Activity", "LinuxQuestion", "activity"]

_WAKE_UPS = "voluntary_ctxt_switches:"


@dataclass(frozen=True)
class Activity:
    """What all threads of a process have done so far.

    Attributes:
        wake_ups: how often one of them had fallen asleep, and was woken.
        seconds: of processor time.
    """

    wake_ups: int
    seconds: float

    def __sub__(self, earlier: Activity) -> Activity:
        return Activity(self.wake_ups - earlier.wake_ups, self.seconds - earlier.seconds)


def activity(pid: int) -> Activity:
    """Read the counters of the threads that a process has now."""
    wake_ups, nanoseconds = 0, 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        lines = (thread / "status").read_text(encoding="utf-8").splitlines()
        wake_ups += sum(int(line.split()[1]) for line in lines if line.startswith(_WAKE_UPS))
        nanoseconds += int((thread / "schedstat").read_text(encoding="ascii").split()[0])
    return Activity(wake_ups, nanoseconds / 1e9)


@dataclass(frozen=True, kw_only=True)
class LinuxQuestion(Question):
    """One that needs these counters as well."""

    def lacking(self) -> str | None:
        """A Linux that counts, or a redis-server."""
        if not Path("/proc/self/schedstat").exists():
            return "no /proc/self/schedstat: what a thread does is counted on Linux only"
        return super().lacking()

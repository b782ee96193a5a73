"""What a soak says of itself, and what it holds to be wrong."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from tests.soak.driver import Outcome

__all__ = ["growth", "judge", "report"]

_MIB = 1024 * 1024
# Memory is flat if the line through the second half of it rises by no more than this, over all of that half.
_SPARE_MEMORY = 24 * _MIB
_SPARE_SHARE = 0.2
# Less than that says nothing about slopes.
_LEAST_SAMPLES = 40


def growth(points: Sequence[tuple[float, float]]) -> float:
    """By how much the line of least squares through these points rises from the first to the last."""
    if len(points) < 2:
        return 0.0
    middle = sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points)
    spread = sum((x - middle[0]) ** 2 for x, _ in points)
    slope = sum((x - middle[0]) * (y - middle[1]) for x, y in points) / spread if spread else 0.0
    return slope * (points[-1][0] - points[0][0])


def judge(outcome: Outcome) -> list[str]:
    """Everything that is wrong, in words."""
    found = list(outcome.wrongs)
    second_half = _memory(outcome)[len(outcome.samples) // 2 :]
    if len(second_half) >= _LEAST_SAMPLES:
        allowed = max(_SPARE_MEMORY, _SPARE_SHARE * second_half[0][1])
        if (rise := growth(second_half)) > allowed:
            found.append(f"memory grew by {rise / _MIB:.1f} MiB in the second half, {allowed / _MIB:.1f} are allowed")
        blocks = _blocks(outcome)[len(outcome.samples) // 2 :]
        if (rise := growth(blocks)) > _SPARE_SHARE * blocks[0][1]:
            found.append(f"objects grew by {rise:.0f} blocks in the second half, from {blocks[0][1]:.0f}")
    counts = outcome.counts
    if counts["ids"] != sum(counts.get(f"{backend} ids", 0) for backend in ("redis", "rpc")):
        found.append("the ids of both backends do not add up")
    if not outcome.plan.real_worker and outcome.written["redis written"] < counts.get("redis ids", 0):
        found.append("more ids have ended than were written")
    return found


def report(outcome: Outcome) -> str:
    """The totals, for people."""
    plan, counts, totals = outcome.plan, outcome.counts, outcome.totals
    events = outcome.events
    lines = [
        f"seed {plan.seed}: {plan.seconds:g} s of load and trouble ({outcome.took:.0f} s in all), "
        f"{plan.threads} threads",
        f"ids: {counts['ids']} ({counts.get('redis ids', 0)} on Redis, {counts.get('rpc ids', 0)} over RabbitMQ), "
        f"of them {_listed(_with(counts, 'kind '))}",
    ]
    for backend in ("redis", "rpc"):
        ends = {name: count for name, count in _with(counts, f"{backend} ").items() if name != "ids"}
        lines.append(f"  {backend}: {_listed(ends)}")
    lines.append(f"futures besides: {_listed(_with(counts, 'futures '))}")
    for server, happened in events.items():
        lines.append(f"{server}: {sum(happened.values())} events: {_listed(happened)}")
    kills = {name: sum(count for event, count in events[name].items() if event in _KILLS) for name in events}
    cuts = {name: sum(count for event, count in events[name].items() if event in _CUTS) for name in events}
    lines.append(
        f"kills and restarts: redis-server {kills['redis']}, RabbitMQ {kills['rabbitmq']}; connections cut without "
        f"them: to Redis {cuts['redis']} times, to RabbitMQ {cuts['rabbitmq']} times; "
        f"forked children: {sum(count for event, count in events['subject'].items() if event.startswith('children'))}"
    )
    lines.append(f"watchers' counters: {_listed(totals)}")
    lines.append(f"the workers' side: {_listed(outcome.written)}")
    lines.append(f"log lines: {_listed(_with(counts, 'log '))}")
    lines.append(f"reply queues: {_listed(_with(counts, 'reply queues '))}")
    lines.append(f"forked in C and not fit to live: {counts.get('children that CPython did not let live', 0)}")
    lines.append(f"longest beyond a timeout of result(): {outcome.overshoot * 1000:.0f} ms")
    lines += _table(outcome)
    return "\n".join(lines)


_KILLS = {"server_killed", "server_stopped", "node_killed", "node_stopped"}
_CUTS = {
    "fin",
    "rst",
    "refused",
    "dropped_in_the_middle",
    "subscriber_killed",
    "reader_killed",
    "closed_by_an_administrator",
    "black_hole",
    "half_a_black_hole",
}


def _memory(outcome: Outcome) -> list[tuple[float, float]]:
    return [(sample["at"], sample["memory"]) for sample in outcome.samples]


def _blocks(outcome: Outcome) -> list[tuple[float, float]]:
    """What Python's allocator has handed out: exact, where memory also has what it keeps for later."""
    return [(sample["at"], sample["blocks"]) for sample in outcome.samples]


def _with(counts: Mapping[str, int], prefix: str) -> dict[str, int]:
    return {name[len(prefix) :]: count for name, count in counts.items() if name.startswith(prefix)}


def _listed(counts: Mapping[str, Any]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} {count}" for name, count in ordered) or "none"


def _table(outcome: Outcome) -> list[str]:
    """Memory, descriptors, threads and latencies over time, in ten parts."""
    lines = [
        "from s  memory MiB  blocks  threads  descriptors  pending     ids"
        "   Redis: p50, worst p99 ms   RabbitMQ: p50, worst p99 ms"
    ]
    samples = outcome.samples
    step = max(1, math.ceil(len(samples) / 10))
    for start in range(0, len(samples), step):
        part = samples[start : start + step]
        first = part[0]
        figures = []
        for backend in ("redis", "rpc"):
            taken = [sample["latencies"][backend] for sample in part if backend in sample["latencies"]]
            p50 = statistics.median(one["p50"] for one in taken) * 1000 if taken else 0.0
            worst = max((one["p99"] for one in taken), default=0.0) * 1000
            figures.append(f"{p50:.1f}, {worst:.0f}")
        lines.append(
            f"{first['at'] - outcome.began:6.0f}  {first['memory'] / _MIB:10.1f}  {first['blocks']:6}  "
            f"{first['threads']:7}  {first['descriptors']:11}  {first['pending']:7}  {first['ids']:6}  "
            f"{figures[0]:>25}  {figures[1]:>28}"
        )
    half = len(samples) // 2
    lines.append(
        f"over the second half, by least squares: memory {growth(_memory(outcome)[half:]) / _MIB:+.1f} MiB, "
        f"blocks {growth(_blocks(outcome)[half:]):+.0f}"
    )
    return lines

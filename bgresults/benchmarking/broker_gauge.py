"""What a RabbitMQ node, and the kernel of its machine, say of the node's costs."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, fields
from pathlib import Path

from bgresults.testing.rabbitmq import RabbitMQServer

__all__ = ["Held", "Used", "held", "used"]

_ASK = (
    "[garbage_collect(P) || P <- processes()], {erlang:memory(total), erlang:system_info(process_count), "
    "length(rabbit_networking:connections()), length(rabbit_channel:list()), length(rabbit_amqqueue:list())}."
)


@dataclass(frozen=True)
class Held:
    """What the node holds now, after a garbage collection; the difference of two is what came in between.

    Attributes:
        memory: bytes, as the node counts them (``erlang:memory(total)``).
        processes: Erlang's own.
        connections, channels, queues: how many.
        files: descriptors of the node, sockets among them.
    """

    memory: int
    processes: int
    connections: int
    channels: int
    queues: int
    files: int

    def __sub__(self, earlier: Held) -> Held:
        names = (field.name for field in fields(self))
        return Held(**{name: getattr(self, name) - getattr(earlier, name) for name in names})


@dataclass(frozen=True)
class Used:
    """What the node has used so far.

    Attributes:
        seconds: of processor time, of all its threads.
        written: bytes that went to the disk, or will.
    """

    seconds: float
    written: int

    def __sub__(self, earlier: Used) -> Used:
        return Used(self.seconds - earlier.seconds, self.written - earlier.written)


def held(node: RabbitMQServer) -> Held:
    """Ask the node; takes it a second."""
    answer = node.control("eval", _ASK)
    memory, processes, connections, channels, queues = (int(word) for word in re.findall(r"\d+", answer))
    return Held(memory, processes, connections, channels, queues, len(os.listdir(f"/proc/{node.pid}/fd")))


def used(node: RabbitMQServer) -> Used:
    """Ask the kernel."""
    # After the name, which may hold anything, in parentheses: user and system time are the 12th and 13th.
    words = Path(f"/proc/{node.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    ticks = int(words[11]) + int(words[12])
    io = dict(line.split(": ") for line in Path(f"/proc/{node.pid}/io").read_text(encoding="ascii").splitlines())
    return Used(ticks / os.sysconf("SC_CLK_TCK"), int(io["write_bytes"]))

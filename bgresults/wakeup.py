"""The socket pair that wakes the drain thread out of its ``select``.

Guarantees:

* Append first, wake second: whatever a thread put where the drain thread looks *before* it called :meth:`Wakeup.wake`
  is seen by the drain thread after its next :meth:`Wakeup.clear` or :meth:`Wakeup.get_up`.
* Any number of wakes between two clears cost one byte on the socket, so a burst of calls is one system call; and none
  while the drain thread is up, since a system call hands the interpreter's lock to another thread.
* ``wake`` never waits for the drain thread, raises nothing of its own, and may run in the garbage collector or in a
  signal handler.
* In a forked child ``wake`` does nothing: a byte written there would wake the *parent*.
"""

from __future__ import annotations

import os
import socket
import threading

from bgresults.polling import wait_readable

__all__ = ["Wakeup"]


class Wakeup:
    """One drain thread sleeps on it, any thread wakes it."""

    __slots__ = ("_asleep", "_closing", "_pid", "_raised", "_receiver", "_sender")

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)
        # True while a byte is on its way. A wake that finds it True relies on that byte. The race with `clear` is
        # decided by the order there: the flag falls before the drain thread looks at its commands.
        self._raised = False
        # False while the drain thread is certain to look at the flag before it sleeps: no byte is needed then.
        self._asleep = True
        # Re-entrant, and held for one system call that does not block.
        self._closing = threading.RLock()

    def fileno(self) -> int:
        """Return the descriptor that becomes readable on a wake; -1 once closed."""
        return self._receiver.fileno()

    def wake(self) -> None:
        """Make the drain thread return from its ``select`` now, or not enter the next one. Any thread."""
        if self._raised or self._pid != os.getpid():
            return
        with self._closing:
            try:
                self._raised = True
                if self._asleep:
                    self._sender.send(b"\0")
            except OSError:
                # Full: a byte is there already. Closed: nobody sleeps any more.
                return
            except BaseException:
                # A signal handler raised. Others may rely already on a byte that was perhaps never sent.
                self._raised = False
                self.wake()
                raise

    def fall_asleep(self) -> bool:
        """From now on a wake makes the descriptor readable; True if there was one that did not. Drain thread only.

        Here the flag is asked last, and in :meth:`wake` it is raised first: one of the two sees the other.
        """
        self._asleep = True
        return self._raised

    def get_up(self, *, readable: bool) -> None:
        """From now on, until :meth:`fall_asleep`, a wake is the flag alone. Drain thread only.

        Args:
            readable: whether the descriptor is.
        """
        self._asleep = False
        if readable:
            self.clear()
        else:
            self._raised = False

    def clear(self) -> None:
        """Take the wake-up bytes away, once the descriptor is readable and before looking for what it was woken for.

        Drain thread only.
        """
        try:
            while len(self._receiver.recv(64)) == 64:
                pass
        except BlockingIOError:
            # Nothing there after all; the flag must fall all the same.
            pass
        self._raised = False

    def wait(self, timeout: float) -> bool:
        """Sleep until a wake, or for ``timeout`` seconds; True if woken. Drain thread only, without a connection."""
        return self.fall_asleep() or wait_readable(self, timeout)

    def close(self) -> None:
        """Close both ends. Idempotent."""
        # Not while a wake is sending: its descriptor might be somebody else's by then.
        with self._closing:
            self.close_inherited()

    def close_inherited(self) -> None:
        """In a forked child: close both ends as descriptors; the parent's pair stays as it is. Takes no lock."""
        self._receiver.close()
        self._sender.close()

"""What has to be true of a watcher whose drain thread is at rest, or gone."""

from __future__ import annotations

from bgresults.session import Command, State
from tests.model.kinds import QueueConsumer
from tests.model.scene import Scene
from tests.model.scripted import is_final

__all__ = ["CheckedScene"]


class CheckedScene(Scene):
    """A scene that looks at itself."""

    def begin(self) -> None:
        super().begin()
        #: Queues that were asked for, and what was answered.
        self.declared = 0
        self.answers: list[object] = []

    def check(self) -> None:
        """What has to be true of a drain thread at rest.

        Raises:
            AssertionError: it is not.
        """
        session, book, consumer, now = self.session, self.book, self.consumer, self.clock.now
        book.look(now)
        if session.thread is None or self.lockstep.place is None:
            assert not book.live()
            return
        if self.kind == "queue" and session.commands:
            # Nothing has to be done for a watch until a message comes, and the thread was left to sleep.
            assert {command for command, _ in session.commands} == {Command.WATCH}
            assert session.state is State.DRAINING
            session.wake()
            self.come_to_rest()
        live = book.live()
        pending = session.pending
        assert not session.commands
        assert not pending.released
        assert not pending.anything_to_purge()
        assert pending._pinned <= {entry.future() for entry in live}, "a future that has ended is kept alive"
        scheduled = sum(len(task_ids) for _, _, task_ids in pending._deadlines)
        assert pending._scheduled == scheduled <= max(3, 2 * len(live))
        assert not any(entry.deadline is not None and entry.deadline <= now for entry in live), "not expired"
        assert not any(entry.own for entry in live), "not cancelled"
        assert not live or session.refusal is None, "pending, and nobody tries to connect"
        assert len(self.answers) == self.declared
        assert consumer is not None
        assert set(consumer.consumed_ids()) == set(pending.ids()) == {entry.task_id for entry in live}
        if consumer.connected:
            assert session.state is State.DRAINING
            assert not any(self._known(entry.task_id) for entry in live), "a result is there, and was not told"
        else:
            place = self.lockstep.place
            assert session.state is State.FAILED or (place.due is not None and place.due <= now + self.retry.maximum)
        book.compare(self.watcher.stats())

    def _known(self, task_id: str) -> bool:
        if isinstance(self.consumer, QueueConsumer):
            return self.consumer.kept(task_id)
        body = self.server.stored.get(task_id)
        return body is not None and is_final(body)

    def check_end(self) -> None:
        """The session is over, and its thread has gone.

        Raises:
            AssertionError: somebody was left behind, or something.
        """
        session, book = self.session, self.book
        book.look(self.clock.now)
        assert not book.live()
        assert session.wakeup is None or session.wakeup.fileno() == -1
        assert not session.pending._pinned
        # A stream that is dropped later may come from the garbage collector, which takes no lock to clear up.
        assert {command for command, _ in session.commands} <= {Command.ABANDONED}
        book.compare(session.stats())

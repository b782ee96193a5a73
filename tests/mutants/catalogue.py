"""The mutants: one wrong edit of the library each, and the test that has to notice.

Every one of them is a mistake that works almost always. What it breaks needs one certain moment, and the test that
kills it brings that moment about; none of them waits for luck.
"""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.registry import REGISTRY_MUTANTS
from tests.mutants.streams import STREAM_MUTANTS

__all__ = ["MUTANTS", "Mutant"]


MUTANTS = (
    Mutant(
        "no-fork-lock",
        "A fork comes into the middle of a few stores that belong together, and the child has half of them for ever.",
        "bgresults/forking.py",
        "        process.lock.acquire()\n",
        "        pass\n",
        "tests/faults/test_guards.py::TestFork::test_in_the_middle_of_making_a_socket",
    ),
    Mutant(
        "leaf-lock-not-reentrant",
        "A signal handler or a destructor that runs inside a locked section waits for its own thread.",
        "bgresults/forking.py",
        "        self.lock = threading.RLock()\n",
        "        self.lock = threading.Lock()\n",
        "tests/faults/test_guards.py::TestLock::test_a_signal_handler_inside_the_locked_section",
    ),
    Mutant(
        "inherited-future-kept",
        "A future that was pending at the fork stays pending in the child, where nobody will ever end it.",
        "bgresults/lazy_future.py",
        "            inherited = self._generation != current\n",
        "            inherited = False\n",
        "tests/faults/test_forks.py::test_a_child_of_a_child",
    ),
    Mutant(
        "no-pid-check-after-a-callback",
        "The child of a fork in a callback goes on delivering the parent's results.",
        "bgresults/dispatcher.py",
        "        if self._session.pid != os.getpid():\n            # The callback forked,",
        "        if False:\n            # The callback forked,",
        "tests/faults/test_guards.py::TestFork::test_in_a_callback_that_others_follow",
    ),
    Mutant(
        "polite-in-the-child",
        "The child says UNSUBSCRIBE on the parent's connection, and the parent hears no more.",
        "bgresults/consumers/redis/consumer.py",
        "        self._connector.sockets.close_all()\n",
        "        if links is not None and len(self._subscriptions):\n"
        '            links.subscriber.send("UNSUBSCRIBE", answers=0)\n'
        "        self._connector.sockets.close_all()\n",
        "tests/faults/test_forks.py::test_dropping_and_collecting_in_the_child_reaches_nobody[os.fork]",
    ),
    Mutant(
        "read-before-the-confirmation",
        "A result that is written after the read and before the subscription is in neither.",
        "bgresults/consumers/redis/consumer.py",
        "        self._stored.want(self._subscriptions.consume(task_ids))\n",
        "        ids = list(task_ids)\n        self._subscriptions.consume(ids)\n        self._stored.want(ids)\n",
        "tests/integration/test_redis_wire.py::TestOrder::test_read_after_the_confirmation",
    ),
    Mutant(
        "no-read-after-a-reconnect",
        "What was published while there was no connection is never looked for.",
        "bgresults/consumers/redis/consumer.py",
        "            self._stored.want(wanted, resync=batch.resync)\n",
        "            self._stored.want([] if batch.resync else wanted, resync=batch.resync)\n",
        "tests/faults/test_silent_reconnects.py::test_a_killed_connection_is_one_reconnect[default-pubsub]",
    ),
    Mutant(
        "refused-taken-for-mended",
        "A server that answers PING and denies everything else is announced as back, over and over.",
        "bgresults/consumers/redis/consumer.py",
        "        rehearse = self._attempted and not len(self._subscriptions)\n",
        "        rehearse = False\n",
        "tests/faults/test_server_answers.py::test_failing_fast[-mget]",
    ),
    Mutant(
        "no-pause-after-a-short-life",
        "A server that lets us in and throws us out is stormed by every process that it has thrown out.",
        "bgresults/drainer.py",
        "        if self._short_lived > 1:\n",
        "        if False:\n",
        "tests/faults/test_hostile_servers.py::test_a_server_that_lets_in_and_hangs_up[MGET]",
    ),
    Mutant(
        "redis-py-retries",
        "redis-py connects again by itself: nobody counts it, and what was said in between is lost.",
        "bgresults/consumers/redis/connections.py",
        '            "retry": Retry(NoBackoff(), 0),\n',
        '            "retry": Retry(NoBackoff(), 3),\n',
        "tests/faults/test_silent_reconnects.py::test_an_attempt_is_one_connection[None]",
    ),
    Mutant(
        "silent-reconnect",
        "A lost connection is made again at once: no back-off, no count, and no line in the log.",
        "bgresults/consumers/redis/consumer.py",
        "            return self._turn(timeout)\n        except ConnectionLost:\n"
        "            self._disconnect()\n            raise\n",
        "            return self._turn(timeout)\n        except ConnectionLost:\n"
        "            self.reconnect()\n            return 0\n",
        "tests/faults/test_silent_reconnects.py::test_a_killed_connection_is_one_reconnect[default-pubsub]",
    ),
    Mutant(
        "no-can-read-gate",
        "With a parser of the user's the thread stands in a read until the time limit, and takes that for a dead link.",
        "bgresults/consumers/redis/readers.py",
        "        while len(messages) < _MESSAGES and connection.can_read(0):\n",
        "        while len(messages) < _MESSAGES:\n",
        "tests/faults/test_guards.py::TestReadingWithoutHiredis::test_the_thread_is_free_while_nothing_comes[of_the_user]",
    ),
    Mutant(
        "settled-without-a-claim",
        "A future that its owner cancelled a moment ago gets a result all the same.",
        "bgresults/lazy_future.py",
        "            if self._state in _ENDED:\n                return None\n",
        "",
        "tests/faults/test_guards.py::TestLock::test_a_future_that_was_cancelled_while_it_was_being_resolved",
    ),
    Mutant(
        "no-pinning",
        "A future that only a callback waits for is collected, and the callback never runs.",
        "bgresults/lazy_future.py",
        "                        owner._pin(self)\n",
        "                        pass\n",
        "tests/integration/test_callbacks.py::test_a_future_that_only_a_callback_waits_for_is_kept",
    ),
    Mutant(
        "weakref-callback-takes-the-lock",
        "The garbage collector, wherever it happens to run, waits for whoever holds the lock.",
        "bgresults/session.py",
        "            self.pending.dropped.append(ref)\n            self.wake()\n",
        "            self.pending.dropped.append(ref)\n            self.pending.sweep()\n            self.wake()\n",
        "tests/faults/test_guards.py::TestLock::test_dropping_a_future_while_it_is_held",
    ),
    Mutant(
        "flag-slept-over",
        "What was told to a thread that was up, and did not look any more, waits for the next wake.",
        "bgresults/wakeup.py",
        "        return self._raised\n",
        "        return False\n",
        "tests/unit/test_wakeup.py::test_who_does_not_sleep_is_not_woken",
    ),
    Mutant(
        "latch-rises-too-late",
        "A clear between the sending of the byte and the rise leaves the flag up without a byte: no wake works again.",
        "bgresults/wakeup.py",
        "                self._raised = True\n                if self._asleep:\n"
        '                    self._sender.send(b"\\0")\n',
        "                if self._asleep:\n"
        '                    self._sender.send(b"\\0")\n                self._raised = True\n',
        "tests/faults/test_guards.py::TestWakeup::test_cleared_right_after_the_byte_was_sent",
    ),
    Mutant(
        "asked-before-the-flag-is-raised",
        "Whoever falls asleep between the two is not woken.",
        "bgresults/wakeup.py",
        "        with self._closing:\n            try:\n"
        "                self._raised = True\n                if self._asleep:\n",
        "        asleep = self._asleep\n        with self._closing:\n            try:\n"
        "                self._raised = True\n                if asleep:\n",
        "tests/unit/test_wakeup.py::test_falling_asleep_in_the_middle_of_a_wake",
    ),
    Mutant(
        "latch-never-falls",
        "The first wake is the last one.",
        "bgresults/wakeup.py",
        "            # Nothing there after all; the flag must fall all the same.\n            pass\n"
        "        self._raised = False\n",
        "            pass\n",
        "tests/unit/test_wakeup.py::test_many_wakes_are_one_byte",
    ),
    Mutant(
        "not-looked-after-inserting",
        "A watcher that is closed in the middle of a watch leaves a future that nobody ends.",
        "bgresults/registration.py",
        "        return session.current_refusal()\n",
        "        return None\n",
        "tests/faults/test_guards.py::test_closing_in_the_middle_of_a_watch",
    ),
    Mutant(
        "registered-before-there-is-room",
        "Two calls refuse each other the last slot, and more than max_pending are to be seen.",
        "bgresults/registration.py",
        "_CROWD = 100\n",
        "_CROWD = 0\n",
        "tests/limits/test_max_pending.py::test_what_is_refused_was_never_registered[redis]",
    ),
    Mutant(
        "joined-without-a-second-look",
        "A future that joins an id while the thread takes it is registered under nothing, and never ends.",
        "bgresults/pending.py",
        "            while self._first.setdefault(task_id, ref) is not ref:\n",
        "            if True:\n",
        "tests/unit/test_pending.py::TestForcedInterleavings::test_join_against_take",
    ),
    Mutant(
        "heap-never-compacted",
        "Every watch of the last day stays in memory, whatever became of it.",
        "bgresults/pending.py",
        "        if len(self._deadlines) > max(_SMALL_HEAP, 2 * len(self)):\n",
        "        if False:\n",
        "tests/unit/test_pending.py::TestDeadlines::test_a_hundred_thousand_that_left_leave_no_heap",
    ),
    Mutant(
        "one-exception-for-all",
        "Every thread that raises it makes the same traceback grow, and sees the others' in its own.",
        "bgresults/dispatcher.py",
        "        for task_id in self._pending.ids():\n            self.fail(self._pending.take(task_id), make_error)\n",
        "        shared = make_error()\n        for task_id in self._pending.ids():\n"
        "            self.fail(self._pending.take(task_id), lambda: shared)\n",
        "tests/integration/test_closing.py::test_pending_futures_end",
    ),
    Mutant(
        "rpc-nothing-acknowledged",
        "The prefetch window fills with what nobody acknowledged, and then the broker sends nothing any more.",
        "bgresults/consumers/rpc/replies.py",
        "        deferred = acknowledge and link.acknowledges_many\n",
        "        deferred = False\n",
        "tests/faults/test_rpc_queues.py::TestASmallWindow::test_states_that_are_not_final",
    ),
    Mutant(
        "rpc-redelivered-taken-for-new",
        "A result that was delivered, and not yet acknowledged when the connection was cut, is told a second time.",
        "bgresults/consumers/rpc/replies.py",
        "        if self._unclaimed.ended(task_id) and (redelivered or not reply.final):\n",
        "        if False:\n",
        "tests/integration/test_rpc_consumer.py::TestAcknowledging::"
        "test_what_was_handled_and_not_acknowledged_comes_again_and_is_dropped",
    ),
    Mutant(
        "rpc-early-replies-lost",
        "A worker that answers before the watch() has answered in vain: a broker keeps nothing that it has delivered.",
        "bgresults/consumers/rpc/replies.py",
        "            self._claimed.append(task_id)\n",
        "            pass\n",
        "tests/integration/test_rpc_watching.py::TestStates::test_before_and_after_the_watch",
    ),
    Mutant(
        "rpc-queue-goes-with-its-connection",
        "Every reply that is published while we are away is lost.",
        "bgresults/consumers/rpc/queues.py",
        "        auto_delete=False,\n",
        "        auto_delete=True,\n",
        "tests/faults/test_rpc_links.py::test_an_end_with_and_without_a_word[plain-cut]",
    ),
    Mutant(
        "rpc-frames-out-of-sight",
        "What came together with an error of the broker's waits until something else comes.",
        "bgresults/consumers/rpc/frames.py",
        "        self._handle_complete()\n        for _ in range(_PIECES):\n",
        "        for _ in range(_PIECES):\n",
        "tests/unit/test_rpc_frames.py::test_a_raise_in_the_middle_loses_nothing",
    ),
    Mutant(
        "rpc-connection-closed-in-the-child",
        "A forked child shuts its parent's connection down.",
        "bgresults/consumers/rpc/consumer.py",
        "        self._opener.sockets.close_all()\n        if link is not None:\n            link.defuse()\n",
        "        if link is not None:\n            link.close()\n",
        "tests/integration/test_rpc_consumer.py::TestContract::test_on_after_fork_sends_nothing[fork]",
    ),
    Mutant(
        "rpc-one-refusal-ends-all",
        "The broker refuses one queue by closing the channel, and all other consumers are dead without a word.",
        "bgresults/consumers/rpc/task_queues.py",
        "        self._wanted = {**dict.fromkeys(again.difference(self._unwanted)), **self._wanted}\n",
        "",
        "tests/integration/test_rpc_queues.py::TestOneForEachTask::test_one_of_a_batch_is_somebody_elses",
    ),
    Mutant(
        "rpc-wake-up-forgotten",
        "A reply that was there before its watch() is handed out when something else comes, and not before.",
        "bgresults/consumers/rpc/consumer.py",
        "        return any(task_id in replies for task_id in task_ids)\n",
        "        return False\n",
        "tests/integration/test_rpc_wakeups.py::test_a_reply_that_comes_before_the_watch",
    ),
    Mutant(
        "rpc-one-value-for-all",
        "Two futures of one task have the same list, and what one caller does to it the other one sees.",
        "bgresults/consumers/rpc/unclaimed.py",
        "            return self.decoded.pop() if self.decoded else None\n",
        "            return self.decoded[0] if self.decoded else None\n",
        "tests/integration/test_rpc_at_hand.py::test_everybody_has_a_value_of_its_own[10]",
    ),
    Mutant(
        "rpc-closed-and-still-answering",
        "A watcher that was closed hands out what it had kept.",
        "bgresults/at_hand.py",
        "        if raw is None or session.current_refusal() is not None:\n",
        "        if raw is None:\n",
        "tests/integration/test_rpc_at_hand.py::test_a_closed_watcher_hands_out_nothing",
    ),
    Mutant(
        "sentinel-believed-blindly",
        "An old answer of a sentinel leads to a replica, where some of the results are never heard of.",
        "bgresults/consumers/redis/masters.py",
        '        if role != b"master":\n',
        "        if False:\n",
        "tests/faults/test_sentinel_answers.py::test_a_master_that_is_a_replica",
    ),
    Mutant(
        "sentinel-asked-once",
        "The sentinels give up a master that we still reach, and we stay with it.",
        "bgresults/consumers/redis/masters.py",
        "        if now >= self._next_look:\n",
        "        if False:\n",
        "tests/faults/test_sentinel_answers.py::test_another_master_while_the_old_one_stays",
    ),
    *REGISTRY_MUTANTS,
    *STREAM_MUTANTS,
)

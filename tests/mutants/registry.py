"""Mutants of the registry of futures, of the session, and of the thread that serves it; model checks kill them."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["REGISTRY_MUTANTS"]

REGISTRY_MUTANTS = (
    Mutant(
        "unsubscribed-though-watched-again",
        "An id that is watched again while its unsubscription is on its way is heard of no more.",
        "bgresults/drainer.py",
        "        self._consumer.cancel_for_many([task_id for task_id in task_ids if task_id not in pending])\n",
        "        self._consumer.cancel_for_many(task_ids)\n",
        "tests/model/test_drainer_model.py::test_any_order[store-wait]",
    ),
    Mutant(
        "dropped-counted-twice",
        "A future that ended in another way before it was dropped is counted once more.",
        "bgresults/pending.py",
        "                self._discard(ref, self._swept)\n",
        "                self._discard(ref)\n                self._swept.append(ref)\n",
        "tests/model/test_pending_model.py::test_any_order",
    ),
    Mutant(
        "others-of-an-id-left-behind",
        "A duplicate settles them a second time, together with the next generation of that id.",
        "bgresults/pending.py",
        "            others = self._others.pop(task_id, None)\n            if others is None:\n",
        "            others = self._others.get(task_id)\n            if others is None:\n",
        "tests/model/test_pending_model.py::test_any_order",
    ),
    Mutant(
        "expired-and-still-subscribed",
        "The server goes on reporting what nobody waits for.",
        "bgresults/drainer.py",
        "                self._release(self._dispatcher.expire(now))\n",
        "                self._dispatcher.expire(now)\n",
        "tests/model/test_drainer_model.py::test_any_order[queue-fail]",
    ),
    Mutant(
        "cancelled-and-still-subscribed",
        "A cancelled future leaves the table, and nobody tells the drain thread.",
        "bgresults/pending.py",
        "                    return self._discard(ref, self.released if release else into)\n",
        "                    return self._discard(ref, into)\n",
        "tests/model/test_drainer_model.py::test_any_order[store-fail]",
    ),
    Mutant(
        "woken-before-it-is-told",
        "A command that is put in while the thread goes to sleep waits for somebody else's wake-up.",
        "bgresults/session.py",
        "            self.commands.append((command, payload))\n            self.wake()\n        except",
        "            self.wake()\n            self.commands.append((command, payload))\n        except",
        "tests/model/test_each_line.py::test_of_what_a_caller_does[drop_stream-up-wait]",
    ),
    Mutant(
        "wake-up-cleared-after-the-look",
        "What came between the look and the sleep is slept over.",
        "bgresults/drainer.py",
        "        if self._wakeup.wait(min(waits, default=math.inf)):\n            self._wakeup.clear()\n",
        "        self._wakeup.clear()\n        self._wakeup.wait(min(waits, default=math.inf))\n",
        "tests/model/test_each_line.py::test_of_a_turn[cancel-down-wait]",
    ),
    Mutant(
        "refused-after-all-have-failed",
        "A watch that comes between the two is pending in an outage, of which it should have been told.",
        "bgresults/drainer.py",
        "        session.refusal = lambda: BackendUnavailableError(text)\n"
        "        self._dispatcher.fail_all(session.refusal)\n",
        "        self._dispatcher.fail_all(lambda: BackendUnavailableError(text))\n"
        "        session.refusal = lambda: BackendUnavailableError(text)\n",
        "tests/model/test_each_line.py::test_of_an_event[cut-fail-watch]",
    ),
    Mutant(
        "pinned-after-it-was-registered",
        "A thread that is fast enough ends it in between, and nobody lets go of it any more.",
        "bgresults/registration.py",
        "            for future in futures:\n                pending.pin(future)\n"
        "        if len(pending) + _CROWD * len(refs) > max_pending:\n",
        "            for ref in refs:\n                pending.add(ref)\n"
        "            for future in futures:\n                pending.pin(future)\n"
        "        elif len(pending) + _CROWD * len(refs) > max_pending:\n",
        "tests/model/test_found.py::TestKeptAlive::test_it_ends_in_the_middle_of_its_watch",
    ),
    Mutant(
        "slept-with-what-was-known-before",
        "The wish for another attempt is taken, and slept over.",
        "bgresults/drainer.py",
        "                self._sleep(max(0.0, early) if self._probe_wanted else None)\n"
        "                self._look_around()\n",
        "                self._idle_turn(max(0.0, early) if self._probe_wanted else 3600)\n",
        "tests/model/test_found.py::test_one_question_is_enough_for_another_attempt[wait_ready]",
    ),
    Mutant(
        "backed-off-as-long-as-it-was-told-to",
        "A back-off that is switched off while somebody is in it goes on all the same.",
        "bgresults/drainer.py",
        "        while (remaining := began + shortened(seconds) - time.monotonic()) > 0:\n",
        "        seconds = shortened(seconds)\n        while (remaining := began + seconds - time.monotonic()) > 0:\n",
        "tests/fakes/test_backoff.py::test_one_that_waits_already_tries_at_once",
    ),
)

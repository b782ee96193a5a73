"""Mutants of what a process says of itself."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["STATUS_MUTANTS"]

STATUS_MUTANTS = (
    Mutant(
        "status-for-everybody",
        "With a umask that allows it, every user of the machine may ask, and sees the ids.",
        "bgresults/status/serving.py",
        "            unfinished.chmod(0o600)\n",
        "",
        "tests/status/test_sockets.py::TestWhoMayAsk::test_its_own_user",
    ),
    Mutant(
        "status-socket-inherited",
        "A child that outlives its parent keeps the parent's socket open: whoever asks waits in vain.",
        "bgresults/status/serving.py",
        "        if self.pid != os.getpid():\n            self._sockets.close_all()\n",
        "        pass\n",
        "tests/status/test_sockets.py::TestForks::test_a_child_does_not_keep_the_socket_open",
    ),
    Mutant(
        "status-of-dead-threads",
        "A process that C code has forked looks at the stacks of threads that did not come along, and dies.",
        "bgresults/forking.py",
        "    return _process.hooks_ran\n",
        "    return True\n",
        "tests/unit/test_forking.py::test_whether_threads_may_be_looked_at",
    ),
    Mutant(
        "outage-recovered-untold",
        "What was found after an outage is in the log alone.",
        "bgresults/outage_log.py",
        "            recovered=self._counters.recovered - outage.recovered,\n",
        "            recovered=0,\n",
        "tests/status/test_report.py::test_results_that_waited_in_the_server_are_counted",
    ),
    Mutant(
        "status-late-untold",
        "Of a thread that is held up nobody is told that it is, and by what.",
        "bgresults/status/pace.py",
        "        late = self._asked and answered_at is None and session.state is State.DRAINING\n",
        "        late = False\n",
        "tests/status/test_report.py::test_a_callback_that_holds_everything_up_is_named",
    ),
    Mutant(
        "told-after-the-callbacks",
        "What had ended before a slow callback seems to have been waited for until that was over.",
        "bgresults/dispatcher.py",
        "        self.tell_endings()\n        started = time.monotonic()\n",
        "        started = time.monotonic()\n",
        "tests/monitoring/test_waits.py::test_what_has_ended_does_not_wait_for_a_callback",
    ),
    Mutant(
        "told-as-another-call's",
        "What is read together is taken for what was watched together, with the context and the time of one call.",
        "bgresults/waits.py",
        "        if ending[0].call is not call:\n",
        "        if False:\n",
        "tests/monitoring/test_waits.py::test_each_call_has_its_own_note",
    ),
    Mutant(
        "told-with-the-next-turn",
        "The end of a watch that expired is told when something else happens, which may be minutes later.",
        "bgresults/dispatcher.py",
        "        self.tell_endings()\n        return [ref",
        "        return [ref",
        "tests/monitoring/test_waits.py::test_in_an_outage_the_end_is_told_of_without_waiting_for_the_next_attempt",
    ),
)

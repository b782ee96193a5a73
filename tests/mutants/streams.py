"""Mutants of the server-sent events."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["STREAM_MUTANTS"]

STREAM_MUTANTS = (
    Mutant(
        "stream-outage-untold",
        "A page learns of an outage with the next heartbeat, when that may be over.",
        "bgresults/drainer.py",
        "        session.outage_listeners.call()\n        log_outage(session, error)",
        "        log_outage(session, error)",
        "tests/sse/test_life.py::test_a_patient_retry_policy_does_not_delay_the_news",
    ),
    Mutant(
        "stream-listener-kept",
        "Whoever has left is told of every outage for ever, and what it had waiting stays in memory.",
        "bgresults/sse/source.py",
        "            self._session.outage_listeners.remove(self._token)\n",
        "            pass\n",
        "tests/sse/test_life.py::TestOutages::test_nobody_is_told_who_has_left[sse]",
    ),
    Mutant(
        "stream-without-bound",
        "A client that does not read has every state of its task kept for it.",
        "bgresults/sse/stream.py",
        "            keep=MOST_WAITING,\n",
        "",
        "tests/sse/test_events.py::test_a_slow_client_gets_the_last_states[sse]",
    ),
    Mutant(
        "stream-cancelled-and-kept",
        "A response that the server cancelled keeps its subscription for as long as somebody holds the stream.",
        "bgresults/sse/async_stream.py",
        "            self.close()\n            raise\n",
        "            raise\n",
        "tests/sse/test_life.py::TestLeaving::test_cancelling_ends_the_watch_at_once",
    ),
    Mutant(
        "stream-header-echoed",
        "A client writes lines of its own into the stream.",
        "bgresults/sse/script.py",
        '    return "" if found is None else found[1]\n',
        "    return str(last_event_id) if found is None else found[1]\n",
        "tests/sse/test_events.py::TestLastEventId::test_nonsense_is_not_sent_back[sse]",
    ),
    Mutant(
        "stream-nan",
        "A task returns a number that is none, and its page hears nothing any more.",
        "bgresults/sse/plain_json.py",
        "            if issubclass(kind, float) and math.isfinite(value):\n",
        "            if issubclass(kind, float):\n",
        "tests/sse/test_plain_json.py::test_values[float-str]",
    ),
)

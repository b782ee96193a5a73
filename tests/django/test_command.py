"""manage.py bgresults doctor|watch|stats: what they print, and the code with which they end."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from bgresults.integrations.django import watchers
from bgresults.integrations.django.management.commands.bgresults import Command
from bgresults.testing import RedisServer
from tests.support import wait_until
from tests.support.calls import Caller
from tests.support.closed import CLOSED_PORT
from tests.support.results import ResultWriter, new_id, new_ids

WAIT = 20
CANNOT_BE_REACHED = 5


@pytest.fixture
def writer(project: Any, redis_server: RedisServer, key_prefix: str) -> Iterator[ResultWriter]:
    """Writes what the ``default`` alias watches."""
    project(BGRESULTS={"default": {"URL": redis_server.url(), "KEY_PREFIX": key_prefix}})
    results = ResultWriter(redis_server, key_prefix)
    yield results
    results.close()


def run(*words: str) -> tuple[int, str, str]:
    """Exit code, output and error output."""
    output, errors = io.StringIO(), io.StringIO()
    code = 0
    try:
        call_command(Command(), *words, stdout=output, stderr=errors, no_color=True)
    except SystemExit as ended:
        code = int(ended.code or 0)
    assert watchers.all(initialized_only=True) == [], "all are closed"
    return code, output.getvalue(), errors.getvalue()


def watched_in_vain(enough: Callable[[str], bool] | None = None) -> tuple[str, int, str, str]:
    """Of a task that does not end: its id, and what :func:`run` returns. A machine that is too busy gets more time.

    Args:
        enough: whether there was enough of it, by the error output; None: if there was enough to connect in.
    """
    task_id = new_id()
    for seconds in ("0.5", "2", "10"):
        code, text, errors = run("watch", task_id, "--timeout", seconds)
        if code != CANNOT_BE_REACHED if enough is None else enough(errors):
            break
    return task_id, code, text, errors


@contextlib.contextmanager
def _without_handlers() -> Iterator[None]:
    """As in a project with the LOGGING that Django comes with, and without those of pytest."""
    root = logging.getLogger()
    handlers, root.handlers = root.handlers, []
    try:
        yield
    finally:
        root.handlers = handlers


class TestDoctor:
    def test_all_is_well(self, writer: ResultWriter) -> None:
        code, text, errors = run("doctor")
        assert (code, errors) == (0, "")
        assert text.startswith("default: redis://127.0.0.1:")
        assert "  ok round-trip: a result that was written has arrived" in text

    def test_something_is_wrong(self, project: Any, writer: ResultWriter) -> None:
        bad = {"URL": f"redis://:sesame@127.0.0.1:{CLOSED_PORT}/0"}
        project(BGRESULTS={"default": {"URL": "memory://"}, "bad": bad})
        code, text, _ = run("doctor")
        assert code == 1
        assert "  XX connection:" in text
        assert "     -> check that the server runs" in text
        assert "sesame" not in text
        assert run("doctor", "--alias", "default")[0] == 0

    def test_for_programs(self, writer: ResultWriter) -> None:
        code, text, _ = run("doctor", "--json")
        told = json.loads(text)["default"]
        assert (code, told["ok"]) == (0, True)
        assert {finding["level"] for finding in told["findings"]} == {"ok"}

    def test_wrong_settings(self, project: Any) -> None:
        project(BGRESULTS={"default": {"URI": "x"}})
        with pytest.raises(CommandError, match="URI; allowed are"):
            run("doctor")

    def test_an_application_that_stores_nothing(self, project: Any) -> None:
        project(BGRESULTS={"default": {"CELERY_APP": "tests.django.apps:nothing"}})
        code, text, _ = run("doctor")
        assert code == 1
        assert "XX no-backend: Celery stores no results" in text


class TestWatch:
    def test_live(self, writer: ResultWriter) -> None:
        first, second = new_ids(2)
        running = Caller(lambda: run("watch", first, second, "--timeout", str(WAIT)))
        wait_until(lambda: writer.channels() == {first, second}, "the subscriptions")
        writer.write(first, {"done": 1}, "PROGRESS")
        writer.write(first, 1)
        writer.write(second, "two")
        code, text, _ = running.outcome(WAIT)
        assert code == 0
        assert text.splitlines() == [
            f"{first} PROGRESS {{'done': 1}}",
            f"{first} SUCCESS 1",
            f"{second} SUCCESS 'two'",
        ]

    def test_for_programs(self, writer: ResultWriter) -> None:
        task_id = new_id()
        writer.fail(task_id, ValueError("no"))
        code, text, _ = run("watch", task_id, "--json")
        assert code == 1
        assert json.loads(text) == {"task_id": task_id, "status": "FAILURE", "ready": True, "result": "no"}

    def test_values_that_are_no_json(self, writer: ResultWriter) -> None:
        task_id = new_id()
        writer.write(task_id, {"ratio": float("nan"), "of": [1]})
        code, text, _ = run("watch", task_id, "--json")
        assert code == 0
        assert json.loads(text, parse_constant=pytest.fail)["result"] == {"ratio": "nan", "of": [1]}

    def test_what_a_terminal_would_obey_is_shown(self, writer: ResultWriter) -> None:
        task_id = new_id()
        writer.store(task_id, {"step": "\x1b[2J"}, "GONE\x1b[2J")
        code, text, _ = run("watch", task_id, "--timeout", "5")
        assert code == 124
        assert text.strip() == f"{task_id} GONE\\x1b[2J {{'step': '\\x1b[2J'}}"

    def test_time_is_up(self, writer: ResultWriter) -> None:
        task_id, code, text, errors = watched_in_vain()
        assert (code, text) == (124, "")
        assert f"not ended yet: {task_id}" in errors

    def test_an_outage_is_told(self, project: Any) -> None:
        """Nothing else would say why nothing comes: Django's logging leaves the watcher's lines out."""
        nobody = f"redis://:sesame@127.0.0.1:{CLOSED_PORT}/0"
        project(BGRESULTS={"default": {"URL": nobody, "RETRY": {"INITIAL": 0.01}}})
        with _without_handlers():
            _, code, text, errors = watched_in_vain(lambda errors: "refused" in errors)
        assert (code, text) == (CANNOT_BE_REACHED, "")
        assert len([line for line in errors.splitlines() if "refused" in line]) == 1
        assert "sesame" not in errors

    def test_the_end_of_an_outage_is_told(self, project: Any, own_redis: RedisServer) -> None:
        project(BGRESULTS={"default": {"URL": own_redis.url(), "RETRY": {"INITIAL": 0.01, "MAXIMUM": 0.05}}})
        task_id = new_id()
        with _without_handlers():
            running = Caller(lambda: run("watch", task_id, "--timeout", str(WAIT)))
            own_writer = ResultWriter(own_redis)
            wait_until(lambda: own_writer.channels() == {task_id}, "the subscription")
            # Subscribed is not caught up: what ends before that is no connection that was lost.
            assert watchers["default"].wait_ready(WAIT)
            own_redis.kill()
            own_redis.start()
            # Not from the subscription on: a result that comes before it has caught up ends the command at once.
            wait_until(lambda: watchers["default"].stats().reconnects == 1, "the end of the outage")
            own_writer.write(task_id, 1)
            code, text, errors = running.outcome(WAIT)
        own_writer.close()
        assert (code, text) == (0, f"{task_id} SUCCESS 1\n")
        assert "connected again after" in errors

    @pytest.mark.parametrize("binding", ["process", "task"])
    def test_replies_that_go_elsewhere(self, project: Any, binding: str) -> None:
        """Of a task that another process sent, only the one with a queue for each task hears."""
        project(BGRESULTS={"default": {"URL": "memory://", "AMQP": {"BINDING": binding}}})
        _, code, _, errors = watched_in_vain()
        assert code == 124
        assert ("have it sent and watched with AMQPOptions(binding='task')" in errors) == (binding == "process")

    def test_what_is_logged_is_told_once(self, project: Any, caplog: pytest.LogCaptureFixture) -> None:
        project(BGRESULTS={"default": {"URL": f"redis://127.0.0.1:{CLOSED_PORT}/0"}})
        *_, errors = watched_in_vain(lambda _: "refused" in caplog.text)
        assert "refused" in caplog.text
        assert "refused" not in errors

    def test_that_cannot_be_known(self, writer: ResultWriter) -> None:
        task_id = new_id()
        writer.write_body(task_id, b"no JSON")
        code, _, errors = run("watch", task_id)
        assert code == 3
        assert task_id in errors

    def test_wrong_arguments(self, writer: ResultWriter) -> None:
        with pytest.raises(CommandError, match="timeout must be a number of seconds above 0"):
            run("watch", "id", "--timeout", "0")
        with pytest.raises(CommandError, match="no alias 'none'; it has 'default'") as caught:
            run("watch", "id", "--alias", "none")
        assert caught.value.returncode == 2, "1 means that a task failed"
        with pytest.raises(CommandError, match="invalid float value: 'soon'"):
            run("watch", "id", "--timeout", "soon")


@pytest.mark.parametrize("action", ["doctor", "stats"])
def test_no_aliases(project: Any, action: str) -> None:
    project(BGRESULTS={})
    with pytest.raises(CommandError, match="BGRESULTS has no alias 'default'; it has none"):
        run(action)


class TestStats:
    def test_what_there_is_to_count(self, writer: ResultWriter, redis_server: RedisServer, key_prefix: str) -> None:
        from bgresults import ResultWatcher

        with ResultWatcher(redis_server.url(), key_prefix=key_prefix) as elsewhere:
            futures = elsewhere.watch_many(new_ids(2))
            wait_until(lambda: len(writer.channels()) == 2, "the subscriptions")
            code, text, _ = run("stats")
            assert code == 0
            assert "ids watched by all processes: 2" in text
            told = json.loads(run("stats", "--json")[1])["default"]
            assert told["watched_by_all_processes"] == 2
            assert told["health"]["state"] == "draining"
            assert told["stats"]["watched"] == 0
            del futures

    @pytest.mark.rabbitmq
    def test_over_amqp(self, project: Any, rabbitmq_url: str) -> None:
        project(BGRESULTS={"default": {"URL": rabbitmq_url}})
        code, text, _ = run("stats")
        assert code == 0
        assert "ids watched by all processes: unknown" in text

    def test_no_connection(self, project: Any) -> None:
        project(BGRESULTS={"default": {"URL": f"redis://127.0.0.1:{CLOSED_PORT}/0", "RETRY": {"GIVE_UP_AFTER": 0.1}}})
        code, text, _ = run("stats", "--json")
        told = json.loads(text)["default"]
        assert code == 1
        assert "refused" in told["health"]["last_error"]

"""bgresults watch: what it prints, and the code with which it ends."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bgresults.cli import views
from tests.cli.running import Ended, run
from tests.support import wait_until
from tests.support.calls import Caller
from tests.support.closed import CLOSED_PORT
from tests.support.results import ResultWriter, new_id, new_ids, state_body

WAIT = 20
LIMIT = ["--timeout", str(WAIT)]
# An exit code.
CANNOT_BE_REACHED = 5


def events(text: str) -> list[dict[str, Any]]:
    """The lines of --json, which have a time each."""

    def no_such(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    found = [json.loads(line, parse_constant=no_such) for line in text.splitlines()]
    assert all(isinstance(event.pop("at"), float) for event in found)
    return found


def watched_in_vain(*arguments: str) -> Ended:
    """Of a task that does not end. A machine that is too busy to connect in the time given gets more of it."""
    for seconds in ("0.2", "2", "10"):
        ended = run("watch", *arguments[:-1], "--timeout", seconds, arguments[-1])
        if ended.code != CANNOT_BE_REACHED:
            break
    return ended


def test_states_as_they_come(writer: ResultWriter, at: list[str]) -> None:
    first, second = new_ids(2)
    running = Caller(lambda: run("watch", *at, *LIMIT, first, second))
    wait_until(lambda: writer.channels() == {first, second}, "the subscriptions")
    writer.write(first, status="STARTED")
    writer.write(first, {"current": 3, "total": 10, "description": "page 3"}, "PROGRESS")
    writer.write(first, {"anything": "else"}, "LOADING")
    writer.write(second, "two")
    writer.write(first, 1)
    assert running.outcome(WAIT) == (
        0,
        f"{first} STARTED\n"
        f"{first} PROGRESS 30 %  page 3\n"
        f"{first} LOADING {{'anything': 'else'}}\n"
        f"{second} SUCCESS 'two'\n"
        f"{first} SUCCESS 1\n",
        "",
    )


class TestExitCodes:
    def test_one_failed(self, writer: ResultWriter, at: list[str]) -> None:
        good, bad, revoked = new_ids(3)
        writer.write(good, 1)
        writer.fail(bad, ValueError("no such thing"))
        writer.write(revoked, {"exc_type": "TaskRevokedError", "exc_message": ["x"], "exc_module": "celery"}, "REVOKED")
        code, text, _ = run("watch", *at, *LIMIT, good, bad, revoked)
        assert code == 1
        assert f"{bad} FAILURE ValueError: no such thing\n" in text
        assert run("watch", *at, *LIMIT, good, revoked).code == 4

    def test_time_is_up(self, writer: ResultWriter, at: list[str]) -> None:
        task_id = new_id()
        assert watched_in_vain(*at, task_id) == (124, "", f"time is up; not ended yet: {task_id}\n")

    def test_it_cannot_be_known(self, writer: ResultWriter, at: list[str]) -> None:
        task_id = new_id()
        writer.write_body(task_id, b"no JSON")
        code, text, errors = run("watch", *at, *LIMIT, task_id)
        assert (code, text) == (3, "")
        assert errors.startswith(f"{task_id}: the result cannot be read as application/json")

    @pytest.mark.parametrize("limit", [["--give-up-after", "0.1"], ["--timeout", "0.1"]])
    def test_there_is_no_server(self, limit: list[str]) -> None:
        task_id = new_id()
        code, text, errors = run("watch", "--url", f"redis://:sesame@127.0.0.1:{CLOSED_PORT}", *limit, task_id)
        assert (code, text) == (5, "")
        assert task_id in errors
        assert "connect" in errors
        assert "sesame" not in errors

    @pytest.mark.parametrize(
        ("words", "complaint"),
        [
            (["watch", "id"], "where are the results? Give --url, --app, or BGRESULTS_URL in the environment"),
            (["watch", "--url", "redis://127.0.0.1"], "Missing argument 'ID...'"),
            (["watch", "--url", "http://:sesame@127.0.0.1", "id"], "url 'http://:***@127.0.0.1'"),
            (["watch", "--url", "redis://:sesame@127.0.0.1:x", "id"], "port"),
            (["watch", "--url", "redis://127.0.0.1", "--timeout", "0", "id"], "timeout must be a number of seconds"),
            (["watch", "--url", "redis://127.0.0.1", "--give-up-after", "0", "id"], "give_up_after"),
            (["watch", "--url", "redis://127.0.0.1", "--serializer", "xml", "id"], "xml"),
            (["watch", "--url", "redis://127.0.0.1", "-"], "there are no ids on standard input"),
            (["watch", "--app", "no.such.module", "id"], "--app no.such.module: it cannot be had"),
        ],
    )
    def test_wrong_usage(self, words: list[str], complaint: str) -> None:
        code, text, errors = run(*words)
        assert (code, text) == (2, "")
        assert errors.startswith("Usage: bgresults watch")
        assert complaint in errors
        assert "sesame" not in errors
        assert "Traceback" not in errors

    def test_an_application_that_exits(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Exit code 0 would say that the task has succeeded."""
        module = f"exits_{new_id().replace('-', '')}"
        (tmp_path / f"{module}.py").write_text("raise SystemExit(0)")
        monkeypatch.syspath_prepend(str(tmp_path))
        code, text, errors = run("watch", "--app", module, "id")
        assert (code, text) == (2, "")
        assert f"--app {module}: it cannot be had (SystemExit: 0)" in errors


class TestIds:
    def test_from_standard_input(self, writer: ResultWriter, at: list[str]) -> None:
        ids = new_ids(3)
        for task_id in ids:
            writer.write(task_id, 1)
        code, text, _ = run("watch", *at, *LIMIT, "-", ids[0], input=f"{ids[1]}\n\n  {ids[2]}\n")
        assert code == 0
        assert {line.split()[0] for line in text.splitlines()} == set(ids)

    def test_what_a_terminal_would_obey_is_shown(self, writer: ResultWriter, at: list[str]) -> None:
        task_id = new_id()
        running = Caller(lambda: run("watch", *at, *LIMIT, task_id))
        wait_until(lambda: writer.channels() == {task_id}, "the subscription")
        writer.write(task_id, {"percent": 5, "description": "\x1b]0;title\x07"}, "\x1b[31mRED\n")
        writer.fail(task_id, ValueError("\x1b[2J\nanother line"))
        code, text, _ = running.outcome(WAIT)
        assert code == 1
        assert text.splitlines() == [
            f"{task_id} \\x1b[31mRED\\n 5 %  \\x1b]0;title\\x07",
            f"{task_id} FAILURE ValueError: \\x1b[2J\\nanother line",
        ]


class TestJSON:
    def test_events(self, writer: ResultWriter, at: list[str]) -> None:
        first, second = new_ids(2)
        running = Caller(lambda: run("watch", *at, *LIMIT, "--json", first, second))
        wait_until(lambda: writer.channels() == {first, second}, "the subscriptions")
        writer.write(first, {"current": 1, "total": 2}, "PROGRESS")
        writer.write(first, {"rows": [1, None]})
        writer.fail(second, ValueError("no"), traceback="Traceback: here")
        code, text, errors = running.outcome(WAIT)
        assert (code, errors) == (1, "")
        error = {"type": "ValueError", "message": "no", "traceback": "Traceback: here"}
        assert events(text) == [
            {
                "event": "state",
                "task_id": first,
                "status": "PROGRESS",
                "ready": False,
                "result": {"current": 1, "total": 2},
            },
            {"event": "state", "task_id": first, "status": "SUCCESS", "ready": True, "result": {"rows": [1, None]}},
            {"event": "state", "task_id": second, "status": "FAILURE", "ready": True, "error": error},
            {"event": "end", "outcome": "failed", "exit_code": 1, "pending": []},
        ]

    def test_time_is_up(self, at: list[str]) -> None:
        task_id = new_id()
        code, text, _ = watched_in_vain(*at, "--json", task_id)
        assert code == 124
        assert events(text) == [{"event": "end", "outcome": "timed-out", "exit_code": 124, "pending": [task_id]}]

    def test_what_went_wrong(self, writer: ResultWriter, at: list[str]) -> None:
        task_id = new_id()
        writer.write_body(task_id, b"no JSON")
        code, text, _ = run("watch", *at, "--json", *LIMIT, task_id)
        assert code == 3
        told, end = events(text)
        assert (told["event"], told["task_id"], told["error"]) == ("error", task_id, "ResultDecodeError")
        assert (end["outcome"], end["exit_code"]) == ("unknown", 3)

    def test_values_that_json_cannot_carry(self, writer: ResultWriter, at: list[str]) -> None:
        ids = new_ids(2)
        writer.write_body(ids[0], state_body(ids[0]).replace(b'"result": null', b'"result": [NaN, Infinity]'))
        writer.write(ids[1], {"__type__": "decimal", "__value__": "1.50"})
        code, text, _ = run("watch", *at, "--json", *LIMIT, *ids)
        assert code == 0
        results = {event["task_id"]: event["result"] for event in events(text)[:-1]}
        assert results == {ids[0]: ["nan", "inf"], ids[1]: "Decimal('1.50')"}

    def test_a_value_that_is_too_large(
        self, writer: ResultWriter, at: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(views, "_MOST", 1000)
        task_id = new_id()
        writer.write(task_id, "x" * 1001)
        code, text, _ = run("watch", *at, "--json", *LIMIT, task_id)
        assert code == 0
        (state, _) = events(text)
        assert (state["result"], state["result_left_out"]) == (None, "as JSON it has more than 1000 characters")


class TestWhere:
    def test_in_the_environment(
        self, writer: ResultWriter, at: list[str], monkeypatch: pytest.MonkeyPatch, key_prefix: str
    ) -> None:
        monkeypatch.setenv("BGRESULTS_URL", at[1])
        task_id = new_id()
        writer.write(task_id, 1)
        assert run("watch", "--key-prefix", key_prefix, *LIMIT, task_id).code == 0

    def test_a_celery_application(
        self, writer: ResultWriter, at: list[str], key_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its settings say where; the environment does not count then. It is looked for in the current folder."""
        name = f"project_{key_prefix.rstrip('_')}"
        (tmp_path / f"{name}.py").write_text(
            "from celery import Celery\n"
            "from bgresults import ResultWatcher\n"
            f"app = Celery('project', backend={at[1]!r})\n"
            f"app.conf.result_backend_transport_options = {{'global_keyprefix': {key_prefix.rstrip('_')!r}}}\n"
            # As the README has it, and with other settings than the command's.
            "watcher = ResultWatcher.from_celery(app)\n"
        )
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.path", list(sys.path))
        monkeypatch.setenv("BGRESULTS_URL", f"redis://127.0.0.1:{CLOSED_PORT}")
        task_id = new_id()
        writer.write(task_id, "found")
        assert run("watch", "--app", f"{name}:app", *LIMIT, task_id) == (0, f"{task_id} SUCCESS 'found'\n", "")
        # Or a hook of gunicorn, in another test, would start it with all that are open.
        sys.modules.pop(name).watcher.close()

    @pytest.mark.rabbitmq
    def test_replies_that_go_elsewhere(self, rabbitmq_url: str) -> None:
        code, _, errors = watched_in_vain("--url", rabbitmq_url, new_id())
        assert code == 124
        assert "AMQPOptions(binding='task')" in errors

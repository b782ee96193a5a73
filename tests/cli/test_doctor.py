"""bgresults doctor: every finding with its cure, and the code with which it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bgresults.testing import RedisServer
from tests.cli.running import run
from tests.support.closed import CLOSED_PORT


def test_all_is_well(at: list[str], key_prefix: str) -> None:
    code, text, errors = run("doctor", *at)
    assert (code, errors) == (0, "")
    assert text.splitlines()[0] == at[1]
    for words in (
        "  ok tls: the connection does not leave this machine",
        "  ok server: connected to Redis ",
        f"  ok prefix: a result is looked for under '{key_prefix}celery-task-meta-<task id>' in database 0",
        "  ok permissions: the user may subscribe to results and read them",
        "  ok round-trip: a result that was written has arrived (",
    ):
        assert words in text


def test_what_is_wrong_and_its_cure() -> None:
    code, text, _ = run("doctor", "--url", f"redis://:sesame@127.0.0.1:{CLOSED_PORT}")
    assert code == 1
    assert "  XX connection:" in text
    assert "     -> check that the server runs" in text
    assert "sesame" not in text


def test_a_user_who_may_not_subscribe(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "reader", "on", ">sesame", "~*", "&*", "+get", "+mget", "+info")
        try:
            code, text, _ = run("doctor", "--url", f"redis://reader:sesame@127.0.0.1:{redis_server.port}")
        finally:
            client.execute_command("ACL", "DELUSER", "reader")
    assert code == 1
    assert "XX permissions: SUBSCRIBE is refused, which is needed to hear of results" in text
    assert "MGET is refused" not in text
    assert "sesame" not in text


def test_for_scripts(at: list[str]) -> None:
    code, text, _ = run("doctor", *at, "--json")
    told = json.loads(text)
    assert (code, told["ok"], told["address"]) == (0, True, at[1])
    assert {finding["level"] for finding in told["findings"]} == {"ok"}


def test_the_settings_of_an_application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redis_url: str) -> None:
    (tmp_path / "silent_project.py").write_text(
        f"from celery import Celery\napp = Celery('silent', backend={redis_url!r})\n"
        "app.conf.task_ignore_result = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    code, text, _ = run("doctor", "--app", "silent_project:app")
    assert code == 0, "it works, with a risk"
    assert "  !! ignored-results: task_ignore_result is set" in text
    assert "     -> set it to False" in text


@pytest.mark.rabbitmq
def test_a_broker(rabbitmq_url: str) -> None:
    code, text, _ = run("doctor", "--url", rabbitmq_url)
    assert code == 0
    assert "connected to RabbitMQ" in text
    assert "guest:guest" not in text


@pytest.mark.parametrize("words", [[], ["--url", "redis://127.0.0.1", "--timeout", "-1"], ["--app", "json:dumps"]])
def test_wrong_usage(words: list[str]) -> None:
    code, text, errors = run("doctor", *words)
    assert (code, text) == (2, "")
    assert errors.startswith("Usage: bgresults doctor")

"""The command line as a process of its own: on a terminal, in a pipe, interrupted, and where packages are missing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from bgresults.status.wanted import STATUS_DIR
from bgresults.testing import RedisServer
from tests.cli.running import COMMAND, ENVIRONMENT
from tests.support import wait_until
from tests.support.results import ResultWriter, new_id, new_ids

WAIT = 20
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def terminal(arguments: list[str], *, width: int = 80, height: int = 24, kind: str = "xterm-256color") -> pexpect.spawn:
    """Start it on a terminal of its own."""
    environment = {**ENVIRONMENT, "TERM": kind, "COLUMNS": str(width), "LINES": str(height)}
    child = pexpect.spawn(
        COMMAND[0], [*COMMAND[1:], *arguments], env=environment, dimensions=(height, width), timeout=WAIT
    )
    child.delaybeforesend = None
    return child


def seen(output: bytes) -> str:
    """What was written, without colours and movements."""
    return ESCAPES.sub("", output.decode())


class TestBars:
    @pytest.mark.parametrize("width", [80, 120])
    def test_progress_and_outcomes(self, writer: ResultWriter, at: list[str], width: int) -> None:
        first, second = new_ids(2)
        child = terminal(["watch", *at, first, second], width=width)
        try:
            wait_until(lambda: writer.channels() == {first, second}, "the subscriptions", timeout=WAIT)
            child.expect_exact("0 of 2")
            writer.write(first, {"current": 3, "total": 10, "description": "page [bold]3[/]"}, "PROGRESS")
            child.expect_exact("30 %")
            child.expect_exact("page [bold]3[/]")
            writer.write(first, "done")
            child.expect_exact("1 of 2")
            writer.fail(second, ValueError("no such thing"))
            child.expect(pexpect.EOF)
            last = seen(child.before)
            assert f"{second} FAILURE ValueError: no such thing" in last
            assert "2 of 2" in last
        finally:
            child.close()
        assert child.exitstatus == 1

    def test_no_more_bars_than_lines(self, writer: ResultWriter, at: list[str]) -> None:
        ids = sorted(new_ids(30))
        child = terminal(["watch", *at, *ids], height=10)
        try:
            wait_until(lambda: len(writer.channels()) == 30, "the subscriptions", timeout=WAIT)
            child.expect_exact(ids[6])
            assert ids[7] not in seen(child.before)
            for task_id in ids:
                writer.write(task_id, 1)
            child.expect_exact("30 of 30")
            child.expect(pexpect.EOF)
        finally:
            child.close()
        assert child.exitstatus == 0

    def test_a_terminal_on_which_nothing_can_be_painted(self, writer: ResultWriter, at: list[str]) -> None:
        """Lines then, as they come."""
        task_id = new_id()
        child = terminal(["watch", *at, task_id], kind="dumb")
        try:
            wait_until(lambda: writer.channels() == {task_id}, "the subscription", timeout=WAIT)
            writer.write(task_id, {"current": 3, "total": 10, "description": "page 3"}, "PROGRESS")
            child.expect_exact(f"{task_id} PROGRESS 30 %  page 3")
            writer.write(task_id, "done")
            child.expect(pexpect.EOF)
        finally:
            child.close()
        assert child.exitstatus == 0

    def test_ctrl_c(self, writer: ResultWriter, at: list[str]) -> None:
        task_id = new_id()
        child = terminal(["watch", *at, task_id])
        try:
            wait_until(lambda: writer.channels() == {task_id}, "the subscription", timeout=WAIT)
            child.expect_exact(task_id)
            child.sendintr()
            child.expect(pexpect.EOF)
            assert seen(child.before).rstrip().endswith("interrupted; the tasks go on")
            assert b"\x1b[?25h" in child.before, "the cursor is back"
        finally:
            child.close()
        assert child.exitstatus == 130
        wait_until(lambda: not writer.channels(), "the end of the subscription")

    def test_an_outage(self, own_redis: RedisServer) -> None:
        """It is told above the bars."""
        writer = ResultWriter(own_redis)
        task_id = new_id()
        child = terminal(["watch", "--url", own_redis.url(), task_id], width=120)
        try:
            wait_until(lambda: writer.channels() == {task_id}, "the subscription", timeout=WAIT)
            own_redis.kill()
            child.expect_exact("1 futures are pending")
            own_redis.start()
            child.expect_exact("connected again after")
            writer.write(task_id, "kept")
            child.expect(pexpect.EOF)
            assert f"{task_id} SUCCESS 'kept'" in seen(child.before)
        finally:
            child.close()
            writer.close()
        assert child.exitstatus == 0


def test_the_doctor_on_a_terminal(at: list[str]) -> None:
    child = terminal(["doctor", *at])
    try:
        child.expect(pexpect.EOF)
    finally:
        child.close()
    assert child.exitstatus == 0
    lines = seen(child.before).splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith(" ok round-trip  a result that was written") for line in lines)


def test_interrupted_while_lines_are_printed(writer: ResultWriter, at: list[str]) -> None:
    task_id = new_id()
    with subprocess.Popen(
        [*COMMAND, "watch", *at, task_id], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_until(lambda: writer.channels() == {task_id}, "the subscription", timeout=WAIT)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=WAIT) == ("", "interrupted; the tasks go on\n")
    assert process.returncode == 130


def test_nobody_reads_the_output(writer: ResultWriter, at: list[str]) -> None:
    """As `bgresults watch … | head -1`."""
    first, second = new_ids(2)
    with subprocess.Popen(
        [*COMMAND, "watch", *at, first, second],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        wait_until(lambda: len(writer.channels()) == 2, "the subscriptions", timeout=WAIT)
        writer.write(first, 1)
        assert process.stdout.readline() == f"{first} SUCCESS 1\n"
        process.stdout.close()
        writer.write(second, 1)
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(WAIT) == 141


@pytest.mark.parametrize(
    ("words", "closed", "code", "told"),
    [
        (["{done}"], "<&- >&- 2>&-", 0, ""),
        (["-"], "<&-", 2, "there are no ids on standard input"),
        (["{done}"], "> /dev/full", 141, "bgresults: the output cannot be written: No space left on device\n"),
    ],
)
def test_streams_that_are_closed_or_full(
    writer: ResultWriter, at: list[str], words: list[str], closed: str, code: int, told: str
) -> None:
    """Exit code 1 would say that the task failed."""
    task_id = new_id()
    writer.write(task_id, 1)
    command = [*COMMAND, "watch", *at, *(word.format(done=task_id) for word in words)]
    done = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", *command],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=WAIT,
        check=False,
    )
    assert done.returncode == code
    assert told in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("missing", "words", "told"),
    [
        ("click", ["watch", "id"], "click is not installed; pip install 'bgresults[cli]'"),
        ("rich", ["watch", "id"], "rich is not installed; pip install 'bgresults[cli]'"),
        ("celery", ["doctor", "--app", "x"], "celery is not installed; pip install 'bgresults[celery]'"),
        ("celery", ["bench"], "celery is not installed; pip install 'bgresults[demo]'"),
    ],
)
def test_a_package_is_missing(tmp_path: Path, missing: str, words: list[str], told: str) -> None:
    # A finder that hides the package, as if it were not installed.
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util, sys\n"
        "class Hidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] == {missing!r}:\n"
        "            raise ModuleNotFoundError(name=name)\n"
        "sys.meta_path.insert(0, Hidden())\n"
        "find = importlib.util.find_spec\n"
        f"importlib.util.find_spec = lambda name, *rest: None if name == {missing!r} else find(name, *rest)\n"
    )
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ENVIRONMENT['PYTHONPATH']}"}
    done = subprocess.run([*COMMAND, *words], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"bgresults: {told}\n")


def test_a_command_is_none_of_the_processes_that_answer(at: list[str], tmp_path: Path) -> None:
    environment = {**ENVIRONMENT, STATUS_DIR: str(tmp_path / "status")}
    done = subprocess.run([*COMMAND, "doctor", *at], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert not (tmp_path / "status").exists()


def test_help_and_version() -> None:
    def said(*words: str) -> str:
        return subprocess.run([*COMMAND, *words], env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout

    assert re.match(r"bgresults, version \d+\.\d+", said("--version"))
    text = said("--help")
    assert all(f"\n  {name} " in text for name in ("watch", "doctor", "status", "bench", "demo"))


def test_the_script_is_the_same() -> None:
    script = Path(sys.executable).with_name("bgresults")
    if not script.exists():
        pytest.skip("it is not installed")
    done = subprocess.run([script, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: bgresults [OPTIONS] COMMAND")

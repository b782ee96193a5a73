"""serve_status() and BGRESULTS_STATUS_DIR: who answers, who may ask, and what a fork or a death leaves behind."""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bgresults import ResultWatcher
from bgresults.diagnosis import ask, ask_all, serve_status
from bgresults.status.wanted import STATUS_DIR
from tests.support import wait_until
from tests.support.forks import c_fork, run_in_child
from tests.support.results import new_id

WAIT = 20


def asked(folder: Path) -> dict[int, list[str]]:
    """Process id → the names of its watchers, of all that answer."""
    statuses = [answer.status for answer in ask_all(folder, timeout=WAIT) if answer.status is not None]
    return {status["pid"]: [told["health"]["name"] for told in status["watchers"]] for status in statuses}


def status_threads() -> int:
    return [thread.name for thread in threading.enumerate()].count("bgresults-status")


@pytest.fixture
def used(watcher: ResultWatcher) -> ResultWatcher:
    assert watcher.wait_ready(WAIT)
    return watcher


class TestAsked:
    def test_in_the_environment(self, folder: Path, monkeypatch: pytest.MonkeyPatch, watcher: ResultWatcher) -> None:
        monkeypatch.setenv(STATUS_DIR, str(folder))
        assert not folder.exists(), "a watcher that nobody uses says nothing"
        assert watcher.wait_ready(WAIT)
        assert asked(folder) == {os.getpid(): ["web"]}

    def test_in_the_code(self, folder: Path, watcher: ResultWatcher) -> None:
        serve_status(folder)
        assert watcher.wait_ready(WAIT)
        assert asked(folder) == {os.getpid(): ["web"]}
        serve_status(None)
        assert list(folder.iterdir()) == []
        assert status_threads() == 0

    def test_of_a_watcher_that_is_in_use_already(self, folder: Path, used: ResultWatcher) -> None:
        serve_status(folder)
        assert asked(folder) == {os.getpid(): ["web"]}

    def test_one_socket_for_all_watchers(self, folder: Path, used: ResultWatcher, redis_url: str) -> None:
        serve_status(folder)
        with ResultWatcher(redis_url, name="other") as other:
            assert other.wait_ready(WAIT)
            assert asked(folder) == {os.getpid(): ["other", "web"]}
        assert status_threads() == 1

    def test_off_by_default(self, folder: Path, used: ResultWatcher) -> None:
        assert status_threads() == 0
        assert not folder.exists()

    def test_somebody_who_asks_and_does_not_listen(self, folder: Path, used: ResultWatcher) -> None:
        serve_status(folder)
        (path,) = folder.iterdir()
        for _ in range(3):
            with socket.socket(socket.AF_UNIX) as rude:
                rude.connect(str(path))
        assert asked(folder) == {os.getpid(): ["web"]}

    def test_while_there_are_no_descriptors(
        self, folder: Path, used: ResultWatcher, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It answers as soon as there are some again."""
        serve_status(folder)
        (path,) = folder.iterdir()
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
            try:
                # If it waits for the first one already, it has a descriptor for that.
                first.connect(str(path))
                second.connect(str(path))
                wait_until(lambda: "Too many open files" in caplog.text, "the refusal", timeout=WAIT)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert asked(folder) == {os.getpid(): ["web"]}
        assert caplog.text.count("the status cannot be told now") == 1

    def test_what_cannot_be_told_once_is_told_the_next_time(
        self, folder: Path, used: ResultWatcher, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def broken() -> dict[str, object]:
            raise RuntimeError("a bug")

        serve_status(folder)
        with monkeypatch.context() as patch:
            patch.setattr("bgresults.status.serving.process_status", broken)
            (answer,) = ask_all(folder, timeout=WAIT)
            assert (answer.gone, answer.trouble) == (False, "no answer: it was closed")
        assert asked(folder) == {os.getpid(): ["web"]}
        assert "the status could not be told: RuntimeError('a bug')" in caplog.text


class TestWhoMayAsk:
    def test_its_own_user(self, folder: Path, used: ResultWatcher) -> None:
        before = os.umask(0)
        try:
            serve_status(folder)
        finally:
            os.umask(before)
        (path,) = folder.iterdir()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    def test_a_directory_of_everybody(self, folder: Path) -> None:
        folder.mkdir()
        folder.chmod(0o777)
        with pytest.raises(ValueError, match="every user may write to"):
            serve_status(folder)

    def test_no_directory(self, folder: Path) -> None:
        folder.touch()
        with pytest.raises(NotADirectoryError, match="is no directory"):
            serve_status(folder)

    def test_a_path_that_is_too_long(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="is too long: the path of a socket has at most 103 bytes"):
            serve_status(tmp_path / ("x" * 100))

    def test_a_wrong_directory_in_the_environment(
        self,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        watcher: ResultWatcher,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Results come all the same."""
        folder.touch()
        monkeypatch.setenv(STATUS_DIR, str(folder))
        assert watcher.wait_ready(WAIT)
        (line,) = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert line.getMessage() == f"no status is told in {folder}: {folder} is no directory"


class TestForks:
    @pytest.mark.parametrize("fork", [os.fork, c_fork])
    def test_a_child_answers_when_it_uses_a_watcher(self, folder: Path, used: ResultWatcher, fork: object) -> None:
        serve_status(folder)
        parent = os.getpid()

        def child() -> None:
            assert list(asked(folder)) == [parent], "it has not used the watcher"
            assert used.wait_ready(WAIT)
            assert asked(folder) == {parent: ["web"], os.getpid(): ["web"]}
            assert status_threads() == 1

        assert run_in_child(child, fork=fork) == 0  # type: ignore[arg-type]
        assert asked(folder) == {parent: ["web"]}, "what the child closed was its own"

    def test_a_child_does_not_keep_the_socket_open(self, folder: Path, used: ResultWatcher) -> None:
        """Whoever asks would wait for somebody who will never answer."""
        serve_status(folder)
        first = os.getpid()

        def child() -> None:
            assert used.wait_ready(WAIT)
            assert os.getpid() in asked(folder)
            pid = os.getpid()
            if os.fork() == 0:
                # Outlives its parent, and uses no watcher.
                wait_until(lambda: os.getppid() != pid, "the end of the parent", timeout=WAIT)
                (folder / "orphan").touch()
                wait_until(lambda: not (folder / "orphan").exists(), "the end of the test", timeout=WAIT)
                os._exit(0)
            os.kill(pid, signal.SIGKILL)

        assert run_in_child(child) == -signal.SIGKILL
        wait_until((folder / "orphan").exists, "the grandchild")
        try:
            answers = {answer.gone: answer for answer in ask_all(folder, timeout=WAIT)}
        finally:
            (folder / "orphan").unlink()
        assert answers[False].process.endswith(f"-{first}")
        assert "refused" in str(answers[True].trouble)

    def test_a_child_that_was_killed(self, folder: Path, used: ResultWatcher) -> None:
        serve_status(folder)

        def child() -> None:
            assert used.wait_ready(WAIT)
            assert os.getpid() in asked(folder)
            os.kill(os.getpid(), signal.SIGKILL)

        assert run_in_child(child) == -signal.SIGKILL
        (gone,) = [answer for answer in ask_all(folder) if answer.gone]
        assert gone.status is None
        serve_status(None)
        assert [path.stem for path in folder.iterdir()] == [gone.process]
        serve_status(folder)
        assert list(asked(folder)) == [os.getpid()]
        assert len(list(folder.iterdir())) == 1, "the next one that starts removes what is left"


class TestExits:
    PROGRAM = (
        "import sys; from bgresults import ResultWatcher; w = ResultWatcher(sys.argv[1]); "
        "assert w.wait_ready(20); print('ready', flush=True); sys.stdin.read()"
    )

    @pytest.fixture
    def process(self, folder: Path, redis_url: str) -> Iterator[subprocess.Popen[str]]:
        with subprocess.Popen(
            [sys.executable, "-c", self.PROGRAM, redis_url],
            env={**os.environ, STATUS_DIR: str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as started:
            assert started.stdout is not None
            assert started.stdout.readline() == "ready\n"
            yield started
            started.kill()

    def test_a_process_that_ends_takes_its_socket_along(self, folder: Path, process: subprocess.Popen[str]) -> None:
        assert list(asked(folder)) == [process.pid]
        _, errors = process.communicate("", timeout=WAIT)
        assert (process.returncode, errors) == (0, "")
        assert list(folder.iterdir()) == []

    def test_a_process_that_is_stopped_does_not_answer(self, folder: Path, process: subprocess.Popen[str]) -> None:
        process.send_signal(signal.SIGSTOP)
        # Only its main thread is told at once; the one that answers stops together with it.
        stopped = os.WSTOPPED | os.WNOWAIT | os.WNOHANG
        wait_until(lambda: os.waitid(os.P_PID, process.pid, stopped), "it to stop", timeout=WAIT)
        try:
            (answer,) = ask_all(folder, timeout=0.3)
        finally:
            process.send_signal(signal.SIGCONT)
        assert (answer.status, answer.gone) == (None, False)
        assert "timed out" in str(answer.trouble) or "no answer" in str(answer.trouble)


class TestOddAnswers:
    @pytest.mark.parametrize(
        ("line", "words"),
        [
            (b"", "it was closed"),
            (b"[]\n", "no status"),
            (b"}\n", "Expecting value"),
            (b"[" * 100_000 + b"\n", "recursion"),
            (json.dumps({"format": 99}).encode() + b"\n", "another version of bgresults"),
        ],
    )
    def test_of_somebody_else(self, folder: Path, line: bytes, words: str) -> None:
        folder.mkdir()
        path = folder / f"{socket.gethostname()}-{os.getpid()}.sock"

        def answer(listener: socket.socket) -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(line)

        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            thread = threading.Thread(target=answer, args=(listener,))
            thread.start()
            told = ask(path, timeout=WAIT)
            thread.join(WAIT)
        assert told.status is None
        assert words in str(told.trouble)

    def test_nobody(self, folder: Path) -> None:
        with pytest.raises(FileNotFoundError):
            ask_all(folder)
        folder.mkdir()
        assert ask_all(folder) == []
        assert ask(folder / f"elsewhere-{new_id()}.sock").gone

    def test_it_goes_on_while_asked_at_once(self, folder: Path, used: ResultWatcher) -> None:
        serve_status(folder)
        (path,) = folder.iterdir()
        answers: list[bool] = []
        threads = [
            threading.Thread(target=lambda: answers.append(ask(path, timeout=WAIT).status is not None))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT)
        assert answers == [True] * 8
        wait_until(lambda: status_threads() == 1, "the one thread")

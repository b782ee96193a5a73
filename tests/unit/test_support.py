"""The tools that the other tests trust."""

from __future__ import annotations

import functools
import os
import socket
import subprocess
import sys
import threading

import pytest

from tests.support import wait_until
from tests.support.leaks import KINDS, Snapshot, check_leaks
from tests.support.sockets import copies


class TestWaiting:
    def test_ends_as_soon_as_it_is_true(self) -> None:
        answers = iter([False, False, True])
        wait_until(lambda: next(answers), "the third answer", timeout=5)

    def test_asks_once_even_without_time(self) -> None:
        wait_until(lambda: True, "nothing", timeout=0)

    def test_names_what_it_waited_for(self) -> None:
        with pytest.raises(AssertionError, match=r"waited 0\.05 s in vain for the moon"):
            wait_until(lambda: False, "the moon", timeout=0.05)


def test_workers_of_other_versions_need_no_pytest() -> None:
    """Their environments hold Celery and the library alone, so whatever their processes import has to do with those."""
    program = "import sys; sys.modules['pytest'] = None; import tests.support.tasks, tests.versions.scenario"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc on this system")
def test_a_socket_that_is_closed_while_they_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a thread of the library does that has just lost its connection."""
    going, other = socket.socket(), socket.socket()
    readlink = os.readlink
    name = f"/proc/self/fd/{going.fileno()}"

    def just_in_time(path: str) -> str:
        target = readlink(path)
        if path == name:
            going.close()
        return target

    with going, other, socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        other.connect(("127.0.0.1", port))
        monkeypatch.setattr(os, "readlink", just_in_time)
        found = copies(port)
        assert going.fileno() == -1
        assert [copy.getsockname() for copy in found] == [other.getsockname()]
        for copy in found:
            copy.close()


class TestLeaks:
    def test_nothing_new_is_no_leak(self) -> None:
        check_leaks(Snapshot(), Snapshot, KINDS, grace=0)

    def test_a_thread(self) -> None:
        stop = threading.Event()
        before = Snapshot()
        thread = threading.Thread(target=stop.wait, name="left-behind")
        thread.start()
        try:
            with pytest.raises(AssertionError, match=r"threads: .*left-behind"):
                check_leaks(before, Snapshot, KINDS, grace=0)
            check_leaks(before, Snapshot, {"channels"}, grace=0)
        finally:
            stop.set()
            thread.join()

    def test_a_thread_that_is_about_to_end(self) -> None:
        before = Snapshot()
        threading.Timer(0.1, lambda: None).start()
        check_leaks(before, Snapshot, KINDS, grace=5)

    @pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc on this system")
    def test_a_descriptor(self) -> None:
        before = Snapshot()
        with socket.socket(), pytest.raises(AssertionError, match=r"descriptors: \d+ -> socket:"):
            check_leaks(before, Snapshot, KINDS, grace=0)

    def test_a_connection_that_was_replaced_is_no_leak(self) -> None:
        first = socket.socket()
        before = Snapshot()
        with socket.socket():
            first.close()
            check_leaks(before, Snapshot, KINDS, grace=0)

    def test_a_channel(self) -> None:
        before = Snapshot(channels=frozenset({"was-there"}))
        with pytest.raises(AssertionError, match="channels: new") as caught:
            check_leaks(before, lambda: Snapshot(channels=frozenset({"was-there", "new"})), KINDS, grace=0)
        assert "was-there" not in str(caught.value)

    @pytest.mark.allow_leaks("descriptors")
    def test_the_marker(self, request: pytest.FixtureRequest) -> None:
        for descriptor in os.pipe():
            # Closed at the end of the session, long after the check.
            request.config.add_cleanup(functools.partial(os.close, descriptor))

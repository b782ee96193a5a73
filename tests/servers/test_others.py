"""waitress, uvicorn, and Celery's own pool: does it work at all?"""

from __future__ import annotations

import json
import signal
import sys

import pytest

from bgresults import ResultWatcher
from bgresults.testing import CeleryWorker
from bgresults.testing.http_load import Load
from tests.servers.conftest import FLASK_APP, ROOT, Serve
from tests.servers.page import block
from tests.support.results import new_id
from tests.support.tasks import ENVIRONMENT_VARIABLE
from tests.support.workers import TaskWorker


def command(heading: str, replaced: dict[str, str]) -> list[str]:
    """The page's command line, run by this interpreter."""
    program, *arguments = block(heading, "console", replaced).removeprefix("$ ").split()
    modules = {"waitress-serve": "waitress", "uvicorn": "uvicorn"}
    # A signal can ask one that hangs what it hangs in.
    return [sys.executable, "-X", "faulthandler", "-m", modules[program], *arguments]


COMMANDS = {
    "waitress": command("waitress", {"127.0.0.1:8000": "127.0.0.1:{port}", "proj.wsgi:app": FLASK_APP}),
    "uvicorn, WSGI": command(
        "uvicorn", {"8000": "{port}", "workers 2": "workers 1", "proj.asgi:app": "tests.servers.apps.wsgi_in_asgi:app"}
    ),
    "uvicorn, ASGI": command("uvicorn", {"8000": "{port}", "proj.asgi:app": "tests.servers.apps.asgi_app:app"}),
}


pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", COMMANDS)
def test_requests_get_their_results(serve: Serve, worker: TaskWorker, name: str) -> None:
    server = serve(COMMANDS[name], worker.settings)
    report = Load(f"{server.url}/add", 100, 8).report(50)
    assert (report.right, report.wrong, report.lost) == (100, [], [])
    server.send_signal(signal.SIGINT if name == "waitress" else signal.SIGTERM)
    if not server.wait(15):
        server.send_signal(signal.SIGABRT)
        server.wait(5)
        pytest.fail(f"it did not end; it was here:\n{server.log()}")
    assert "Traceback" not in server.log()
    assert "RuntimeWarning" not in server.log()


def test_tasks_that_watch(worker: TaskWorker) -> None:
    """In the children of a pool whose parent was connected when it forked."""
    settings = {**worker.settings, "task_default_queue": f"bgresults-tests-{new_id()}"}
    process = CeleryWorker(
        "tests.servers.watching_tasks",
        concurrency=3,
        python_path=[ROOT],
        env={ENVIRONMENT_VARIABLE: json.dumps(settings), "BGRESULTS_TEST_BACKEND": worker.result_url},
        args=["-Q", settings["task_default_queue"]],
    )
    sender = worker.make_app(task_default_queue=settings["task_default_queue"], result_backend="disabled://")
    with process, ResultWatcher(worker.result_url) as watcher:
        ids = [worker.send("echo", number) for number in range(30)]
        collectors = [sender.send_task("collect", (ids,), task_id=new_id()).id for _ in range(12)]
        for future in watcher.watch_many(collectors):
            assert future.result(40) == list(range(30))
        asked = [sender.send_task("who", task_id=new_id()).id for _ in range(12)]
        answers = [future.result(20) for future in watcher.watch_many(asked)]
        assert {(state, inherited) for _, state, inherited in answers} == {("draining", "ForkedError")}
        assert process.pid not in {pid for pid, _, _ in answers}
        assert "Traceback" not in process.log_tail(1000)

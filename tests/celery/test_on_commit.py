"""submit_on_commit(): sent when Django's transaction commits, given up when it does not."""

from __future__ import annotations

import contextlib
import gc
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery, group

from bgresults.integrations.celery import CeleryResultFuture, CeleryResultWatcher
from bgresults.testing import RedisServer
from tests.support import wait_until
from tests.support.results import new_id
from tests.support.stops import Interruption, LineTracer, Point, distinct

django = pytest.importorskip("django", reason="Django is not installed: pip install Django")

WAIT = 20

NewApp = Callable[..., Celery]
FromCelery = Callable[..., CeleryResultWatcher]


@pytest.fixture(scope="module", autouse=True)
def _django(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    from django.conf import settings
    from django.db import connections

    if not settings.configured:
        folder = tmp_path_factory.mktemp("django")
        database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "db.sqlite3")}
        other = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "other.sqlite3")}
        # Whoever comes first configures it for all: Django 4.2 needs a key to report a view that raises.
        settings.configure(DATABASES={"default": database, "other": other}, SECRET_KEY="of a test", USE_TZ=True)
        django.setup()
    yield
    connections.close_all()


@pytest.fixture(autouse=True)
def _closed_connections() -> Iterator[None]:
    from django.db import connections

    yield
    connections.close_all()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids that were sent, to nobody."""
    ids: list[str] = []

    def record(_app: Any, _name: str, *_: Any, task_id: str, **__: Any) -> None:
        ids.append(task_id)

    monkeypatch.setattr(Celery, "send_task", record)
    return ids


@pytest.fixture
def watcher(redis_server: RedisServer, new_app: NewApp, from_celery: FromCelery) -> CeleryResultWatcher:
    return from_celery(new_app(result_backend=redis_server.url()))


def task_id(future: Any) -> str:
    assert isinstance(future, CeleryResultFuture)
    return future.task_id


def test_sent_after_the_commit(watcher: CeleryResultWatcher, sent: list[str]) -> None:
    from django.db import transaction

    with transaction.atomic():
        future = watcher.submit_on_commit("add", (1, 2))
        assert not sent
        assert watcher.pending == 1, "watched from the start"
    assert sent == [task_id(future)]
    assert not future.done()


def test_sent_at_once_outside_of_a_transaction(watcher: CeleryResultWatcher, sent: list[str]) -> None:
    future = watcher.submit_on_commit("add", (1, 2))
    assert sent == [task_id(future)]


@pytest.mark.parametrize("inner", [False, True], ids=["the transaction", "a savepoint in it"])
def test_given_up_after_a_rollback(watcher: CeleryResultWatcher, sent: list[str], inner: bool) -> None:
    from django.db import transaction

    with transaction.atomic():
        kept = watcher.submit_on_commit("add", (1, 2)) if inner else None
        with transaction.atomic():
            future = watcher.submit_on_commit("add", (1, 2))
            transaction.set_rollback(inner)
        transaction.set_rollback(not inner)
    gc.collect()
    wait_until(future.cancelled, "the cancellation")
    wait_until(lambda: watcher.pending == (1 if inner else 0), "the end of the watch")
    assert sent == ([task_id(kept)] if inner else [])


def test_callbacks_after_a_rollback_hurt_nobody(watcher: CeleryResultWatcher, sent: list[str]) -> None:
    """They run on the thread that serves everybody."""
    from django.db import transaction

    others = watcher.watch(new_id())
    called: list[object] = []
    with transaction.atomic():
        future = watcher.submit_on_commit("add", (1, 2))
        future.add_done_callback(lambda _: sys.exit(3))
        future.add_done_callback(called.append)
        transaction.set_rollback(True)
    gc.collect()
    wait_until(lambda: called == [future], "the second callback")
    assert future.cancelled()
    assert watcher.stats().callback_errors == 1
    assert watcher.stats().thread_alive
    assert not others.done()
    assert not sent


def test_another_database(watcher: CeleryResultWatcher, sent: list[str]) -> None:
    from django.db import transaction

    with transaction.atomic(using="other"):
        held = watcher.submit_on_commit("add", (1, 2), using="other")
        with transaction.atomic():
            at_once = watcher.submit_on_commit("add", (1, 2))
        assert sent == [task_id(at_once)]
    assert sent == [task_id(at_once), task_id(held)]


def test_a_group(watcher: CeleryResultWatcher, sent: list[str]) -> None:
    from django.db import transaction

    app = watcher.app
    with transaction.atomic():
        futures: Any = watcher.submit_on_commit(
            group(app.signature("add", (1, 2)), app.signature("add", (3, 4)), app=app)
        )
        assert not sent
    assert sent == [future.task_id for future in futures]


def test_that_cannot_be_sent(watcher: CeleryResultWatcher, sent: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit goes through: its data is safe, and the future says what became of the task."""
    from django.db import transaction

    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionError("no broker")

    monkeypatch.setattr(Celery, "send_task", fail)
    seen: list[Any] = []
    with transaction.atomic():
        future = watcher.submit_on_commit("add", (1, 2))
        assert isinstance(future, CeleryResultFuture)
        future.add_done_callback(seen.append)
    assert isinstance(future.exception(0), ConnectionError)
    assert seen == [future]
    assert watcher.pending == 0


def test_that_is_interrupted(watcher: CeleryResultWatcher, sent: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """By what is no Exception: a signal handler's SystemExit, a timeout of gevent's. Nobody will send it."""
    from django.db import transaction

    def exit(*_: Any, **__: Any) -> None:
        raise SystemExit(1)

    monkeypatch.setattr(Celery, "send_task", exit)
    futures: list[Any] = []
    with pytest.raises(SystemExit), transaction.atomic():
        futures.append(watcher.submit_on_commit("add", (1, 2)))
    assert futures[0].cancelled()
    assert watcher.pending == 0


# An exception out of a signal handler that was called in the middle of a destructor has nowhere to go.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("many", [False, True], ids=["a task", "a group"])
def test_interrupted_while_it_cannot_be_sent(
    watcher: CeleryResultWatcher, monkeypatch: pytest.MonkeyPatch, many: bool
) -> None:
    """A signal handler raises at any line of what is done after the commit, where the broker is away."""

    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionError("no broker")

    def interrupt() -> None:
        raise KeyboardInterrupt

    hooks: list[Callable[[], None]] = []
    monkeypatch.setattr(Celery, "send_task", fail)
    # Its place is taken: an exception in the middle of Django's own commit would leave the connection in any state.
    monkeypatch.setattr("django.db.transaction.on_commit", lambda hook, using: hooks.append(hook))
    assert watcher.wait_ready(WAIT)

    def submit() -> Any:
        one = watcher.app.signature("add", (1, 2))
        return watcher.submit_on_commit(group(one, one, app=watcher.app) if many else one, on_update=print)

    def commit(number: int) -> list[Point]:
        tracer = LineTracer()
        with contextlib.suppress(KeyboardInterrupt), Interruption(tracer, number, interrupt), tracer.here():
            hooks.pop()()
        return tracer.points

    submit()
    points = commit(0)
    assert "_fail" in {point.code.co_name for point in points}
    # Not in a comprehension: an exception at its beginning, while it is traced, may lose Python 3.11 its stack.
    for number in distinct([point for point in points if point.code.co_name != "<listcomp>"], 1):
        future = submit()
        commit(number)
        wait_until(future.done, f"the end, after a signal at {points[number - 1]}", interval=0.001)
    wait_until(lambda: not watcher.pending, "nobody to wait")


@pytest.mark.parametrize("reason", ["no Django", "no such database"])
def test_where_it_cannot_be_promised(
    watcher: CeleryResultWatcher, sent: list[str], monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    """The caller gets an exception and no future: what a callback would keep alive is not watched any more."""
    from django.utils.connection import ConnectionDoesNotExist

    assert watcher.wait_ready(WAIT)
    options: dict[str, Any] = {"on_update": print, "revoke_on_timeout": True}
    with monkeypatch.context() as patched:
        if reason == "no Django":
            patched.setitem(sys.modules, "django.db", None)
            with pytest.raises(ImportError, match="needs Django"):
                watcher.submit_on_commit("add", (1, 2), **options)
        else:
            with pytest.raises(ConnectionDoesNotExist):
                watcher.submit_on_commit("add", (1, 2), using="nowhere", **options)
    assert watcher.pending == 0
    wait_until(lambda: watcher.stats().subscribed == 0, "the end of the subscription")
    assert not sent


def test_eagerly(new_app: NewApp, from_celery: FromCelery) -> None:
    from django.db import transaction

    app = new_app(task_always_eager=True, result_backend="redis://nowhere.invalid/0")

    @app.task(name="eager", shared=False)
    def eager() -> str:
        return "ran"

    watcher = from_celery(app)
    with transaction.atomic():
        future = watcher.submit_on_commit(eager)
        assert not future.done()
    assert future.result(0) == "ran"
    with transaction.atomic():
        lost = watcher.submit_on_commit(eager)
        transaction.set_rollback(True)
    gc.collect()
    assert isinstance(lost, CeleryResultFuture)
    assert lost.cancelled()


def test_without_django() -> None:
    program = (
        "import sys; sys.modules['django'] = None; sys.modules['django.db'] = None\n"
        "from celery import Celery\nfrom bgresults import ResultWatcher\n"
        "app = Celery(broker='memory://', backend='redis://localhost')\n"
        "try:\n    ResultWatcher.from_celery(app).submit_on_commit('add')\n"
        "except ImportError as error:\n    print(error)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=True)
    assert "Django" in ended.stdout

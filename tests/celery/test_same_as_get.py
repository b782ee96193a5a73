"""What a future gives is what ``AsyncResult.get()`` gives: a table, made with real workers.

Every task is sent once, and three ways of waiting look at it: the future of ``submit()``, Celery's own ``get()``, and a
future of ``watch()`` or ``watch_group()``. The last test prints the table; ``pytest -s`` shows it.
"""

from __future__ import annotations

import concurrent.futures
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import celery
import celery.canvas
import celery.exceptions
import celery.states
import pytest
from celery import Celery
from kombu.exceptions import DecodeError

from bgresults import NotWatchableError
from bgresults.integrations.celery import CeleryResultFuture, CeleryResultWatcher
from bgresults.integrations.celery.following import steps_before
from bgresults.integrations.celery.groups import leaves_of
from tests.celery.comparison import Line, Outcome, drawn, outcome_of, problems
from tests.celery.rows import EXCEPTIONS, ROWS, SERIALIZERS, VALUES, Canvas, Row, Scene
from tests.support.workers import WorkerPool

WAIT = 30
CELERY_COMPRESSES = GROUPS_CAN_BE_MADE_ANEW = tuple(map(int, celery.__version__.split(".")[:2])) >= (5, 7)
# What becomes of a task, and how tasks are put together, has little to do with the serializer.
QUICK = {"json": ROWS, "json gzip": VALUES}

FromCelery = Callable[..., CeleryResultWatcher]


def cases() -> list[Any]:
    """Every row with every serializer that there is."""
    return [
        pytest.param(
            serializer,
            row,
            id=f"{serializer}-{row.name}",
            marks=[
                *([pytest.mark.slow] if row.slow or row not in QUICK.get(serializer, VALUES + EXCEPTIONS) else []),
                *([pytest.mark.allow_leaks("channels")] if row.worker_subscribes else []),
            ],
        )
        for serializer in SERIALIZERS
        if CELERY_COMPRESSES or not serializer.endswith("gzip")
        for row in ROWS
        if serializer in row.serializers
    ]


@pytest.fixture(scope="module")
def table() -> list[Line]:
    """Filled by all tests of this module."""
    return []


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The results that Celery's own ``apply_async()`` returned, the outermost one last."""
    results: list[Any] = []

    def recording(original: Callable[..., Any]) -> Callable[..., Any]:
        def apply_async(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            results.append(result)
            return result

        return apply_async

    for kind in (celery.canvas.Signature, celery.canvas._chain, celery.canvas._chord, celery.canvas.group):
        monkeypatch.setattr(kind, "apply_async", recording(vars(kind)["apply_async"]))
    return results


@pytest.fixture
def forget_unseen() -> Iterator[None]:
    """The class that only workers know is not loaded here. Unpickling it loads it."""
    sys.modules.pop("tests.support.unseen", None)
    yield
    sys.modules.pop("tests.support.unseen", None)


def as_after_delay(app: Celery, result: Any) -> Any:
    """A group's result, made anew: Celery has to be told of its members, and ``submit()`` kept that from it."""
    if not hasattr(result, "results"):
        return result
    members = [as_after_delay(app, member) for member in result.results]
    return app.GroupResult(result.id, members, parent=result.parent)


def tracebacks_of(app: Celery, result: Any) -> set[str | None]:
    """What workers stored of those tasks that failed: the one behind a result, or any of those before it."""
    ids = [*steps_before(result), *(leaf.id for leaf in leaves_of(result))]
    try:
        metas = [app.backend.get_task_meta(task_id) for task_id in ids]
    except DecodeError:
        return {None}
    return {meta.get("traceback") for meta in metas if meta["status"] in celery.states.PROPAGATE_STATES}


@pytest.mark.parametrize(("serializer", "row"), cases())
def test_same(
    serializer: str,
    row: Row,
    worker_for: WorkerPool,
    from_celery: FromCelery,
    sent: list[Any],
    table: list[Line],
    forget_unseen: None,
) -> None:
    name, _, compression = serializer.partition(" ")
    worker = worker_for(serializer=name, compression=compression or None, task_track_started=True)
    app = worker.make_app()
    watcher = from_celery(app)
    scene = Scene(app, worker, worker_for, str(uuid.uuid4()))
    options = {**row.options, **(row.before(scene) if row.before is not None else {})}
    task = row.task if isinstance(row.task, str) else row.task(Canvas(app))

    future = watcher.submit(task, row.args, row.kwargs, task_id=scene.task_id, **options)
    if row.during is not None:
        row.during(scene)
    ours = outcome_of(lambda: future.result(WAIT))
    result = as_after_delay(app, sent.pop())
    sent.clear()
    if hasattr(result, "results") and not GROUPS_CAN_BE_MADE_ANEW:
        table.append(Line(row.name, serializer, "-", str(ours), "not compared"))
        pytest.skip("get() of a group's result that was made anew times out in this test before Celery 5.7")
    theirs = outcome_of(lambda: result.get(timeout=WAIT))
    watch: Callable[[Any], Any] = watcher.watch_group if hasattr(result, "results") else watcher.watch
    watched = outcome_of(lambda: watch(result).result(WAIT))

    difference = row.difference(serializer)
    tracebacks = tracebacks_of(app, result)
    found = []
    for way, outcome in (("submit", ours), ("watch", watched)):
        if row.chord_fails and isinstance(outcome.error, celery.exceptions.ChordError):
            wrong = [] if repr(theirs.error) in str(outcome.error) else ["it does not quote the member's"]
        else:
            wrong = problems(outcome, theirs, difference, tracebacks)
        found += [f"{way}(): {problem}" for problem in wrong]
    verdict = "; ".join(found) or ("yes" if difference is None else f"no: {difference.why}")
    table.append(Line(row.name, serializer, str(theirs), str(ours), verdict))
    assert not found, f"{verdict}\nget() gave {theirs}, submit() {ours}, watch() {watched}"


def test_an_ignored_result(worker_for: WorkerPool, from_celery: FromCelery, table: list[Line]) -> None:
    """Celery returns None at once, whatever becomes of the task."""
    app = worker_for().make_app()
    watcher = from_celery(app)
    result = app.signature("nothing").apply_async()
    theirs = outcome_of(lambda: result.get(timeout=WAIT))
    ours = outcome_of(lambda: watcher.submit("nothing").result(WAIT))
    watched = outcome_of(lambda: watcher.watch(result).result(WAIT))
    table.append(Line("ignored result", "json", str(theirs), str(ours), "no: refused, since nothing is known of it"))
    assert theirs == Outcome(value=None)
    assert isinstance(ours.error, ValueError)
    assert isinstance(watched.error, NotWatchableError)


def test_a_timeout(
    worker_for: WorkerPool, from_celery: FromCelery, table: list[Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Celery's class is no TimeoutError of the language's; ours is that of every other future."""
    app = worker_for().make_app()
    watcher = from_celery(app)
    held: list[Callable[[], Any]] = []
    with monkeypatch.context() as patched:
        send = app.send_task
        # Sent after all have timed out: Celery looks at the time once in a second, and a busy machine is later still.
        patched.setattr(app, "send_task", lambda *args, **options: held.append(lambda: send(*args, **options)))
        future = watcher.submit("echo", (1,))
    assert isinstance(future, CeleryResultFuture)
    ours = outcome_of(lambda: future.result(0.1))
    result = app.AsyncResult(future.task_id)
    theirs = outcome_of(lambda: result.get(timeout=0.1))
    watched = outcome_of(lambda: watcher.watch(result).result(0.1))
    table.append(Line("timeout", "json", str(theirs), str(ours), "no: ours is that of concurrent.futures"))
    assert isinstance(theirs.error, celery.exceptions.TimeoutError)
    for error in (ours.error, watched.error):
        assert isinstance(error, TimeoutError)
        assert isinstance(error, concurrent.futures.TimeoutError)
    held.pop()()
    assert future.result(WAIT) == result.get(timeout=WAIT) == 1


def test_the_table(table: list[Line], request: pytest.FixtureRequest) -> None:
    """Last: prints it."""
    print(f"\n{drawn(table)}\n{len(table)} lines of {len({line.row for line in table})} rows")
    assert len({row.name for row in ROWS}) == len(ROWS) >= 40
    compared = [item for item in request.session.items if item.name.startswith("test_same[")]
    assert len(table) >= len(compared), "each row that was played has its line"

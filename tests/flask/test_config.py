"""The ``BGRESULTS_…`` keys."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bgresults import RedisOptions, ResultWatcher, RetryPolicy
from bgresults.integrations.flask import BgResults
from tests.flask.conftest import NewApp
from tests.support.tasks import make_app
from tests.support.workers import TaskWorker, WorkerPool

URL = "redis://user:secret@127.0.0.1:1/0"
PROJECT = "from celery import Celery\napp = Celery('proj', backend='redis://127.0.0.1:1/0', set_as_current=False)\n"


@pytest.fixture
def worker(worker_for: WorkerPool) -> TaskWorker:
    """A running one."""
    return worker_for()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A package ``flaskproj`` with its Celery application in ``flaskproj.celery``."""
    package = tmp_path / "flaskproj"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "celery.py").write_text(PROJECT)
    (package / "broken.py").write_text("import there_is_no_such_module\n")
    (package / "misspelt.py").write_text(f"{PROJECT}app.confg.timezone = 'UTC'\n")
    (package / "unfinished.py").write_text("app = Celery('proj')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "flaskproj"]:
        del sys.modules[name]


def test_all_arguments(new_app: NewApp, results: BgResults) -> None:
    new_app(
        BGRESULTS_URL=URL,
        BGRESULTS_KEY_PREFIX="shop_",
        BGRESULTS_SERIALIZER="json",
        BGRESULTS_ACCEPT=["json"],
        BGRESULTS_DEFAULT_LIFETIME=60,
        BGRESULTS_MAX_PENDING=10,
        BGRESULTS_ON_DISCONNECT="fail",
        BGRESULTS_RETRY=RetryPolicy(maximum=1.0),
        BGRESULTS_CONNECT_TIMEOUT=0.5,
        BGRESULTS_REDIS={"read_timeout": 2.0},
        BGRESULTS_NAME="shop",
    )
    assert "name='shop'" in repr(results.watcher)
    assert "secret" not in repr(results.watcher)


def test_documented() -> None:
    """Each argument of a watcher has its key in the table."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "flask.md").read_text("utf-8")
    for name in inspect.signature(ResultWatcher).parameters:
        assert f"`BGRESULTS_{name.upper()}`" in page, name


def test_what_the_file_of_a_config_can_say(new_app: NewApp, results: BgResults) -> None:
    """Options as mappings mean the same as the options themselves."""
    new_app(BGRESULTS_URL="amqp://127.0.0.1:1", BGRESULTS_AMQP={"binding": "task"}, BGRESULTS_RETRY={"maximum": 2.0})
    assert results.watcher.reply_to is None, "binding='task' has none"


def test_other_keys_are_none_of_ours(new_app: NewApp) -> None:
    new_app(BGRESULTS_URL=URL, CELERY={"broker_url": "memory://"}, SECRET_KEY="x", BG="y")


@pytest.mark.parametrize(
    ("config", "error", "words"),
    [
        (
            {"BGRESULTS_TIMEOUT": 3},
            ValueError,
            "unknown BGRESULTS_TIMEOUT; allowed are BGRESULTS_ACCEPT, BGRESULTS_AMQP",
        ),
        ({"BGRESULTS_MAX_PENDING": 0}, ValueError, "BGRESULTS_MAX_PENDING: max_pending must be an int above 0, not 0"),
        (
            {"BGRESULTS_MAX_PENDING": "5"},
            TypeError,
            "BGRESULTS_MAX_PENDING: max_pending must be an int above 0, not str",
        ),
        (
            {"BGRESULTS_ON_DISCONNECT": "die"},
            ValueError,
            "BGRESULTS_ON_DISCONNECT: on_disconnect must be one of 'wait'",
        ),
        ({"BGRESULTS_RETRY": {"first": 1}}, ValueError, "BGRESULTS_RETRY: unknown first; allowed are give_up_after"),
        ({"BGRESULTS_RETRY": {"initial": -1}}, ValueError, "BGRESULTS_RETRY: RetryPolicy.initial must be"),
        ({"BGRESULTS_RETRY": 3}, TypeError, "BGRESULTS_RETRY: retry must be a RetryPolicy, not int"),
        ({"BGRESULTS_REDIS": {"password": 3}}, TypeError, "BGRESULTS_REDIS: RedisOptions.password must be a str"),
        ({"BGRESULTS_AMQP": {"prefetch": 0}}, ValueError, "BGRESULTS_AMQP: AMQPOptions.prefetch must be"),
        ({"BGRESULTS_URL": "mysql://host"}, ValueError, "BGRESULTS_URL: url 'mysql://host'"),
        ({"BGRESULTS_URL": 5}, TypeError, "BGRESULTS_URL"),
        ({"BGRESULTS_URL": URL, "BGRESULTS_AMQP": {"prefetch": 5}}, ValueError, "BGRESULTS_AMQP, BGRESULTS_URL"),
        ({"BGRESULTS_CELERY_APP": 5}, TypeError, "must be a Celery application or the place of one, such as 'proj.cel"),
        ({"BGRESULTS_CELERY_APP": ""}, TypeError, "must be a Celery application or the place of one"),
        ({"BGRESULTS_CELERY_APP": ["proj.celery:app"]}, TypeError, "must be a Celery application or the place of one"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_ones_are_named_at_once(
    new_app: NewApp, config: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        new_app(**config)
    assert words in str(caught.value)
    assert "config of Flask app 'web'" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_neither_url_nor_application(new_app: NewApp, results: BgResults) -> None:
    """The Celery application may come later; at the first use it has to be there."""
    new_app(BGRESULTS_URL=None)
    with pytest.raises(ValueError, match=r"set BGRESULTS_CELERY_APP .*app\.extensions\['celery'\], or BGRESULTS_URL"):
        _ = results.watcher


def test_a_config_that_comes_too_late(new_app: NewApp, results: BgResults) -> None:
    app = new_app()
    app.config["BGRESULTS_URL"] = URL
    with pytest.raises(ValueError, match=r"BGRESULTS_URL came too late: init_app\(\) reads the config") as caught:
        _ = results.watcher
    assert "secret" not in str(caught.value)


class TestCeleryApplication:
    """Where it comes from, and what it gives."""

    def test_an_object(self, new_app: NewApp, results: BgResults, worker: TaskWorker) -> None:
        new_app(BGRESULTS_CELERY_APP=worker.make_app())
        assert results.submit("add", (2, 3)).result(timeout=20) == 5

    def test_that_of_the_flask_documentation(self, new_app: NewApp, results: BgResults, worker: TaskWorker) -> None:
        """``app.extensions["celery"]``, which may be put there after ``init_app()``."""
        app = new_app()
        app.extensions["celery"] = worker.make_app()
        with app.app_context():
            assert results.submit("add", (20, 22)).result(timeout=20) == 42

    @pytest.mark.parametrize("place", ["flaskproj.celery:app", "flaskproj.celery", "flaskproj"])
    def test_the_place_of_one(self, new_app: NewApp, results: BgResults, project: Any, place: str) -> None:
        """As for ``celery -A``, and not imported before the first use."""
        new_app(BGRESULTS_CELERY_APP=place)
        assert "flaskproj.celery" not in sys.modules
        watcher = results.watcher
        found = sys.modules["flaskproj.celery"].app
        assert watcher is ResultWatcher.from_celery(found)
        found.close()

    @pytest.mark.parametrize(
        ("place", "reason"),
        [
            ("flaskproj.celery:nothing", "module 'flaskproj.celery' has no attribute 'nothing'"),
            ("no_such_module:app", "No module named 'no_such_module'"),
            ("flaskproj.broken:app", "No module named 'there_is_no_such_module'"),
            ("flaskproj.misspelt:app", "'Celery' object has no attribute 'confg'"),
            ("flaskproj.misspelt.app", "'Celery' object has no attribute 'confg'"),
            ("flaskproj.unfinished:app", "NameError: name 'Celery' is not defined"),
        ],
    )
    def test_there_is_none(self, new_app: NewApp, results: BgResults, project: Any, place: str, reason: str) -> None:
        """Why: what its module raised, and not what Celery makes of it."""
        new_app(BGRESULTS_CELERY_APP=place)
        with pytest.raises(ValueError, match="there is no Celery application at") as caught:
            _ = results.watcher
        assert place in str(caught.value)
        assert reason in str(caught.value)

    def test_a_package_whose_module_cannot_be_imported(
        self, new_app: NewApp, results: BgResults, project: Any, tmp_path: Path
    ) -> None:
        (tmp_path / "flaskproj" / "celery.py").write_text("import there_is_no_such_module\n")
        new_app(BGRESULTS_CELERY_APP="flaskproj")
        with pytest.raises(ValueError, match="No module named 'there_is_no_such_module'"):
            _ = results.watcher
        (tmp_path / "flaskproj" / "celery.py").unlink()
        importlib.invalidate_caches()
        with pytest.raises(ValueError, match="module 'flaskproj' has no attribute 'celery'"):
            _ = results.watcher

    def test_something_else(self, new_app: NewApp, results: BgResults) -> None:
        new_app(BGRESULTS_CELERY_APP="sys:path")
        with pytest.raises(TypeError, match="must be a Celery application, not list"):
            _ = results.watcher

    def test_settings_of_the_config_win(self, new_app: NewApp, results: BgResults) -> None:
        app = make_app({"result_backend": "redis://127.0.0.1:1/0", "broker_url": "memory://"})
        new_app(
            BGRESULTS_CELERY_APP=app,
            BGRESULTS_URL="redis://127.0.0.1:2/5",
            BGRESULTS_REDIS=RedisOptions(read_timeout=1),
        )
        results.watch("an-id")
        assert "127.0.0.1:2/5" in repr(results.watcher)

    def test_two_flask_applications_share_it(self, new_app: NewApp, results: BgResults) -> None:
        app = make_app({"result_backend": "redis://127.0.0.1:1/0", "broker_url": "memory://"})
        one, other = new_app("one", BGRESULTS_CELERY_APP=app), new_app("other", BGRESULTS_CELERY_APP=app)
        shared = one.extensions["bgresults"].watcher
        assert shared is other.extensions["bgresults"].watcher
        one.extensions["bgresults"].close()
        again = other.extensions["bgresults"].watcher
        assert not again.closed
        assert again is one.extensions["bgresults"].watcher is not shared

    def test_submitting_needs_one(self, new_app: NewApp, results: BgResults) -> None:
        new_app(BGRESULTS_URL=URL)
        with pytest.raises(RuntimeError, match=r"to submit\(\) tasks, set BGRESULTS_CELERY_APP"):
            results.submit("add", (1, 2))


def test_without_flask() -> None:
    program = (
        "import sys; sys.modules['flask'] = None\n"
        "try:\n    import bgresults.integrations.flask\n"
        "except ImportError as error:\n    print(error)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=True)
    assert "pip install 'bgresults[flask]'" in ended.stdout

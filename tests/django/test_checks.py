"""manage.py check: each finding by its id, with a hint; and an app that does nothing but register them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bgresults.diagnosis.gunicorn import gunicorn_workers
from bgresults.integrations.django import checks, watchers
from bgresults.testing import RedisServer

URL = "redis://localhost:6379/0"
ROOT = Path(__file__).resolve().parents[2]


def ids(messages: list[Any]) -> list[str]:
    assert all(message.hint for message in messages), "each says what to do"
    return [str(message.id) for message in messages]


def all_ids() -> list[str]:
    found: list[Any] = []
    for name in checks.__all__:
        if name.startswith("check_"):
            found += getattr(checks, name)(app_configs=None, databases=None)
    return ids(found)


def of_app(name: str) -> dict[str, Any]:
    return {"default": {"CELERY_APP": f"tests.django.apps:{name}"}}


def test_nothing_is_wrong(project: Any) -> None:
    project(BGRESULTS={**of_app("redis"), "other": {"URL": URL}})
    assert all_ids() == []


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        (None, ["bgresults.E001"]),
        ({"default": URL}, ["bgresults.E001"]),
        ({"default": {"URI": URL}}, ["bgresults.E001"]),
        ({"other": {"URL": URL}}, ["bgresults.E001"]),
        ({"default": {"URL": "nonsense"}, "other": {"URI": URL}}, ["bgresults.E001"] * 2),
        (of_app("missing"), ["bgresults.E002"]),
        (of_app("wrong"), ["bgresults.E001"]),
        (of_app("nothing"), ["bgresults.E003"]),
        (of_app("polled"), ["bgresults.E004"]),
        (of_app("broken"), ["bgresults.E005"]),
        (of_app("quiet"), ["bgresults.W001"]),
        (of_app("eager"), ["bgresults.W002"]),
        ({"default": {"URL": "redis://:sesame@cache.example/0"}}, ["bgresults.W005"]),
        ({"default": {"URL": "rediss://cache.example/0", "REDIS": {"SSL_CERT_REQS": "none"}}}, ["bgresults.W005"]),
    ],
)
def test_the_setting(project: Any, setting: Any, expected: list[str]) -> None:
    project(BGRESULTS=setting)
    assert all_ids() == expected


def test_looking_is_not_using(project: Any, redis_server: RedisServer) -> None:
    """Settings that change after the checks, as a test runner may have it, are those that count."""
    from tests.django import apps

    project(BGRESULTS=of_app("redis"))
    before = apps.redis.conf.result_backend
    assert all_ids() == []
    try:
        apps.redis.conf.result_backend = redis_server.url()
        watchers["default"]._configure()
        assert watchers["default"].health().address == redis_server.url()
    finally:
        apps.redis.conf.result_backend = before


def test_no_password(project: Any) -> None:
    project(BGRESULTS={"default": {"URL": "redis://:sesame@cache.example/0"}})
    (message,) = checks.check_tls()
    assert "sesame" not in str(message)
    assert "BGRESULTS['default']" in message.msg


def test_transactions(project: Any) -> None:
    sqlite = "django.db.backends.sqlite3"
    databases = {"default": {"ENGINE": sqlite, "ATOMIC_REQUESTS": True}, "other": {"ENGINE": sqlite}}
    project(BGRESULTS={"default": {"URL": URL}})
    with pytest.warns(UserWarning, match="DATABASES"):
        project(DATABASES=databases)
    (message,) = checks.check_transactions()
    assert message.id == "bgresults.W004"
    assert "'default'" in message.msg
    assert "'other'" not in message.msg
    assert "submit_on_commit" in message.hint
    project(BGRESULTS=None)
    assert checks.check_transactions() == []


class TestGunicorn:
    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ("--bind 0.0.0.0:8000", "sync"),
            ("-k sync -w 4", "sync"),
            ("--worker-class=sync", "sync"),
            ("--threads 1", "sync"),
            ("--threads 8", "gthread"),
            ("-k sync --threads=8", "gthread"),
            ("-k gthread", "gthread"),
            ("--worker-class uvicorn_worker.UvicornWorker", "uvicorn_worker.UvicornWorker"),
        ],
    )
    def test_the_variable(self, tmp_path: Path, arguments: str, expected: str) -> None:
        found = gunicorn_workers({"GUNICORN_CMD_ARGS": arguments}, tmp_path)
        assert found is not None
        assert (found.worker_class, found.source) == (expected, "GUNICORN_CMD_ARGS")

    @pytest.mark.parametrize(
        ("settings", "expected"),
        [
            ("workers = 4", "sync"),
            ("worker_class = 'gevent'", "gevent"),
            ("threads = 4", "gthread"),
            ("worker_class = 'sync'\nthreads = 4", "gthread"),
            ("import os\nworker_class = os.environ['KIND']", "unknown"),
            ("import os\nthreads = int(os.environ['THREADS'])", "unknown"),
            ("threads: int = 8", "gthread"),
            ("worker_class: str = 'gthread'", "gthread"),
            ("worker_class, threads = 'gthread', 8", "unknown"),
            ("import os\nif 'DEBUG' not in os.environ:\n    threads = 8", "unknown"),
            ("from shared import *", "unknown"),
            ("from shared import WORKERS as workers, threads", "unknown"),
            ("from shared import *\nworker_class = 'gthread'", "gthread"),
            ("import multiprocessing\nworkers = multiprocessing.cpu_count()", "sync"),
        ],
    )
    def test_the_file(self, tmp_path: Path, settings: str, expected: str) -> None:
        file = tmp_path / "gunicorn.conf.py"
        file.write_text(settings)
        found = gunicorn_workers({}, tmp_path)
        assert found is not None
        assert (found.worker_class, found.source) == (expected, str(file))
        named = tmp_path / "named.py"
        file.rename(named)
        again = gunicorn_workers({"GUNICORN_CMD_ARGS": "-c named.py"}, tmp_path)
        assert again is not None
        assert again.worker_class == expected

    def test_the_variable_wins(self, tmp_path: Path) -> None:
        (tmp_path / "gunicorn.conf.py").write_text("worker_class = 'sync'")
        found = gunicorn_workers({"GUNICORN_CMD_ARGS": "-k gthread"}, tmp_path)
        assert found is not None
        assert found.worker_class == "gthread"

    @pytest.mark.parametrize("arguments", [None, "-k", "--threads many", "'"])
    def test_nothing_is_known(self, tmp_path: Path, arguments: str | None) -> None:
        assert gunicorn_workers({} if arguments is None else {"GUNICORN_CMD_ARGS": arguments}, tmp_path) is None

    def test_the_check(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("GUNICORN_CMD_ARGS", raising=False)
        assert checks.check_gunicorn() == []
        monkeypatch.setenv("GUNICORN_CMD_ARGS", "--workers 4")
        assert ids(checks.check_gunicorn()) == ["bgresults.W006"]
        monkeypatch.setenv("GUNICORN_CMD_ARGS", "--threads 4")
        assert checks.check_gunicorn() == []


@pytest.mark.parametrize(
    ("first", "patch", "expected"),
    [
        ("bgresults", "patch_all()", ["bgresults.W003"]),
        ("gevent.monkey", "patch_all()", []),
        ("gevent.monkey", "patch_thread()", ["bgresults.W003"]),
    ],
)
def test_gevent(first: str, patch: str, expected: list[str]) -> None:
    """Patched after this library was imported, or before, or in part."""
    pytest.importorskip("gevent")
    program = (
        f"import {first}\nfrom gevent import monkey\nmonkey.{patch}\nimport bgresults\n"
        "from django.conf import settings\nsettings.configure()\n"
        "from bgresults.integrations.django.checks import check_monkey_patching\n"
        "print([message.id for message in check_monkey_patching()])\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=True)
    assert ended.stdout.strip() == str(expected), ended.stderr


def test_the_app_registers_them_and_does_nothing_else(tmp_path: Path) -> None:
    """django.setup() with a Celery application that must not be imported; then the checks find that it cannot be."""
    (tmp_path / "explosive.py").write_text("raise RuntimeError('imported')\n")
    program = (
        "import sys, threading\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "import django\nfrom django.conf import settings\n"
        "settings.configure(INSTALLED_APPS=['bgresults.integrations.django'],\n"
        "    BGRESULTS={'default': {'CELERY_APP': 'explosive:app'}})\n"
        "django.setup()\n"
        "assert threading.active_count() == 1\n"
        "assert 'explosive' not in sys.modules and 'celery' not in sys.modules\n"
        "assert 'redis' not in sys.modules, 'nothing that could connect'\n"
        "from django.apps import apps\n"
        "assert apps.get_app_config('bgresults').name == 'bgresults.integrations.django'\n"
        "from django.core.checks import run_checks\n"
        "print([message.id for message in run_checks(tags=['bgresults'], include_deployment_checks=True)])\n"
        "assert threading.active_count() == 1\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False, cwd=tmp_path
    )
    assert (ended.returncode, ended.stdout.strip()) == (0, "['bgresults.E002']"), ended.stderr


def test_documented() -> None:
    """Every id has its row, and there are no others."""
    text = (ROOT / "docs" / "django.md").read_text(encoding="utf-8")
    source = Path(checks.__file__).read_text(encoding="utf-8")
    for kind, count in (("E", 5), ("W", 6)):
        for number in range(1, count + 1):
            identifier = f"bgresults.{kind}{number:03}"
            assert f"| `{identifier}`" in text
            assert f'"{identifier}"' in source
        assert f"bgresults.{kind}{count + 1:03}" not in text + source

"""watchers and watcher: from the setting to a watcher of this process."""

from __future__ import annotations

import inspect
import logging
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from bgresults import AMQPOptions, RedisOptions, ResultWatcher, RetryPolicy
from bgresults.integrations.celery import CeleryResultWatcher
from bgresults.integrations.django import watcher, watchers
from bgresults.integrations.django.handler import WatcherHandler
from bgresults.integrations.gunicorn import post_worker_init
from bgresults.testing import RedisServer
from tests.django import apps
from tests.support import wait_until
from tests.support.calls import Caller
from tests.support.forks import run_in_child
from tests.support.results import ResultWriter, new_id

WAIT = 20
URL = "redis://localhost:6379/0"
CELERY = {"default": {"CELERY_APP": "tests.django.apps:redis"}}


def refused(alias: str = "default") -> str:
    with pytest.raises(ImproperlyConfigured) as caught:
        watchers[alias]
    return str(caught.value)


class TestAliases:
    def test_lazy_and_the_same_in_all_threads(self, project: Any) -> None:
        project(BGRESULTS={"default": {"URL": URL}, "other": {"URL": "memory://"}})
        assert list(watchers) == ["default", "other"]
        assert watchers.all(initialized_only=True) == []
        made = watchers["default"]
        assert type(made) is ResultWatcher
        assert watchers["default"] is made
        assert watchers["other"] is not made
        assert made.stats().state == "idle", "no thread, no connection"
        assert Caller(lambda: watchers["default"]).outcome() is made
        assert watchers.all(initialized_only=True) == [made, watchers["other"]]

    def test_threads_that_come_at_once(self, project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """All of them make one before any of them has put it in."""
        project(BGRESULTS={"default": {"URL": URL}})
        make = WatcherHandler.create_connection
        all_made = threading.Barrier(4)

        def make_together(handler: WatcherHandler, alias: str) -> ResultWatcher:
            fresh = make(handler, alias)
            all_made.wait(WAIT)
            return fresh

        monkeypatch.setattr(WatcherHandler, "create_connection", make_together)
        found = [caller.outcome() for caller in [Caller(lambda: watchers["default"]) for _ in range(4)]]
        assert len(set(map(id, found))) == 1
        assert watchers["default"] is found[0]

    def test_the_default_one_through_its_proxy(self, project: Any) -> None:
        project(BGRESULTS={"default": {"URL": URL}})
        assert watcher.pending == 0
        assert watcher == watchers["default"]
        with pytest.raises(AttributeError, match="submit"):
            watcher.submit("add")

    def test_unknown(self, project: Any) -> None:
        project(BGRESULTS={"default": {"URL": URL}, "other": {"URL": URL}})
        assert refused("otter") == "BGRESULTS has no alias 'otter'; it has 'default', 'other'"
        project(BGRESULTS={})
        assert refused() == "BGRESULTS has no alias 'default'; it has none"
        with pytest.raises(ImproperlyConfigured):
            watcher.stats()

    def test_closed_by_hand(self, project: Any) -> None:
        project(BGRESULTS={"default": {"URL": URL}})
        first = watchers["default"]
        watchers.close_all()
        assert first.closed
        assert watchers["default"] is not first
        assert not watchers["default"].closed

    def test_a_double(self, project: Any) -> None:
        project(BGRESULTS={"default": {"URL": URL}})
        double = ResultWatcher("memory://")
        watchers["default"] = double
        assert watcher == double
        del watchers["default"]
        assert watchers["default"] is not double


class TestOverrides:
    def test_follows_the_setting(self, project: Any, redis_server: RedisServer) -> None:
        from django.test import override_settings

        project(BGRESULTS={"default": {"URL": redis_server.url(), "NAME": "first"}})
        first = watchers["default"]
        assert first.wait_ready(WAIT)
        with override_settings(BGRESULTS={"default": {"URL": redis_server.url(), "NAME": "second"}}):
            assert first.closed
            assert not first.stats().thread_alive
            second = watchers["default"]
            assert second.health().name == "second"
            assert watcher == second
        assert second.closed
        assert watchers["default"].health().name == "first"

    def test_other_settings_do_not_matter(self, project: Any) -> None:
        project(BGRESULTS={"default": {"URL": URL}})
        made = watchers["default"]
        project(LANGUAGE_CODE="fr")
        assert watchers["default"] is made
        assert not made.closed


class TestKeys:
    def test_all_of_them(self, project: Any) -> None:
        project(
            BGRESULTS={
                "default": {
                    "URL": "redis://cache.example:6380/3",
                    "KEY_PREFIX": "mine",
                    "SERIALIZER": "json",
                    "ACCEPT": ["json", "pickle"],
                    "DEFAULT_LIFETIME": 60,
                    "MAX_PENDING": 10,
                    "ON_DISCONNECT": "fail",
                    "RETRY": {"INITIAL": 0.1, "GIVE_UP_AFTER": 30},
                    "CONNECT_TIMEOUT": 1.5,
                    "REDIS": {"USERNAME": "web", "PASSWORD": "sesame"},
                    "NAME": "mine",
                }
            }
        )
        made: Any = watchers["default"]
        assert repr(made) == "<ResultWatcher redis://cache.example:6380/3 name='mine' state=idle pending=0>"
        assert made._settings.retry == RetryPolicy(initial=0.1, give_up_after=30)
        assert made._settings.on_disconnect == "fail"
        consumer = made._settings.make_consumer()
        assert consumer.address.options.password == "sesame"
        assert consumer.connect_timeout == 1.5
        assert consumer._keys.key("x") == b"mine_celery-task-meta-x"
        assert made._default_lifetime == 60
        assert made._max_pending == 10

    def test_options_as_objects(self, project: Any) -> None:
        retry, redis, amqp = RetryPolicy(maximum=1), RedisOptions(read_timeout=1), AMQPOptions(prefetch=9)
        project(
            BGRESULTS={
                "default": {"URL": URL, "RETRY": retry, "REDIS": redis},
                "rpc": {"URL": "amqp://localhost//", "AMQP": amqp},
                "rpc too": {"URL": "amqp://localhost//", "AMQP": {"PREFETCH": 9}},
            }
        )
        made: Any = watchers["default"]
        assert made._settings.retry is retry
        assert made._settings.make_consumer().address.options.read_timeout == 1
        for alias in ("rpc", "rpc too"):
            there: Any = watchers[alias]
            assert there._settings.make_consumer()._options == amqp

    def test_documented(self) -> None:
        """Each argument of a watcher has its key in the table."""
        table = (
            (Path(__file__).resolve().parents[2] / "docs" / "django.md").read_text("utf-8").partition("## Checks")[0]
        )
        for name in inspect.signature(ResultWatcher).parameters:
            assert f"`{name.upper()}`" in table, name

    def test_the_name_is_the_alias(self, project: Any) -> None:
        project(BGRESULTS={"reports": {"URL": URL}})
        assert watchers["reports"].health().name == "reports"

    @pytest.mark.parametrize(
        ("setting", "words"),
        [
            (None, ["the setting BGRESULTS is missing", "proj.celery:app"]),
            ([], ["must be a dict of aliases, not list"]),
            ({"CELERY_APP": "proj.celery:app"}, ["maps aliases to dicts", "'CELERY_APP'"]),
            ({"URL": URL}, ["maps aliases to dicts", "'URL'"]),
            ({"default": URL}, ["BGRESULTS['default'] must be a dict, not str"]),
            ({5: {}}, ["BGRESULTS[5]"]),
            ({"default": {}}, ["BGRESULTS['default'] has no CELERY_APP and no URL"]),
            ({"default": {"URI": URL}}, ["unknown keys: URI; allowed are CELERY_APP, URL", "CONNECT_TIMEOUT"]),
            ({"default": {"url": URL}}, ["unknown keys: url"]),
            ({"default": {"URL": URL, "SERIALIZER": "jason"}}, ["BGRESULTS['default']", "jason"]),
            ({"default": {"URL": URL, "MAX_PENDING": 0}}, ["max_pending must be an int above 0"]),
            ({"default": {"URL": 5}}, ["BGRESULTS['default']: url must be a str"]),
            ({"default": {"URL": URL, "RETRY": {"INITIAL": -1}}}, ["['RETRY']: RetryPolicy.initial"]),
            ({"default": {"URL": URL, "RETRY": {"FIRST": 1}}}, ["FIRST; allowed are INITIAL, MAXIMUM, GIVE_UP_AFTER"]),
            ({"default": {"URL": URL, "REDIS": 5}}, ["redis must be a RedisOptions, not int"]),
        ],
        ids=lambda value: None if isinstance(value, list) else str(value)[:40],
    )
    def test_wrong(self, project: Any, setting: Any, words: list[str]) -> None:
        project(BGRESULTS=setting)
        text = refused()
        assert all(word in text for word in words), text

    def test_no_password_in_an_error(self, project: Any) -> None:
        project(BGRESULTS={"default": {"URL": "redis://:sesame@localhost/0", "SERIALIZER": "jason"}})
        assert "sesame" not in refused()
        project(BGRESULTS={"default": {"URL": "redis://:sesame@localhost/x"}})
        assert "sesame" not in refused()


class TestCeleryApplications:
    @pytest.mark.parametrize("name", ["tests.django.apps:redis", "tests.django.apps.redis"])
    def test_named_as_for_celery(self, project: Any, name: str) -> None:
        project(BGRESULTS={"default": {"CELERY_APP": name}})
        made = watchers["default"]
        assert isinstance(made, CeleryResultWatcher)
        assert made.app is apps.redis
        assert made is ResultWatcher.from_celery(apps.redis), "one for each application, whoever asks"
        assert watcher.app is apps.redis

    def test_given(self, project: Any) -> None:
        project(BGRESULTS={"default": {"CELERY_APP": apps.redis}})
        assert watcher.app is apps.redis

    def test_overrides(self, project: Any) -> None:
        overrides = {"ON_DISCONNECT": "fail", "URL": "redis://elsewhere.example/0"}
        project(BGRESULTS={"default": {"CELERY_APP": "tests.django.apps:redis", **overrides}})
        made: Any = watchers["default"]
        made._configure()
        assert made.health().address == "redis://elsewhere.example/0"
        assert made._settings.on_disconnect == "fail"

    def test_two_aliases_of_one_application(self, project: Any) -> None:
        same = {"CELERY_APP": "tests.django.apps:redis"}
        project(BGRESULTS={"default": same, "same": same, "different": {**same, "MAX_PENDING": 5}})
        assert watchers["default"] is watchers["same"]
        assert "is open; it cannot have overrides of max_pending" in refused("different")

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("no_such_module:app", "No module named 'no_such_module'"),
            ("tests.django.apps:missing", "module 'tests.django.apps' has no attribute 'missing'"),
            ("tests.django.misspelt:app", "'Celery' object has no attribute 'confg'"),
            ("tests.django.apps:wrong", "['CELERY_APP'] must be a Celery application, or the place of one"),
            ("tests.django.apps:wrong", "'tests.django.apps:wrong' is int"),
            (5, "['CELERY_APP'] must be a Celery application, or the place of one"),
            (None, "None is NoneType"),
        ],
    )
    def test_wrong(self, project: Any, name: Any, words: str) -> None:
        project(BGRESULTS={"default": {"CELERY_APP": name}})
        text = refused()
        assert text.startswith("BGRESULTS['default']")
        assert words in text


def test_without_celery() -> None:
    program = (
        "import sys; sys.modules['celery'] = None\n"
        "from django.conf import settings\n"
        "settings.configure(BGRESULTS={'default': {'CELERY_APP': 'proj.celery:app'}, 'plain': {'URL': 'memory://'}})\n"
        "from bgresults.integrations.django import watchers\n"
        "watchers['plain'].stats()\n"
        "try:\n    watchers['default']\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=True)
    assert "ImproperlyConfigured" in ended.stdout
    assert "pip install 'bgresults[celery]'" in ended.stdout


def test_without_django() -> None:
    program = (
        "import sys; sys.modules['django'] = None\n"
        "try:\n    import bgresults.integrations.django\n"
        "except ImportError as error:\n    print(error)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=True)
    assert "pip install 'bgresults[django]'" in ended.stdout


def test_hooks_of_gunicorn(project: Any, redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """They make the watchers of all aliases and start them; one that makes no sense hurts nobody."""
    project(
        BGRESULTS={"bad": {"CELERY_APP": "no_such_module:app"}, "default": {"URL": redis_server.url()}, "worse": {}},
    )
    post_worker_init(SimpleNamespace(log=logging.getLogger("gunicorn.error")))
    assert watchers["default"].stats().thread_alive
    warnings = [record.getMessage() for record in caplog.records if record.name == "gunicorn.error"]
    assert len(warnings) == 2
    assert "BGRESULTS['bad']['CELERY_APP']: 'no_such_module:app' cannot be imported" in warnings[0]
    assert "BGRESULTS['worse'] has no CELERY_APP" in warnings[1]


def test_in_a_forked_child(project: Any, redis_server: RedisServer, key_prefix: str) -> None:
    """A watcher at work before the fork works in the child as well, and one that is first used there."""
    settings = {"URL": redis_server.url(), "KEY_PREFIX": key_prefix}
    project(BGRESULTS={"default": settings, "later": settings})
    writer = ResultWriter(redis_server, key_prefix)
    before = watchers["default"].watch(new_id())
    wait_until(lambda: writer.channels() == {before.task_id}, "the subscription")
    stored = new_id()
    writer.store(stored, "stored")

    def child() -> None:
        for alias in ("default", "later"):
            assert watchers[alias].watch(stored).result(WAIT) == "stored"

    assert run_in_child(child) == 0
    writer.write(before.task_id, "well")
    assert before.result(WAIT) == "well"
    writer.close()

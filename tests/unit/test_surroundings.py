"""What keeps threads from working is said once, with the cure; everything else costs nothing and says nothing."""

from __future__ import annotations

import subprocess
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import pytest

from bgresults import ResultWatcher, greenlets, surroundings, uwsgi_threads
from tests.support.closed import CLOSED_PORT

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def nothing_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process."""
    monkeypatch.setattr(surroundings, "_said", set())


def uwsgi(**attributes: Any) -> types.ModuleType:
    """As uWSGI makes it."""
    module = types.ModuleType("uwsgi")
    vars(module).update(attributes)
    return module


def patching(*patched: str) -> types.ModuleType:
    """``gevent.monkey`` after it has patched these modules."""
    module = types.ModuleType("gevent.monkey")
    vars(module)["is_module_patched"] = set(patched).__contains__
    return module


def test_nothing_is_said_of_an_ordinary_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("uwsgi", "gevent.monkey", "eventlet.patcher"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert greenlets.complaint() is None
    assert uwsgi_threads.complaint() is None
    surroundings.look_around()


@pytest.mark.parametrize("attributes", [{"has_threads": 1}, {"has_threads": 4}, {}])
def test_a_uwsgi_with_threads(monkeypatch: pytest.MonkeyPatch, attributes: dict[str, Any]) -> None:
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi(**attributes))
    assert uwsgi_threads.complaint() is None


def test_a_uwsgi_without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said by the first watch, and by no later one."""
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi(has_threads=0))
    url = f"redis://127.0.0.1:{CLOSED_PORT}/0"
    with ResultWatcher(url) as watcher, ResultWatcher(url) as other:
        with pytest.warns(RuntimeWarning, match=r"without threads.*--enable-threads") as said:
            watcher.watch("an-id")
        assert len(said) == 1
        watcher.watch("an-id")
        other.watch("an-id")


def test_an_application_that_turns_warnings_into_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first watch raises, and leaves nothing behind; the next one works."""
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi(has_threads=0))
    with ResultWatcher(f"redis://127.0.0.1:{CLOSED_PORT}/0") as watcher:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(RuntimeWarning):
                watcher.watch("an-id")
            assert watcher.pending == 0
            future = watcher.watch("an-id")
        assert watcher.pending == 1
        future.cancel()


@pytest.mark.parametrize("patched", [(), ("socket", "select", "ssl")])
def test_gevent_without_greenlets_for_threads(monkeypatch: pytest.MonkeyPatch, patched: tuple[str, ...]) -> None:
    """Imported, or patching all but threads: threads are threads."""
    monkeypatch.setitem(sys.modules, "gevent.monkey", patching(*patched))
    assert greenlets.complaint() is None


def test_patched_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gevent.monkey", patching("threading", "socket", "select"))
    complaint = greenlets.complaint()
    assert complaint is not None
    assert "bgresults was imported before gevent.monkey.patch_all() was called" in complaint


@pytest.mark.parametrize(
    ("patched", "missing"), [(("threading",), "sockets and select"), (("threading", "socket"), "select")]
)
def test_patched_in_part(monkeypatch: pytest.MonkeyPatch, patched: tuple[str, ...], missing: str) -> None:
    """The drain thread would be a greenlet that blocks all the others."""
    monkeypatch.setitem(sys.modules, "gevent.monkey", patching(*patched))
    complaint = greenlets.complaint()
    assert complaint is not None
    assert f"but {missing} were not patched" in complaint
    assert "without leaving anything out" in complaint


def test_neither_is_imported() -> None:
    program = "import bgresults, sys; print({'gevent', 'eventlet', 'greenlet', 'uwsgi'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"

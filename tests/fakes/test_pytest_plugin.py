"""The pytest plugin, in projects of its users: each in a pytest process of its own, where warnings are errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.page import block

pytest_plugins = ["pytester"]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "testing.md"


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """An empty one, whose tests are run with warnings as errors."""
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    # Of other plugins that happen to be installed here, none has a say.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return pytester


def run(project: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return project.runpytest_subprocess("-p", "pytest_bgresults", "--strict-markers", *arguments, timeout=50)


def test_the_page_is_true(project: pytest.Pytester) -> None:
    """Each block of docs/testing.md is a test of this project."""
    text = PAGE.read_text(encoding="utf-8")
    blocks = [part.split("```")[0] for part in text.split("```python\n")[1:]]
    shop, *tests = blocks
    assert shop == block("A first test", "python", page=PAGE)
    django = {number for number, test in enumerate(tests) if "client" in test}
    assert len(django) == 2
    project.makepyfile(shop=shop, **{f"test_{number}": test for number, test in enumerate(tests)})
    project.makepyfile(
        pages="""
        from django.http import HttpResponse
        from django.urls import path
        from shop import offer

        urlpatterns = [path("offer/<article>", lambda request, article: HttpResponse(offer(article, 1)))]
        """
    )
    project.makeconftest(
        """
        import django
        import pytest
        from django.conf import settings

        settings.configure(ROOT_URLCONF="pages", ALLOWED_HOSTS=["testserver"])
        django.setup()

        @pytest.fixture
        def client():
            return django.test.Client()
        """
    )
    result = run(project)
    result.assert_outcomes(passed=12)


def test_loose_ends_and_reports(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest

        def test_fails(fake_results, bgresults_watcher):
            future = bgresults_watcher.watch("right-id")
            fake_results.resolve("wrong-id", 1)
            future.result(timeout=0)

        def test_passes(fake_results, bgresults_watcher):
            bgresults_watcher.kept = bgresults_watcher.watch("an-id")

        @pytest.mark.bgresults(strict=True)
        def test_is_strict(fake_results, bgresults_watcher):
            bgresults_watcher.kept = bgresults_watcher.watch("an-id")
            fake_results.resolve("another-id")

        @pytest.mark.bgresults(strict=True)
        def test_is_strict_and_fails(fake_results):
            fake_results.resolve("another-id")
            raise KeyError

        @pytest.mark.bgresults(strict=True, max_pending=2, name="ours")
        class TestSettings:
            @pytest.mark.bgresults(max_pending=3)
            def test_the_nearest_marker_counts(self, fake_results, bgresults_watcher):
                futures = bgresults_watcher.watch_many(list("abc"))
                for task_id in "abc":
                    fake_results.resolve(task_id)
                assert bgresults_watcher.health().name == "ours"
        """
    )
    result = run(project, "-k", "not strict or is_strict")
    result.assert_outcomes(passed=3, failed=2, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at teardown of test_is_strict*",
            "the test has left loose ends:",
            "still waited for: task 'an-id'",
            "SUCCESS, and never watched: task 'another-id'",
            "*test_fails*",
            "*bgresults: tasks*",
            "SUCCESS: task 'wrong-id'",
            "still waited for: task 'right-id'",
            "SUCCESS, and never watched: task 'wrong-id'",
        ]
    )
    project.makeini("[pytest]\nbgresults_strict = true")
    run(project, "-k", "test_passes").assert_outcomes(passed=1, errors=1)


def test_switches_and_wrong_use(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import sys

        import pytest

        from bgresults import ResultWatcher
        from bgresults.testing import FakeResults, is_backoff_active

        def test_the_switch_of_the_run():
            assert not is_backoff_active()

        @pytest.mark.bgresults("fail")
        def test_unnamed(bgresults_watcher):
            pass

        @pytest.mark.bgresults(on_disconnected="fail")
        def test_misspelt(bgresults_watcher):
            pass

        @pytest.mark.bgresults(strict="yes")
        def test_no_bool(fake_results):
            pass

        @pytest.fixture
        def without_fakeredis(monkeypatch):
            monkeypatch.setitem(sys.modules, "fakeredis", None)

        def test_no_fakeredis(without_fakeredis, bgresults_fakeredis):
            pass

        def test_both(bgresults_watcher, bgresults_fakeredis):
            pass

        def test_no_server(bgresults_proxy):
            with pytest.raises(ValueError, match="redis://host"):
                bgresults_proxy("http://localhost")

        def test_a_second_one(fake_results):
            with pytest.raises(RuntimeError, match="one FakeResults at a time"):
                FakeResults().__enter__()
        """
    )
    project.makeini("[pytest]\nbgresults_no_backoff = true")
    result = run(project)
    result.assert_outcomes(passed=3, errors=5)
    result.stdout.fnmatch_lines(
        [
            "*takes settings by name, such as on_disconnect='fail'*",
            "*on_disconnected*",
            "*must be a bool, not str*",
            "*bgresults_fakeredis needs fakeredis: pip install 'bgresults?testing?'*",
            "*use bgresults_fakeredis without it*",
        ]
    )


def test_projects_that_do_not_use_it_do_not_notice(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import sys

        def test_nothing_was_imported():
            assert "pytest_bgresults" in sys.modules
            found = {name.partition(".")[0] for name in sys.modules}
            assert not {"bgresults", "celery", "kombu", "redis"} & found
        """
    )
    run(project).assert_outcomes(passed=1)
    program = (
        "import pytest, sys; before = set(sys.modules); import pytest_bgresults; print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=50)
    assert done.stdout.split() == ["pytest_bgresults"]


def test_it_is_an_entry_point() -> None:
    """What has pytest load it in every project."""
    from importlib.metadata import entry_points

    (found,) = entry_points(group="pytest11", name="bgresults")
    assert found.value == "pytest_bgresults"
    assert callable(found.load().fake_results)

"""Sub-interpreters: where no daemon thread is allowed, somebody says so, and nothing crashes."""

from __future__ import annotations

import sys

import pytest

from tests.limits.running import run


def test_isolated(url_of_one: str) -> None:
    """At the earliest point at which that can be known."""
    said = run("subinterpreter", "isolated", url_of_one).strip()
    if sys.version_info >= (3, 12):
        assert said.startswith("the constructor: bgresults needs a daemon thread, and this interpreter allows none (")
        assert said.endswith("use it in the main interpreter, or in a process of its own")
    else:
        assert said == "the drain thread cannot be started: thread is not supported for isolated subinterpreters"


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="its decimal module does not survive the end of an interpreter")
def test_as_mod_wsgi_makes_them(url: str) -> None:
    assert run("subinterpreter", "legacy", url).strip() == "ready: True"

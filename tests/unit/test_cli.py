"""The command line where something is missing or goes wrong: one line that says what, and an exit code."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from typing import NoReturn

import pytest

from bgresults import cli


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Run it with these arguments; returns the exit code, and what it wrote to stderr."""

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["bgresults", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert isinstance(ended.value.code, int)
        return ended.value.code, capsys.readouterr().err

    return call


@pytest.mark.parametrize(
    ("command", "missing", "words", "extra"),
    [
        ("watch", {"click"}, "click is not installed", "cli"),
        # Whoever starts with these is not told of one extra after the other.
        ("demo", {"click"}, "click is not installed", "demo"),
        ("bench", {"click"}, "click is not installed", "demo"),
        ("demo", {"rich", "celery"}, "celery, rich are not installed", "demo"),
    ],
)
def test_a_package_is_missing(
    run: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    missing: set[str],
    words: str,
    extra: str,
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in missing else find(name, *rest))
    assert run(command) == (2, f"bgresults: {words}; pip install 'bgresults[{extra}]'\n")


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [(KeyboardInterrupt(), 130, "everything that was started is ended"), (RuntimeError("no port"), 1, "no port")],
)
def test_the_demo_ends_early(
    run: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, words: str
) -> None:
    def run_demo(**_: object) -> NoReturn:
        raise error

    monkeypatch.setattr("bgresults.demo.runner.run_demo", run_demo)
    ended = run("demo", "--plain")
    assert ended[0] == code
    assert words in ended[1]

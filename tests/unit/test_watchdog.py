"""A test run that hangs is ended, with its stacks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

CONFTEST = """
from tests.support import watchdog

watchdog.GRACE = {grace}


def pytest_configure(config):
    config.pluginmanager.register(watchdog)
"""

TESTS = """
import ctypes
import time

import pytest


@pytest.mark.timeout(0.5)
def test_in_python():
    while True:
        time.sleep(0.01)


@pytest.mark.timeout(0.5)
def test_with_the_lock():
    ctypes.PyDLL(None).sleep(60)
"""


def run(folder: Path, name: str, grace: float) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(CONFTEST.format(grace=grace))
    (folder / "test_hangs.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\ntimeout_method = thread\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder)]
    return subprocess.run(
        [*command, f"{folder / 'test_hangs.py'}::{name}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.mark.parametrize(
    ("name", "grace", "words"),
    [("test_in_python", 30, "Stack of "), ("test_with_the_lock", 0.5, "Timeout (0:00:01)!")],
)
def test_it_is_ended(tmp_path: Path, name: str, grace: float, words: str) -> None:
    ended = run(tmp_path, name, grace)
    assert ended.returncode == 1
    assert words in ended.stdout + ended.stderr
    assert f"in {name}" in ended.stdout + ended.stderr

"""A signal comes while a caller executes each of its lines; the handler raises, calls the library, or forks."""

from __future__ import annotations

import pytest

from tests.interleavings.actions import Action
from tests.interleavings.bench import Bench
from tests.interleavings.handlers import HANDLERS
from tests.interleavings.interrupting import INTERRUPTED
from tests.interleavings.operations import CALLERS, Operation

# An exception out of a signal handler that was called in the middle of a destructor has nowhere to go.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.mark.parametrize("operation", CALLERS, ids=str)
def test_some_lines(bench: Bench, operation: Operation, seed: int) -> None:
    INTERRUPTED.some_lines(bench, operation, HANDLERS, seed)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("action", HANDLERS, ids=str)
@pytest.mark.parametrize("operation", CALLERS, ids=str)
def test_every_line(bench: Bench, operation: Operation, action: Action) -> None:
    INTERRUPTED.every_line(bench, operation, action)

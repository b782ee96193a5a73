"""The drain thread stops at each line that it executes, while another thread does the worst."""

from __future__ import annotations

import pytest

from tests.interleavings.actions import DRAIN_ACTIONS, Action
from tests.interleavings.bench import Bench
from tests.interleavings.drain_operations import DRAIN_OPERATIONS
from tests.interleavings.operations import Operation
from tests.interleavings.stopping import STOPPED_DRAIN_THREAD


@pytest.mark.parametrize("operation", DRAIN_OPERATIONS, ids=str)
def test_some_lines(bench: Bench, operation: Operation, seed: int) -> None:
    STOPPED_DRAIN_THREAD.some_lines(bench, operation, DRAIN_ACTIONS, seed)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("action", DRAIN_ACTIONS, ids=str)
@pytest.mark.parametrize("operation", DRAIN_OPERATIONS, ids=str)
def test_every_line(bench: Bench, operation: Operation, action: Action) -> None:
    STOPPED_DRAIN_THREAD.every_line(bench, operation, action)

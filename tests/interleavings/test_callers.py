"""A caller stops at each line that it executes, while another thread does the worst."""

from __future__ import annotations

import pytest

from tests.interleavings.actions import ACTIONS, Action
from tests.interleavings.bench import Bench
from tests.interleavings.operations import CALLERS, Operation
from tests.interleavings.stopping import STOPPED_CALLERS


@pytest.mark.parametrize("operation", CALLERS, ids=str)
def test_some_lines(bench: Bench, operation: Operation, seed: int) -> None:
    STOPPED_CALLERS.some_lines(bench, operation, ACTIONS, seed)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("action", ACTIONS, ids=str)
@pytest.mark.parametrize("operation", CALLERS, ids=str)
def test_every_line(bench: Bench, operation: Operation, action: Action) -> None:
    STOPPED_CALLERS.every_line(bench, operation, action)

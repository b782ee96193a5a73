"""The registry against a model of it."""

from __future__ import annotations

import pytest

from tests.model.pending_machine import PendingMachine
from tests.model.profiles import run_long, run_short


@pytest.mark.timeout(300)
def test_any_order() -> None:
    run_short(PendingMachine, 60)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_any_order_at_length() -> None:
    run_long(PendingMachine, 5000)

""":class:`~bgresults.options.RetryPolicy` in the words of tenacity, which does the counting and the waiting."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tenacity

from bgresults.options import RetryPolicy

__all__ = ["limit_waits", "retrying", "shortened"]

# Seconds; of this process, and inherited by a fork.
_longest_wait = math.inf


def retrying(
    policy: RetryPolicy,
    *,
    worth_retrying: Callable[[BaseException], bool],
    sleep: Callable[[float], None],
    before_sleep: Callable[[BaseException], None],
    give_up_after: float | None = None,
) -> tenacity.Retrying:
    """Return a caller that repeats a function until it returns, as ``policy`` says.

    Args:
        worth_retrying: says of an exception whether another attempt can help; others are raised at once.
        sleep: waits the given seconds; what it raises ends the attempts.
        before_sleep: is told of each exception that another attempt will follow.
        give_up_after: seconds that bound all attempts together, instead of the policy's.

    Giving up raises the last exception itself.
    """
    seconds = policy.give_up_after if give_up_after is None else give_up_after

    def tell(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        if error is not None:
            before_sleep(error)

    stop: Any = tenacity.stop_never if seconds is None else tenacity.stop_after_delay(seconds)
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(worth_retrying),
        wait=tenacity.wait_random_exponential(multiplier=policy.initial, max=policy.maximum),
        stop=stop,
        sleep=sleep,
        before_sleep=tell,
        reraise=True,
    )


def limit_waits(seconds: float) -> None:
    """Let no wait between two attempts take longer, whatever a policy says: for tests. Of this whole process.

    Whoever waits already has to be woken.
    """
    global _longest_wait
    _longest_wait = seconds


def shortened(seconds: float) -> float:
    """What is left of a wait of ``seconds``, by what is allowed now."""
    return min(seconds, _longest_wait)

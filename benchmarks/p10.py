"""P10: a backlog of replies. What is timed is written in bgresults.benchmarking.backlog."""

from __future__ import annotations

from bgresults.benchmarking import BrokerLab, BrokerQuestion, Ratio
from bgresults.benchmarking.backlog import KOMBU, measure_backlog
from bgresults.benchmarking.lab import BODY_SIZES


def measure(lab: BrokerLab) -> None:
    """Against kombu's callbacks, which get the decoded bodies and do nothing with them."""
    measure_backlog(lab, count=lab.size(10_000))


QUESTION = BrokerQuestion(
    title="AMQP, consume a backlog: decoded, matched, resolved, acknowledged",
    unit="results/s",
    checks=[Ratio(label, (KOMBU,), floor=0.8, goal=1.2, label="kombu", more_is_better=True) for label in BODY_SIZES],
    measure=measure,
    decimals=0,
)

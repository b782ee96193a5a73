"""The harness of the repository's ``benchmarks/``: Celery's own wait and ours, side by side, in one run.

A question is one small file that makes a :class:`Question`: what is measured, in which unit, and what has to hold. A
:class:`BrokerQuestion` is one about replies through a message broker. :class:`Lab`, or :class:`BrokerLab`, gives it a
server, a publisher in another process, rounds in which the contenders take turns, and a place to record what it
measured. :mod:`bgresults.benchmarking.runner` runs the questions of a package.
"""

from bgresults.benchmarking.broker_lab import BrokerLab
from bgresults.benchmarking.charts import Chart
from bgresults.benchmarking.checks import AtMost, AtMostTimes, Check, Exactly, Growth, NeverAbove, Ratio
from bgresults.benchmarking.lab import Lab
from bgresults.benchmarking.question import BrokerQuestion, Question
from bgresults.benchmarking.runner import main

__all__ = [
    "AtMost",
    "AtMostTimes",
    "BrokerLab",
    "BrokerQuestion",
    "Chart",
    "Check",
    "Exactly",
    "Growth",
    "Lab",
    "NeverAbove",
    "Question",
    "Ratio",
    "main",
]

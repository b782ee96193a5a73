"""What a watcher is asked when something is wrong, or to find out whether anything is: for commands and health pages.

.. code-block:: python

    diagnosis = examine(watcher)
    for finding in diagnosis.findings:
        print(finding.level, finding.text, finding.cure)

    for state in (following := Following(watcher, [task_id], timeout=60)):
        print(state.status, state.result)
    sys.exit(following.exit_code)

    serve_status("/run/app")  # and, in another process of the same user:
    for answer in ask_all("/run/app"):
        print(answer.process, answer.status or answer.trouble)
"""

from bgresults.diagnosis.checkup import checked_health
from bgresults.diagnosis.doctor import examine
from bgresults.diagnosis.findings import Diagnosis, Finding
from bgresults.diagnosis.following import EXIT_CODES, Following, why_unheard
from bgresults.diagnosis.outages import outages_told
from bgresults.diagnosis.overview import overview_of
from bgresults.diagnosis.settings import examine_settings
from bgresults.status.asking import Answer, ask, ask_all
from bgresults.status.report import process_status
from bgresults.status.serving import serve_status

__all__ = [
    "EXIT_CODES",
    "Answer",
    "Diagnosis",
    "Finding",
    "Following",
    "ask",
    "ask_all",
    "checked_health",
    "examine",
    "examine_settings",
    "outages_told",
    "overview_of",
    "process_status",
    "serve_status",
    "why_unheard",
]

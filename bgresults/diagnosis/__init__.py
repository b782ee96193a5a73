"""What a watcher is asked when something is wrong, or to find out whether anything is: for commands and health pages.

.. code-block:: python

    diagnosis = examine(watcher)
    for finding in diagnosis.findings:
        print(finding.level, finding.text, finding.cure)

    for state in (following := Following(watcher, [task_id], timeout=60)):
        print(state.status, state.result)
    sys.exit(following.exit_code)
"""

from bgresults.diagnosis.checkup import checked_health
from bgresults.diagnosis.doctor import examine
from bgresults.diagnosis.findings import Diagnosis, Finding
from bgresults.diagnosis.following import Following, why_unheard
from bgresults.diagnosis.outages import outages_told
from bgresults.diagnosis.settings import examine_settings

__all__ = [
    "Diagnosis",
    "Finding",
    "Following",
    "checked_health",
    "examine",
    "examine_settings",
    "outages_told",
    "why_unheard",
]

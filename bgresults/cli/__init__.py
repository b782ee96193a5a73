"""The command line: ``bgresults`` and ``python -m bgresults``. One command in each file; see ``docs/cli.md``."""

from __future__ import annotations

import sys

from bgresults.cli.packages import require
from bgresults.status.wanted import set_folder

__all__ = ["main"]

# These need more than the others; who tries one of them first should not have to install twice.
_OF_THE_EXTRA_DEMO = {"demo", "bench"}


def main() -> None:
    """Run the command that the arguments name, and exit."""
    try:
        require("cli" if _OF_THE_EXTRA_DEMO.isdisjoint(sys.argv[1:2]) else "demo", "click")
        from bgresults.cli.group import bgresults

        # Whoever asks for the status of processes is not one of those.
        set_folder(None)
        bgresults(prog_name="bgresults")
    except KeyboardInterrupt:
        # While something was being imported.
        sys.exit(130)

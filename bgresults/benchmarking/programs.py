"""Python programs that a question starts: files beside it, whose names begin with an underscore.

They import the library late, after they have changed something that cannot be changed afterwards. So nothing that
imports it may start them, neither :mod:`multiprocessing` nor ``python -m``: they are run as scripts, and find the very
library that is being measured, installed or not.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import bgresults

__all__ = ["start"]

_ROOT = Path(bgresults.__file__).resolve().parents[1]


def start(question: str, program: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a program; its standard input and output are pipes, for lines of text.

    Args:
        question: the ``__file__`` of the question.
        program: the name of a file beside it, without ``.py``.
        arguments: of the program.
    """
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, str(Path(question).with_name(f"{program}.py")), *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

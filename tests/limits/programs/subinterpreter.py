"""A watcher in a sub-interpreter: ``python -m tests.limits.programs.subinterpreter KIND URL``.

KIND is ``isolated``, as new interpreters are by default, or ``legacy``, as mod_wsgi makes them. Prints what came of it.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings

_CODE = """
import sys
sys.path[:] = {path!r}
from bgresults import ResultWatcher
try:
    watcher = ResultWatcher({url!r})
    future = watcher.watch("id")
    print(future.exception(0) if future.done() else f"ready: {{watcher.wait_ready(20)}}", flush=True)
    watcher.close()
except RuntimeError as error:
    print("the constructor:", error, flush=True)
"""


def main(kind: str, url: str) -> None:
    code = _CODE.format(path=sys.path, url=url)
    with warnings.catch_warnings():
        # It is not public before 3.14.
        warnings.simplefilter("ignore")
        interpreters = importlib.import_module("_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters")
    if sys.version_info >= (3, 13):
        interpreter = interpreters.create(kind)
        failure = interpreters.exec(interpreter, code)
        assert failure is None, failure
    else:
        interpreter = interpreters.create(isolated=kind == "isolated")
        interpreters.run_string(interpreter, code)
    if sys.version_info[:2] == (3, 12):
        # It crashes at the end of an interpreter that has imported ssl, whoever has.
        os._exit(0)
    interpreters.destroy(interpreter)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])

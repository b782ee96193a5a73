"""Real Celery workers to test against."""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bgresults.testing.processes import OwnedFolder, OwnedProcess

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["CeleryWorker"]

# The worker's own "ready" line is logged at INFO, where every task logs two lines as well. So the worker includes this
# module, from its temporary folder, and is otherwise a stock one.
_READY_MODULE = "bgresults_worker_ready"
_READY_SOURCE = """\
import os
import pathlib

from celery.signals import worker_ready


@worker_ready.connect(weak=False)
def say_so(**_):
    pathlib.Path(os.environ["BGRESULTS_WORKER_READY"]).touch()
"""


class CeleryWorker:
    """The owner of one stock Celery worker, in a process group of its own.

    Args:
        app: as for ``celery -A``.
        concurrency: processes, threads or greenlets in the pool.
        pool: Celery's name of it: ``"prefork"``, ``"threads"``, ``"gevent"``, ``"solo"`` …
        python_path: folders that the worker can import from, besides its own; the app's among them.
        env: environment variables, added to those of this process.
        cwd: the directory to run in; None means a temporary one.
        args: more arguments of ``celery worker``, such as ``["-Q", "mine"]``.
        log_level: of the worker.
        start_timeout: seconds until a worker that is not ready is given up.
        python: the interpreter to run it with, of an environment with another Celery; None means that of this process.
    """

    def __init__(
        self,
        app: str,
        *,
        concurrency: int = 2,
        pool: str = "prefork",
        python_path: Sequence[Path | str] = (),
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        args: Sequence[str] = (),
        log_level: str = "WARNING",
        start_timeout: float = 30.0,
        python: Path | str | None = None,
    ) -> None:
        self.name = f"bgresults-{uuid.uuid4().hex[:12]}@localhost"
        self._owned_folder = OwnedFolder("bgresults-worker-")
        self._folder = self._owned_folder.path
        self._ready_file = self._folder / "ready"
        self._cwd = cwd or self._folder
        self._start_timeout = start_timeout
        self._process: OwnedProcess | None = None
        self._environment = self._environment_with(env or {}, python_path)
        self._command = [str(python or sys.executable), "-m", "celery", "-A", app, "worker"]
        self._command += [f"--pool={pool}", "--concurrency", str(concurrency), "-n", self.name, "-l", log_level]
        # Nothing that talks to other workers, so nothing that waits for them.
        self._command += ["--without-gossip", "--without-mingle", "--without-heartbeat", "-I", _READY_MODULE, *args]

    @property
    def log_path(self) -> Path:
        """What the worker writes; gone after :meth:`close`."""
        return self._folder / "worker.log"

    @property
    def pid(self) -> int:
        """The process id of the running worker's main process."""
        if self._process is None or not self._process.running:
            raise RuntimeError("the worker is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the main process is there."""
        return self._process is not None and self._process.running

    def start(self) -> Self:
        """Start the worker and wait until it takes tasks. Does nothing if it runs already.

        Raises:
            RuntimeError: it ended, or was not ready in time; with the end of its log.
        """
        if self.running:
            return self
        self._ready_file.unlink(missing_ok=True)
        (self._folder / f"{_READY_MODULE}.py").write_text(_READY_SOURCE)
        process = OwnedProcess(self._command, log=self.log_path, env=self._environment, cwd=self._cwd)
        deadline = time.monotonic() + self._start_timeout
        try:
            while not self._ready_file.exists():
                if not process.running or time.monotonic() >= deadline:
                    state = "was not ready in time" if process.running else f"ended with code {process.exit_code}"
                    raise RuntimeError(f"the Celery worker {state}; its last words:\n{process.log_tail(40)}")
                time.sleep(0.02)
        except BaseException:
            # Ctrl-C too: a worker that lives on would write into its folder while that is being removed.
            process.end(grace=0.0)
            raise
        self._process = process
        return self

    def stop(self, grace: float = 5.0) -> None:
        """End the worker: it finishes what it executes, within the grace. Idempotent.

        Args:
            grace: seconds after which the whole group is killed.
        """
        if self._process is not None:
            self._process.end(grace)

    def kill(self) -> None:
        """Kill the whole group at once; what it executes is lost."""
        self.stop(grace=0.0)

    def restart(self) -> Self:
        """Stop the worker if it runs, and start it."""
        self.stop()
        return self.start()

    def close(self) -> None:
        """:meth:`stop`, and remove the worker's folder: for good."""
        self.stop()
        self._owned_folder.remove()

    def log_tail(self, lines: int = 20) -> str:
        """The last lines that the worker wrote."""
        return self._process.log_tail(lines) if self._process is not None else "(it never started)"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {'running' if self.running else 'not running'}>"

    def _environment_with(self, env: Mapping[str, str], python_path: Sequence[Path | str]) -> dict[str, str]:
        environment = {**os.environ, **env}
        folders = [str(self._folder), *map(str, python_path), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, folders))
        # The pool makes a temporary folder, which stays when the worker is killed.
        environment["TMPDIR"] = str(self._folder)
        environment["BGRESULTS_WORKER_READY"] = str(self._ready_file)
        return environment

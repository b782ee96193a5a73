"""What has to become of a case, by the decoder alone; and whether that was right and cheap enough."""

from __future__ import annotations

import resource
import time
from typing import Any

from bgresults.errors import ResultDecodeError, WatcherError
from bgresults.meta import READY_STATES, Decoder, TaskMeta
from bgresults.task_exceptions import exception_from
from tests.fuzz import hostile
from tests.fuzz.cases import Case

__all__ = ["MAX_BODY_SIZE", "Defect", "Reader"]

#: Of everything that is fuzzed: so small that it is met.
MAX_BODY_SIZE = 64 * 1024
# Of one case, on a slow machine: hundred times what any takes.
_MOST_SECONDS = 5.0
_MOST_KIB = 64 * 1024


class Defect(Exception):
    """Something that must not happen."""


class Reader:
    """Reads cases of one serializer."""

    def __init__(self, serializer: str) -> None:
        self.serializer = serializer
        self._decoder = Decoder(serializer, max_body_size=MAX_BODY_SIZE)
        self._peak = _peak()

    def mapping(self, case: Case) -> dict[str, Any] | None:
        """What a case says; None if it cannot be read. Raises Defect."""
        properties = dict(case.properties)
        sent = bool(properties)
        properties.pop("correlation_id", None)
        headers = properties.pop("headers", None) or {}
        try:
            if sent:
                return self._decoder.decode(case.body, compression=headers.get("compression"), **properties)
            return self._decoder.decode_for(case.task_id, case.body)
        except ResultDecodeError as error:
            if len(str(error)) > 400 or error.__context__ is not None or not str(error).isprintable():
                raise Defect(f"an error that keeps or shows too much: {str(error)[:600]!r}") from error
            return None
        except BaseException as error:
            raise Defect(f"the decoder raised {type(error).__name__}") from error

    def verdict(self, case: Case) -> str:
        """``refused``, ``resolved``, ``failed`` or ``open``. Raises Defect."""
        raw = self.mapping(case)
        return "refused" if raw is None else self.verdict_on(raw)

    def verdict_on(self, raw: Any) -> str:
        """The same, of a mapping."""
        for key in ("status", "task_id"):
            if type(raw) is not dict or type(raw.get(key)) is not str or not raw[key]:
                raise Defect(f"{key} of the mapping is {raw.get(key)!r:.100}")
        try:
            meta = TaskMeta.from_raw(raw)
            error: Any = exception_from(raw) if meta.ready and meta.status != "SUCCESS" else None
        except BaseException as raised:
            raise Defect(f"{type(raised).__name__} from what was decoded") from raised
        if error is None:
            return "resolved" if raw["status"] in READY_STATES else "open"
        if not issubclass(type(error), Exception) or isinstance(error, WatcherError) or not error:
            raise Defect(f"a task failed with {type(error)}")
        return "failed"

    def checked_verdict(self, case: Case) -> str:
        """:meth:`verdict`, within bounds of time and memory, and without a call of what is no exception."""
        started = time.process_time()
        verdict = self.verdict(case)
        seconds = time.process_time() - started
        if seconds > _MOST_SECONDS:
            raise Defect(f"it took {seconds:.1f} s of CPU time")
        # A pickle may call what it likes.
        if self.serializer != "pickle":
            self._check_peak()
            if hostile.detonations:
                raise Defect(f"it called {hostile.detonations.pop()}")
        return verdict

    def _check_peak(self) -> None:
        peak = _peak()
        grown, self._peak = peak - self._peak, peak
        if grown > _MOST_KIB:
            raise Defect(f"it took {grown // 1024} MiB of memory")


def _peak() -> int:
    """In KiB on Linux."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

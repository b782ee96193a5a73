"""What ``then()`` of one of Celery's results hands a callback to, when more than one thread may be there at once.

vine's promises are made for one thread. Celery keeps one wherever a final state is seen first: in a thread that waits,
in one that polls ``ready()``, and here on the drain thread as well.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Final

from vine import Thenable, barrier, promise

__all__ = ["follow_from_then"]

_Promise: Any = promise
_CLAIM: Final = "_bgresults_claim"
_FOLLOW: Final = "_bgresults_follow"


def follow_from_then(result: Any, follow: Callable[[Any], object] | None) -> None:
    """Have each callback of a result called once, and have the result followed as soon as there is one.

    Args:
        result: of a single task; the hook is for what comes next, the ``then()`` of its promise.
        follow: called with the result; None to follow nothing. Not for a barrier: that is a group, or a chord that is
            being sent, which counts its members, whether or not anybody ever asks.
    """
    kept: Any = result.on_ready
    if type(kept) is promise:
        kept.__class__ = _OncePromise
    if follow is not None:
        # Not the result itself, which would be a circle.
        kept.__dict__[_FOLLOW] = (follow, weakref.ref(result))


class _OncePromise(_Promise):  # type: ignore[misc]  # vine has no types
    """A promise that is kept once, and forgets no callback that comes in this very moment."""

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        claim = object()
        if self.__dict__.setdefault(_CLAIM, claim) is claim:
            return super().__call__(*args, **kwargs)
        return None

    def then(self, callback: Any, on_error: Any = None) -> Any:
        thenable = callback if isinstance(callback, Thenable) else promise(callback, on_error=on_error)
        once = _Once(thenable)
        super().then(once)
        if self.ready:
            # It may have been kept between the look and the adding.
            args, kwargs = self.value
            once(*args, **kwargs)
        elif not isinstance(callback, barrier) and (found := self.__dict__.get(_FOLLOW)) is not None:
            follow, reference = found
            if (result := reference()) is not None:
                follow(result)
        return thenable


class _Once:
    """A callback that is called by whoever comes first."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        claim = object()
        if self.__dict__.setdefault(_CLAIM, claim) is claim:
            return self._target(*args, **kwargs)
        return None

    def then(self, *args: Any, **kwargs: Any) -> Any:
        return self._target.then(*args, **kwargs)

    def throw(self, *args: Any, **kwargs: Any) -> Any:
        return self._target.throw(*args, **kwargs)

    throw1 = throw

    def cancel(self) -> None:
        self._target.cancel()


Thenable.register(_Once)

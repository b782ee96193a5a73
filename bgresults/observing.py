"""Having the waits of watchers observed: :func:`observe`, and :func:`unobserve`."""

from __future__ import annotations

from bgresults.forking import leaf_lock, registered
from bgresults.session_holder import SessionHolder
from bgresults.waits import Observer, observe_everywhere, observe_no_more

__all__ = ["observe", "unobserve"]


def observe(observer: Observer, watcher: SessionHolder | None = None) -> None:
    """Have ``observer`` told of what ``watcher`` waits for from now on. Any thread.

    Args:
        observer: see :class:`~bgresults.waits.Observer`.
        watcher: None for all watchers of this process, those that are made later as well, and those of its children.
    """
    if watcher is None:
        observe_everywhere(observer)
    for holder in _holders() if watcher is None else [watcher]:
        holder._session_here()
        with leaf_lock():
            # The one that there is now: another one may have taken its place.
            session = holder._session
            if observer not in holder._observers:
                holder._observers = session.observers = (*holder._observers, observer)
        if session.thread is not None and not session.over:
            observer.started(session)


def unobserve(observer: Observer) -> None:
    """Tell it of no more waits that begin, of whichever watcher; and of the end of those that it knows. Any thread."""
    observe_no_more(observer)
    for holder in _holders():
        holder._session_here()
        with leaf_lock():
            others = tuple(other for other in holder._observers if other is not observer)
            holder._observers = holder._session.observers = others


def _holders() -> list[SessionHolder]:
    return [item for item in registered() if isinstance(item, SessionHolder)]

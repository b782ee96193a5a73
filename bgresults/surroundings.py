"""A look at the process in which a drain thread is about to be started: will threads work here?"""

from __future__ import annotations

import warnings

from bgresults import greenlets, uwsgi_threads

__all__ = ["look_around"]

# Of this process, and inherited by a fork: the complaint would be the same.
_said: set[str] = set()


def look_around() -> None:
    """Warn of what keeps threads from working, once for each reason and process.

    A warning and no line in the log, since it is for whoever starts the server, whether logging is configured or not.

    Raises:
        RuntimeWarning: the application turns warnings into errors. The next call says nothing.
    """
    for text in (greenlets.complaint(), uwsgi_threads.complaint()):
        if text is not None and text not in _said:
            _said.add(text)
            warnings.warn(text, RuntimeWarning, stacklevel=2)

"""Exceptions that tasks raise: the worker imports this module, a test does so only if it wants them found."""

from __future__ import annotations

import threading

__all__ = ["CustomError", "NeedsThreeError", "Outer", "UnpicklableError"]


class CustomError(Exception):
    """A class of the application's own."""


class Outer:
    """Only a namespace."""

    class InnerError(Exception):
        """Its qualified name has a dot in it."""


class NeedsThreeError(Exception):
    """Cannot be built from its own ``args``."""

    def __init__(self, first: object, second: object, third: object) -> None:
        super().__init__(f"{first}-{second}-{third}")


class UnpicklableError(Exception):
    """Celery wraps it into UnpickleableExceptionWrapper."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.lock = threading.Lock()

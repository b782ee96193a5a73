"""What becomes of a task that is sent in a test: ``fake_results.when(task).returns(value)``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bgresults.testing.encoding import check_exception

__all__ = ["Outcome", "Rule", "Rules", "task_name_of"]


class Outcome:
    """What is known beforehand of a task that will be sent.

    Attributes:
        states: states before the final one, with their details.
        function: what the worker would run: called with the arguments of the task.
        used: how many tasks have ended like this.
    """

    def __init__(self, states: Sequence[tuple[str, Any]], function: Callable[..., Any]) -> None:
        self.states = tuple(states)
        self.function = function
        self.used = 0


class Rules:
    """By the name of the task; the last one that was given counts. Any thread."""

    def __init__(self) -> None:
        self._outcomes: dict[str, Outcome] = {}
        self._lock = threading.RLock()

    def add(self, name: str, outcome: Outcome) -> None:
        """From now on."""
        self._outcomes[name] = outcome

    def take(self, name: str) -> Outcome | None:
        """What becomes of a task of that name that was sent now; None if nobody has said."""
        with self._lock:
            outcome = self._outcomes.get(name)
            if outcome is not None:
                outcome.used += 1
        return outcome

    def unused(self) -> list[str]:
        """Names of tasks that were never sent."""
        return [name for name, outcome in list(self._outcomes.items()) if not outcome.used]


class Rule:
    """What :meth:`FakeResults.when` returns. Ends with one of :meth:`returns`, :meth:`raises` and :meth:`runs`."""

    def __init__(self, rules: Rules, name: str) -> None:
        self._rules = rules
        self._name = name
        self._states: list[tuple[str, Any]] = []

    def progress(self, meta: Any = None, *, state: str = "PROGRESS") -> Rule:
        """First of all the task has this state; may be called several times.

        Args:
            meta: as for ``update_state(meta=…)``.
            state: as for ``update_state(state=…)``.

        Raises:
            ValueError: the state is a final one, or no name of a state.
        """
        check_state(state)
        self._states.append((state, meta))
        return self

    def returns(self, value: Any) -> None:
        """Each task of that name returns ``value``, as soon as it is sent."""
        self.runs(lambda *_, **__: value)

    def raises(self, error: Exception | type[Exception]) -> None:
        """Each task of that name raises ``error``, as soon as it is sent.

        Raises:
            TypeError: it is no exception that a task can end with.
        """
        check_exception(error)

        def fail(*_: Any, **__: Any) -> None:
            raise error

        self.runs(fail)

    def runs(self, function: Callable[..., Any]) -> None:
        """Each task of that name returns what ``function(*args, **kwargs)`` does, or raises what it raises.

        It is called with the arguments of the task, as a worker would get them, in the thread that sends the task and
        before that goes on. Of a task with ``bind=True`` it gets no ``self``.

        Raises:
            TypeError: ``function`` cannot be called.
        """
        if not callable(function):
            raise TypeError(f"runs() takes a function of the task's arguments, not {type(function).__name__}")
        self._rules.add(self._name, Outcome(self._states, function))


def check_state(state: Any) -> None:
    """Raise unless it is the name of a state that another one follows."""
    if not isinstance(state, str) or not state:
        raise ValueError(f"state must be the name of a state, such as 'PROGRESS', not {state!r}")
    if state in ("SUCCESS", "FAILURE", "REVOKED"):
        raise ValueError(
            f"progress() is for states that another one follows, and {state} ends a task: use resolve(), "
            "fail() or revoke()"
        )


def task_name_of(task: Any) -> str:
    """Return the name of a task that ``task`` is, or has.

    Raises:
        TypeError, ValueError: it is none.
    """
    name = task if isinstance(task, str) else getattr(task, "name", None)
    if isinstance(task, Mapping):
        # A signature of Celery's.
        name = task.get("task")
    if not isinstance(name, str):
        raise TypeError(f"when() takes a task or the name of one, such as 'proj.tasks.add', not {type(task).__name__}")
    if not name:
        raise ValueError("when() takes a task or the name of one, such as 'proj.tasks.add', and not an empty str")
    return name

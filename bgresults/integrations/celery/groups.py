""":class:`GroupFutures`: the results of a group, or of a chord, of tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ALL_COMPLETED, Future, wait
from typing import Any, overload

from bgresults.integrations.celery.futures import CeleryResultFuture
from bgresults.integrations.celery.gathering import GatheredFuture, own_exception

__all__ = ["GroupFutures", "gathered", "leaves_of", "needs_chord"]


class GroupFutures(Sequence[CeleryResultFuture]):
    """The futures of a group's tasks, in the group's order; a sequence of them.

    Attributes:
        id: of the group; None for a set of results that has none.
        futures: one for each task, those of nested groups included, in order.
        values: a future of the list of values, in order, in which a nested group is a list of its own, as
            ``GroupResult.get()`` returns it. It ends when all tasks have, or as soon as one has failed.
        body: of a chord, the future of its body: of what the task that gets the list returns. If a member fails, it
            ends with what that one raised, or with Celery's ``ChordError`` if it hears of that first. None otherwise.

    Dropping all of it stops the watching, like dropping a single future.
    """

    id: str | None
    futures: list[CeleryResultFuture]
    values: Future[list[Any]]
    body: Future[Any] | None

    def __init__(
        self,
        group_id: str | None,
        tree: Any,
        futures: Sequence[CeleryResultFuture],
        body: Future[Any] | None = None,
        behind: Sequence[CeleryResultFuture] = (),
    ) -> None:
        self.id = group_id
        self.futures = list(futures)
        # Those that the body stands for, which may be a group as well.
        self._behind = list(behind)
        self.values = gathered(tree, futures)
        self.body = body

    def result(self, timeout: float | None = None) -> Any:
        """Return what the caller of the group wants to know: the body's value of a chord, else the list of values.

        Raises:
            As :meth:`bgresults.ResultFuture.result`.
        """
        return self._outcome.result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what :meth:`result` would raise, or None; waits and raises as that does otherwise."""
        return self._outcome.exception(timeout)

    def done(self) -> bool:
        """Return whether :meth:`result` would return, or raise, at once."""
        return self._outcome.done()

    def partial(self, timeout: float | None = None, default: Any = None) -> list[Any]:
        """Return what there is after ``timeout`` seconds at the latest, one item for each of :attr:`futures`.

        An item is the task's value, the exception it ended with, or ``default`` if it has not ended.
        """
        pending = [future for future in self.futures if not future.done()]
        if pending and (timeout is None or timeout > 0):
            # As result() would: in a callback nobody could end them.
            pending[0]._refuse_to_block()
        wait(self.futures, timeout=timeout, return_when=ALL_COMPLETED)
        return [_item(future, default) for future in self.futures]

    def cancel(self) -> None:
        """Stop watching all of it. The tasks are not revoked."""
        for future in self._all():
            future.cancel()

    def revoke(self, *, terminate: bool = False, signal: str | None = None) -> None:
        """Tell the workers not to run those that have not ended: :meth:`CeleryResultFuture.revoke`, in one message."""
        pending = [future for future in (*self.futures, *self._behind) if not future.done()]
        if pending:
            options: dict[str, Any] = {} if signal is None else {"signal": signal}
            pending[0]._app.control.revoke([future.task_id for future in pending], terminate=terminate, **options)

    def __len__(self) -> int:
        return len(self.futures)

    @overload
    def __getitem__(self, index: int) -> CeleryResultFuture: ...
    @overload
    def __getitem__(self, index: slice) -> list[CeleryResultFuture]: ...
    def __getitem__(self, index: int | slice) -> CeleryResultFuture | list[CeleryResultFuture]:
        return self.futures[index]

    def __iter__(self) -> Iterator[CeleryResultFuture]:
        return iter(self.futures)

    def __repr__(self) -> str:
        ended = sum(future.done() for future in self.futures)
        return f"<{type(self).__name__} {self.id} {ended} of {len(self.futures)} done>"

    @property
    def _outcome(self) -> Future[Any]:
        return self.values if self.body is None else self.body

    def _all(self) -> list[Future[Any]]:
        # The gathered ones first: they would end with the members.
        return [self.values, *([] if self.body is None else [self.body]), *self.futures, *self._behind]


def leaves_of(result: Any) -> list[Any]:
    """The single results in one of Celery's: itself, or those of a group, nested ones included, in order."""
    if result is None:
        return []
    if not hasattr(result, "results"):
        return [result]
    return [leaf for child in result.results for leaf in leaves_of(child)]


def gathered(tree: Any, futures: Sequence[CeleryResultFuture]) -> GatheredFuture:
    """A future of the values of ``futures``, which are those of the leaves of ``tree``, nested as ``tree`` is."""
    return GatheredFuture(futures, _assembler(tree, list(futures)))


def _assembler(tree: Any, futures: list[CeleryResultFuture]) -> Callable[[], list[Any]]:
    """Made of futures alone: a Celery result is not kept, since it unsubscribes when it goes."""
    shape = _shape(tree, iter(futures))

    def values(part: list[Any]) -> list[Any]:
        return [values(item) if isinstance(item, list) else item.result(0) for item in part]

    return lambda: values(shape)


def _shape(tree: Any, futures: Iterator[CeleryResultFuture]) -> list[Any]:
    return [_shape(child, futures) if hasattr(child, "results") else next(futures) for child in tree.results]


def _item(future: CeleryResultFuture, default: Any) -> Any:
    if not future.done():
        return default
    error = own_exception(future)
    return future.result(0) if error is None else error


def needs_chord(signature: Any) -> bool:
    """Whether Celery makes a chord of it: also of a group in a chain that something comes after."""
    if not isinstance(signature, Mapping):
        return False
    kind = signature.get("subtask_type")
    if kind not in ("chain", "group"):
        return kind == "chord"
    members = list((signature.get("kwargs") or {}).get("tasks") or ())
    if kind == "chain":
        for member in members[:-1]:
            if isinstance(member, Mapping) and member.get("subtask_type") == "group":
                return True
    return any(needs_chord(member) for member in members)

""":class:`Meters`: the metrics of docs/monitoring.md, through the API of OpenTelemetry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from opentelemetry.metrics import CallbackOptions, Histogram, Meter, Observation

from bgresults.tally import COUNTED, OUTCOMES, STATES, Tally, Totals

__all__ = ["Meters"]

#: The value of one watcher, or value by value of a second attribute.
_Read = Callable[[Totals], "float | dict[str, float]"]


class Meters:
    """Makes the instruments. Those that observe read a tally whenever the SDK asks, in a thread of the SDK's.

    Args:
        meter: whose they are.
        tally: what they read.
        histogram: whether there is one.

    Attributes:
        wait_duration: the histogram, which somebody else records in.
    """

    def __init__(self, meter: Meter, tally: Tally, *, histogram: bool) -> None:
        self._tally = tally
        #: Instruments cannot be taken back, so they fall silent.
        self.silent = False
        self.wait_duration: Histogram | None = None
        if histogram:
            self.wait_duration = meter.create_histogram(
                "bgresults.wait.duration", "s", "From watch() to the end of the future"
            )
        meter.create_observable_counter(
            "bgresults.wait.time",
            [self._reader(_wait_times, "outcome")],
            "s",
            "From watch() to the end of the future, all waits added up",
        )
        for name, text in COUNTED.items():
            meter.create_observable_counter(f"bgresults.{name}", [self._reader(_counted(name))], "{event}", text)
        meter.create_observable_counter(
            "bgresults.ended", [self._reader(_outcomes, "outcome")], "{wait}", "Waits that ended"
        )
        for name, read, unit, text in (
            ("pending", lambda totals: totals.pending, "{future}", "Futures that wait now"),
            ("subscribed", lambda totals: totals.subscribed, "{task}", "Task ids that the backend is asked to report"),
            ("threads", lambda totals: totals.threads, "{thread}", "Drain threads that run"),
            ("connected", lambda totals: totals.connected, "{thread}", "Drain threads that have a connection"),
        ):
            meter.create_observable_up_down_counter(f"bgresults.{name}", [self._reader(read)], unit, text)
        meter.create_observable_up_down_counter(
            "bgresults.state", [self._reader(_states, "state")], "{thread}", "Drain threads in each state"
        )
        meter.create_observable_gauge(
            "bgresults.pending.oldest",
            [self._reader(lambda totals: totals.oldest_pending)],
            "s",
            "How long the oldest pending future has waited; 0 if there is none",
        )
        meter.create_observable_gauge(
            "bgresults.last_message.timestamp",
            [self._reader(lambda totals: totals.last_message)],
            "s",
            "When states of tasks came last, as Unix time; 0 if none did",
        )

    def _reader(self, read: _Read, attribute: str = "") -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_options: CallbackOptions) -> Iterator[Observation]:
            if self.silent:
                return
            for watcher, totals in self._tally.totals().items():
                found = read(totals)
                for label, value in found.items() if isinstance(found, dict) else (("", found),):
                    attributes = {"bgresults.watcher": watcher}
                    if attribute:
                        attributes[f"bgresults.{attribute}"] = label
                    yield Observation(value, attributes)

        return observe


def _counted(name: str) -> _Read:
    return lambda totals: totals.counted[name]


def _outcomes(totals: Totals) -> dict[str, float]:
    return {outcome: totals.outcomes[outcome] for outcome in OUTCOMES}


def _wait_times(totals: Totals) -> dict[str, float]:
    return {outcome: waits.seconds for outcome, waits in totals.waits.items()}


def _states(totals: Totals) -> dict[str, float]:
    return {state: totals.states[state] for state in STATES}

"""Memory and latencies over time, as SVG, without a library."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.soak.driver import Outcome

__all__ = ["write_graph"]

_WIDTH, _HEIGHT = 1000, 220
_LEFT, _RIGHT, _TOP = 70, 20, 34
_COLOURS = {"redis": "#1b7f5c", "rpc": "#3a6ea5"}
_EVENT_COLOURS = {"redis": "#cfe8dd", "rabbitmq": "#d5e0ee"}
_MIB = 1024 * 1024

Points = Sequence[tuple[float, float]]


def write_graph(path: Path, outcome: Outcome) -> Path:
    """Draw it; what happened to the servers is a line in the colour of its server. Returns ``path``."""
    memory = [(sample["at"] - outcome.began, sample["memory"] / _MIB) for sample in outcome.samples]
    end = max((at for at, _ in memory), default=1.0)
    panels = [_panel(0, "memory (MiB)", end, outcome, [("#b9794a", "", memory)], _linear)]
    for number, share in enumerate(("p50", "p99"), 1):
        curves = [
            (
                colour,
                backend,
                [
                    (sample["at"] - outcome.began, sample["latencies"][backend][share] * 1000)
                    for sample in outcome.samples
                    if backend in sample["latencies"]
                ],
            )
            for backend, colour in _COLOURS.items()
        ]
        panels.append(_panel(number, f"written to read, {share} (ms)", end, outcome, curves, _logarithmic))
    height = len(panels) * _HEIGHT + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        *(line for panel in panels for line in panel),
        "</svg>",
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(parts) + "\n", encoding="utf-8")
    return path


def _linear(values: Sequence[float]) -> tuple[list[float], Callable[[float], float]]:
    """Where to draw a line across, and how far up a value is, from 0 to 1."""
    high = max([*values, 1.0]) * 1.1
    return [high * part / 4 for part in range(5)], lambda value: value / high


def _logarithmic(values: Sequence[float]) -> tuple[list[float], Callable[[float], float]]:
    """The same, a power of ten each."""
    positive = [value for value in values if value > 0] or [1.0]
    low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    high = max(high, low + 1)
    return [
        10.0**power for power in range(low, high + 1)
    ], lambda value: (math.log10(max(value, 10.0**low)) - low) / (high - low)


def _panel(
    number: int,
    title: str,
    end: float,
    outcome: Outcome,
    curves: Sequence[tuple[str, str, Points]],
    scale: Callable[[Sequence[float]], tuple[list[float], Callable[[float], float]]],
) -> list[str]:
    top, bottom = number * _HEIGHT + _TOP, (number + 1) * _HEIGHT - 14
    lines, up = scale([value for _, _, points in curves for _, value in points])

    def x(at: float) -> float:
        return _LEFT + at / end * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return bottom - up(value) * (bottom - top)

    parts = [_text(12, top - 12, title, "start")]
    for server, times in outcome.event_times.items():
        parts += [
            f'<path d="M{x(at - outcome.began):.1f} {top}V{bottom}" stroke="{_EVENT_COLOURS[server]}"/>' for at in times
        ]
    for value in lines:
        parts.append(f'<path d="M{_LEFT} {y(value):.1f}H{_WIDTH - _RIGHT}" stroke="#dddddd"/>')
        parts.append(_text(_LEFT - 6, y(value) + 4, f"{value:g}", "end"))
    for place, (colour, name, points) in enumerate(curves):
        joined = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in points)
        parts.append(f'<polyline points="{joined}" fill="none" stroke="{colour}"/>')
        parts.append(_text(_LEFT + 250 + 90 * place, top - 12, name, "start", colour))
    parts.append(_text(_WIDTH - _RIGHT, bottom + 12, f"{end:.0f} s", "end"))
    return parts


def _text(x: float, y: float, text: str, anchor: str, colour: str = "black") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{text}</text>'

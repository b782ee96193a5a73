"""A bar for each figure, as SVG, without a library."""

from __future__ import annotations

import math
from pathlib import Path
from xml.sax.saxutils import escape

from bgresults.benchmarking.arithmetic import summarise
from bgresults.benchmarking.checks import OURS
from bgresults.benchmarking.report import Answer

__all__ = ["write_plot"]

_WIDTH = 900
_LEFT = 330
_RIGHT = 110
_ROW = 20
_TOP = 56


def write_plot(path: Path, answer: Answer) -> Path:
    """Draw the medians of an answer with best and worst round, on a logarithmic scale; returns ``path``."""
    rows = [
        (metric, contender, summarise(values))
        for metric, contenders in answer.records.items()
        for contender, values in contenders.items()
    ]
    shown = [figure for _, _, summary in rows for figure in (summary.low, summary.high) if figure > 0]
    low, high = (math.floor(math.log10(min(shown))), math.ceil(math.log10(max(shown)))) if shown else (0, 1)
    high = max(high, low + 1)

    def x(value: float) -> float:
        """Where a value is; what is not above the scale's beginning is at its beginning."""
        share = (math.log10(max(value, 10.0**low)) - low) / (high - low)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    height = _TOP + _ROW * len(rows) + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        _text(12, 20, f"{answer.name.upper()}: {answer.question.title} ({answer.question.unit})", "start", size=14),
    ]
    for power in range(low, high + 1):
        at = x(10.0**power)
        parts.append(f'<path d="M{at:.1f} {_TOP - 8}V{height - 12}" stroke="#dddddd"/>')
        parts.append(_text(at, _TOP - 12, f"{10.0**power:g}", "middle"))
    for number, (metric, contender, summary) in enumerate(rows):
        top = _TOP + number * _ROW
        middle = top + _ROW / 2 - 1
        colour = "#1b7f5c" if contender.startswith(OURS) else "#b9794a"
        end = max(x(summary.median), _LEFT + 1)
        parts.append(_text(_LEFT - 8, middle + 4, f"{metric}, {contender}", "end"))
        parts.append(f'<rect x="{_LEFT}" y="{top + 2}" width="{end - _LEFT:.1f}" height="{_ROW - 6}" fill="{colour}"/>')
        parts.append(f'<path d="M{x(summary.low):.1f} {middle}H{x(summary.high):.1f}" stroke="black"/>')
        label = f"{summary.median:,.{answer.question.decimals}f}"
        parts.append(_text(max(end, x(summary.high)) + 6, middle + 4, label, "start"))
    parts.append("</svg>")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(parts) + "\n", encoding="utf-8")
    return path


def _text(x: float, y: float, text: str, anchor: str, size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'

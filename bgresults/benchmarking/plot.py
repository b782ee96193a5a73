"""The figures of an answer as SVG: a bar for each, and the question's charts. Drawn by matplotlib.

Text stays text, so that a file is small, can be searched, and looks like the page that it is on.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bgresults.benchmarking.arithmetic import summarise
from bgresults.benchmarking.charts import Chart
from bgresults.benchmarking.checks import OURS
from bgresults.benchmarking.report import Answer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["missing", "write_plots"]

_OURS, _OTHERS = "#1b7f5c", ("#b9794a", "#7d5ba6", "#4a78b9", "#b94a6c")
_MARKERS = "os^Dv"
_STYLES = ("-", "--", ":", "-.")


def missing() -> str | None:
    """Why nothing can be drawn, and what to do about it; None: it can."""
    return None if importlib.util.find_spec("matplotlib") else "no matplotlib: pip install matplotlib"


def write_plots(folder: Path, stem: str, answer: Answer) -> list[Path]:
    """Draw an answer; return the files: ``<stem>-<question>.svg``, and one more for each chart.

    Raises:
        ImportError: there is no matplotlib.
    """
    import matplotlib as mpl

    # Text as text; the same file for the same figures.
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "bgresults", "font.family": "sans-serif", "font.size": 9}
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(settings):
        paths = [_bars(folder / f"{stem}-{answer.name}.svg", answer)]
        for chart in answer.question.charts:
            paths.append(_lines(folder / f"{stem}-{answer.name}-{chart.name}.svg", answer, chart))
    return paths


def _bars(path: Path, answer: Answer) -> Path:
    """The medians, with best and worst round, on a logarithmic scale."""
    from matplotlib.figure import Figure

    rows = [
        (f"{metric}, {contender}", contender, summarise(values))
        for metric, contenders in answer.records.items()
        for contender, values in contenders.items()
    ]
    figure = Figure(figsize=(9, 1.0 + 0.22 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(rows))
    medians = [summary.median for _, _, summary in rows]
    spread = [
        [summary.median - summary.low for _, _, summary in rows],
        [summary.high - summary.median for _, _, summary in rows],
    ]
    colours = [_OURS if name.startswith(OURS) else _OTHERS[0] for _, name, _ in rows]
    axes.barh(places, medians, xerr=spread, color=colours, height=0.7, error_kw={"linewidth": 1})
    axes.set_yticks(places, [label for label, _, _ in rows])
    axes.invert_yaxis()
    if min(medians) > 0:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlim(right=3 * max(summary.high for _, _, summary in rows))
    for place, (_, _, summary) in zip(places, rows, strict=True):
        text = f"{summary.median:,.{answer.question.decimals}f}"
        axes.annotate(text, (summary.high, place), (4, 0), textcoords="offset points", va="center")
    return _finish(path, axes, f"{answer.name.upper()}: {answer.question.title}", answer.question.unit)


def _lines(path: Path, answer: Answer, chart: Chart) -> Path:
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    axes = Figure(figsize=(8.4, 4.2), layout="constrained").add_subplot()
    names = dict.fromkeys(name for points in answer.records.values() for name in points)
    others = [name for name in names if not name.startswith(OURS)]
    shown: list[float] = []
    for name in names:
        colour = _OTHERS[others.index(name) % len(_OTHERS)] if name in others else _OURS
        for number, (kind, metrics) in enumerate(chart.lines.items()):
            points = [
                (x, summarise(answer.records[metric][name]))
                for x, metric in metrics.items()
                if name in answer.records.get(metric, {})
            ]
            if not points:
                continue
            medians = [summary.median for _, summary in points]
            axes.errorbar(
                [x for x, _ in points],
                medians,
                yerr=[[s.median - s.low for _, s in points], [s.high - s.median for _, s in points]],
                label=f"{name}, {kind}" if kind else name,
                color=colour,
                linestyle=_STYLES[number % len(_STYLES)],
                marker=_MARKERS[number % len(_MARKERS)],
                capsize=3,
            )
            shown += medians
    axes.set_xscale("log")
    if chart.logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        # Flat lines look flat, and touch neither edge.
        axes.set_ylim(min(shown) / 2, max(shown) * 2)
    else:
        axes.set_ylim(0, max(shown) * 1.2)
    ticks = sorted({x for metrics in chart.lines.values() for x in metrics})
    axes.set_xticks(ticks, [f"{tick:,}".replace(",", " ") for tick in ticks])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_ylabel(chart.y)
    axes.grid(visible=True, color="#dddddd")
    # Beside the lines: they may be anywhere.
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return _finish(path, axes, f"{answer.name.upper()}: {chart.title}", chart.x)


def _finish(path: Path, axes: Axes, title: str, x_label: str) -> Path:
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel(x_label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.savefig(path, format="svg", metadata={"Date": None})
    return path

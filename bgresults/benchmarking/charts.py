"""What is drawn of a question beside its bars: a figure against something that grows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Chart"]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Lines, one for each contender and kind, over a logarithmic x axis.

    Attributes:
        name: of the file, behind that of the question.
        title: what is shown.
        x: what grows.
        y: the figure, with its unit.
        logarithmic: whether the y axis is logarithmic too; else it begins with zero.
        lines: kind → where on the x axis → metric. A single kind may have an empty name.
    """

    name: str
    title: str
    x: str
    y: str
    lines: Mapping[str, Mapping[int, str]]
    logarithmic: bool = True

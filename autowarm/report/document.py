"""A report as plain data: sections of text, tables, code and plots, which Markdown and HTML draw each in its way.

Texts are plain; escaping is the business of who draws.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Heading:
    """A title within a section."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Code:
    """Lines to copy, in a language."""

    text: str
    language: str


@dataclass(frozen=True)
class Table:
    """A table; `shades` are how dark the background of a cell is, in [0, 1], by (row, column)."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    shades: tuple[tuple[int, int, float], ...] = ()


@dataclass(frozen=True)
class Image:
    """A picture beside the report, where the report has no plots of its own."""

    words: str
    address: str


@dataclass(frozen=True)
class Figure:
    """A plot, by its name in `autowarm.report.plots`; a report that has none of its own leaves it out."""

    plot: str


Block: TypeAlias = Text | Heading | Bullets | Code | Table | Image | Figure


@dataclass(frozen=True)
class Section:
    """A question and what answers it."""

    title: str
    blocks: tuple[Block, ...]


def bullets(said: Iterable[str]) -> list[Block]:
    """Return sentences as a list; no block at all where there are none."""
    items = tuple(said)
    return [Bullets(items)] if items else []


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a table of anything that has words."""
    return Table(tuple(header), tuple(tuple(str(cell) for cell in row) for row in rows))

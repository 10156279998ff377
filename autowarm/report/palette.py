"""The colours of every plot, by what they stand for: one palette for matplotlib and plotly, on light and on dark paper.

The hues are those of Okabe & Ito (Color Universal Design, 2008), which the colour-blind can tell apart, a shade lighter
on dark paper; what matters differs in dashes and symbols, too.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

Theme: TypeAlias = Literal["light", "dark"]
THEMES: tuple[Theme, ...] = get_args(Theme)

# name: (on light paper, on dark paper)
_COLOURS: dict[str, tuple[str, str]] = {
    "paper": ("#ffffff", "#1b1e23"),
    "ink": ("#1c1e21", "#e8eaed"),
    "muted": ("#63676d", "#a3a8af"),
    "grid": ("#e3e5e8", "#34383f"),
    "best": ("#d55e00", "#ff8a3d"),
    "today": ("#1c1e21", "#ffffff"),
    "complete": ("#0072b2", "#56b4e9"),
    "pruned": ("#9a9a9a", "#7d828a"),
    "diverged": ("#b8578f", "#e08bbd"),
    "failed": ("#a87b00", "#e6b93d"),
    "range": ("#e69f00", "#e6b93d"),
    "first": ("#0072b2", "#56b4e9"),
    "second": ("#009e73", "#2fc79b"),
    "third": ("#cc79a7", "#e39bc2"),
    "fourth": ("#e69f00", "#f0b840"),
    "fifth": ("#8c8c8c", "#b5b5b5"),
    # of a heat map: the lowest, the highest, and what is written on them
    "square_low": ("#e3eef7", "#22384a"),
    "square_high": ("#8fbfe0", "#2f6f9f"),
    "square_ink": ("#1c1e21", "#e8eaed"),
}
COLOURS = tuple(_COLOURS)
# for what has no colour of its own
SERIES = ("first", "second", "third", "fourth", "fifth")

# viridis (S. van der Walt & N. Smith, 2015), from the worst to the best; without the end that the paper would swallow
_VIRIDIS = ("#440154", "#414487", "#2a788e", "#22a884", "#7ad151", "#c9dd3a")


def colour(name: str, theme: Theme = "light") -> str:
    """Return a colour as hexadecimal.

    Args:
        name: one of `COLOURS`.
        theme: the paper it is drawn on.
    """
    return _COLOURS[name][theme == "dark"]


def scale(theme: Theme = "light") -> list[tuple[float, str]]:
    """Return the colours of values as (place in [0, 1], colour), the worst value at 0; the best stands out most."""
    # lighter stands out on dark paper, and darker on light
    order = _VIRIDIS[1:] if theme == "dark" else _VIRIDIS[::-1]
    return [(i / (len(order) - 1), value) for i, value in enumerate(order)]

"""The page that is written from the figures."""

from __future__ import annotations

from typing import Any


def page(results: dict[str, Any]) -> str:
    """Return the page, of the parts that there are figures of."""
    return "# What autowarm's studies survive\n"

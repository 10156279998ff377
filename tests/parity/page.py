"""The tables of docs/parity.md, written from the registry: ``python tests/parity/page.py`` writes them anew."""

from __future__ import annotations

import re
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "parity.md"
_TABLE = re.compile(r"(<!-- (rows|none) of (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def rewritten(page: str) -> str:
    """Return the page with each table between its marks as the registry has it."""
    return _TABLE.sub(lambda found: f"{found[1]}{_MAKERS[found[2]](found[3])}{found[4]}", page)


def marked(page: str) -> set[tuple[str, str]]:
    """Return (kind, library) of each table on the page."""
    return {(kind, library) for _, kind, library, _ in _TABLE.findall(page)}


def _rows(library: str) -> str:
    from parity.table import ROWS

    lines = ["| theirs | `Schedule(initial_lr=lr, ...)` | where |", "|---|---|---|"]
    for row in ROWS:
        if row.library == library:
            where = "" if row.when == "w < T" else f"`{row.when}`"
            lines.append(f"| `{row.theirs}` | `{row.ours}` | {'; '.join(filter(None, (where, row.note)))} |")
    return "\n".join(lines) + "\n"


def _none(library: str) -> str:
    from parity.table import NOT_EXPRESSIBLE

    return "".join(f"- `{name}`: {why}\n" for name, why in NOT_EXPRESSIBLE[library].items())


_MAKERS = {"rows": _rows, "none": _none}

if __name__ == "__main__":
    sys.path[:0] = [str(PAGE.parents[1]), str(PAGE.parents[1] / "tests")]
    PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8")), encoding="utf-8")

"""What autowarm's studies survive, measured: processes killed at random, many writers, many workers.

    python -m studies.chaos [storm|sqlite|postgres|page ...]

Without a part, all of it, in about half an hour on 2 cores. Each part puts its figures into `results.json`, which
`chaos.md` is written from. Run it from the folder that holds `studies`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any

from studies.chaos.loads import postgres_figures, sqlite_figures
from studies.chaos.page import page

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
PARTS = ("storm", "sqlite", "postgres")


def main() -> None:
    """Run the parts that are asked for, and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"{', '.join(PARTS)}, or page, which measures nothing; default: all")
    parser.add_argument("--duration", type=float, default=600.0, help="seconds of the load on SQLite")
    parser.add_argument("--seed", type=int, default=0, help="of what is killed when")
    given = parser.parse_args()
    if unknown := set(given.parts) - {*PARTS, "page"}:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    for part in given.parts or PARTS:
        if part != "page":
            keep(part, measured(part, given))
    results = json.loads(RESULTS.read_text())
    (HERE / "chaos.md").write_text(page(results), encoding="utf-8")
    print(page(results))


def measured(part: str, given: argparse.Namespace) -> dict[str, Any]:
    """Measure a part; returns its figures."""
    machine = f"{len(os.sched_getaffinity(0))} cores, {platform.machine()}, Python {platform.python_version()}"
    if part == "sqlite":
        return {"machine": machine, **sqlite_figures(given.duration, 8)}
    if part == "postgres":
        return {"machine": machine, "rows": postgres_figures(45.0, 32, (2.0,))}
    from studies.chaos.storm import storm_figures

    return {"machine": machine, **storm_figures(given.seed)}


def keep(part: str, figures: dict[str, Any]) -> None:
    """Put the figures of a part beside those of the others."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps({**results, part: figures}, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()

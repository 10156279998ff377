"""Figures of light loads: nothing locked and nothing lost on SQLite, and what limits many workers on PostgreSQL."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from studies.chaos.light import Load, Outcome, put
from studies.chaos.server import serving
from studies.chaos.stored import Stored, read


def compared(outcome: Outcome, trials: list[Stored]) -> dict[str, Any]:
    """Compare what the processes say they have stored with what the database has."""
    told = Counter(outcome.stored)
    # as the events name them
    there = Counter(
        (str(r["study"]), str(r["role"]), t.number, r.get("value")) for t in trials if (r := t.record) is not None
    )
    waits: Counter[str] = Counter()
    for process in outcome.told:
        waits.update(process["waits"])
    return {
        "told": told.total(),
        "stored": there.total(),
        "lost": (told - there).total(),
        "untold": (there - told).total(),
        "running": sum(t.state == "RUNNING" for t in trials),
        "studies": max((process["studies"] for process in outcome.told), default=0),
        "locked": sum("locked" in error for error in [*outcome.errors, *waits.elements()]),
        "waits": dict(waits),
        "errors": outcome.errors,
    }


def sqlite_figures(duration: float, processes: int) -> dict[str, Any]:
    """Let processes write to one SQLite file."""
    with tempfile.TemporaryDirectory(prefix="autowarm-light-") as folder:
        outcome = put(Load(None, Path(folder), processes, duration))
        figures = compared(outcome, read(None, Path(folder)))
    return {"processes": processes, "seconds": duration, **figures}


def postgres_figures(duration: float, many: int, trainings: tuple[float, ...]) -> list[dict[str, Any]]:
    """Let one process and many work on a PostgreSQL, on trainings of several lengths."""
    rows = []
    for training in trainings:
        for processes in (1, many):
            with serving() as server:
                outcome = put(Load(server.url, Path(), processes, duration, training))
                figures = compared(outcome, read(server.url))
            sums = {key: sum(process[key] for process in outcome.told) for key in ("turns", "waited", "held", "cpu")}
            rows.append(
                {
                    "processes": processes,
                    "training": training,
                    "seconds": duration,
                    "seconds_all": round(outcome.seconds, 2),
                    **{key: round(value, 2) for key, value in sums.items()},
                    **figures,
                }
            )
    return rows

"""What a study is at, in words and as data for scripts: `autowarm status`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from autowarm.study.status import HorizonStatus, Underway
from autowarm.words import counted, duration, number

# The pace is that of so many runs that ended last.
_PACE_RUNS = 20
# An owner renews its leases every 10 seconds: later than that, people should know.
_LATE_SECONDS = 30.0
# One that was not heard for so long is not counted on. Long, since the clocks of two machines may differ.
_SILENT_SECONDS = 300.0


def status_text(horizons: Sequence[HorizonStatus], *, now: float | None = None) -> str:
    """Say what a study is at.

    Args:
        horizons: in the order of their studies.
        now: seconds since 1970; default: the clock's.
    """
    if not horizons:
        return "nothing has begun"
    now = time.time() if now is None else now
    return "\n".join(line for horizon in horizons for line in _horizon(horizon, now))


def status_data(horizons: Sequence[HorizonStatus], *, now: float | None = None) -> list[dict[str, Any]]:
    """Return the same as plain data that JSON can hold."""
    now = time.time() if now is None else now
    return [
        {
            "study": h.name,
            "planned": h.planned,
            "done": h.done,
            "outcomes": dict(h.outcomes),
            "checks": dict(h.checks),
            "waiting": h.waiting,
            "running": [{**vars(run), "params": dict(run.params)} for run in h.underway],
            "runs_an_hour": round(pace * 3600, 2) if (pace := pace_of(h, now)) is not None else None,
            "seconds_left": round(left) if (left := seconds_left(h, now)) is not None else None,
        }
        for h in horizons
    ]


def at_work(horizon: HorizonStatus) -> list[Underway]:
    """Return the runs whose owner is there, as far as one can tell from outside."""
    return [run for run in horizon.underway if not run.gone and (run.heard is None or run.heard <= _SILENT_SECONDS)]


def pace_of(horizon: HorizonStatus, now: float) -> float | None:
    """Return runs a second, of those that ended last, up to now; None: too few have ended, or nobody works on it."""
    last = horizon.ended[-_PACE_RUNS:]
    if len(last) < 2 or not at_work(horizon):
        return None
    # what has not ended for long slows it down
    return (len(last) - 1) / max(now - last[0], 1e-3)


def seconds_left(horizon: HorizonStatus, now: float) -> float | None:
    """Return the time to the end at that pace, at most; None: unknown, or nobody works on it."""
    pace = pace_of(horizon, now)
    return horizon.left / pace if pace is not None and horizon.left is not None else None


def _horizon(horizon: HorizonStatus, now: float) -> list[str]:
    of = f" of {horizon.planned} at most" if horizon.planned is not None else ""
    counts = [f"{n} {outcome.lower()}" for outcome, n in sorted(horizon.outcomes.items())]
    counts += [f"{n} {role}" for role, n in sorted(horizon.checks.items())]
    said = f" ({', '.join(counts)})" if counts else ""
    working = at_work(horizon)
    rest = [f"{len(working)} running"] if working else []
    rest += [f"{n} left undone"] if (n := len(horizon.underway) - len(working)) else []
    rest += [f"{horizon.waiting} waiting"] if horizon.waiting else []
    pace, left = pace_of(horizon, now), seconds_left(horizon, now)
    if pace is not None:
        rest.append(f"{pace * 60:.3g} runs a minute" if pace * 60 >= 1 else f"{pace * 3600:.3g} runs an hour")
    if left is not None and left > 0:
        rest.append(f"about {duration(left)} left")
    lines = [f"{horizon.name}: {counted(horizon.done, 'run')} done{of}{said}" + "".join(f", {r}" for r in rest)]
    if not working and (horizon.left or horizon.waiting or horizon.underway):
        # runs are planned at most: who has ended it may have needed fewer
        lines.append("  nobody works on it: unless it has ended, `autowarm tune` with its study file goes on")
    return lines + [f"  {_run(run)}" for run in horizon.underway]


def _run(run: Underway) -> str:
    of = f" of {run.total_steps}" if run.total_steps is not None else ""
    params = "  ".join(
        f"{name.rpartition('.')[2]} {number(value)}" if isinstance(value, float) else str(value)
        for name, value in run.params.items()
    )
    late = f", last heard {duration(run.heard)} ago" if run.heard is not None and run.heard > _LATE_SECONDS else ""
    state = ", which is gone: to be trained again" if run.gone else late
    return f"{run.role} {run.trial}: step {run.step}{of} on {run.by}{state}" + (f"  {params}" if params else "")

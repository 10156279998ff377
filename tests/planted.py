"""Records of studies that nobody trained, with a truth that is known."""

from __future__ import annotations

import math
from typing import Any

from autowarm.record import TrialRecord
from autowarm.schedule import Schedule


def planted(arm: str, trial: int, value: float, **told: Any) -> TrialRecord:
    """Return a record of an arm that reached a value; what is told of the schedule goes there, the rest to the record.

    A value that is not finite has diverged.
    """
    own = ("initial_lr", "warmup_ratio", "decay", "decay_ratio", "gamma")
    schedule = Schedule(**{"warmup_ratio": 0.1, "decay": "linear", **{k: told.pop(k) for k in own if k in told}})
    ended = math.isfinite(value)
    fields: dict[str, Any] = {
        "role": "search",
        "label": str(schedule),
        "total_steps": 300,
        "dataset_size": 1000,
        "batch_size": 16,
        "seed": 0,
        "monitor": "val_loss",
        "mode": "min",
        "seconds": 2.0,
        "outcome": "COMPLETE" if ended else "DIVERGED",
        **told,
    }
    fields.setdefault("steps", fields["total_steps"])
    return TrialRecord(study=arm, trial=trial, schedule=schedule, value=value if ended else None, **fields)

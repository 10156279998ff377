"""What every test shares."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings

from autowarm.record import TrialRecord
from autowarm.schedule import Schedule

# Repeatable everywhere, and no failure because a machine is busy
settings.register_profile("autowarm", deadline=None, derandomize=True)
settings.load_profile("autowarm")

MakeRecord = Callable[..., TrialRecord]


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Train on one thread: a tiny model's threads would wait for each other on a busy machine, for most of the time."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def make_record() -> MakeRecord:
    """Give a function that makes a TrialRecord: COMPLETE unless told otherwise, any field by its name."""

    def make(*, lr: float = 0.1, warmup_ratio: float = 0.1, **fields: Any) -> TrialRecord:
        schedule = Schedule(initial_lr=lr, warmup_ratio=warmup_ratio, decay="cosine")
        outcome = fields.get("outcome", "COMPLETE")
        total_steps = fields.get("total_steps", 100)
        values: dict[str, Any] = {
            "study": "demo",
            "trial": 0,
            "role": "search",
            "schedule": schedule,
            "label": str(schedule),
            "total_steps": total_steps,
            "dataset_size": 1000,
            "batch_size": 10,
            "seed": 0,
            "monitor": "val_loss",
            "mode": "min",
            "outcome": outcome,
            "value": 1.0 if outcome == "COMPLETE" else None,
            "reason": None if outcome == "COMPLETE" else f"it was {outcome}",
            "rungs": ((total_steps // 2, 2.0), (total_steps, 1.0)),
            "steps": total_steps,
            "val_batches": 30,
            "seconds": 2.0,
        }
        return TrialRecord(**(values | fields))

    return make

"""A record in the database of a folder, for tests of what reads it."""

from __future__ import annotations

from pathlib import Path

from autowarm.record import TrialRecord
from autowarm.space import SearchSpace
from autowarm.study.checks import Check
from autowarm.study.database import database, quiet_optuna
from autowarm.study.horizon import HorizonStudy


def fill(out: Path, record: TrialRecord) -> None:
    """Store a record of a study that is called demo."""
    identity = {"name": "demo", "job": "a:b", "monitor": "val_loss", "mode": "min"}
    with quiet_optuna(), database(None, out) as storage:
        study = HorizonStudy(
            storage,
            identity=identity,
            space=SearchSpace(initial_lr=[1e-3, 1e-2]),
            total_steps=record.total_steps,
            dataset_size=None,
            seed=0,
        )
        if record.role == "search":
            study.ask()
            study.tell(record)
        else:
            with study.exclusive():
                study.checks.claim(Check.of(record))
            study.checks.add(record)

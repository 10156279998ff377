"""Records on Optuna trials: written before a trial is told, and read back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from autowarm.errors import RecordError, StudyError
from autowarm.record import TrialRecord

# The user attribute of an Optuna trial that holds its record.
RECORD = "record"


def records_of(trials: Iterable[FrozenTrial], *, where: str) -> list[TrialRecord]:
    """Return the records that ended trials carry.

    Raises:
        StudyError: a record cannot be read; names `where` and the trial.
    """
    return [record for trial in trials if (record := record_of(trial, where=where)) is not None]


def record_of(trial: FrozenTrial, *, where: str) -> TrialRecord | None:
    """Return the record that a trial carries, if it does.

    Raises:
        StudyError: as of `records_of`.
    """
    if RECORD not in trial.user_attrs:
        return None
    try:
        return TrialRecord.from_dict(trial.user_attrs[RECORD])
    except RecordError as e:
        raise StudyError(f"{where}, trial {trial.number}: {e}") from None


def read_once(study: optuna.Study, known: dict[int, TrialRecord]) -> list[TrialRecord]:
    """Return the records of a study in the order of its trials.

    Args:
        study: Optuna's.
        known: those read before, by number of the trial; the others are added.

    Raises:
        StudyError: a record cannot be read.
    """
    where = f"study {study.study_name!r}"
    for trial in study.get_trials(deepcopy=False):
        if trial.number not in known and (record := record_of(trial, where=where)) is not None:
            known[trial.number] = record
    return [known[number] for number in sorted(known)]


def attributes(record: TrialRecord) -> dict[str, Any]:
    """Return what an Optuna trial is told of its record: some for people who look at it, and all of it."""
    return {
        "role": record.role,
        "seed": record.seed,
        "outcome": record.outcome,
        "schedule": record.label,
        RECORD: record.to_dict(),
    }


def annotate(trial: optuna.Trial, record: TrialRecord) -> None:
    """Write a record on a running trial.

    Raises:
        optuna.exceptions.UpdateFinishedTrialError: it runs no longer.
    """
    for name, value in attributes(record).items():
        trial.set_user_attr(name, value)


def is_stored(study: optuna.Study, number: int, record: TrialRecord) -> bool:
    """Tell whether a trial ended with this record: a database may go away after it has heard, before it says so."""
    return bool(study.get_trials(deepcopy=False)[number].user_attrs.get(RECORD) == record.to_dict())

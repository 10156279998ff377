"""What a database holds of its studies, read with SQL alone: a check of autowarm that does not trust its reading."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy

_TRIALS = """
select trials.trial_id, study_name, number, state from trials join studies on trials.study_id = studies.study_id
order by trials.trial_id
"""
_ATTRIBUTES = "select trial_id, key, value_json from trial_user_attributes"
_FIXED = "select trial_id, value_json from trial_system_attributes where key = 'fixed_params'"
_PARAMS = "select trial_id, param_name, param_value, distribution_json from trial_params"


@dataclass(frozen=True)
class Stored:
    """A trial of Optuna's as the database has it.

    Attributes:
        study: its study, and `number`, its number in there.
        state: COMPLETE, PRUNED, FAIL, RUNNING or WAITING.
        attributes: what autowarm wrote on it.
        params: what it trains, as far as that had been decided.
    """

    study: str
    number: int
    state: str
    attributes: Mapping[str, Any]
    params: Mapping[str, Any]

    @property
    def record(self) -> Mapping[str, Any] | None:
        """What its training left behind; None where none has ended."""
        found: Mapping[str, Any] | None = self.attributes.get("record")
        return found


def read(url: str | None, folder: Path | None = None) -> list[Stored]:
    """Read all trials of a database, by its URL or in a study's folder."""
    engine = sqlalchemy.create_engine(url or f"sqlite:///{(folder or Path()) / 'study.db'}")
    try:
        with engine.connect() as connection:
            attributes: dict[int, dict[str, Any]] = {}
            for trial, key, value in connection.exec_driver_sql(_ATTRIBUTES):
                attributes.setdefault(trial, {})[key] = json.loads(value)
            params = {trial: json.loads(value) for trial, value in connection.exec_driver_sql(_FIXED)}
            for trial, name, value, distribution in connection.exec_driver_sql(_PARAMS):
                params.setdefault(trial, {})[name] = _value(value, json.loads(distribution))
            rows = connection.exec_driver_sql(_TRIALS).all()
    finally:
        engine.dispose()
    return [
        Stored(study, number, str(state), attributes.get(trial, {}), params.get(trial, {}))
        for trial, study, number, state in rows
    ]


def _value(stored: float, distribution: Mapping[str, Any]) -> Any:
    """Return a value as it was suggested: of a choice, its place is stored."""
    choices = distribution["attributes"].get("choices")
    return choices[int(stored)] if choices is not None else stored

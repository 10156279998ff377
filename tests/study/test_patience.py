from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage

from autowarm.errors import DatabaseError, StudyError
from autowarm.study import patience
from autowarm.study.database import database, quiet_optuna
from autowarm.study.patience import PatientStorage, away, said


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_RETRY_SECONDS", 0.0)


class Gone:
    """Breaks the connections of a database `times` times."""

    def __init__(self, times: int, words: str = "server closed the connection unexpectedly") -> None:
        self.times = times
        self.words = words

    def __call__(self, *_: Any) -> None:
        if self.times > 0:
            self.times -= 1
            raise sqlite3.OperationalError(self.words)


def breaks(storage: PatientStorage, gone: Gone) -> None:
    sqlalchemy.event.listen(storage.engine, "before_cursor_execute", gone)


def test_a_database_that_comes_back_is_waited_for_and_nothing_is_done_twice(tmp_path: Path) -> None:
    told: list[str] = []

    def waiting(error: str, seconds: float) -> bool:
        told.append(error)
        new.append(seconds == 0)
        return True

    new: list[bool] = []

    with quiet_optuna(), database(None, tmp_path, waiting=waiting) as storage:
        study = optuna.create_study(storage=storage, study_name="a")
        breaks(storage, gone := Gone(0))
        for call in (
            study.ask,
            lambda: study.enqueue_trial({"x": 1}),
            lambda: study.set_user_attr("b", 1),
            study.get_trials,
            lambda: study.user_attrs,
            lambda: study.tell(0, 0.5),
        ):
            gone.times = 2
            call()
            assert gone.times == 0
        assert [t.state.name for t in study.get_trials()] == ["COMPLETE", "WAITING"]
    # Optuna tries to make a trial again by itself; of each other call, the first word is new
    assert new[0]
    assert new.count(True) == new.count(False) == len(told) // 2
    assert set(told) == {"server closed the connection unexpectedly"}


def test_who_waits_no_longer_gets_an_error_that_says_so(tmp_path: Path) -> None:
    with quiet_optuna(), pytest.raises(DatabaseError, match=r"study\.db failed: no route"):  # noqa: SIM117, PT012
        with database(None, tmp_path, waiting=lambda _e, _s: False) as storage:
            study = optuna.create_study(storage=storage, study_name="a")
            breaks(storage, Gone(10**6, "no route to host"))
            study.set_user_attr("a", 1)


def test_what_waiting_does_not_change_is_raised_at_once(tmp_path: Path) -> None:
    asked: list[str] = []

    def waiting(error: str, _seconds: float) -> bool:
        asked.append(error)
        return True

    with quiet_optuna(), pytest.raises(StudyError, match="readonly") as raised:  # noqa: SIM117, PT012
        with database(None, tmp_path, waiting=waiting) as storage:
            study = optuna.create_study(storage=storage, study_name="a")
            breaks(storage, Gone(1, "attempt to write a readonly database"))
            study.set_user_attr("a", 1)
    assert not asked
    assert not isinstance(raised.value, DatabaseError)


def test_every_call_of_optunas_cache_is_patient() -> None:
    """A new Optuna may read and write by methods that this one does not know."""
    import inspect
    import re

    source = inspect.getsource(_CachedStorage)
    called = set(re.findall(r"self\._backend\.(\w+)\(", source)) - {"remove_session", "delete_study"}
    # nothing that autowarm uses: Optuna's own heartbeats
    called -= {name for name in called if "heartbeat" in name or "stale" in name or "failed" in name}
    # what asks another method first
    called -= {"check_trial_is_updatable"}
    assert len(called) > 15
    assert not [name for name in called if getattr(PatientStorage, name) is getattr(RDBStorage, name)]


@pytest.mark.parametrize(
    ("error", "waits"),
    [
        (sqlalchemy.exc.OperationalError("q", {}, Exception("connection refused")), True),
        (sqlalchemy.exc.OperationalError("q", {}, Exception("database or disk is full")), True),
        (sqlalchemy.exc.OperationalError("q", {}, Exception("no such table: trials")), False),
        (sqlalchemy.exc.InterfaceError("q", {}, Exception("connection already closed")), True),
        (sqlalchemy.exc.IntegrityError("q", {}, Exception("duplicate key")), False),
        (ValueError("no"), False),
    ],
)
def test_what_passes_is_told_from_what_does_not(error: Exception, waits: bool) -> None:
    assert away(error) is waits
    wrapped = optuna.exceptions.StorageInternalError("An exception is raised during the commit.")
    wrapped.__cause__ = error
    assert away(wrapped) is waits
    assert said(wrapped) == str(getattr(error, "orig", error))

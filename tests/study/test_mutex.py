from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from turns import most_inside

from autowarm.errors import StudyError
from autowarm.study import mutex
from autowarm.study.database import Storage, database, quiet_optuna
from autowarm.study.mutex import Mutex


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    with quiet_optuna(), database(None, tmp_path) as opened:
        yield opened


def test_one_at_a_time(storage: Storage) -> None:
    assert most_inside(storage, threads=4, turns=20) == [1] * 80


def test_its_holder_may_take_it_again(storage: Storage) -> None:
    lock = Mutex(storage, "a")
    with lock.held() as turn, lock.held() as again:
        assert again is turn
        assert not turn.lost


def test_a_dead_holder_has_lost_it(storage: Storage, tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from autowarm.study.database import database
from autowarm.study.mutex import Mutex
with database(None, Path({str(tmp_path)!r})) as storage, Mutex(storage, "a").held():
    print("held", flush=True)
    input()
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as far:
        assert far.stdout is not None
        assert far.stdout.readline() == "held\n"
        waited: list[bool] = []

        def stopping() -> bool:
            waited.append(True)
            return True

        with pytest.raises(InterruptedError), Mutex(storage, "a").held(stopping):
            pass
        assert waited == [True], "it waited, and asked whether to go on"
        far.kill()
    with Mutex(storage, "a").held():
        pass


def test_a_holder_that_is_stopped_is_named(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutex, "_MOST_SECONDS", 0.0)
    monkeypatch.setattr(mutex, "_ATTEMPT_SECONDS", 0)
    with (
        Mutex(storage, "a").held(),
        pytest.raises(StudyError, match=r"another process has been deciding on 'autowarm a'.*is it stopped"),
        Mutex(storage, "a").held(),
    ):
        pass


def test_a_folder_that_cannot_be_written_is_named(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / ".study.db.lock").mkdir()
    with pytest.raises(StudyError, match=r"the file .*study\.db\.lock cannot be written"), Mutex(storage, "a").held():
        pass


def test_a_database_in_memory_needs_none() -> None:
    with database("sqlite://", None) as storage, Mutex(storage, "a").held() as turn:
        assert not turn.lost

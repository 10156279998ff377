"""A study on a real PostgreSQL: workers, connections that break, a server that goes away."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from scripted import Scripted
from searches import Notices, check_shared, of, run, run_together, settings
from turns import most_inside

from autowarm import loop
from autowarm.errors import DatabaseError
from autowarm.standing import status_text
from autowarm.study import patience
from autowarm.study.database import Storage, database, quiet_optuna
from autowarm.study.mutex import Mutex
from autowarm.study.status import read_status
from studies.chaos.server import running_server, serving

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    with running_server() as running:
        yield running


@pytest.fixture
def url(server: Any, request: pytest.FixtureRequest) -> str:
    """Give an empty database."""
    name = f"t{abs(hash(request.node.nodeid))}"
    server.psql(f"create database {name};")
    return str(server.get_uri(name)).replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_IDLE_SECONDS", 0.02)
    monkeypatch.setattr(patience, "_RETRY_SECONDS", 0.05)


def break_connections(server: Any) -> None:
    server.psql(
        "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and datname ~ '^t';"
    )


@pytest.fixture
def storage(url: str) -> Iterator[Storage]:
    with quiet_optuna(), database(url, None, waiting=lambda _error, seconds: seconds < 30) as opened:
        yield opened


def test_a_turn_is_one_processs_at_a_time(storage: Storage) -> None:
    assert most_inside(storage, threads=4, turns=20) == [1] * 80


def test_a_turn_is_waited_for_and_given_up(storage: Storage) -> None:
    asked: list[bool] = []

    def stopping() -> bool:
        asked.append(True)
        return True

    with Mutex(storage, "a").held(), pytest.raises(InterruptedError), Mutex(storage, "a").held(stopping):
        pass
    assert asked
    with Mutex(storage, "a").held() as turn:
        pass
    assert not turn.lost


def test_a_turn_that_its_connection_has_lost_is_known(storage: Storage, server: Any) -> None:
    with Mutex(storage, "a").held() as turn:
        break_connections(server)
    assert turn.lost
    with Mutex(storage, "a").held() as again:
        pass
    assert not again.lost


def test_workers_that_start_together_on_an_empty_database_share_a_study(url: str, tmp_path: Path) -> None:
    executors = [Scripted(seconds=0.001) for _ in range(6)]
    chosen = settings(n_trials=60)
    records = check_shared(run_together(tmp_path, executors, chosen, url=url), executors)
    assert len(of(records, "search")) == 60
    assert sum(len(executor.specs) for executor in executors) == len(records)
    (status,) = read_status(None, url)
    assert status.done == len(records)
    assert not status.underway
    assert status_text([status]).startswith(f"shared steps=100: {len(records)} runs done of {len(records)} at most (")


def test_connections_that_break_lose_and_double_nothing(url: str, tmp_path: Path, server: Any) -> None:
    executors = [Scripted(seconds=0.002) for _ in range(3)]
    over = threading.Event()
    broken = 0

    def breaks() -> None:
        nonlocal broken
        while not over.wait(0.3):
            # opening a database is no work that could be lost
            if all(executor.specs for executor in executors):
                break_connections(server)
                broken += 1

    breaker = threading.Thread(target=breaks)
    breaker.start()
    chosen = settings(n_trials=40)
    try:
        run_together(tmp_path, executors, chosen, url=url, waiting=lambda _error, seconds: seconds < 30)
    finally:
        over.set()
        breaker.join()
    # one may leave when another has just lost its turn, and does the rest
    after = Scripted()
    records = check_shared([run(tmp_path, after, chosen, url=url)], executors)
    assert [(str(spec.schedule), spec.seed) for spec in after.specs] == [], "nothing was left to do"
    assert broken > 5
    assert len(of(records, "search")) == 40
    assert {r.outcome for r in records} <= {"COMPLETE", "PRUNED"}


def test_a_server_that_is_away_is_waited_for(tmp_path: Path) -> None:
    notices = Notices()

    def waiting(error: str, seconds: float) -> bool:
        if seconds == 0:
            notices.notice(error)
        return seconds < 60

    with serving() as own:

        def start() -> None:
            time.sleep(1.0)
            own.start()

        starting = threading.Thread(target=start)

        class Stops(Scripted):
            """Has the server stopped in its fifth training, as a machine that loses its power does."""

            def events(self, timeout: float) -> Iterator[Any]:
                if len(self.specs) == 5 and starting.ident is None:
                    own.stop()
                    starting.start()
                yield from super().events(timeout)

        records = run(tmp_path, Stops(), settings(n_trials=10), url=own.url, waiting=waiting)
        starting.join()
    assert notices.told, "it was away"
    assert len(of(records, "search")) == 10
    assert {r.outcome for r in records} <= {"COMPLETE", "PRUNED"}


def test_a_server_that_cannot_be_reached_is_an_error_without_its_password() -> None:
    url = "postgresql+psycopg://me:secret@127.0.0.1:1/db"
    with pytest.raises(DatabaseError, match=r"postgresql\+psycopg://me:\*\*\*@127\.0\.0\.1:1/db cannot be opened") as e:
        database(url, None).__enter__()
    assert "secret" not in str(e.value)


def test_a_database_with_many_tables_of_others_says_that_nothing_has_begun(url: str) -> None:
    assert read_status(None, url) == []
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("create table mine (a int)")
    engine.dispose()
    assert status_text(read_status(None, url)) == "nothing has begun"
    # a connection that was left open complains when it is collected
    gc.collect()

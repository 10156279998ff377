"""One process at a time decides what a study does next: a lock that the database, or its file, gives and takes back."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import sqlalchemy
from filelock import FileLock, Timeout
from optuna.exceptions import UpdateFinishedTrialError
from sqlalchemy.engine import Connection, Engine

from autowarm.errors import StudyError
from autowarm.study.patience import PatientStorage

# A decision takes milliseconds, with a Gaussian process a second: who holds the lock that long is stopped, not slow.
_MOST_SECONDS = 300.0
# How long the database lets one attempt wait; between two of them an interruption is heard.
_ATTEMPT_SECONDS = 2
Heard: TypeAlias = Callable[[], bool]


class TurnLostError(Exception):
    """What was being decided was taken away: the turn had ended, and another process has had one."""


@contextmanager
def whole_turn() -> Iterator[None]:
    """Tell a trial that another process has ended meanwhile for what it is.

    Raises:
        TurnLostError: our turn had ended, and it took what we had begun for a dead one's.
    """
    try:
        yield
    except UpdateFinishedTrialError as e:
        raise TurnLostError from e


@dataclass
class Turn:
    """What a process learns when its turn is over.

    Attributes:
        lost: the database has ended the connection that held the lock, so another process may have had a turn
            meanwhile: what was decided must be undone.
    """

    lost: bool = False


class Mutex:
    """A lock that all processes on one study share. Its holder may take it again; a dead holder has lost it.

    On SQLite it is a file beside the database, on PostgreSQL an advisory lock, on MySQL and MariaDB a named one.

    Args:
        storage: the database.
        name: of what is locked.
    """

    def __init__(self, storage: PatientStorage, name: str) -> None:
        self._storage = storage
        self._name = f"autowarm {name}"
        self._depth = 0
        self._turn = Turn()

    @contextmanager
    def held(self, stopping: Heard = lambda: False) -> Iterator[Turn]:
        """Hold the lock.

        Args:
            stopping: tells whether to wait no longer.

        Raises:
            StudyError: somebody holds it for minutes, or the database has no such lock.
            InterruptedError: `stopping` came true while it waited.
        """
        if self._depth:
            yield self._turn
            return
        deadline = time.monotonic() + _MOST_SECONDS

        def patient() -> None:
            if stopping():
                raise InterruptedError
            if time.monotonic() > deadline:
                raise StudyError(
                    f"another process has been deciding on {self._name!r} for {_MOST_SECONDS / 60:.0f} minutes: "
                    "is it stopped? end it, and run this again"
                )

        with self._lock(patient) as turn:
            self._depth, self._turn = 1, turn
            try:
                yield turn
            finally:
                self._depth = 0

    def _lock(self, patient: Callable[[], None]) -> AbstractContextManager[Turn]:
        engine = self._storage.engine
        dialect = engine.dialect.name
        key = int.from_bytes(hashlib.sha256(self._name.encode()).digest()[:8], signed=True)
        if dialect == "sqlite":
            path = self._storage.patiently(lambda: _file_of(engine))
            if path is None:
                # a database in memory has one process
                return nullcontext(Turn())
            _check_there(self._storage, path)
            return _file_lock(path, patient)
        if dialect == "postgresql":
            return _session_lock(
                self._storage,
                f"SELECT pg_advisory_lock({key})",
                f"SELECT pg_advisory_unlock({key})",
                patient,
                setup=f"SET lock_timeout = '{_ATTEMPT_SECONDS}s'",
            )
        if dialect in ("mysql", "mariadb"):
            return _session_lock(
                self._storage,
                f"SELECT GET_LOCK('autowarm {key}', {_ATTEMPT_SECONDS})",
                f"SELECT RELEASE_LOCK('autowarm {key}')",
                patient,
            )
        raise StudyError(f"a {dialect} database has no lock that autowarm knows: use SQLite, PostgreSQL or MySQL")


def _check_there(storage: PatientStorage, path: Path) -> None:
    """Refuse to go on without the file: connections that are open write to one that is removed as if it were there."""
    try:
        found = path.stat()
    except OSError:
        there = None
    else:
        there = (found.st_dev, found.st_ino)
    storage.file = storage.file or there
    if there is None or there != storage.file:
        raise StudyError(
            f"the database {path} was removed or replaced while the study ran: put it back, or what was in it is lost "
            "but for the results written beside it"
        )


def _file_of(engine: Engine) -> Path | None:
    with engine.connect() as connection:
        # (number, name, file) of each database of the connection; the first one is ours
        file = connection.exec_driver_sql("PRAGMA database_list").all()[0][2]
    return Path(file) if file else None


@contextmanager
def _file_lock(path: Path, patient: Callable[[], None]) -> Iterator[Turn]:
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    while True:
        try:
            lock.acquire(timeout=_ATTEMPT_SECONDS, poll_interval=0.01)
        except Timeout:
            patient()
        except OSError as e:
            raise StudyError(f"the file {lock.lock_file} cannot be written: {e.strerror or e}") from None
        else:
            break
    try:
        yield Turn()
    finally:
        lock.release()


@contextmanager
def _session_lock(
    storage: PatientStorage, take: str, give: str, patient: Callable[[], None], *, setup: str | None = None
) -> Iterator[Turn]:
    """Hold a lock that ends with the connection that took it."""
    turn = Turn()
    connection = storage.patiently(lambda: _taken(storage.engine, take, patient, setup))
    try:
        yield turn
    finally:
        try:
            connection.exec_driver_sql(give)
        except sqlalchemy.exc.SQLAlchemyError:
            turn.lost = True
        _close(connection)


def _taken(engine: Engine, take: str, patient: Callable[[], None], setup: str | None) -> Connection:
    connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    try:
        if setup is not None:
            connection.exec_driver_sql(setup)
        while not _granted(connection, take):
            patient()
    except BaseException:
        _close(connection)
        raise
    return connection


def _close(connection: Connection) -> None:
    """Close a connection for good: in the pool, its settings and a lock that it did not give back would come again."""
    with suppress(sqlalchemy.exc.SQLAlchemyError):
        if not connection.invalidated:
            connection.detach()
    connection.close()


def _granted(connection: Connection, take: str) -> bool:
    try:
        # PostgreSQL returns nothing, MySQL 1 or, after the wait, 0
        return connection.exec_driver_sql(take).scalar() != 0
    except sqlalchemy.exc.OperationalError as e:
        if "lock timeout" not in str(e.orig):
            raise
        return False

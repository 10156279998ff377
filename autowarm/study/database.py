"""The database of a study: one ordinary Optuna storage, and how it is opened."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeAlias, TypeVar

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

from autowarm.errors import RecordError, StudyError
from autowarm.record import TrialRecord
from autowarm.settings import DATABASE

# The user attribute of an Optuna trial that holds its record.
RECORD = "record"
Storage: TypeAlias = RDBStorage
T = TypeVar("T")
# A writer waits that long for another one before SQLite gives up.
_BUSY_SECONDS = 60
_NO_URL = "(not a database URL)"
_UNREAD = "cannot be read (a password with :, /, @ or { in it must be percent-encoded)"
# What a database that is open may still raise.
_FAILURES = (sqlite3.Error, sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError)
# How long others that make the same database at the same time may take.
_MAKING_SECONDS = 30.0
_IN_THE_WAY = ("already exists", "database is locked")
# What SQLite says to a reader of a database that is not made yet.
_UNMADE = ("no such table", "attempt to write a readonly database")


@contextmanager
def database(url: str | None, out: Path) -> Iterator[Storage]:
    """Open the database of a study, making it where there is none, and close it in the end.

    Args:
        url: of any database that Optuna takes; None: an SQLite file in the study's folder.
        out: the study's folder.

    Raises:
        StudyError: the database cannot be opened, or fails later.
    """
    storage = _open(url, out)
    with _closing(storage, without_password(url) or str(out / DATABASE)):
        yield storage


@contextmanager
def _reader(out: Path) -> Iterator[Storage | None]:
    """Open the database of a folder without changing it; None for one that is still being made.

    Optuna makes what is missing when it opens a database, and would meet the run that is making it.
    """
    path = out / DATABASE
    try:
        storage = RDBStorage(_sqlite_url(path, read_only=True), skip_table_creation=True)
    except (*_FAILURES, RuntimeError) as e:
        if not any(words in _first_line(e) for words in _UNMADE):
            raise StudyError(f"the database {path} cannot be opened: {_first_line(e)}") from None
        yield None
        return
    with _closing(storage, str(path)):
        yield storage


@contextmanager
def _closing(storage: Storage, where: str) -> Iterator[None]:
    try:
        yield
    except _FAILURES as e:
        raise StudyError(f"the database {where} failed: {_first_line(e)}") from None
    finally:
        storage.remove_session()
        storage.engine.dispose()


def read_records(out: Path) -> list[TrialRecord]:
    """Read all records from the SQLite database in a study's folder; one that is still being made holds none.

    Raises:
        StudyError: there is no database, or a record in it cannot be read.
    """
    if not (out / DATABASE).is_file():
        raise StudyError(f"there is no {DATABASE} in {out}")
    found: list[TrialRecord] = []
    with quiet_optuna(), _reader(out) as storage:
        if storage is None:
            return found
        for summary in storage.get_all_studies():
            trials = storage.get_all_trials(summary._study_id, deepcopy=False)  # noqa: SLF001 - Optuna names none
            found += records_of(trials, where=f"study {summary.study_name!r}")
    return found


def records_of(trials: Iterable[FrozenTrial], *, where: str) -> list[TrialRecord]:
    """Return the records that ended trials carry.

    Raises:
        StudyError: a record cannot be read; names `where` and the trial.
    """
    found = []
    for trial in trials:
        if RECORD not in trial.user_attrs:
            continue
        try:
            found.append(TrialRecord.from_dict(trial.user_attrs[RECORD]))
        except RecordError as e:
            raise StudyError(f"{where}, trial {trial.number}: {e}") from None
    return found


def _open(given: str | None, out: Path) -> Storage:
    url = given
    try:
        if url is not None:
            return _patiently(lambda: _made(url))
        _patiently(lambda: _log_ahead(out / DATABASE))
        return _patiently(lambda: _made(_sqlite_url(out / DATABASE)))
    # RuntimeError: tables of another Optuna; ValueError, LookupError: no URL, and the message may hold the password
    except (*_FAILURES, ImportError, OSError, RuntimeError, ValueError, LookupError) as e:
        if isinstance(e, ValueError | LookupError) or without_password(given) == _NO_URL:
            raise StudyError(
                f"storage must be a database URL such as sqlite:///study.db, got one that {_UNREAD}"
            ) from None
        where = without_password(given) or out / DATABASE
        raise StudyError(f"the database {where} cannot be opened: {_first_line(e)}") from None


def _sqlite_url(path: Path, *, read_only: bool = False) -> str:
    # as a URI, since SQLAlchemy and Optuna read the ? and { of a path as theirs; the % of the URI is SQLite's
    mode = "mode=ro&" if read_only else ""
    return f"sqlite:///{path.absolute().as_uri().replace('%', '%25')}?{mode}uri=true"


def _log_ahead(path: Path) -> None:
    """Make an SQLite file where there is none, and let it commit to a write-ahead log.

    That is several times faster, and a dashboard may read meanwhile.
    """
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def _made(url: str) -> Storage:
    options = {"connect_args": {"timeout": _BUSY_SECONDS}} if url.startswith("sqlite") else {}
    return RDBStorage(url, engine_kwargs=options)


def _patiently(make: Callable[[], T]) -> T:
    """Make a part of a database, again where others that make it at the same time were in the way.

    Optuna's own making fails for all but one of those that begin it at once (a table exists already, a version is
    entered twice); what is there then is gone on with. SQLite does not wait for its turn to change the kind of its log.
    """
    deadline = time.monotonic() + _MAKING_SECONDS
    while True:
        try:
            return make()
        except (sqlite3.Error, sqlalchemy.exc.DBAPIError, optuna.exceptions.StorageInternalError) as e:
            cause = e.__cause__ if isinstance(e, optuna.exceptions.StorageInternalError) else e
            in_the_way = isinstance(cause, sqlalchemy.exc.IntegrityError) or any(w in str(cause) for w in _IN_THE_WAY)
            if not in_the_way or time.monotonic() > deadline:
                raise
        time.sleep(random.uniform(0.05, 0.2))


def _first_line(error: Exception) -> str:
    cause = error.__cause__ or error
    cause = getattr(cause, "orig", None) or cause  # SQLAlchemy puts the class before the words of the database
    return (str(cause).splitlines() or [""])[0]


def without_password(url: str | None) -> str | None:
    """Return a database URL that may be shown."""
    if url is None:
        return None
    try:
        parsed = sqlalchemy.engine.make_url(url)
        hidden = {name: "***" for name in parsed.query if "pass" in name.lower()}
        return parsed.update_query_dict(hidden).render_as_string(hide_password=True)
    except (sqlalchemy.exc.ArgumentError, ValueError):  # ValueError: a port that is no number
        return _NO_URL


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Keep Optuna from printing a line a trial; the caller's setting comes back afterwards."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)

"""The database of a study: one ordinary Optuna storage, and how it is opened."""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeAlias, TypeVar
from urllib.parse import quote

import optuna
import sqlalchemy
from optuna.storages import RDBStorage

from autowarm.errors import DatabaseError, StudyError
from autowarm.record import TrialRecord
from autowarm.settings import DATABASE
from autowarm.study.patience import PatientStorage, TidyStorage, Waiting, away, said
from autowarm.study.stored import records_of
from autowarm.words import without_passwords

Storage: TypeAlias = PatientStorage
T = TypeVar("T")
# A writer waits that long for another one before SQLite gives up.
_BUSY_SECONDS = 60
# In the names of a URL's parameters whose values are not shown; odbc_connect is a whole connection string.
_SECRETS = ("pass", "pwd", "secret", "token", "odbc_connect")
_NO_URL = "(not a database URL)"
_UNREAD = "cannot be read (a password with :, /, @ or { in it must be percent-encoded)"
# What a database that is open may still raise.
_FAILURES = (sqlite3.Error, sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError)
# How long others that make the same database at the same time may take.
_MAKING_SECONDS = 30.0
_IN_THE_WAY = ("already exists", "database is locked")
# What a database says to a reader before its tables are made.
_UNMADE = ("no such table", "attempt to write a readonly database", 'relation "version_info" does not exist')


def _impatient(_error: str, _seconds: float) -> bool:
    return False


@contextmanager
def database(url: str | None, out: Path | None, *, waiting: Waiting = _impatient) -> Iterator[Storage]:
    """Open the database of a study, making it where there is none, and close it in the end.

    Args:
        url: of any database that Optuna takes; None: an SQLite file in the study's folder.
        out: the study's folder; None with a `url` alone.
        waiting: asked whether to wait where the database goes away once it is open.

    Raises:
        DatabaseError: the database cannot be opened or goes away, and may come back.
        StudyError: it cannot be opened or fails for another reason.
    """
    where = without_password(url) or str(_path(out))
    storage = _open(url, where, out, lambda error, seconds: waiting(_hidden(error, url), seconds))
    with _closing(storage, where, url):
        yield storage


def _path(out: Path | None) -> Path:
    assert out is not None  # noqa: S101 - or there is a URL
    return out / DATABASE


@contextmanager
def reader(out: Path) -> Iterator[RDBStorage | None]:
    """Open the database of a folder without changing it; None for one that is still being made.

    Optuna makes what is missing when it opens a database, and would meet the run that is making it.
    """
    path = out / DATABASE
    url = _sqlite_url(path, "immutable=1" if _cannot_change(path) else "mode=ro")

    def unopened(error: Exception) -> StudyError:
        return StudyError(f"the database {path} cannot be opened: {said(error)}")

    with _as_it_is(url, str(path), unopened) as storage:
        yield storage


@contextmanager
def existing(url: str) -> Iterator[RDBStorage | None]:
    """Open a database to read it; None for one that holds no studies yet.

    Raises:
        DatabaseError: it cannot be reached.
        StudyError: it is none.
    """
    where = without_password(url) or ""
    _check_there(url, where)
    with _as_it_is(url, where, lambda error: _unopened(error, where, url), secret=url) as storage:
        yield storage


@contextmanager
def _as_it_is(
    url: str, where: str, unopened: Callable[[Exception], StudyError], *, secret: str | None = None
) -> Iterator[RDBStorage | None]:
    """Open a database without making tables; None for one that has none.

    Args:
        url: of the database.
        where: what it is called in errors.
        unopened: returns the error to raise where it cannot be opened.
        secret: a URL whose password is not to be shown.
    """
    try:
        storage = TidyStorage(url, skip_table_creation=True)
    except Exception as e:  # noqa: BLE001 - a driver raises what it likes, and Optuna checks nothing that it reads
        if not any(words in said(e) for words in _UNMADE):
            raise unopened(e) from None
        yield None
        return
    with _closing(storage, where, secret):
        yield storage


def _check_there(url: str, where: str) -> None:
    """Refuse an SQLite database that is not there, which SQLite would make."""
    try:
        parsed = sqlalchemy.engine.make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        # no URL at all, as opening it will say
        return
    named = str(parsed.database or ":memory:")
    # a file: URI has parameters of its own
    if parsed.get_backend_name() == "sqlite" and not named.startswith(("file:", ":")) and not Path(named).exists():
        raise StudyError(f"there is no database {where}")


@contextmanager
def own_errors(where: str, url: str | None = None) -> Iterator[None]:
    """Raise what a database raises as errors of ours, which name it by `where` and hide the password in its URL.

    Raises:
        DatabaseError: it is away, and may come back.
        StudyError: anything else.
    """
    try:
        yield
    except _FAILURES as e:
        raise _kind(e)(f"the database {where} failed: {_said(e, url)}") from None


@contextmanager
def _closing(storage: RDBStorage, where: str, url: str | None = None) -> Iterator[None]:
    try:
        with own_errors(where, url):
            yield
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _kind(error: Exception) -> type[StudyError]:
    return DatabaseError if away(error) else StudyError


def read_records(out: Path) -> list[TrialRecord]:
    """Read all records from the SQLite database in a study's folder; one that is still being made holds none.

    Raises:
        StudyError: there is no database, or a record in it cannot be read.
    """
    if not (out / DATABASE).is_file():
        raise StudyError(f"there is no {DATABASE} in {out}")
    found: list[TrialRecord] = []
    with quiet_optuna(), reader(out) as storage:
        if storage is None:
            return found
        try:
            for summary in storage.get_all_studies():
                trials = storage.get_all_trials(summary._study_id, deepcopy=False)  # noqa: SLF001 - Optuna names none
                found += records_of(trials, where=f"study {summary.study_name!r}")
        except (StudyError, *_FAILURES):
            raise
        except Exception as e:  # noqa: BLE001 - Optuna checks nothing that it reads from its tables
            raise StudyError(f"the database {out / DATABASE} is damaged: {type(e).__name__}: {said(e)}") from None
    return found


def _open(given: str | None, where: str, out: Path | None, waiting: Waiting) -> Storage:
    try:
        if given is not None:
            return _patiently(lambda: _made(given, waiting))
        _patiently(lambda: _log_ahead(_path(out)))
        return _patiently(lambda: _made(_sqlite_url(_path(out)), waiting))
    except Exception as e:  # noqa: BLE001 - a driver raises what it likes
        raise _unopened(e, where, given) from None


def _unopened(error: Exception, where: str, url: str | None) -> StudyError:
    if isinstance(error, ValueError | LookupError) or where == _NO_URL:
        return StudyError(f"storage must be a database URL such as sqlite:///study.db, got one that {_UNREAD}")
    return _kind(error)(f"the database {where} cannot be opened: {_said(error, url)}")


def _sqlite_url(path: Path, option: str = "") -> str:
    # as a URI, since SQLAlchemy and Optuna read the ? and { of a path as theirs; the % of the URI is SQLite's
    option = f"{option}&" if option else ""
    return f"sqlite:///{path.absolute().as_uri().replace('%', '%25')}?{option}uri=true"


def _cannot_change(path: Path) -> bool:
    """Tell whether nobody here can write a file: a reader needs a file beside one that commits to a log, or this."""
    log = path.with_name(f"{path.name}-wal")
    return not os.access(path.parent, os.W_OK) and not log.exists()


def _log_ahead(path: Path) -> None:
    """Make an SQLite file where there is none, and let it commit to a write-ahead log.

    That is several times faster, and a dashboard may read meanwhile.
    """
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def _made(url: str, waiting: Waiting) -> Storage:
    # a connection that a server has closed meanwhile is noticed before it is used
    options: dict[str, Any] = {"pool_pre_ping": True}
    if url.startswith("sqlite"):
        options = {"connect_args": {"timeout": _BUSY_SECONDS}}
    return PatientStorage(url, waiting, options)


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


def _said(error: Exception, url: str | None = None) -> str:
    """Return the first line of what a database has said, which may repeat its password."""
    return _hidden(said(error), url)


def _hidden(text: str, url: str | None) -> str:
    text = without_passwords(text)
    for secret in _secrets(url):
        text = text.replace(secret, "***")
    return text


def _secrets(url: str | None) -> list[str]:
    """Return the secrets of a database URL, as they are and as the URL has them."""
    if url is None:
        return []
    try:
        parsed = sqlalchemy.engine.make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        return []
    found = [str(parsed.password or "")]
    for name, value in parsed.query.items():
        if any(word in name.lower() for word in _SECRETS):
            found += [value] if isinstance(value, str) else value
    return sorted({form for secret in found if secret for form in (secret, quote(secret, safe=""))}, key=len)[::-1]


def without_password(url: str | None) -> str | None:
    """Return a database URL that may be shown."""
    if url is None:
        return None
    try:
        parsed = sqlalchemy.engine.make_url(url)
        hidden = {name: "***" for name in parsed.query if any(word in name.lower() for word in _SECRETS)}
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

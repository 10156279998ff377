"""A database that goes away comes back: an Optuna storage that waits for it and tries again."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeAlias, TypeVar

import optuna
import sqlalchemy
from optuna.storages import RDBStorage

P = ParamSpec("P")
T = TypeVar("T")
# Told what the database says and for how many seconds it has said so, 0 at first; tells whether to go on waiting.
Waiting: TypeAlias = Callable[[str, float], bool]
_RETRY_SECONDS = 1.0
# What waiting does not change.
_FOR_GOOD = ("readonly database", "no such table", "not a database", "malformed", "does not exist")


class TidyStorage(RDBStorage):
    """An Optuna storage that leaves no connection open where the database turns out not to be one of Optuna's."""

    def __init__(self, url: str, **options: Any) -> None:
        try:
            super().__init__(url, **options)
        except BaseException:
            # they are not there where the URL is none
            if hasattr(self, "scoped_session"):
                self.scoped_session.remove()
            if hasattr(self, "engine"):
                self.engine.dispose()
            raise


class PatientStorage(TidyStorage):
    """An Optuna storage whose every call is tried again while the database is away.

    A call may have done its work before the connection broke. That is harmless: values and attributes are written again
    as they are, a trial that was told twice says so, and a new trial that its owner never heard of has no lease.

    Args:
        url: of the database.
        waiting: asked before each new try; where it says no, the error is raised.
        engine_kwargs: of SQLAlchemy's engine.

    Attributes:
        file: device and number of the file of an SQLite database, as it was first seen; None: not seen yet.
    """

    file: tuple[int, int] | None = None

    def __init__(self, url: str, waiting: Waiting, engine_kwargs: dict[str, Any]) -> None:
        # none while tables are made, which has a patience of its own
        self._waiting: Waiting = lambda _error, _seconds: False
        super().__init__(url, engine_kwargs=engine_kwargs)
        self._waiting = waiting

    def patiently(self, call: Callable[[], T]) -> T:
        """Call something that reads or writes the database, again while it is away."""
        began: float | None = None
        while True:
            try:
                return call()
            except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as e:
                now = time.monotonic()
                began = now if began is None else began
                if not away(e) or not self._waiting(said(e), now - began):
                    raise
            # a session whose connection broke in a transaction would only repeat that
            self.remove_session()
            time.sleep(_RETRY_SECONDS)


def away(error: Exception) -> bool:
    """Tell whether an error says that a database cannot be reached or written now, and may be later."""
    cause = error.__cause__ if isinstance(error, optuna.exceptions.StorageInternalError) else error
    if isinstance(cause, sqlalchemy.exc.PendingRollbackError):
        return True
    if not isinstance(cause, sqlalchemy.exc.OperationalError | sqlalchemy.exc.InterfaceError):
        return isinstance(cause, sqlalchemy.exc.DBAPIError) and cause.connection_invalidated
    return not any(words in str(cause) for words in _FOR_GOOD)


def said(error: Exception) -> str:
    """Return the first line of what the database has said."""
    cause = error.__cause__ or error
    if isinstance(cause, sqlalchemy.exc.PendingRollbackError):
        # SQLAlchemy's words are on what a program should do
        return "the connection was lost"
    cause = getattr(cause, "orig", None) or cause  # SQLAlchemy puts the class before the words of the database
    return (str(cause).splitlines() or [""])[0]


def _patient(method: Callable[P, T]) -> Callable[P, T]:
    @functools.wraps(method)
    def tried(*args: P.args, **kwargs: P.kwargs) -> T:
        storage = args[0]
        assert isinstance(storage, PatientStorage)  # noqa: S101 - a method of it
        return storage.patiently(lambda: method(*args, **kwargs))

    return tried


# what Optuna's cache in front of the storage and its studies call
for _name in (
    "create_new_study",
    "set_study_user_attr",
    "set_study_system_attr",
    "get_study_id_from_name",
    "get_study_name_from_id",
    "get_study_directions",
    "get_study_user_attrs",
    "get_study_system_attrs",
    "get_all_studies",
    "_create_new_trial",
    "_set_trial_param",
    "get_trial_id_from_study_id_trial_number",
    "set_trial_state_values",
    "set_trial_intermediate_value",
    "set_trial_user_attr",
    "set_trial_system_attr",
    "get_trial",
    "_get_trials",
    "get_best_trial",
    "_get_best_trial_id",
    "get_n_trials",
):
    setattr(PatientStorage, _name, _patient(getattr(RDBStorage, _name)))

"""Every error that autowarm raises on purpose. The message says what was wrong and what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AutowarmError(Exception):
    """Root of all errors raised on purpose by autowarm."""


class ScheduleError(AutowarmError, ValueError):
    """A schedule, or a use of one, is not valid."""


class SettingsError(AutowarmError, ValueError):
    """A study file or the arguments of a study are not valid."""


class JobError(AutowarmError):
    """The training job cannot be built, or cannot be tuned as it is."""


class OutOfMemoryError(JobError):
    """The training job ran out of memory."""


class RecordError(AutowarmError, ValueError):
    """A stored record cannot be read."""


class CheckpointError(AutowarmError):
    """The state of a training cannot be kept, or is not one that it can go on from."""


class StudyError(AutowarmError):
    """A study cannot go on, or has no answer to give."""


class DatabaseError(StudyError):
    """The database of a study cannot be reached or written now: the same command may work later."""


def unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """Word the message for a name that is not one of the known ones, with the nearest one suggested.

    >>> unknown("decay", "cosin", ["linear", "cosine"])
    "unknown decay 'cosin': did you mean 'cosine'? Known: cosine, linear"
    """
    names = sorted(known)
    # of what is no word, the words of Python (None is near to "cosine") would suggest nonsense
    near = difflib.get_close_matches(name, names, n=1) if isinstance(name, str) else []
    hint = f": did you mean {near[0]!r}?" if near else "."
    return f"unknown {kind} {name!r}{hint} Known: {', '.join(names)}"

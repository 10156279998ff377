"""What a study is at, read from its database by somebody who does not work on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from autowarm.errors import StudyError
from autowarm.settings import DATABASE
from autowarm.study.claims import LEASE
from autowarm.study.database import existing, quiet_optuna, reader
from autowarm.study.horizon import IDENTITY, PLANNED
from autowarm.study.lease import gone


@dataclass(frozen=True)
class Underway:
    """A training that runs.

    Attributes:
        trial: its number.
        role: why it runs.
        by: host and number of the process that owns it.
        step: where it was when its owner was last heard, and `total_steps`, where it ends; None: unknown.
        heard: seconds since then, by the clocks of both; None: never.
        gone: the owner was on this machine and is not there any more.
        params: what is trained, as far as the sampler says.
    """

    trial: int
    role: str
    by: str
    step: int
    total_steps: int | None
    heard: float | None
    gone: bool
    params: Mapping[str, Any]


@dataclass(frozen=True)
class HorizonStatus:
    """One horizon, or a level below one.

    Attributes:
        name: of its study.
        planned: runs that it was planned to take at most; None: it has not begun.
        outcomes: of the search trials that ended, by outcome, and `checks`, of the other runs, by role.
        underway: what runs.
        waiting: trials that are to be done again, and guesses not yet begun.
        ended: when runs ended, in seconds since 1970, rising.
    """

    name: str
    planned: int | None
    outcomes: Mapping[str, int]
    checks: Mapping[str, int]
    underway: tuple[Underway, ...]
    waiting: int
    ended: tuple[float, ...]

    @property
    def done(self) -> int:
        """Runs that ended."""
        return sum(self.outcomes.values()) + sum(self.checks.values())

    @property
    def left(self) -> int | None:
        """Runs that are still to come, those underway included, at most; None: unknown."""
        return max(0, self.planned - self.done) if self.planned is not None else None


def read_status(out: Path | None, url: str | None = None) -> list[HorizonStatus]:
    """Read what every study of a database is at.

    Args:
        out: a study's folder with its own database.
        url: of another database, instead.

    Raises:
        StudyError: there is none, or it cannot be read.
    """
    with quiet_optuna(), _opened(out, url) as storage:
        if storage is None:
            return []
        names = {s.study_name: s for s in storage.get_all_studies() if IDENTITY in s.user_attrs}
        return [
            _status(storage, name, names[name], names.get(f"{name} checks"))
            for name in names
            if not name.endswith(" checks")
        ]


@contextmanager
def _opened(out: Path | None, url: str | None) -> Iterator[RDBStorage | None]:
    if url is not None:
        with existing(url) as storage:
            yield storage
        return
    if out is None or not (out / DATABASE).is_file():
        raise StudyError(
            f"there is no {DATABASE} in {out}: is it the folder of a study? one whose database is elsewhere is asked "
            "for by --storage"
        )
    with reader(out) as storage:
        yield storage


def _status(storage: RDBStorage, name: str, search: Any, checks: Any) -> HorizonStatus:
    trials = storage.get_all_trials(search._study_id, deepcopy=False)  # noqa: SLF001 - Optuna has no other name for it
    others = storage.get_all_trials(checks._study_id, deepcopy=False) if checks is not None else []  # noqa: SLF001
    planned = checks.user_attrs.get(PLANNED) if checks is not None else None
    done = [t for t in (*trials, *others) if t.state.is_finished() and "outcome" in t.user_attrs]
    steps = name.rpartition("level=")[2] if "level=" in name else name.rpartition("steps=")[2].partition(" ")[0]
    return HorizonStatus(
        name=name,
        planned=int(planned) if isinstance(planned, int) else None,
        outcomes=Counter(str(t.user_attrs["outcome"]) for t in trials if t in done),
        checks=Counter(str(t.user_attrs.get("role")) for t in others if t in done),
        underway=tuple(
            _underway(t, int(steps) if steps.isdigit() else None)
            for t in (*trials, *others)
            if t.state == TrialState.RUNNING
        ),
        waiting=sum(t.state == TrialState.WAITING for t in trials),
        ended=tuple(sorted(t.datetime_complete.timestamp() for t in done if t.datetime_complete is not None)),
    )


def _underway(trial: FrozenTrial, total_steps: int | None) -> Underway:
    lease = trial.user_attrs.get(LEASE)
    lease = lease if isinstance(lease, Mapping) else {}
    try:
        heard = (datetime.now(UTC) - datetime.fromisoformat(str(lease.get("at")))).total_seconds()
    except (ValueError, TypeError):
        heard = None
    return Underway(
        trial=trial.number,
        role=str(trial.user_attrs.get("role", "search")),
        by=str(lease.get("name", "unknown")),
        step=int(lease.get("step", 0)),
        total_steps=total_steps,
        heard=heard,
        gone=not lease or gone(lease),
        params=dict(trial.params),
    )

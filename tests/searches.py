"""Searches over trainings that take no time, for tests of what happens around them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from scripted import Scripted

from autowarm.executors.local import LocalExecutor
from autowarm.interrupts import Interrupts
from autowarm.progress import Display
from autowarm.record import TrialRecord
from autowarm.search import Search
from autowarm.settings import StudySettings
from autowarm.space import Range, SearchSpace
from autowarm.specs import JobSpec
from autowarm.study.database import Storage, database, quiet_optuna
from autowarm.tuning import look


class Notices(Display):
    """Keeps what a person is told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def notice(self, text: str) -> None:
        self.told.append(text)


def settings(**changes: Any) -> StudySettings:
    defaults: dict[str, Any] = {"n_trials": 8, "n_jobs": 1, "space": SearchSpace(initial_lr=Range(1e-4, 1.0, log=True))}
    return StudySettings(name="shared", job=JobSpec(factory="nobody:builds"), **(defaults | changes))


@contextmanager
def searching(
    out: Path,
    executor: Scripted,
    chosen: StudySettings,
    *,
    display: Display | None = None,
    url: str | None = None,
    **more: Any,
) -> Iterator[tuple[Search, Storage]]:
    """Give a search that is ready to run, and its storage."""
    given = cast("LocalExecutor", executor)
    with quiet_optuna(), database(url, out, waiting=more.pop("waiting", lambda _error, _seconds: False)) as storage:
        yield (
            Search(
                chosen,
                look(chosen, given, Display()),
                storage=storage,
                executor=given,
                display=display or Display(),
                interrupts=more.pop("interrupts", None) or Interrupts(),
                **more,
            ),
            storage,
        )


def run(out: Path, executor: Scripted, chosen: StudySettings, **more: Any) -> list[TrialRecord]:
    with searching(out, executor, chosen, **more) as (search, _):
        search.run()
        return search.records()


def of(records: list[TrialRecord], role: str) -> list[TrialRecord]:
    return [r for r in records if r.role == role]


def run_together(
    out: Path, executors: Sequence[Scripted], chosen: StudySettings, **more: Any
) -> list[list[TrialRecord]]:
    """Let several workers run one study, a thread each; return what each has found."""
    found: list[list[TrialRecord]] = []
    failed: list[BaseException] = []

    def work(executor: Scripted) -> None:
        try:
            found.append(run(out, executor, chosen, **more))
        except BaseException as e:  # noqa: BLE001 - told by the test
            failed.append(e)

    threads = [threading.Thread(target=work, args=(executor,)) for executor in executors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return found


def check_shared(found: Sequence[Sequence[TrialRecord]], executors: Sequence[Scripted]) -> list[TrialRecord]:
    """Check that workers have the same records, and have done nothing twice; return the records."""
    records = list(found[0])
    names = set(map(_named, records))
    for other in found:
        assert not (apart := names ^ set(map(_named, other))), apart
        assert sorted(map(str, other)) == sorted(map(str, records))
    assert len({(r.role == "search", r.total_steps, r.trial) for r in records}) == len(records)
    checks = [(r.role, r.seed, str(r.schedule and r.schedule.to_dict())) for r in records if r.role != "search"]
    assert sorted(set(checks)) == sorted(checks)
    assert sum(bool(executor.specs) for executor in executors) > 1, "one has done all"
    return records


def _named(record: TrialRecord) -> tuple[str, int, int, int, str]:
    return record.role, record.total_steps, record.trial, record.seed, record.outcome

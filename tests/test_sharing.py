"""Several processes on one study, trainings that die or hang, and databases that go away: without real trainings."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import scripted
import sqlalchemy
from scripted import Scripted
from searches import Notices, check_shared, of, run, run_together, searching, settings

from autowarm import loop, tuning
from autowarm.errors import SettingsError, StudyError
from autowarm.events import EventLog
from autowarm.executors.events import Done, Event, Rung
from autowarm.interrupts import Interrupts
from autowarm.record import TrialRecord
from autowarm.schedule import Schedule
from autowarm.search import _check_tasks
from autowarm.space import SearchSpace
from autowarm.specs import TrainingSpec, TrialResult
from autowarm.study.checks import Check, Checks
from autowarm.study.horizon import HorizonStudy
from autowarm.study.lease import Watch
from autowarm.unsaved import Unsaved


@pytest.mark.parametrize("changes", [{"n_trials": 40}, {"n_trials": None, "budget": 8}, {"space": SearchSpace()}])
def test_workers_share_a_study_and_do_nothing_twice(
    tmp_path: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_IDLE_SECONDS", 0.02)
    chosen = settings(**changes)
    executors = [Scripted(seconds=0.001) for _ in range(4)]
    records = check_shared(run_together(tmp_path, executors, chosen), executors)
    assert sum(len(executor.specs) for executor in executors) == len(records), "all that ran is on record"
    if chosen.n_trials:
        assert len(of(records, "search")) == chosen.n_trials
    else:
        (tmp_path / "alone").mkdir()
        alone = run(tmp_path / "alone", Scripted(), chosen)
        assert sum(r.cost for r in records) == pytest.approx(sum(r.cost for r in alone), rel=0.2)


def test_a_training_whose_process_died_is_trained_again(tmp_path: Path) -> None:
    deaths: Counter[str] = Counter()

    def script(key: int, spec: TrainingSpec) -> list[Event]:
        # each of them once
        deaths[f"{spec.schedule} {spec.seed}"] += 1
        return (scripted.died if deaths[f"{spec.schedule} {spec.seed}"] == 1 else scripted.well)(key, spec)

    notices, log = Notices(), tmp_path / "events.jsonl"
    records = run(tmp_path, Scripted(script), settings(), display=notices, events=EventLog(log))
    assert {r.outcome for r in records} <= {"COMPLETE", "PRUNED"}
    assert len(of(records, "search")) == 8
    assert any("died by signal SIGKILL (out of memory?); it is trained again" in told for told in notices.told)
    events = [json.loads(line) for line in log.read_text().splitlines()]
    kinds = Counter(event["event"] for event in events)
    assert kinds["interrupted"] == len(records) == kinds["ended"]
    assert kinds["started"] == 2 * len(records)
    again = run(tmp_path, Scripted(script), settings())
    assert again == records, "nothing is left to do"


def test_a_training_that_always_dies_fails_after_its_retries(tmp_path: Path) -> None:
    def script(key: int, spec: TrainingSpec) -> list[Event]:
        lr = spec.schedule.initial_lr if spec.schedule is not None else 0.0
        return (scripted.died if lr > 0.01 else scripted.well)(key, spec)

    executor = Scripted(script)
    records = run(tmp_path, executor, settings(retries=1, n_trials=12))
    failed = [r for r in of(records, "search") if r.outcome == "FAILED"]
    assert failed
    assert all(r.schedule is not None and r.schedule.initial_lr > 0.01 for r in failed)
    assert all(r.reason is not None and r.reason.endswith("(2 times)") for r in failed)
    assert len(of(records, "search")) == 12
    assert len(executor.specs) == len(records) + len(failed)


@pytest.mark.parametrize("deaf", [False, True])
def test_what_hangs_is_ended(tmp_path: Path, deaf: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_GRACE_SECONDS", 0.05)
    count = 0

    def script(key: int, spec: TrainingSpec) -> list[Event]:
        nonlocal count
        count += 1
        return (scripted.hangs if count == 3 else scripted.well)(key, spec)

    executor = Scripted(script, seconds=0.01, deaf=deaf)
    records = run(tmp_path, executor, settings(trial_timeout=0.3))
    (late,) = [r for r in records if r.outcome == "FAILED"]
    assert late.reason == "it took longer than 0.3 s: see trial_timeout"
    assert late.steps == 3
    assert executor.ended == ([3] if deaf else [])
    assert len(of(records, "search")) == 8


class Killed(Exception):  # noqa: N818 - ends a process in its place
    pass


def test_a_killed_owner_leaves_nothing_running(tmp_path: Path) -> None:
    count = 0

    def script(key: int, spec: TrainingSpec) -> list[Event]:
        nonlocal count
        count += 1
        if count in (3, 10):
            raise Killed
        return scripted.well(key, spec)

    for _ in range(2):
        with pytest.raises(Killed):
            run(tmp_path, Scripted(script), settings())
    records = run(tmp_path, Scripted(script), settings())
    assert len(of(records, "search")) == 8
    assert {r.outcome for r in records} <= {"COMPLETE", "PRUNED"}
    alone = tmp_path / "alone"
    alone.mkdir()
    undisturbed = run(alone, Scripted(), settings())
    assert sorted(r.label for r in records) == sorted(r.label for r in undisturbed), "the same study, killed or not"


def test_a_trial_that_ends_its_owner_each_time_is_not_begun_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_MOST_ORPHANED", 3)

    def script(key: int, spec: TrainingSpec) -> list[Event]:
        if spec.schedule is not None and spec.schedule.initial_lr > 0.02:
            raise Killed
        return scripted.well(key, spec)

    for _ in range(40):
        try:
            records = run(tmp_path, Scripted(script), settings(n_trials=10))
        except Killed:
            continue
        break
    failed = [r for r in records if r.outcome == "FAILED"]
    assert failed
    assert {r.reason for r in failed} == {"its owner has died 3 times while it ran: does it end the machine?"}
    assert len(of(records, "search")) == 10


def test_ctrl_c_leaves_everything_to_be_done_again(tmp_path: Path) -> None:
    interrupts = Interrupts()

    def script(key: int, spec: TrainingSpec) -> list[Event]:
        interrupts.count = int(key == 4)
        return scripted.well(key, spec)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Scripted(script), settings(), interrupts=interrupts)
    records = run(tmp_path, Scripted(), settings())
    assert len(of(records, "search")) == 8
    assert {r.outcome for r in records} <= {"COMPLETE", "PRUNED"}


def test_a_result_that_the_database_does_not_take_is_kept_for_the_next_run(tmp_path: Path) -> None:
    done: list[int] = []
    unsaved = Unsaved(tmp_path / "unsaved.jsonl")

    def script(key: int, spec: TrainingSpec) -> list[Event]:
        done.append(key)
        return scripted.well(key, spec)

    def full(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if len(done) == 5 and statement.startswith(("INSERT", "UPDATE")):
            raise sqlite3.OperationalError("database or disk is full")

    with pytest.raises(StudyError, match="database or disk is full"):  # noqa: SIM117, PT012
        with searching(tmp_path, Scripted(script), settings(), unsaved=unsaved) as (search, storage):
            sqlalchemy.event.listen(storage.engine, "before_cursor_execute", full)
            search.run()
    assert len((tmp_path / "unsaved.jsonl").read_text().splitlines()) == 1
    notices, executor = Notices(), Scripted()
    records = run(tmp_path, executor, settings(), unsaved=unsaved, display=notices)
    assert len(of(records, "search")) == 8
    assert len(executor.specs) == len(records) - 5, "what was trained is not trained again"
    assert any("is stored now" in told for told in notices.told)
    assert not (tmp_path / "unsaved.jsonl").exists()


def test_a_result_of_one_that_was_taken_for_dead_is_not_counted_twice(tmp_path: Path) -> None:
    """A process that was stopped for minutes comes back, when another has given its trial up and trained it again."""
    notices = Notices()

    class Stopped(Scripted):
        """Is stopped in its third training, while another process goes on with the study."""

        def events(self, timeout: float) -> Iterator[Event]:
            if len(self.specs) == 3 and not others:
                search._watch.close()
                others.extend(run(tmp_path, Scripted(), settings()))
            yield from super().events(timeout)

    others: list[TrialRecord] = []
    with searching(tmp_path, Stopped(), settings(), display=notices) as (search, _):
        search.run()
        records = search.records()
    assert len(of(others, "search")) == len(of(records, "search")) == 8
    assert len(records) == len({(r.role, r.trial) for r in records})
    assert sum("has taken this one for dead" in told for told in notices.told) == 1


def test_a_log_of_events_that_cannot_be_written_ends_no_study(tmp_path: Path) -> None:
    records = run(tmp_path, Scripted(), settings(), events=EventLog(tmp_path / "no" / "folder" / "events.jsonl"))
    assert len(of(records, "search")) == 8


def out_of_memory(key: int, spec: TrainingSpec) -> list[Event]:
    """Let whole batches not fit into memory."""
    if spec.split_batches < 4:
        return [Done(key, None, "it ran out of memory", out_of_memory=True)]
    return scripted.well(key, spec)


def test_what_runs_out_of_memory_is_trained_in_smaller_parts_where_that_is_asked_for(tmp_path: Path) -> None:
    executor, notices = Scripted(out_of_memory), Notices()
    records = run(tmp_path, executor, settings(oom_retry=True), display=notices)
    assert {r.split_batches for r in records} == {4}
    assert [spec.split_batches for spec in executor.specs] == [1, 2, *[4] * (len(executor.specs) - 2)]
    assert len(executor.specs) == len(records) + 2
    assert sum("out of memory; it is trained again with batches in 4 parts" in told for told in notices.told) == 1


def test_what_runs_out_of_memory_fails_where_it_is_not(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="the first 3 trials failed in the same way: it ran out of memory"):
        run(tmp_path, Scripted(out_of_memory), settings())


def test_results_that_cannot_be_written_do_not_hide_a_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, notices = Interrupts(), Notices()

    def script(key: int, spec: TrainingSpec) -> list[Event]:
        seen.count = int(key == 4)
        return scripted.well(key, spec)

    def full(*_: object, **__: object) -> None:
        raise StudyError("the results cannot be written")

    monkeypatch.setattr(tuning, "executor_for", lambda _: nullcontext(Scripted(script)))
    monkeypatch.setattr(tuning, "interrupts", lambda: nullcontext(seen))
    monkeypatch.setattr(tuning, "write_results", full)
    with pytest.raises(KeyboardInterrupt):
        tuning.run_study(settings(), tmp_path, display=notices)
    assert "the results cannot be written" in notices.told
    monkeypatch.undo()
    monkeypatch.setattr(tuning, "executor_for", lambda _: nullcontext(Scripted()))
    result = tuning.run_study(settings(), tmp_path)
    assert len(of(list(result.records), "search")) == 8


def test_a_worker_needs_a_database_that_others_can_use_too() -> None:
    with pytest.raises(SettingsError, match="a worker needs the database that all workers use: --storage"):
        tuning.run_worker(settings())


def test_a_worker_leaves_its_records_for_who_writes_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "executor_for", lambda _: nullcontext(Scripted()))
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    done = tuning.run_worker(settings(storage=url), events=tmp_path / "events.jsonl")
    kinds = Counter(json.loads(line)["event"] for line in (tmp_path / "events.jsonl").read_text().splitlines())
    assert kinds["began"] == kinds["left"] == 1
    assert kinds["ended"] == done
    result = tuning.run_study(settings(storage=url), tmp_path / "out")
    assert len(result.records) == done
    assert (tmp_path / "out" / "report.md").is_file()


def test_a_training_is_not_judged_against_its_own_attempts_that_died(tmp_path: Path) -> None:
    def script(key: int, spec: TrainingSpec) -> list[Event]:
        """Let every training die twice near its end, each attempt a little worse than the one before."""
        lr = str(spec.schedule)
        tries[lr] += 1
        rungs: list[Event] = [Rung(key, step, 1.0 + tries[lr] / 10) for step in spec.rungs]
        if tries[lr] <= 2:
            return [*rungs[:-1], *scripted.died(key, spec)]
        done = TrialResult(outcome="COMPLETE", value=1.0 + tries[lr] / 10, steps=spec.total_steps or 0)
        return [*rungs, Done(key, done)]

    tries: Counter[str] = Counter()
    records = run(tmp_path, Scripted(script), settings(n_trials=4, confirm_seeds=0))
    assert {r.outcome for r in of(records, "search")} == {"COMPLETE"}


def test_a_check_that_another_process_ends_while_this_one_looks_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs and what has ended are two reads: between them, a trial may go from the one to the other."""
    real = Checks.claimed
    ended: list[TrialRecord] = []

    def claimed(self: Checks) -> set[str]:
        if not ended:
            plan = search.plans[0]
            first = _check_tasks(search.settings, plan, search._study(plan))[0]
            other = Checks(self.study, Watch())
            found = of(search.records(), "search")[0]
            number = other.claim(first.check)
            ended.append(replace(found, role=first.role, seed=first.seed, trial=number, schedule=first.check.schedule))
            other.add(ended[0])
        return real(self)

    monkeypatch.setattr(Checks, "claimed", claimed)
    with searching(tmp_path, Scripted(), settings(n_trials=3)) as (search, _):
        search.run()
        alike = [r for r in search.records() if Check.of(r).key == Check.of(ended[0]).key]
    assert alike == ended


def test_a_schedule_that_another_process_ends_while_this_one_looks_counts_as_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_record: Callable[..., TrialRecord]
) -> None:
    chosen, executor = settings(), Scripted()
    with searching(tmp_path, executor, chosen) as (search, _):
        lane = search._lane(search.plans[0], search._study(search.plans[0]))
        search._studies.clear()
        other = search._study(search.plans[0])
        proposal = other.ask()
        assert lane.tried == [proposal.schedule]
        real = HorizonStudy.schedules_of_others

        def schedules_of_others(self: HorizonStudy) -> list[Schedule]:
            record = make_record(trial=proposal.number, dataset_size=800)
            assert other.tell(replace(record, schedule=proposal.schedule))
            return real(self)

        monkeypatch.setattr(HorizonStudy, "schedules_of_others", schedules_of_others)
        assert lane.tried == [proposal.schedule]

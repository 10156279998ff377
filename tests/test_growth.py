"""Trials of a ladder go on from shorter ones where their decay holds the peak."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import searches
from scripted import Resized, well
from searches import Notices, run

import autowarm
from autowarm.executors.events import Done, Event
from autowarm.planning.growth import MOST_KEPT
from autowarm.record import TrialRecord
from autowarm.settings import StudySettings
from autowarm.space import Range, SearchSpace
from autowarm.specs import JobSpec, TrainingSpec, TrialResult
from autowarm.trial import run_trial

SPACE = SearchSpace(initial_lr=Range(1e-4, 1.0, log=True), decay=["linear", "wsd"])
# of which an eighth, a quarter and a half are levels
STEPS = 800
LEVELS = (100, 200, 400, 800)


def settings(**changes: Any) -> StudySettings:
    given = {"n_trials": None, "budget": 12, "total_steps": STEPS, "space": SPACE, "confirm_seeds": 0}
    return searches.settings(**{**given, "trunks": "explore", **changes})


def folder(parent: Path, name: str) -> Path:
    (parent / name).mkdir()
    return parent / name


def growing(key: int, spec: TrainingSpec) -> list[Event]:
    """Let a training end well, and leave its state, as it would: by a file."""
    *rungs, done = well(key, spec)
    assert isinstance(done, Done)
    assert isinstance(done.result, TrialResult)
    trunk = spec.trunk
    if trunk is None:
        return [*rungs, done]
    shared = int(trunk.begin.stem.rpartition("-")[2]) if trunk.begin is not None and trunk.begin.exists() else 0
    if trunk.leave is not None:
        trunk.leave.parent.mkdir(exist_ok=True)
        trunk.leave.touch()
    assert shared <= trunk.step
    result = replace(done.result, trunk=trunk.name, shared_steps=shared, exact=True)
    return [*rungs, replace(done, result=result)]


def grown(out: Path, executor: Resized | None = None, **more: Any) -> tuple[list[TrialRecord], Resized]:
    executor = executor or Resized(growing)
    return run(out, executor, more.pop("chosen", settings()), checkpoints=out / "kept", **more), executor


def test_what_is_carried_goes_on_and_the_budget_pays_for_more(tmp_path: Path) -> None:
    records, executor = grown(tmp_path)
    assert executor.checks == 1
    assert {r.total_steps for r in records} == set(LEVELS)
    below = [r for r in records if r.total_steps < STEPS]
    assert {r.schedule.decay for r in below if r.schedule} == {"wsd"}
    assert {r.schedule.decay for r in records if r.schedule} == {"linear", "wsd"}
    # before the cooldown over the last 20 % of the level below, whose first step has the peak still
    shared = {steps: max(r.shared_steps or 0 for r in records if r.total_steps == steps) for steps in LEVELS}
    assert shared == {100: 0, 200: 81, 400: 161, 800: 321}
    went_on = [r for r in records if r.shared_steps]
    assert {r.schedule.warmup_steps_of(r.total_steps) for r in went_on if r.schedule} >= {50}
    alone = run(folder(tmp_path, "alone"), Resized(), settings(trunks=False))
    assert {r.trunk for r in alone} == {None}
    budget = 12 * (STEPS + 20 * 10 / 3)
    for found in (records, alone):
        assert sum(r.cost for r in found) <= budget * (1 + 1e-9)
    longer = [sum(r.total_steps > 100 for r in found) for found in (records, alone)]
    assert longer[0] > longer[1]


def test_states_of_the_best_alone_are_kept_and_in_the_end_none(tmp_path: Path) -> None:
    most: dict[int, int] = {}

    def counting(key: int, spec: TrainingSpec) -> list[Event]:
        kept = len(list((tmp_path / "kept").glob("*.trunk"))) if (tmp_path / "kept").exists() else 0
        most[spec.total_steps or 0] = max(most.get(spec.total_steps or 0, 0), kept)
        return growing(key, spec)

    grown(tmp_path, Resized(counting))
    assert most[100] == MOST_KEPT
    assert most[200] <= 2 * MOST_KEPT
    assert most[400] <= 2 * MOST_KEPT
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_study_repeats_exactly_and_has_the_same_trials_without_a_state(tmp_path: Path) -> None:
    def named(records: list[TrialRecord]) -> list[tuple[int, str]]:
        return [(r.total_steps, r.label) for r in records]

    chosen = settings(budget=4)
    records, _ = grown(tmp_path, chosen=chosen)
    again, executor = grown(tmp_path, chosen=chosen)
    assert (again, executor.specs, executor.checks) == (records, [], 0)
    assert named(grown(folder(tmp_path, "other"), chosen=chosen)[0]) == named(records)
    # where nothing is kept, nothing goes on, and nothing is priced as if it did
    executor = Resized(growing)
    alone = run(folder(tmp_path, "bare"), executor, chosen)
    assert {spec.trunk for spec in executor.specs} == {None}
    assert sum(r.cost for r in alone) <= 4 * (STEPS + 20 * 10 / 3) * (1 + 1e-9)


def test_a_job_that_cannot_branch_is_searched_as_without_trunks(tmp_path: Path) -> None:
    shown, executor = Notices(), Resized(growing, refused="the job keeps state")
    records, _ = grown(tmp_path, executor, display=shown, chosen=settings(budget=4))
    assert "trials share no steps, each is trained by itself: the job keeps state" in shown.told
    assert {spec.trunk for spec in executor.specs} == {None}
    alone = run(folder(tmp_path, "alone"), Resized(), settings(trunks=False, budget=4))
    assert [(r.total_steps, r.label) for r in records] == [(r.total_steps, r.label) for r in alone]


@pytest.mark.parametrize(
    "changes",
    [
        {"space": replace(SPACE, decay=["linear", "cosine"])},
        {"space": replace(SPACE, warmup_ratio=[0.0, 0.1])},
        {"trunks": False},
        {"trunks": True},
        # nodes may have no folder in common
        {"executor": "ray"},
        {"budget": None, "n_trials": 4},
    ],
)
def test_nothing_goes_on_where_nothing_could_or_should(tmp_path: Path, changes: dict[str, Any]) -> None:
    records, executor = grown(tmp_path, chosen=settings(**{"budget": 3, **changes}))
    assert executor.checks == 0
    assert {spec.trunk for spec in executor.specs} == {None}
    assert {r.trunk for r in records} == {None}


@pytest.mark.usefixtures("one_thread")
def test_a_real_job_goes_on_and_each_trial_is_what_it_would_be_by_itself(tmp_path: Path) -> None:
    space = {"initial_lr": {"low": 1e-3, "high": 0.3}, "decay": "wsd"}
    given: dict[str, Any] = {"budget": 3, "total_steps": 320, "n_jobs": 1, "confirm_seeds": 0, "progress": False}
    result = autowarm.tune("sample_jobs:build", space, out=tmp_path, name="grown", **given)
    went_on = [r for r in result.records if r.shared_steps]
    assert went_on
    assert all(r.exact for r in went_on)
    for record in went_on:
        spec = TrainingSpec(
            job=JobSpec(factory="sample_jobs:build"),
            monitor="val_loss",
            total_steps=record.total_steps,
            schedule=record.schedule,
            rungs=(record.total_steps,),
        )
        assert run_trial(spec).value == record.value
    assert not (tmp_path / "checkpoints").exists()

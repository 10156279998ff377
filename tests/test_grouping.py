"""Trials that wait and begin alike are trained as trunks; what a trunk leaves is trained by itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sample_jobs as jobs
import searches
from scripted import Resized, Scripted, died, hangs, trunk_well, well
from searches import Notices, of, run, run_together, searching
from torch import Tensor

import autowarm
from autowarm import loop
from autowarm.executors.events import Done, Event, Finished, Progress
from autowarm.interrupts import Interrupts
from autowarm.lane import Lane, Task
from autowarm.record import TrialRecord
from autowarm.settings import StudySettings
from autowarm.space import SearchSpace
from autowarm.specs import TrainingSpec, TrialResult, TrunkResult, TrunkSpec
from autowarm.study.horizon import HorizonStudy, Proposal
from autowarm.study.mutex import TurnLostError

PEAKS, COOLDOWNS = (0.01, 0.1), (0.1, 0.2, 0.4)


def held(**changes: Any) -> StudySettings:
    """A grid of schedules that hold their peak: a trunk for each peak."""
    space = {"initial_lr": PEAKS, "warmup_ratio": 0.1, "decay": "wsd", "decay_ratio": COOLDOWNS}
    defaults: dict[str, Any] = {"n_trials": None, "sampler": "grid", "pruning": "off", "confirm_seeds": 0}
    return searches.settings(space=SearchSpace(**(space | changes.pop("space", {}))), **(defaults | changes))


def folder(parent: Path, name: str) -> Path:
    (parent / name).mkdir()
    return parent / name


def plain(records: list[TrialRecord]) -> list[tuple[Any, ...]]:
    return sorted((r.total_steps, r.seed, str(r.schedule), r.outcome, r.value) for r in records)


def test_what_waits_and_begins_alike_is_a_trunk_with_the_values_of_each_trial_by_itself(tmp_path: Path) -> None:
    executor = Scripted()
    records = run(folder(tmp_path, "trunks"), executor, held())
    assert [[trial.schedule.decay_ratio for trial in t.trials if trial.schedule] for t in executor.trunks] == [
        [0.4, 0.2, 0.1]
    ] * 2
    assert executor.specs == []
    assert all(trial.checkpoint is None for trunk in executor.trunks for trial in trunk.trials)
    assert Counter(r.trunk for r in records) == {"trial 2 of 100 steps": 3, "trial 5 of 100 steps": 3}
    alone = Scripted()
    assert plain(run(folder(tmp_path, "alone"), alone, held(trunks=False))) == plain(records)
    assert (len(alone.specs), alone.trunks, alone.checks) == (6, [], 0)
    assert sum(r.own_steps for r in records) == 2 * (100 + 40 - 1 + 20 - 1)


def test_trials_of_later_horizons_branch_from_the_trunks_of_the_first_one(tmp_path: Path) -> None:
    executor = Resized()
    # the same warmup in steps
    chosen = held(total_steps=(50, 100), space={"warmup_ratio": 0.0})
    records = run(tmp_path, executor, chosen)
    assert [[t.total_steps for t in trunk.trials] for trunk in executor.trunks] == [[50, 50, 50, 100, 100, 100]] * 2
    assert executor.specs == []
    assert Counter(r.total_steps for r in records) == {50: 6, 100: 6}
    assert executor.checks == 1


def test_seeds_share_nothing(tmp_path: Path) -> None:
    executor = Scripted()
    run(tmp_path, executor, held(seeds=2))
    assert [{t.seed for t in trunk.trials} for trunk in executor.trunks] == [{0}, {0}, {1}, {1}]


def test_a_trunk_leaves_each_of_the_jobs_as_many_trials(tmp_path: Path) -> None:
    executor = Scripted(seconds=0.001)
    run(tmp_path, executor, held(n_jobs=4, space={"initial_lr": 0.01, "decay_ratio": (0.1, 0.2, 0.3, 0.4)}))
    assert (len(executor.trunks), len(executor.specs)) == (0, 4)


def test_whether_a_job_can_branch_is_found_once_and_said_once(tmp_path: Path) -> None:
    shown, executor = Notices(), Scripted(refused="the job keeps state")
    records = run(tmp_path, executor, held(), display=shown)
    assert shown.told == ["trials share no steps, each is trained by itself: the job keeps state"]
    assert (executor.checks, executor.trunks, len(executor.specs)) == (1, [], 6)
    assert {r.trunk for r in records} == {None}
    again = Scripted()
    run(tmp_path, again, held(seeds=2))
    assert (again.checks, again.trunks, len(again.specs)) == (0, [], 6)


def test_nothing_is_looked_for_where_nothing_is_shared(tmp_path: Path) -> None:
    executor = Scripted()
    run(folder(tmp_path, "grid"), executor, held(space={"decay": "linear", "decay_ratio": None}))
    run(folder(tmp_path, "sampled"), executor, searches.settings(n_trials=6))
    assert (executor.checks, executor.trunks) == (0, [])


def refuses(key: int, spec: TrunkSpec) -> list[Event]:
    """Let the first trial end well, and none branch."""
    told = [event for event in trunk_well(key, spec) if getattr(event, "trial", None) == spec.carrier]
    results = tuple(
        next(e.result for e in told if isinstance(e, Finished)) if i == spec.carrier else None
        for i in range(len(spec.trials))
    )
    return [*told, Done(key, TrunkResult(results=results, refused="a branch's training loss is another"))]


def test_a_trunk_that_is_refused_is_the_last_one(tmp_path: Path) -> None:
    shown, executor = Notices(), Scripted(trunk_script=refuses)
    records = run(tmp_path, executor, held(), display=shown)
    assert (len(executor.trunks), len(executor.specs)) == (1, 5)
    assert shown.told == [
        "2 trials of a trunk will be trained without sharing steps: a branch's training loss is another"
    ]
    assert len(records) == 6
    assert {r.outcome for r in records} == {"COMPLETE"}


def test_what_a_dead_trunk_has_not_finished_is_trained_by_itself_with_all_its_retries(tmp_path: Path) -> None:
    def dies(key: int, spec: TrunkSpec) -> list[Event]:
        whole = trunk_well(key, spec)
        first = next(i for i, event in enumerate(whole) if isinstance(event, Finished))
        return [*whole[: first + 1], *died(key, spec.trials[0])[1:]]

    lost = 0

    def once(key: int, spec: TrainingSpec) -> list[Event]:
        nonlocal lost
        lost += 1
        return died(key, spec) if lost == 1 else well(key, spec)

    shown, executor = Notices(), Scripted(once, trunk_script=dies)
    records = run(tmp_path, executor, held(retries=1, space={"initial_lr": 0.01}), display=shown)
    assert {(r.outcome, r.trunk is None) for r in records} == {("COMPLETE", False), ("COMPLETE", True)}
    # two by themselves, one of them twice
    assert (len(records), len(executor.trunks), len(executor.specs)) == (3, 1, 3)
    assert "2 trials of a trunk will be trained without sharing steps: the training's process died" in shown.told[0]


def test_what_ran_out_of_memory_in_a_trunk_is_trained_by_itself(tmp_path: Path) -> None:
    def full(key: int, spec: TrunkSpec) -> list[Event]:
        result = TrialResult(outcome="FAILED", reason="out of memory", out_of_memory=True)
        finished = [Finished(key, i, result) for i in range(len(spec.trials))]
        return [*finished, Done(key, TrunkResult(results=(result,) * len(spec.trials)))]

    executor = Scripted(trunk_script=full)
    records = run(tmp_path, executor, held(space={"initial_lr": 0.01}))
    assert [r.outcome for r in records] == ["COMPLETE"] * 3
    assert (len(executor.trunks), len(executor.specs)) == (1, 3)


def test_one_trunk_that_fails_is_one_failure(tmp_path: Path) -> None:
    def fails(key: int, spec: TrunkSpec) -> list[Event]:
        events: list[Event] = []
        for i in range(len(spec.trials)):
            shared = 0 if i == spec.carrier else 3
            result = TrialResult(outcome="FAILED", reason="cursed", steps=3, trunk=spec.name, shared_steps=shared)
            events.append(Finished(key, i, result))
        return [*events, Done(key, TrunkResult(results=()))]

    def first_fails(key: int, spec: TrunkSpec) -> list[Event]:
        return (fails if len(executor.trunks) == 1 else trunk_well)(key, spec)

    executor = Scripted(trunk_script=first_fails)
    records = run(tmp_path, executor, held())
    assert Counter(r.outcome for r in records) == {"FAILED": 3, "COMPLETE": 3}


def test_an_interrupted_trunk_keeps_what_has_finished_and_is_formed_again(tmp_path: Path) -> None:
    interrupts = Interrupts()

    def stops(key: int, spec: TrunkSpec) -> list[Event]:
        interrupts.count = 1
        whole = trunk_well(key, spec)
        first = next(i for i, event in enumerate(whole) if isinstance(event, Finished))
        return [*whole[: first + 1], Progress(key, 3, 1.0, 1)]

    # it is told to stop before its first word
    deaf = Scripted(trunk_script=stops, deaf=True)
    chosen = held(space={"initial_lr": 0.01, "decay_ratio": (0.1, 0.2, 0.3, 0.4)})
    with pytest.MonkeyPatch.context() as patch, searching(tmp_path, deaf, chosen, interrupts=interrupts) as (search, _):
        patch.setattr(loop, "_GRACE_SECONDS", 0.2)
        with pytest.raises(KeyboardInterrupt):
            search.run()
        assert len(search.records()) == 1
    again = Scripted()
    records = run(tmp_path, again, chosen)
    assert [len(trunk.trials) for trunk in again.trunks] == [3]
    assert again.checks == 0
    assert [r.outcome for r in records] == ["COMPLETE"] * 4


def test_a_trunk_may_take_as_long_as_its_trials_and_then_they_are_trained_by_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_GRACE_SECONDS", 0.01)
    executor = Scripted(trunk_script=lambda key, spec: hangs(key, spec.trials[0]), deaf=True, seconds=0.001)
    records = run(tmp_path, executor, held(trial_timeout=0.5, space={"initial_lr": 0.01}))
    assert [r.outcome for r in records] == ["COMPLETE"] * 3
    assert (len(executor.trunks), len(executor.ended), len(executor.specs)) == (1, 1, 3)


def test_workers_take_trunks_from_one_grid(tmp_path: Path) -> None:
    executors = [Scripted(seconds=0.002) for _ in range(2)]
    found = run_together(tmp_path, executors, held(space={"initial_lr": (0.01, 0.02, 0.03, 0.04)}))
    assert sorted(map(str, found[0])) == sorted(map(str, found[1]))
    assert len(of(found[0], "search")) == len({(str(r.schedule), r.seed) for r in found[0]}) == 12
    trained = [len(t.trials) for executor in executors for t in executor.trunks]
    assert sum(trained) == 12


def test_the_leases_of_a_trunk_are_renewed_at_each_horizon_with_the_steps_of_its_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beaten: set[tuple[str, int]] = set()

    def spy(self: HorizonStudy, steps: dict[int, int], _: dict[int, int]) -> None:
        beaten.update((self.name, step) for step in steps.values())

    def moves(key: int, spec: TrunkSpec) -> list[Event]:
        return [Progress(key, 1001 + i, 1.0, i) for i in range(len(spec.trials))] + trunk_well(key, spec)

    monkeypatch.setattr(loop, "BEAT_SECONDS", 0.0)
    monkeypatch.setattr(HorizonStudy, "beat", spy)
    chosen = held(total_steps=(50, 100), space={"warmup_ratio": 0.0, "initial_lr": 0.01, "decay_ratio": (0.2, 0.4)})
    run(tmp_path, Resized(trunk_script=moves), chosen)
    # those of the shorter horizon leave first
    seen = {(name, step) for name, step in beaten if step > 1000}
    short, long = "shared steps=50", "shared steps=100"
    assert seen == {(short, 1001), (short, 1002), (long, 1003), (long, 1004)}


def test_a_turn_that_is_lost_while_a_trunk_is_formed_loses_no_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, lost = HorizonStudy.claim, [True]

    def loses(self: HorizonStudy, number: int) -> Proposal:
        if lost:
            lost.clear()
            raise TurnLostError
        return claim(self, number)

    monkeypatch.setattr(HorizonStudy, "claim", loses)
    executor = Scripted()
    records = run(tmp_path, executor, held(space={"initial_lr": 0.01}))
    assert [r.outcome for r in records] == ["COMPLETE"] * 3
    assert [len(trunk.trials) for trunk in executor.trunks] == [3]


def test_what_goes_on_from_a_checkpoint_of_its_own_is_in_no_trunk(tmp_path: Path) -> None:
    interrupts, kept = Interrupts(), folder(tmp_path, "checkpoints")

    def stuck(key: int, spec: TrainingSpec) -> list[Event]:
        interrupts.count = 1
        assert spec.checkpoint is not None
        spec.checkpoint.touch()
        return hangs(key, spec)

    chosen = held(space={"initial_lr": 0.01})
    alone = Scripted(stuck)
    with (
        pytest.raises(KeyboardInterrupt),
        searching(tmp_path, alone, replace(chosen, trunks=False), interrupts=interrupts, checkpoints=kept) as (
            search,
            _,
        ),
    ):
        search.run()
    executor = Scripted()
    with searching(tmp_path, executor, chosen, checkpoints=kept) as (search, _):
        search.run()
    assert [spec.schedule for spec in executor.specs] == [spec.schedule for spec in alone.specs]
    assert [len(trunk.trials) for trunk in executor.trunks] == [2]


def test_only_the_steps_that_others_need_are_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged: dict[float | None, list[int]] = {}
    judge = Lane.judge

    def spy(self: Lane, task: Task, step: int, *values: Any, shared: bool) -> str | None:
        if not shared:
            judged.setdefault(task.schedule.decay_ratio if task.schedule else None, []).append(step)
        return judge(self, task, step, *values, shared=shared)

    monkeypatch.setattr(Lane, "judge", spy)
    run(tmp_path, Scripted(), held(space={"initial_lr": 0.01}))
    # the first step of a cooldown has the peak still, and that of the carrier is its own after the last branch
    assert {ratio: steps[0] for ratio, steps in judged.items()} == {0.4: 65, 0.2: 85, 0.1: 85}


def trained(job: Any, out: Path, **changes: Any) -> tuple[TrialRecord, ...]:
    space = {"initial_lr": [0.01, 0.05], "warmup_ratio": 0.0, "decay": ["constant", "wsd"], "decay_ratio": [0.2, 0.5]}
    given: dict[str, Any] = {"sampler": "grid", "n_jobs": 1, "confirm_seeds": 0, "progress": False, "name": "held"}
    return autowarm.tune(job, space, out=out, **(given | changes)).records


@pytest.mark.usefixtures("one_thread")
def test_a_grid_of_a_job_has_the_values_of_its_trials_by_themselves_for_less(tmp_path: Path) -> None:
    chosen: dict[str, Any] = {"total_steps": [40, 80], "seeds": 2, "pruning": "off"}
    shared = trained("sample_jobs:build", tmp_path / "shared", **chosen)
    alone = trained("sample_jobs:build", tmp_path / "alone", trunks=False, **chosen)
    assert len(alone) == 2 * 2 * 2 * 3
    seen = [{(r.total_steps, r.seed, r.schedule): (r.value, r.rungs) for r in records} for records in (shared, alone)]
    assert seen[0] == seen[1]
    assert all(r.exact for r in shared)
    # both horizons of a peak and seed are one trunk
    assert len({r.trunk for r in shared}) == 4
    # the first step of a cooldown has the peak still
    steps = (80 + 15 + 39) + (0 + 7 + 19)
    assert sum(r.own_steps for r in shared) == 4 * steps
    assert sum(r.own_steps for r in alone) == sum(r.steps for r in shared) == 4 * 3 * 120


class Hidden(jobs.Regression):
    """Carries a state from batch to batch."""

    state = 0.0

    def training_step(self, batch: jobs.Batch) -> Tensor:
        x, y = batch
        self.state = 0.5 * self.state + 0.5 * float(x.mean())
        return super().training_step([x + self.state, y])


def test_a_job_that_keeps_state_elsewhere_is_tuned_by_independent_trials(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = trained(lambda: jobs.build(module=Hidden()), tmp_path, progress=True)
    assert len(records) == 6
    assert {(r.outcome, r.trunk) for r in records} == {("COMPLETE", None)}
    said = "trials share no steps, each is trained by itself: a branch's training loss at step 3 is"
    assert capsys.readouterr().err.count(said) == 1

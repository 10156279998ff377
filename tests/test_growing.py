"""A training goes on from where a shorter one let go of its peak, and ends as if it had been trained from its start."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sample_jobs as jobs
import sample_kept as kept
import torch
from kept_marks import MARKS
from torch import Tensor
from torch.utils.data import DataLoader

from autowarm import Schedule, Training, growing
from autowarm.pruning import rungs_of
from autowarm.specs import GrowingTrunk, JobSpec, Link, TrainingSpec, TrialResult
from autowarm.trial import run_trial

pytestmark = MARKS

# epochs have 8 steps: the second leaves at the end of one, the others within
LENGTHS = ((12, 9), (24, 16), (48, 33))


def held(total: int, step: int) -> Schedule:
    """Return a schedule with three steps of warmup that lets go of its peak after `step` steps."""
    return Schedule(initial_lr=0.02, warmup_steps=3, decay="wsd", decay_ratio=(total - step + 1) / total)


def spec_of(factory: kept.Factory, ends: list[Any], folder: Path, number: int, **fields: Any) -> TrainingSpec:
    """Return the training of one of `LENGTHS` that goes on from the one before."""
    total, step = LENGTHS[number]
    schedule = held(total, step)
    at_peak = [s for s, lr in enumerate(schedule.lrs(total_steps=total)[:-1]) if lr == schedule.initial_lr]
    assert at_peak[-1] + 1 == step
    trunk = GrowingTrunk(
        name="peak .02",
        key="one",
        step=step,
        begin=folder / f"{LENGTHS[number - 1][1]}.trunk" if number else None,
        leave=folder / f"{step}.trunk",
    )
    given: dict[str, Any] = {
        "job": JobSpec(factory=lambda: factory(ends)),
        "monitor": "val_loss",
        "total_steps": total,
        "schedule": schedule,
        "rungs": rungs_of(total, 4),
        "trunk": trunk,
    }
    return TrainingSpec(**{**given, **fields})


def plain(ends: list[Any]) -> Training:
    return jobs.build(module=kept.Network(ends))


def grown(factory: kept.Factory, folder: Path) -> list[TrialResult]:
    """Train from one length to the next, each compared with the same training from its start."""
    results = []
    for number in range(len(LENGTHS)):
        ends: list[Any] = []
        spec = spec_of(factory, ends, folder, number)
        result = run_trial(spec)
        alone = run_trial(replace(spec, trunk=None))
        assert result.outcome == "COMPLETE", result
        assert result.notices == ()
        assert (result.value, result.steps) == (alone.value, alone.steps)
        assert dict(result.rungs).items() >= {s: v for s, v in alone.rungs if s > (result.shared_steps or 0)}.items()
        here, there = ends[-2:]
        assert torch.equal(here, there)
        results.append(result)
    return results


def check(factory: kept.Factory, folder: Path) -> None:
    results = grown(factory, folder)
    assert [r.shared_steps for r in results] == [0, 9, 16]
    assert {r.trunk for r in results} == {"peak .02"}
    assert [r.exact for r in results] == [True, True, True]


@pytest.mark.parametrize("name", ["accumulation", "numpy"])
def test_a_longer_training_goes_on_and_ends_as_from_its_start(name: str, tmp_path: Path) -> None:
    check(kept.plainly_validated(kept.EXACT[name]), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", kept.EXACT)
def test_a_longer_training_of_any_job_with_map_style_data_does(name: str, tmp_path: Path) -> None:
    check(kept.plainly_validated(kept.EXACT[name]), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "generator", "persistent", "that draw"])
def test_a_longer_training_with_data_workers_does(name: str, tmp_path: Path) -> None:
    check(kept.plainly_validated(kept.WORKERS[name]), tmp_path)


def test_steps_and_validations_are_paid_for_once(tmp_path: Path) -> None:
    first = run_trial(spec_of(plain, [], tmp_path, 0))
    second = run_trial(spec_of(plain, [], tmp_path, 1))
    batches = jobs.EXAMPLES // jobs.BATCH_SIZE
    assert first.val_batches == 4 * batches
    assert [s for s, _ in second.rungs] == [3, 6, 9, 12, 18, 24], "those of the shorter one come first"
    assert second.val_batches == 3 * batches


def test_where_the_schedule_is_let_go_at_its_end_the_state_is_left_there(tmp_path: Path) -> None:
    constant = Schedule(initial_lr=0.02, warmup_steps=3)
    at_end = GrowingTrunk(name="t", key="one", step=12, leave=tmp_path / "12.trunk")
    first = run_trial(spec_of(plain, [], tmp_path, 0, schedule=constant, trunk=at_end))
    assert (first.outcome, first.shared_steps) == ("COMPLETE", 0)
    ends: list[Any] = []
    longer = GrowingTrunk(name="t", key="one", step=24, begin=tmp_path / "12.trunk")
    spec = spec_of(plain, ends, tmp_path, 1, schedule=constant, trunk=longer)
    second, alone = run_trial(spec), run_trial(replace(spec, trunk=None))
    assert (second.value, second.shared_steps) == (alone.value, 12)
    assert torch.equal(*ends)


def test_the_average_of_the_weights_begins_where_the_training_does(tmp_path: Path) -> None:
    run_trial(spec_of(plain, [], tmp_path, 0))
    spec = spec_of(plain, [], tmp_path, 1)
    second = run_trial(replace(spec, ema_rungs=spec.rungs[1:]))
    assert [s for s, _ in second.ema_rungs] == [12, 18, 24]
    assert run_trial(replace(spec, ema_rungs=spec.rungs[1:], trunk=None)).value == second.value


def test_without_a_state_the_training_begins_at_its_start_and_says_nothing(tmp_path: Path) -> None:
    result = run_trial(spec_of(plain, [], tmp_path, 1))
    assert (result.outcome, result.shared_steps, result.notices) == ("COMPLETE", 0, ())


def test_a_state_of_another_training_or_a_damaged_one_is_not_used(tmp_path: Path) -> None:
    run_trial(spec_of(plain, [], tmp_path, 0))
    spec = spec_of(plain, [], tmp_path, 1)
    alone = run_trial(replace(spec, trunk=None))
    other = run_trial(replace(spec, seed=1))
    assert other.shared_steps == 0
    assert "it is of another training, with another seed" in other.notices[0]
    halves = run_trial(replace(spec, split_batches=2))
    assert "another split_batches" in halves.notices[0]
    state = tmp_path / "9.trunk"
    state.write_bytes(state.read_bytes()[:-7])
    damaged = run_trial(spec)
    assert (damaged.value, damaged.shared_steps) == (alone.value, 0)
    assert "the training began at its start: it is damaged" in damaged.notices[0]


class Hidden(jobs.Regression):
    """Carries a state from batch to batch."""

    state = 0.0

    def training_step(self, batch: jobs.Batch) -> Tensor:
        x, y = batch
        self.state = 0.5 * self.state + 0.5 * float(x.mean())
        return super().training_step([x + self.state, y])


def test_a_training_that_does_not_go_on_as_the_shorter_one_did_begins_at_its_start(tmp_path: Path) -> None:
    def factory(_: list[Any]) -> Training:
        return jobs.build(module=Hidden())

    run_trial(spec_of(factory, [], tmp_path, 0))
    spec = spec_of(factory, [], tmp_path, 1)
    result, alone = run_trial(spec), run_trial(replace(spec, trunk=None))
    assert (result.value, result.steps, result.shared_steps) == (alone.value, alone.steps, 0)
    assert "the training began at its start: a branch's training loss at step 10 is" in result.notices[0]


def test_a_job_that_was_edited_begins_at_its_start(tmp_path: Path) -> None:
    run_trial(spec_of(plain, [], tmp_path, 0))
    edited = spec_of(lambda _: jobs.build(), [], tmp_path, 1)
    result = run_trial(edited)
    assert (result.outcome, result.shared_steps) == ("COMPLETE", 0)
    assert "Error(s) in loading state_dict" in result.notices[0]


def test_a_state_that_cannot_be_written_costs_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(growing, "write_checkpoint", full)
    result = run_trial(spec_of(plain, [], tmp_path, 0))
    assert (result.outcome, result.trunk) == ("COMPLETE", None)
    assert "the training leaves no state for longer ones: " in result.notices[0]
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_breaks_before_it_lets_go_leaves_nothing(tmp_path: Path) -> None:
    class Broken(kept.Network):
        def training_step(self, batch: jobs.Batch) -> Tensor:
            return super().training_step(batch) * (float("nan") if self.global_step == 9 else 1.0)

    result = run_trial(spec_of(lambda ends: jobs.build(module=Broken(ends)), [], tmp_path, 0))
    assert (result.outcome, result.steps, result.trunk) == ("DIVERGED", 10, None)
    assert list(tmp_path.iterdir()) == []


class Stopping(Link):
    """Stops a training after so many steps."""

    def __init__(self, step: int) -> None:
        self.left = step

    def stopped(self) -> bool:
        self.left -= 1
        return self.left <= 0


def test_what_is_interrupted_goes_on_from_its_checkpoint_and_still_says_what_it_shares(tmp_path: Path) -> None:
    run_trial(spec_of(plain, [], tmp_path, 0))
    alone = run_trial(spec_of(plain, [], tmp_path, 1, trunk=None))
    spec = spec_of(plain, [], tmp_path, 1, checkpoint=tmp_path / "kept")
    stopped = run_trial(spec, Stopping(4))
    assert (stopped.outcome, stopped.steps) == (None, 13)
    result = run_trial(spec)
    assert (result.value, result.resumed, result.shared_steps, result.exact) == (alone.value, "exact", 9, True)
    # the state was left after the interruption
    assert (tmp_path / "16.trunk").exists()
    assert run_trial(spec_of(plain, [], tmp_path, 2)).shared_steps == 16


def test_data_that_cannot_be_put_back_is_new_data_and_what_follows_says_so(tmp_path: Path) -> None:
    results = [run_trial(spec_of(kept.stream, [], tmp_path, number)) for number in range(3)]
    assert [r.outcome for r in results] == ["COMPLETE"] * 3
    assert [(r.shared_steps, r.exact) for r in results] == [(0, True), (9, False), (16, False)]


def test_validation_data_that_is_drawn_is_other_data_and_what_follows_says_so(tmp_path: Path) -> None:
    def drawn(ends: list[Any]) -> Training:
        data = DataLoader(jobs.dataset(), shuffle=True, generator=torch.Generator().manual_seed(0))
        return replace(plain(ends), val_data=data)

    results = [run_trial(spec_of(drawn, [], tmp_path, number)) for number in range(2)]
    assert [r.exact for r in results] == [True, False]


def test_the_last_of_a_trunk_leaves_nothing(tmp_path: Path) -> None:
    run_trial(spec_of(plain, [], tmp_path, 0))
    spec = spec_of(plain, [], tmp_path, 1)
    assert spec.trunk is not None
    last = run_trial(replace(spec, trunk=replace(spec.trunk, leave=None)))
    assert last.shared_steps == 9
    assert [p.name for p in tmp_path.iterdir()] == ["9.trunk"]


def test_a_training_of_several_processes_takes_no_part(tmp_path: Path) -> None:
    result = run_trial(spec_of(plain, [], tmp_path, 0, processes=2))
    # the sample job asks for one process, which the training says first
    assert (result.outcome, result.trunk) == ("FAILED", None)

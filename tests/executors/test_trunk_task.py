"""A trunk as a task: its trials are heard of one by one, are told what to do, and end as by themselves."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

import pytest
import sample_jobs as jobs
from training_specs import held_trial, trunk

from autowarm.executors.events import Done, Event, Finished, Progress, Rung, why_not_branching
from autowarm.executors.local import LocalExecutor
from autowarm.specs import JobSpec, TrialResult, TrunkResult, TrunkSpec, placed, training_of
from autowarm.trial import run_trial


@pytest.fixture(scope="module")
def executor() -> Iterator[LocalExecutor]:
    with LocalExecutor([JobSpec(factory="sample_jobs:build")]) as opened:
        yield opened


def heard(executor: LocalExecutor, key: int, *, prune: Collection[tuple[int, int]] = ()) -> list[Event]:
    """Answer a trunk until it has ended; return what it told but for its progress."""
    found: list[Event] = []
    while not (found and isinstance(found[-1], Done)):
        for event in executor.events(1.0):
            if isinstance(event, Rung):
                executor.answer(key, "behind" if (event.trial, event.step) in prune else None)
            if not isinstance(event, Progress):
                found.append(event)
    return found


def bare(result: TrialResult) -> TrialResult:
    return replace(result, seconds=0.0, val_batches=0, trunk=None, shared_steps=None, exact=None)


@pytest.mark.usefixtures("one_thread")
def test_each_trial_of_a_trunk_is_heard_of_by_its_number_and_ends_as_by_itself(executor: LocalExecutor) -> None:
    spec = trunk("sample_jobs:build")
    *told, done = heard(executor, executor.start("trunk", spec))
    finished = {event.trial: event.result for event in told if isinstance(event, Finished)}
    assert isinstance(done, Done)
    assert done.result == TrunkResult(results=tuple(finished[i] for i in range(3)))
    for number, trial in enumerate(spec.trials):
        assert bare(finished[number]) == bare(run_trial(trial))
        rungs = [(event.step, event.value) for event in told if isinstance(event, Rung) and event.trial == number]
        assert rungs == list(finished[number].rungs)
    assert [finished[i].shared_steps for i in range(3)] == [13, 19, 0]


def test_a_verdict_prunes_the_trial_that_it_is_of_at_a_step_of_its_own(executor: LocalExecutor) -> None:
    key = executor.start("trunk", trunk("sample_jobs:build"))
    *told, _ = heard(executor, key, prune=[(0, 18), (1, 12)])
    ended = {event.trial: (event.result.outcome, event.result.steps) for event in told if isinstance(event, Finished)}
    assert ended == {0: ("PRUNED", 18), 1: ("COMPLETE", 24), 2: ("COMPLETE", 40)}


def test_a_trunk_that_is_told_to_stop_ends_all_its_trials(executor: LocalExecutor) -> None:
    key = executor.start("trunk", trunk("sample_jobs:slow"))
    while not any(isinstance(event, Progress) for event in executor.events(1.0)):
        pass
    executor.stop(key)
    *_, done = heard(executor, key)
    assert isinstance(done, Done)
    assert isinstance(done.result, TrunkResult)
    assert [result is not None and result.outcome for result in done.result.results] == [None] * 3


def test_a_trunk_that_dies_takes_what_has_not_finished_with_it(executor: LocalExecutor) -> None:
    (done,) = heard(executor, executor.start("trunk", trunk("sample_jobs:killed")))
    assert isinstance(done, Done)
    assert done.died
    assert done.result is None


def test_whether_a_job_can_branch_is_found_in_a_process_of_its_own(executor: LocalExecutor) -> None:
    def never() -> bool:
        return False

    assert why_not_branching(executor, held_trial("sample_jobs:build"), stopping=never) is None

    class Hidden(jobs.Regression):
        """Carries a state from batch to batch."""

        state = 0.0

        def training_step(self, batch: jobs.Batch) -> object:  # type: ignore[override]
            x, y = batch
            self.state = 0.5 * self.state + 0.5 * float(x.mean())
            return super().training_step([x + self.state, y])

    hidden = held_trial(lambda: jobs.build(module=Hidden()))
    assert "the job keeps state" in (why_not_branching(executor, hidden, stopping=never) or "")
    assert "cursed" in (why_not_branching(executor, held_trial("sample_jobs:raises"), stopping=never) or "")
    with pytest.raises(InterruptedError):
        why_not_branching(executor, held_trial("sample_jobs:build"), stopping=lambda: True)
    assert executor.keys == ()


def test_the_place_of_a_trunk_is_that_of_all_its_trials() -> None:
    spec = trunk("sample_jobs:build")
    moved = placed(spec, devices=("1",), threads=3)
    assert isinstance(moved, TrunkSpec)
    assert {(trial.devices, trial.threads) for trial in moved.trials} == {(("1",), 3)}
    assert training_of(moved) == moved.trials[2]
    assert placed(spec.trials[0], threads=3) == replace(spec.trials[0], threads=3)

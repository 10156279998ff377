"""Trainings of two processes: a command of its own, in which both use the same learning rates and end together."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from autowarm import Schedule, tune
from autowarm.errors import JobError
from autowarm.executors.events import Done, Event, Progress, Rung
from autowarm.executors.local import LocalExecutor
from autowarm.pruning import ema_rungs_of, rungs_of
from autowarm.specs import JobSpec, TrainingSpec, TrialResult

pytestmark = pytest.mark.slow
SCHEDULE = Schedule(initial_lr=0.1, warmup_ratio=0.2, decay="linear")
STEPS = 20


@pytest.fixture
def executor() -> Iterator[LocalExecutor]:
    with LocalExecutor([]) as opened:
        yield opened


def spec_of(folder: Path, trouble: str | None = None, total_steps: int | None = STEPS) -> TrainingSpec:
    return TrainingSpec(
        job=JobSpec(factory="sample_jobs:ddp", args={"folder": str(folder), "trouble": trouble}),
        monitor="val_loss",
        total_steps=total_steps,
        schedule=SCHEDULE,
        rungs=rungs_of(total_steps or STEPS),
        processes=2,
    )


def events(executor: LocalExecutor, key: int) -> Iterator[Event]:
    while True:
        for event in executor.events(1.0):
            yield event
            if isinstance(event, Done):
                assert event.key == key
                return


def result_of(executor: LocalExecutor, key: int, prune_at: int | None = None) -> TrialResult | Done:
    for event in events(executor, key):
        if isinstance(event, Rung):
            executor.answer(key, "behind" if event.step == prune_at else None)
        elif isinstance(event, Done):
            return event.result if isinstance(event.result, TrialResult) else event
    raise AssertionError


def seen(folder: Path, rank: int) -> list[float]:
    return [float(line.split()[1]) for line in (folder / f"{rank}.lrs").read_text().splitlines()]


def assert_gone(folder: Path) -> None:
    """See that no process of the training is left."""
    pids = {int(line.split()[0]) for file in folder.glob("*.lrs") for line in file.read_text().splitlines()}
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() and not zombie(pid) for pid in pids):
        assert time.monotonic() < deadline, "a process of the training is left"
        time.sleep(0.1)


def zombie(pid: int) -> bool:
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True


def test_a_job_of_two_processes_is_looked_at(executor: LocalExecutor, tmp_path: Path) -> None:
    info = executor.inspect(TrainingSpec(job=spec_of(tmp_path).job, monitor="val_loss", total_steps=None))
    # 64 examples in batches of 8, shared by two
    assert (info.processes, info.batch_size, info.steps_per_epoch, info.total_steps) == (2, 16, 4, 20)


def test_both_processes_use_the_learning_rates_of_the_schedule(executor: LocalExecutor, tmp_path: Path) -> None:
    result = result_of(executor, executor.start("trial", spec_of(tmp_path)))
    assert isinstance(result, TrialResult), result
    assert (result.outcome, result.steps) == ("COMPLETE", STEPS), result
    assert [step for step, _ in result.rungs] == list(rungs_of(STEPS))
    lrs = SCHEDULE.lrs(total_steps=STEPS).tolist()
    assert seen(tmp_path, 0) == seen(tmp_path, 1) == lrs
    assert_gone(tmp_path)


def test_averaged_weights_are_validated_in_both_processes_and_change_nothing(
    executor: LocalExecutor, tmp_path: Path
) -> None:
    found = []
    for name, ema_rungs in (("with", ema_rungs_of(80)), ("without", ())):
        folder = tmp_path / name
        folder.mkdir()
        spec = replace(spec_of(folder, total_steps=80), ema_rungs=ema_rungs)
        result = result_of(executor, executor.start("trial", spec))
        assert isinstance(result, TrialResult), result
        assert [step for step, _ in result.ema_rungs] == list(ema_rungs), result
        found.append(result)
        assert_gone(folder)
    averaged, plain = found
    assert averaged.rungs == plain.rungs
    assert averaged.train_curve == plain.train_curve
    assert all(ema != dict(averaged.rungs)[step] for step, ema in averaged.ema_rungs)


def test_batches_are_split_in_both_processes(executor: LocalExecutor, tmp_path: Path) -> None:
    found = []
    for parts in (1, 4):
        folder = tmp_path / str(parts)
        folder.mkdir()
        result = result_of(executor, executor.start("trial", replace(spec_of(folder), split_batches=parts)))
        assert isinstance(result, TrialResult), result
        assert result.outcome == "COMPLETE", result
        found.append(result)
    whole, split = found
    for name in ("rungs", "train_curve", "grad_norms"):
        assert [x for p in getattr(split, name) for x in p] == pytest.approx(
            [x for p in getattr(whole, name) for x in p], rel=1e-4
        )


def test_what_one_process_hears_or_sees_ends_both_at_the_same_step(executor: LocalExecutor, tmp_path: Path) -> None:
    for name, trouble, prune_at, outcome in (
        ("pruned", None, 12, "PRUNED"),
        ("diverged", "diverges", None, "DIVERGED"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        result = result_of(executor, executor.start("trial", spec_of(folder, trouble)), prune_at)
        assert isinstance(result, TrialResult), result
        assert result.outcome == outcome, result
        assert len(seen(folder, 0)) == len(seen(folder, 1)) == result.steps < STEPS
        assert_gone(folder)


def test_a_training_that_is_stopped_or_killed_leaves_no_process(executor: LocalExecutor, tmp_path: Path) -> None:
    key = executor.start("trial", spec_of(tmp_path, "slow", total_steps=400))
    for event in events(executor, key):
        if isinstance(event, Progress):
            executor.stop(key)
        elif isinstance(event, Done):
            assert isinstance(event.result, TrialResult), event
            assert event.result.outcome is None
    assert len(seen(tmp_path, 0)) == len(seen(tmp_path, 1)) < 400
    assert_gone(tmp_path)
    key = executor.start("trial", spec_of(tmp_path, "slow", total_steps=400))
    next(event for event in events(executor, key) if isinstance(event, Progress))
    executor.kill(key)
    assert_gone(tmp_path)


def test_an_error_in_one_process_ends_the_training(executor: LocalExecutor, tmp_path: Path) -> None:
    done = result_of(executor, executor.start("trial", spec_of(tmp_path, "raises")))
    told = str(done)
    assert "only here" in told or "Connection closed by peer" in told, told
    assert isinstance(done, Done) or done.outcome == "FAILED"
    assert_gone(tmp_path)


def test_the_processes_of_an_owner_that_is_gone_end(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        owner = LocalExecutor([])
        key = owner.start("trial", spec_of(tmp_path, "slow", total_steps=400))
        next(event for event in events(owner, key) if isinstance(event, Progress))
        os._exit(0)
    os.waitpid(pid, 0)
    assert_gone(tmp_path)


def test_a_strategy_that_forks_is_refused_with_what_to_do(executor: LocalExecutor) -> None:
    job = JobSpec(factory="sample_jobs:build", args={"trainer": {"devices": 2, "strategy": "ddp_spawn"}})
    with pytest.raises(JobError, match="set strategy: ddp"):
        executor.inspect(TrainingSpec(job=job, monitor="val_loss", total_steps=None))


def test_a_study_of_such_a_job(tmp_path: Path) -> None:
    job = {"factory": "sample_jobs:ddp", "args": {"folder": str(tmp_path)}}
    space = {"initial_lr": {"low": 0.01, "high": 0.1}, "decay": "linear"}
    result = tune(job, space, n_trials=1, confirm_seeds=0, out=tmp_path / "out", progress=False)
    (record,) = result.records
    assert (record.outcome, record.batch_size) == ("COMPLETE", 16)

"""What one training may do to the others and to its owner: nothing."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sample_jobs as jobs
import torch
from torch.utils.data import DataLoader

from autowarm import Training
from autowarm.errors import OutOfMemoryError
from autowarm.executors.events import Done, Rung
from autowarm.executors.local import LocalExecutor
from autowarm.specs import JobSpec, TrainingSpec, TrialResult
from autowarm.trial import prepare


@pytest.fixture
def executor() -> Iterator[LocalExecutor]:
    with LocalExecutor([JobSpec(factory="sample_jobs:build")]) as opened:
        yield opened


def spec_of(factory: Any, *, total_steps: int = 20, **args: Any) -> TrainingSpec:
    job = JobSpec(factory=factory if callable(factory) else f"sample_jobs:{factory}", args=args)
    return TrainingSpec(job=job, monitor="val_loss", total_steps=total_steps, rungs=(total_steps,))


def until(executor: LocalExecutor, kind: type) -> Any:
    """Return the first event of a kind."""
    deadline = time.monotonic() + 120
    while True:
        assert time.monotonic() < deadline, f"no {kind.__name__}"
        for event in executor.events(1.0):
            if isinstance(event, kind):
                return event
            if isinstance(event, Rung):
                executor.answer(event.key, None)


def result_of(executor: LocalExecutor, spec: TrainingSpec) -> TrialResult:
    executor.start("trial", spec)
    done = until(executor, Done)
    assert isinstance(done.result, TrialResult), done
    return done.result


def lives(pid: int) -> bool:
    """Tell whether a process runs; one that nobody has waited for has ended."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def workers_of(folder: Path) -> list[int]:
    return [int(file.name) for file in folder.iterdir() if file.name.isdigit()]


def wait_for(file: Path) -> None:
    deadline = time.monotonic() + 120
    while not file.exists():
        assert time.monotonic() < deadline, f"no {file.name}"
        time.sleep(0.02)


def wait_until_stuck(folder: Path) -> list[int]:
    """Wait until both workers of a training have begun, and it is stuck; returns their ids."""
    wait_for(folder / "stuck")
    deadline = time.monotonic() + 120
    # one of them may be stuck before the other has loaded anything
    while len(workers := workers_of(folder)) < 2:
        assert time.monotonic() < deadline, f"{len(workers)} workers"
        time.sleep(0.02)
    assert len(workers) == 2
    return workers


def assert_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 30
    while any(map(lives, pids)):
        assert time.monotonic() < deadline, "a worker is left"
        time.sleep(0.02)


def test_the_workers_of_a_killed_training_end_with_it(executor: LocalExecutor, tmp_path: Path) -> None:
    """One that works does not look whether anybody still wants it to."""
    key = executor.start("trial", spec_of("with_workers", folder=str(tmp_path), stuck=True))
    workers = wait_until_stuck(tmp_path)
    assert all(map(lives, workers))
    executor.kill(key)
    assert_gone(workers)


def test_the_workers_of_a_training_that_died_end_and_do_not_hide_its_death(
    executor: LocalExecutor, tmp_path: Path
) -> None:
    executor.start("trial", spec_of("with_workers", folder=str(tmp_path), stuck=True, killed=True))
    done = until(executor, Done)
    assert (done.died, done.out_of_memory) == (True, False)
    assert done.error == "the training's process died by signal SIGKILL (out of memory?)"
    assert_gone(workers_of(tmp_path))


OWNER = """
import sys, time
from autowarm.executors.local import LocalExecutor
from autowarm.specs import JobSpec, TrainingSpec

job = JobSpec(factory="sample_jobs:with_workers", args={"folder": sys.argv[1], "stuck": True})
with LocalExecutor([]) as executor:
    executor.start("trial", TrainingSpec(job=job, monitor="val_loss", total_steps=20, rungs=(20,)))
    time.sleep(600)
"""


def test_the_workers_of_a_training_end_when_its_owner_is_gone(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], env=env) as owner:
        workers = wait_until_stuck(tmp_path)
        owner.kill()
    assert_gone(workers)


LOADER = """
import sys
from pathlib import Path
from autowarm.executors.processes import Processes

folder = Path(sys.argv[1])
sys.path.insert(0, str(folder))
Processes(["endless"]).start(b"", folder / "log", processes=1, threads=1)
"""
ENDLESS = """
import os, time
from pathlib import Path

(Path(__file__).parent / str(os.getpid())).touch()
(Path(__file__).parent / "loading").touch()
while True:
    time.sleep(0.05)
"""


def test_a_forkserver_that_still_loads_ends_when_its_owner_is_gone(tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text(ENDLESS)
    with subprocess.Popen([sys.executable, "-c", LOADER, str(tmp_path)]) as owner:
        wait_for(tmp_path / "loading")
        loading = workers_of(tmp_path)
        assert all(map(lives, loading))
        owner.kill()
    assert_gone(loading)


def test_the_workers_of_a_training_that_has_ended_are_gone(executor: LocalExecutor, tmp_path: Path) -> None:
    result = result_of(executor, spec_of("with_workers", folder=str(tmp_path)))
    assert result.outcome == "COMPLETE", result
    assert_gone(workers_of(tmp_path))


def with_a_lambda() -> Training:
    data = DataLoader(jobs.dataset(), batch_size=8, num_workers=1, worker_init_fn=lambda _: None)
    return Training(
        module=jobs.Regression(), data=data, val_data=jobs.loader(shuffle=False), trainer={"accelerator": "cpu"}
    )


def test_loaders_start_their_workers_as_outside_of_a_trial(executor: LocalExecutor) -> None:
    """A forkserver, which is how the trial itself starts, would not take a lambda."""
    if torch.multiprocessing.get_start_method() != "fork":
        pytest.skip("Python's default here does not take one either")
    result = result_of(executor, spec_of(with_a_lambda))
    assert result.outcome == "COMPLETE", result


def test_a_training_without_memory_fails_as_one_and_trains_in_parts(executor: LocalExecutor) -> None:
    executor.start("trial", spec_of("no_memory"))
    done = until(executor, Done)
    assert (done.result.outcome, done.result.out_of_memory) == ("FAILED", True)
    assert (done.out_of_memory, done.died) == (True, False)
    assert "oom_retry: true" in done.result.reason
    assert "Tried to allocate 20.00 MiB" in done.result.error
    again = replace(spec_of("no_memory"), split_batches=2)
    assert "even with each batch in 2 parts" in str(result_of(executor, again).reason)
    assert result_of(executor, replace(again, split_batches=4)).outcome == "COMPLETE"


def test_a_look_at_a_job_without_memory_says_so_and_can_be_taken_in_parts(executor: LocalExecutor) -> None:
    spec = spec_of("no_memory")
    with pytest.raises(OutOfMemoryError, match="oom_retry: true"):
        executor.inspect(spec)
    info = executor.inspect(replace(spec, split_batches=4))
    assert (info.loader_batch_size, info.batch_size, info.steps_per_epoch) == (8, 8, 8)


def test_a_training_sees_the_gpus_it_is_told_and_others_those_of_their_owner(
    executor: LocalExecutor, tmp_path: Path
) -> None:
    spec = spec_of("sees", total_steps=1, file=str(tmp_path / "seen"))
    for devices in (("3",), ("1", "GPU-8f"), None):
        result_of(executor, replace(spec, devices=devices))
    assert (tmp_path / "seen").read_text().split() == ["3", "1,GPU-8f", str(os.environ.get("CUDA_VISIBLE_DEVICES"))]


@pytest.mark.slow
def test_processes_of_one_training_see_the_gpus_they_are_told(executor: LocalExecutor, tmp_path: Path) -> None:
    file = tmp_path / "seen"

    def job() -> Training:
        jobs.sees(str(file))
        return jobs.build(trainer={"devices": 2, "strategy": "ddp"})

    executor.start("trial", replace(spec_of(job, total_steps=1), processes=2, devices=("2", "5")))
    done = until(executor, Done)
    assert done.result is not None, done
    assert file.read_text().split() == ["2,5", "2,5"], done


def test_a_share_of_a_gpu_is_torchs_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", given.append)
    spec = replace(spec_of("build"), gpu_memory_share=0.45)
    prepare(spec)
    assert given == []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("autowarm.trial.build", lambda *_, **__: jobs.build())
    prepare(spec)
    assert given == [0.45]


def takes_memory(elements: int) -> Training:
    """A job that allocates float32 numbers on its GPU, and writes what the GPU is into its error."""

    class Takes(jobs.Regression):
        def training_step(self, batch: jobs.Batch) -> torch.Tensor:
            self.taken = torch.zeros(elements, device=self.device)
            return super().training_step(batch)

    return jobs.build(module=Takes(), trainer={"accelerator": "gpu", "devices": 1})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_training_with_a_share_of_a_gpu_runs_out_of_memory_beyond_it(executor: LocalExecutor) -> None:
    total = torch.cuda.get_device_properties(0).total_memory
    info = executor.inspect(spec_of(takes_memory, elements=1))
    assert (info.accelerator, info.gpus) == ("cuda", torch.cuda.device_count())
    outcomes = []
    for share, taken in ((0.1, 0.05), (0.1, 0.15), (None, 0.15)):
        spec = spec_of(takes_memory, total_steps=2, elements=int(total * taken / 4))
        result = result_of(executor, replace(spec, devices=("0",), gpu_memory_share=share))
        outcomes.append((result.outcome, result.out_of_memory))
    assert outcomes == [("COMPLETE", False), ("FAILED", True), ("COMPLETE", False)]


def descriptors(pid: int | str = "self") -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def children() -> int:
    """Return how many children this process has, those included that have ended and nobody has waited for."""
    return sum(len(file.read_text().split()) for file in Path("/proc/self/task").glob("*/children"))


def resident_mb() -> float:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def trial(executor: LocalExecutor, number: int) -> None:
    """Run a trial: one that ends well, raises, dies, or is killed."""
    kind = ("build", "build", "raises", "killed", "slow")[number % 5]
    key = executor.start("trial", spec_of(kind, total_steps=4))
    if kind == "slow":
        # some before they have begun, some in the middle
        time.sleep(number % 3 * 0.1)
        executor.kill(key)
        return
    done = until(executor, Done)
    assert done.died == (kind == "killed"), done
    if kind != "killed":
        assert done.result.outcome == ("FAILED" if kind == "raises" else "COMPLETE")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads what Linux tells of processes")
def test_an_owner_of_hundreds_of_trials_stays_as_it_is(executor: LocalExecutor) -> None:
    def state() -> tuple[int, int, int]:
        return descriptors(), children(), len(list(Path(executor._folder.name).iterdir()))

    for number in range(50):
        trial(executor, number)
    before, memory = state(), resident_mb()
    for number in range(350):
        trial(executor, number)
    # the last trials may not have ended quite yet
    assert all(after <= first + 1 for after, first in zip(state(), before, strict=True)), (before, state())
    assert resident_mb() < memory + 5
    assert executor.keys == ()

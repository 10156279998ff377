from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import pytest
import sample_jobs as jobs
from training_specs import spec_of

from autowarm import Training
from autowarm.errors import JobError
from autowarm.executors.events import Done, Progress, Rung, pickled
from autowarm.executors.local import LocalExecutor
from autowarm.executors.preload import installed_imports
from autowarm.executors.processes import Processes, end
from autowarm.specs import JobSpec, TrialResult


@pytest.fixture(scope="module")
def executor() -> Iterator[LocalExecutor]:
    with LocalExecutor([JobSpec(factory="sample_jobs:build")]) as opened:
        yield opened


def run(executor: LocalExecutor, *keys: int, answer: Callable[[Rung], str | None] = lambda _: None) -> dict[int, Done]:
    done: dict[int, Done] = {}
    while len(done) < len(keys):
        for event in executor.events(1.0):
            if isinstance(event, Rung):
                executor.answer(event.key, answer(event))
            elif isinstance(event, Done):
                done[event.key] = event
    return done


def test_trials_run_side_by_side_and_bring_back_their_results(executor: LocalExecutor) -> None:
    keys = [executor.start("trial", spec_of("sample_jobs:build")) for _ in range(2)]
    first, second = (done.result for done in run(executor, *keys).values())
    assert isinstance(first, TrialResult)
    assert isinstance(second, TrialResult)
    assert first.outcome == "COMPLETE"
    assert first.rungs == second.rungs


def test_a_verdict_at_a_rung_prunes(executor: LocalExecutor) -> None:
    key = executor.start("trial", spec_of("sample_jobs:build"))
    done = run(executor, key, answer=lambda rung: "behind" if rung.step == 20 else None)[key]
    assert isinstance(done.result, TrialResult)
    assert (done.result.outcome, done.result.reason, done.result.steps) == ("PRUNED", "behind", 20)


def test_a_function_that_no_module_holds_can_be_a_job(executor: LocalExecutor) -> None:
    lr = 0.25
    key = executor.start("trial", spec_of(lambda: jobs.build(lr=lr)))
    result = run(executor, key)[key].result
    assert isinstance(result, TrialResult)
    assert result.outcome == "COMPLETE"


def test_a_job_that_cannot_be_sent_says_what_to_do(executor: LocalExecutor) -> None:
    lock = threading.Lock()
    with pytest.raises(JobError, match="inside the factory"):
        executor.start("trial", spec_of(lambda: jobs.build(lr=float(lock.locked()))))


def test_a_killed_training_is_one_error_with_its_last_words(executor: LocalExecutor) -> None:
    key = executor.start("trial", spec_of("sample_jobs:killed"))
    done = run(executor, key)[key]
    assert done.result is None
    assert done.error == "the training's process died by signal SIGKILL (out of memory?)"
    assert done.detail is not None
    assert "last words" in done.detail


def test_a_training_ends_at_its_next_step_when_told_to(executor: LocalExecutor) -> None:
    key = executor.start("trial", spec_of("sample_jobs:slow", total_steps=400))
    while not any(isinstance(event, Progress) for event in executor.events(1.0)):
        pass
    executor.stop(key)
    result = run(executor, key)[key].result
    assert isinstance(result, TrialResult)
    assert result.outcome is None
    assert result.steps < 400


def test_a_training_that_does_not_hear_is_killed(executor: LocalExecutor) -> None:
    key = executor.start("trial", spec_of(lambda: jobs.build(module=jobs.Deaf())))
    while not any(isinstance(event, Rung) for event in executor.events(1.0)):
        pass
    executor.kill(key)
    assert executor.keys == ()


def test_inspecting_returns_what_a_look_told_or_raises_why_not(executor: LocalExecutor) -> None:
    assert executor.inspect(spec_of("sample_jobs:build")).dataset_size == 64
    with pytest.raises(JobError, match="it logs train_loss, val_loss"):
        executor.inspect(spec_of("sample_jobs:build", monitor="accuracy"))
    with pytest.raises(JobError, match=r"FileNotFoundError: data.csv is not here[\s\S]*Traceback"):
        executor.inspect(spec_of("sample_jobs:raises_when_built"))


OWNER = """
import sys, time
from autowarm.executors.local import LocalExecutor
from autowarm.specs import JobSpec, TrainingSpec

print("the script ran", flush=True)
if __name__ == "__main__":
    job = JobSpec(factory="sample_jobs:slow")
    spec = TrainingSpec(job=job, monitor="val_loss", total_steps=100000, rungs=(100000,))
    with LocalExecutor([]) as executor:
        key = executor.start("trial", spec)
        while not list(executor.events(1.0)):
            pass
        print("child", executor._running[key].process.pid, flush=True)
        time.sleep(600)
"""


def test_a_training_that_has_reported_may_still_tidy_up(executor: LocalExecutor, tmp_path: Path) -> None:
    tidied = tmp_path / "tidied"

    def factory() -> Training:
        def tidy() -> None:
            time.sleep(0.3)
            tidied.touch()

        # how multiprocessing removes its semaphores, tqdm's lock among them
        Finalize(None, tidy, exitpriority=0)
        return jobs.build()

    key = executor.start("trial", spec_of(factory))
    result = run(executor, key)[key].result
    assert isinstance(result, TrialResult)
    assert result.outcome == "COMPLETE", result
    deadline = time.monotonic() + 10
    while not tidied.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert tidied.exists()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def gone_within(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(pid)


def test_a_training_ends_when_its_owner_is_killed_and_never_runs_the_owners_script(tmp_path: Path) -> None:
    script = tmp_path / "owner.py"
    script.write_text(OWNER)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    owner = subprocess.Popen([sys.executable, str(script)], env=env, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    lines: list[str] = []
    while not (lines and lines[-1].startswith("child")):
        lines.append(owner.stdout.readline())
    child = int(lines[-1].split()[1])
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    assert gone_within(child, 30)
    assert lines[:-1] == ["the script ran\n"]


def test_a_training_has_the_environment_it_is_given_and_not_that_of_the_forkserver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What says which accelerators a task of Ray may see differs from task to task of a worker."""
    file = tmp_path / "seen"

    def factory() -> Training:
        file.write_text(f"{os.environ['CUDA_VISIBLE_DEVICES']} {'SECOND' in os.environ}")
        return jobs.build()

    processes = Processes([])
    for number in range(2):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", str(number))
        payload = pickled("trial", spec_of(factory, total_steps=2))
        process, connection = processes.start(
            payload, tmp_path / "log", processes=1, threads=1, env={**os.environ, **({"SECOND": ""} if number else {})}
        )
        while connection.recv()[0] != "done":
            connection.send(("answer", None))
        connection.close()
        end(process)
        assert file.read_text() == f"{number} {number == 1}"


def test_no_process_and_no_file_descriptor_is_left_by_trials(executor: LocalExecutor) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    run(executor, executor.start("trial", spec_of("sample_jobs:build", total_steps=2)))
    before = descriptors()
    for _ in range(5):
        run(executor, executor.start("trial", spec_of("sample_jobs:build", total_steps=2)))
    assert descriptors() <= before + 1
    assert executor.keys == ()


def test_installed_imports_of_a_job_are_found_without_running_it(tmp_path: Path, monkeypatch: Any) -> None:
    package = tmp_path / "mine"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (package / "job.py").write_text("import os\nimport yaml\nfrom . import model\nfrom mine.data import Data\n")
    (package / "model.py").write_text("from torch import nn\nif True:\n    import not_at_the_top\n")
    (package / "data.py").write_text("from rich.table import Table\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert installed_imports(["mine.job"]) == ["rich.table", "torch", "torch.nn", "yaml"]
    assert installed_imports(["no.such.module"]) == []

"""Real Ray: several raylets on this machine, which are nodes to each other."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sample_jobs as jobs
from training_specs import spec_of, trunk

from autowarm import Training
from autowarm.errors import JobError
from autowarm.executors.events import Done, Finished, Progress, Rung
from autowarm.executors.local import LocalExecutor
from autowarm.executors.ray import RayExecutor
from autowarm.specs import JobSpec, TrialResult, TrunkResult

ray = pytest.importorskip("ray", reason="pip install 'autowarm[ray]'")
pytestmark = [
    pytest.mark.ray,
    # Ray's own, on every import of it and every start of a cluster
    pytest.mark.filterwarnings("default"),
]
ROOT = Path(__file__).parents[2]
STORE = 80 * 2**20


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that runs no tasks, and a node of two CPUs and, in name, two GPUs."""
    from ray.cluster_utils import Cluster

    given = pytest.MonkeyPatch()
    given.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # workers import the jobs of the tests by name
    given.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": STORE})
    given.setenv("RAY_ADDRESS", made.address)
    made.add_node(num_cpus=2, num_gpus=2, object_store_memory=STORE)
    made.wait_for_nodes()
    yield made
    ray.shutdown()
    made.shutdown()  # type: ignore[no-untyped-call] # so it is, in Ray
    given.undo()


@pytest.fixture(scope="module")
def executor(cluster: Any) -> Iterator[RayExecutor]:  # noqa: ARG001 - what RAY_ADDRESS names meanwhile
    with RayExecutor([JobSpec(factory="sample_jobs:build")], n_jobs=2) as opened:
        opened.inspect(spec_of("sample_jobs:build"))
        yield opened


def run(
    executor: RayExecutor | LocalExecutor, *keys: int, answer: Callable[[Rung], str | None] = lambda _: None
) -> dict[int, Done]:
    done: dict[int, Done] = {}
    while len(done) < len(keys):
        for event in executor.events(1.0):
            if isinstance(event, Rung):
                executor.answer(event.key, answer(event))
            elif isinstance(event, Done):
                done[event.key] = event
    return done


def until(executor: RayExecutor, kind: type) -> None:
    while not any(isinstance(event, kind) for event in executor.events(1.0)):
        pass


def gone_within(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def slow_and_known(file: Path) -> Callable[[], Training]:
    """A job of many seconds that writes its process, and the one whose child its forkserver is, to a file."""

    def factory() -> Training:
        stat = Path(f"/proc/{os.getppid()}/stat").read_text()
        file.with_suffix(".new").write_text(f"{os.getpid()} {stat.rpartition(')')[2].split()[1]}")
        file.with_suffix(".new").rename(file)
        return jobs.slow()

    return factory


def test_a_trial_is_the_same_as_on_the_local_executor_bit_for_bit(executor: RayExecutor) -> None:
    spec = spec_of("sample_jobs:build")
    there = run(executor, key := executor.start("trial", spec))[key].result
    with LocalExecutor([spec.job]) as local:
        here = run(local, key := local.start("trial", spec))[key].result
    assert isinstance(there, TrialResult)
    assert isinstance(here, TrialResult)
    assert there.outcome == "COMPLETE"
    assert replace(there, seconds=0.0) == replace(here, seconds=0.0)


def test_a_trunk_is_heard_of_trial_by_trial(executor: RayExecutor) -> None:
    key, spec = executor.start("trunk", trunk("sample_jobs:build")), trunk("sample_jobs:build")
    finished: dict[int, TrialResult] = {}
    done: Done | None = None
    while done is None:
        for event in executor.events(1.0):
            if isinstance(event, Rung):
                executor.answer(key, None)
            elif isinstance(event, Finished):
                finished[event.trial] = event.result
            elif isinstance(event, Done):
                done = event
    assert done.result == TrunkResult(results=tuple(finished[i] for i in range(3)))
    assert [finished[i].steps for i in range(3)] == [trial.total_steps for trial in spec.trials]


CONFIG = """
model: {class_path: here_alone.Model}
data: {class_path: sample_jobs.RegressionData}
trainer: {max_steps: 20, accelerator: cpu}
"""


def test_a_file_and_its_classes_are_found_from_the_folder_that_the_owner_works_in(
    executor: RayExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "job.yaml").write_text(CONFIG)
        (folder / "here_alone.py").write_text("from sample_jobs import Regression\n\nclass Model(Regression): ...\n")
        with monkeypatch.context() as here:
            here.chdir(folder)
            here.syspath_prepend(folder)
            spec = replace(spec_of("a:b"), job=JobSpec(config=folder / "job.yaml"))
            assert executor.inspect(spec).total_steps == 40
        # the next one is not to find this one's
        (folder / "here_alone.py").unlink()


def test_a_verdict_at_a_rung_prunes_one_trial_and_leaves_the_other(executor: RayExecutor) -> None:
    keys = [executor.start("trial", spec_of("sample_jobs:build")) for _ in range(2)]
    done = run(executor, *keys, answer=lambda rung: "behind" if rung.key == keys[0] else None)
    first, second = (done[key].result for key in keys)
    assert isinstance(first, TrialResult)
    assert isinstance(second, TrialResult)
    assert (first.outcome, first.reason, first.steps) == ("PRUNED", "behind", 2)
    assert second.outcome == "COMPLETE"


def test_a_training_ends_at_its_next_step_when_told_to(executor: RayExecutor) -> None:
    key = executor.start("trial", spec_of("sample_jobs:slow", total_steps=400))
    until(executor, Progress)
    executor.stop(key)
    result = run(executor, key)[key].result
    assert isinstance(result, TrialResult)
    assert result.outcome is None
    assert result.steps < 400


def test_a_training_that_does_not_hear_is_killed_with_its_process(executor: RayExecutor, tmp_path: Path) -> None:
    file = tmp_path / "pid"

    def factory() -> Training:
        file.write_text(str(os.getpid()))
        return jobs.build(module=jobs.Deaf())

    key = executor.start("trial", spec_of(factory))
    until(executor, Rung)
    executor.kill(key)
    assert executor.keys == ()
    assert gone_within(int(file.read_text()), 10)


def test_one_that_waits_in_the_queue_is_killed_without_ever_running(executor: RayExecutor, tmp_path: Path) -> None:
    file = tmp_path / "ran"

    def factory() -> Training:
        file.touch()
        return jobs.build()

    busy = [executor.start("trial", spec_of("sample_jobs:slow", total_steps=400)) for _ in range(2)]
    until(executor, Progress)
    waits = executor.start("trial", spec_of(factory))
    ref = executor._running[waits].ref
    executor.kill(waits)
    # out of the queue at once, and not when its turn comes
    assert ray.wait([ref], timeout=10)[0] == [ref]
    assert executor.keys == tuple(busy)
    for key in busy:
        executor.stop(key)
    run(executor, *busy)
    run(executor, executor.start("trial", spec_of("sample_jobs:build", total_steps=2)))
    assert not file.exists()


def test_a_job_that_raises_fails_alone_and_says_where(executor: RayExecutor) -> None:
    result = run(executor, key := executor.start("trial", spec_of("sample_jobs:raises")))[key].result
    assert isinstance(result, TrialResult)
    assert (result.outcome, result.reason) == ("FAILED", "ValueError: the third step is cursed")
    with pytest.raises(JobError, match=r"FileNotFoundError: data.csv is not here[\s\S]*Traceback"):
        executor.inspect(spec_of("sample_jobs:raises_when_built"))


def test_a_killed_training_has_died_and_its_last_words_are_kept(executor: RayExecutor) -> None:
    done = run(executor, key := executor.start("trial", spec_of("sample_jobs:killed")))[key]
    assert (done.result, done.died) == (None, True)
    assert done.error == "the training's process died by signal SIGKILL (out of memory?)"
    assert done.detail is not None
    assert "last words" in done.detail


def test_when_rays_worker_is_killed_the_trial_has_died_and_no_process_trains_on(
    executor: RayExecutor, tmp_path: Path
) -> None:
    key = executor.start("trial", spec_of(slow_and_known(tmp_path / "pids"), total_steps=400))
    until(executor, Progress)
    training, worker = (int(pid) for pid in (tmp_path / "pids").read_text().split())
    os.kill(worker, signal.SIGKILL)
    done = run(executor, key)[key]
    assert (done.result, done.died) == (None, True)
    assert done.error is not None
    assert "Ray worker died" in done.error
    assert gone_within(training, 10)


def test_when_a_node_dies_the_trial_has_died_and_runs_on_another_one(cluster: Any, tmp_path: Path) -> None:
    lost = cluster.add_node(num_cpus=3, object_store_memory=STORE)
    cluster.wait_for_nodes()
    # three threads: the new node alone has so many CPUs
    with RayExecutor([], n_jobs=1) as executor:
        executor._on_gpu = False
        key = executor.start("trial", spec_of(slow_and_known(tmp_path / "pids"), total_steps=400))
        until(executor, Progress)
        training = int((tmp_path / "pids").read_text().split()[0])
        cluster.remove_node(lost, allow_graceful=False)
        done = run(executor, key)[key]
        assert (done.result, done.died) == (None, True)
        assert gone_within(training, 10)
        again = executor.start("trial", spec_of("sample_jobs:build"))
        result = run(executor, again)[again].result
        assert isinstance(result, TrialResult)
        assert result.outcome == "COMPLETE"


@pytest.mark.usefixtures("cluster")
def test_a_task_that_no_node_has_room_for_says_what_it_takes_and_what_there_is() -> None:
    with RayExecutor([], n_jobs=1, patience=0.5) as executor:
        key = executor.start("trial", replace(spec_of("sample_jobs:build"), processes=5))
        done = run(executor, key)[key]
    assert not done.died
    assert done.error is not None
    assert "takes 5 CPUs and 5 GPUs: it has 0 CPUs and 0 GPUs; 2 CPUs and 2 GPUs" in done.error


@pytest.mark.usefixtures("cluster")
def test_each_trial_sees_the_gpus_that_are_its_own(tmp_path: Path) -> None:
    def job(name: str) -> Callable[[], Training]:
        def factory() -> Training:
            (tmp_path / name).write_text(os.environ["CUDA_VISIBLE_DEVICES"])
            return jobs.slow()

        return factory

    with RayExecutor([], n_jobs=2) as executor:
        # twice: workers are used again, for another GPU or the same
        for part in "ab":
            keys = [executor.start("trial", spec_of(job(f"{part}{i}"), total_steps=40)) for i in range(2)]
            run(executor, *keys)
            assert {(tmp_path / f"{part}{i}").read_text() for i in range(2)} == {"0", "1"}


@pytest.mark.usefixtures("cluster")
def test_a_job_that_trains_on_the_cpu_takes_no_gpu_once_it_has_been_looked_at() -> None:
    with RayExecutor([], gpus_per_trial=0.25) as executor:
        assert executor._gpus(executor._nodes(), 1) == 0.25
        info = executor.inspect(spec_of("sample_jobs:build"))
        assert executor._gpus(executor._nodes(), 1) == 0.0
        assert executor.at_once(info) == 2


@pytest.mark.usefixtures("cluster")
def test_a_training_of_two_processes_runs_on_one_node(tmp_path: Path) -> None:
    folder = str(tmp_path)
    spec = replace(spec_of(lambda: jobs.ddp(folder), total_steps=20), processes=2)
    with RayExecutor([], n_jobs=1) as executor:
        result = run(executor, key := executor.start("trial", spec))[key].result
    assert isinstance(result, TrialResult)
    assert (result.outcome, result.error) == ("COMPLETE", None)
    assert [len((tmp_path / f"{rank}.lrs").read_text().splitlines()) for rank in range(2)] == [20, 20]


def test_whoever_has_no_key_is_not_heard_and_holds_nobody_up(executor: RayExecutor) -> None:
    with socket.create_connection(executor._server.getsockname()[:2]) as stranger:
        stranger.sendall(b"\0\0\0\1x")
        with socket.create_connection(executor._server.getsockname()[:2]):
            done = run(executor, key := executor.start("trial", spec_of("sample_jobs:build", total_steps=2)))[key]
    assert isinstance(done.result, TrialResult)
    assert done.result.outcome == "COMPLETE"


def test_a_job_that_cannot_be_sent_says_what_to_do(executor: RayExecutor) -> None:
    lock = threading.Lock()
    with pytest.raises(JobError, match="inside the factory"):
        executor.start("trial", spec_of(lambda: jobs.build(lr=float(lock.locked()))))


OWNER = """
import sys, time
from pathlib import Path
from autowarm.executors.ray import RayExecutor
from autowarm.specs import JobSpec, TrainingSpec
sys.path.insert(0, {folder!r})
import owned_job

spec = TrainingSpec(
    job=JobSpec(factory="owned_job:build"), monitor="val_loss", total_steps=100000, rungs=(100000,)
)
with RayExecutor([], n_jobs=2) as executor:
    executor.start("trial", spec)
    while not list(executor.events(1.0)) or not Path({folder!r}, "pid").exists():
        pass
    print("trains", flush=True)
    time.sleep(600)
"""
OWNED_JOB = """
import os
from pathlib import Path
import sample_jobs

def build():
    Path(__file__).with_name("pid").write_text(str(os.getpid()))
    return sample_jobs.slow()
"""


@pytest.mark.usefixtures("cluster")
def test_a_training_ends_when_its_owner_is_killed(tmp_path: Path) -> None:
    """The job's module is found by the owner's path alone, which its trainings are given."""
    (tmp_path / "owned_job.py").write_text(OWNED_JOB)
    script = tmp_path / "owner.py"
    script.write_text(OWNER.format(folder=str(tmp_path)))
    owner = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "trains\n"
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    assert gone_within(int((tmp_path / "pid").read_text()), 30)


def test_a_study_on_ray_leaves_the_records_of_one_on_this_machine(tmp_path: Path) -> None:
    """On a Ray of this machine alone, whose trials have as many threads."""
    env = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    found = {}
    for name in ("local", "ray"):
        command = [sys.executable, "-m", "autowarm", "tune", "studies/digits/study.yaml", "--executor", name]
        out = tmp_path / name
        subprocess.run([*command, "--n_trials", "3", "--n_jobs", "1", "--out", str(out)], cwd=ROOT, env=env, check=True)
        lines = (out / "trials.jsonl").read_text().splitlines()
        found[name] = [{**json.loads(line), "seconds": None} for line in lines]
    assert len(found["local"]) > 3
    assert found["ray"] == found["local"]

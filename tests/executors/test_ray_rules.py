"""What of trials on Ray needs no cluster."""

from __future__ import annotations

import sys

import pytest

from autowarm.errors import SettingsError, StudyError
from autowarm.executors.choice import executor_for
from autowarm.executors.local import LocalExecutor
from autowarm.executors.ray import RayExecutor, room, threads_each
from autowarm.settings import StudySettings
from autowarm.specs import JobSpec

JOB = JobSpec(factory="sample_jobs:build")


@pytest.mark.parametrize(
    ("nodes", "cpus", "gpus", "expected"),
    [
        ([(0, 0), (4, 0), (3, 0)], 2, 0, 3),
        ([(64, 0), (8, 4)], 1, 1, 4),
        ([(64, 0), (2, 4)], 1, 1, 2),
        # 1 // .1 is 9
        ([(64, 1)], 1, 0.1, 10),
        ([(64, 0)], 1, 1, 0),
        ([], 1, 0, 0),
    ],
)
def test_tasks_fit_on_one_node_each(nodes: list[tuple[float, float]], cpus: int, gpus: float, expected: int) -> None:
    assert room(nodes, cpus, gpus) == expected


@pytest.mark.parametrize(
    ("nodes", "trials", "processes", "gpus", "expected"),
    [
        ([(16, 0), (16, 0)], 1, 1, 0, 16),
        ([(16, 0), (16, 0)], 4, 1, 0, 8),
        # the CPUs of nodes without a GPU are of no use to a trial on one
        ([(64, 0), (8, 4)], 4, 1, 1, 2),
        ([(16, 0)], 1, 4, 0, 4),
        # more trials than fit wait for each other
        ([(2, 0)], 8, 1, 0, 1),
    ],
)
def test_trials_share_the_cpus_of_the_nodes_they_fit_on(
    nodes: list[tuple[float, float]], trials: int, processes: int, gpus: float, expected: int
) -> None:
    assert threads_each(nodes, trials, processes=processes, gpus=gpus) == expected


def test_trials_run_on_this_machine_unless_ray_is_asked_for() -> None:
    with executor_for(StudySettings(job=JOB)) as executor:
        assert isinstance(executor, LocalExecutor)


def test_where_ray_is_not_installed_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingsError, match=r"pip install 'autowarm\[ray\]'"):
        executor_for(StudySettings(job=JOB, executor="ray"))


@pytest.mark.ray
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("address", "error", "said"),
    [("ray://127.0.0.1:1", SettingsError, "ray job submit"), ("somewhere", StudyError, "RAY_ADDRESS=somewhere")],
)
def test_a_cluster_that_cannot_be_used_is_said_at_once(
    monkeypatch: pytest.MonkeyPatch, address: str, error: type[Exception], said: str
) -> None:
    pytest.importorskip("ray", reason="pip install 'autowarm[ray]'")
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(error, match=said):
        RayExecutor([JOB])

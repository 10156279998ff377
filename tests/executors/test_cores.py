from __future__ import annotations

import os
from pathlib import Path

import pytest

from autowarm.executors import local
from autowarm.executors.local import cores, cores_allowed


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)


@pytest.mark.parametrize(
    ("own", "files", "allowed"),
    [
        # a container of version 2 sees its own group at the top
        ("0::/\n", {"cpu.max": "800000 100000"}, 8.0),
        ("0::/\n", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000"}, 64.0),
        ("0::/\n", {}, 64.0),
        # elsewhere the limit may be of a group above
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "400000 100000"}, 4.0),
        ("0::/a/b\n", {"a/b/cpu.max": "200000 100000", "a/cpu.max": "400000 100000"}, 2.0),
        ("0::/a\n", {"other/cpu.max": "200000 100000"}, 64.0),
        # version 1
        ("3:cpu,cpuacct:/\n", {"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3.0),
        ("3:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 64.0),
        ("4:memory:/\n0::/\n", {"memory/cpu.max": "100000 100000"}, 64.0),
        # a container of version 1 may see the path outside of it
        ("3:cpu:/pod/1\n", {"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3.0),
        ("", {"cpu.max": "100000 100000"}, 64.0),
        ("nonsense\n", {"cpu.max": "100000 100000"}, 64.0),
        ("0::/\n", {"cpu.max": "nonsense"}, 64.0),
    ],
)
def test_a_limit_of_the_control_groups_is_found(
    own: str, files: dict[str, str], allowed: float, tmp_path: Path
) -> None:
    for name, text in {**files, "own": own}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cores_allowed(tmp_path, tmp_path / "own") == allowed


def test_a_system_without_control_groups_has_no_limit(tmp_path: Path) -> None:
    assert cores_allowed(tmp_path, tmp_path / "own") == 64.0


@pytest.mark.parametrize(("bound", "allowed", "used"), [(8, 64.0, 8), (8, 1.5, 2), (8, 0.1, 1), (2, 4.0, 2)])
def test_the_cores_are_those_it_is_bound_to_within_the_limit(
    bound: int, allowed: float, used: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(bound)), raising=False)
    monkeypatch.setattr(local, "cores_allowed", lambda: allowed)
    assert cores() == used

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PURE = """
import sys, autowarm
from autowarm import Schedule, load_schedule
import autowarm.schedule, autowarm.report.files, autowarm.export
frameworks = {"torch", "lightning", "transformers", "jax", "optax", "optuna", "pandas", "matplotlib.pyplot"}
loaded = frameworks & set(sys.modules)
assert not loaded, loaded
"""


def test_schedules_records_and_reports_load_no_framework() -> None:
    subprocess.run([sys.executable, "-c", PURE], check=True)


def test_importing_autowarm_loads_none_of_its_dependencies() -> None:
    code = "import sys, autowarm; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not {"numpy", "yaml", "torch", "lightning", "optuna", "pandas", "rich"} & set(done.stdout.split())


def test_every_public_name_is_there() -> None:
    import autowarm

    assert set(autowarm._HOMES) == set(autowarm.__all__)
    for name in autowarm.__all__:
        assert getattr(autowarm, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'tuen'"):
        autowarm.tuen  # noqa: B018


@pytest.mark.slow
def test_the_wheel_works_from_an_empty_folder(tmp_path: Path) -> None:
    """The wheel, unpacked over the dependencies of this environment, without the source tree in sight."""
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(site)
    assert {
        "autowarm/py.typed",
        "autowarm/demo/shakespeare.txt",
        "autowarm/demo/study.yaml",
        "autowarm/demo/job.yaml",
    } <= names
    assert not any(name.startswith(("tests/", "studies/")) for name in names)
    env = {**os.environ, "PYTHONPATH": str(site)}
    where = subprocess.run(
        [sys.executable, "-c", "import autowarm; print(autowarm.__file__)"],
        cwd=tmp_path,
        env=env,
        check=True,
        capture_output=True,
        text=True,
    )
    assert where.stdout.startswith(str(site))
    done = subprocess.run(
        [sys.executable, "-m", "autowarm", "demo", "--n_trials", "1", "--n_jobs", "2"],
        cwd=tmp_path,
        env=env,
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "trained anew on seed 1" in done.stdout
    assert (tmp_path / "studies/demo/report.md").is_file()

"""The exports in Python are code that people read: as ruff formats it, and without a fault for ruff and mypy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sample_schedules import SCHEDULES

from autowarm.export import Source, export

ROOT = Path(__file__).parents[2]
PROVENANCE = {"study": "mine", "trial": 3, "value": 0.25, "total_steps": 40, "seed": 0, "versions": {"torch": "2.13.0"}}


def run(*words: str | Path) -> None:
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    for number, schedule in enumerate(SCHEDULES.values()):
        for file_format in ("torch", "optax"):
            text = export(Source(schedule, 40, PROVENANCE), file_format)
            (folder / f"{file_format}_{number}.py").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("width", [88, 120])
def test_ruff_has_nothing_to_format(folder: Path, width: int) -> None:
    run("ruff", "format", "--isolated", "--check", "--line-length", str(width), folder)


def test_ruff_has_nothing_to_say(folder: Path) -> None:
    # INP001: these are modules without a package. E501: at ruff's own width, docstrings included
    run("ruff", "check", "--config", ROOT / "pyproject.toml", "--ignore", "INP001", "--line-length", "88", folder)


@pytest.mark.slow
def test_mypy_has_nothing_to_say(folder: Path) -> None:
    # optax publishes no types
    quiet = ("--disable-error-code", "import-untyped")
    run("mypy", "--strict", "--config-file=", *quiet, "--cache-dir", folder / "cache", folder)

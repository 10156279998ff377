from __future__ import annotations

import sys
from pathlib import Path

import pytest

from autowarm import SearchSpace, load_schedule
from autowarm.demo import STUDY
from autowarm.errors import SettingsError
from autowarm.job import build
from autowarm.record import read_jsonl
from autowarm.report.files import read_results
from autowarm.settings import StudySettings, load_study
from autowarm.specs import JobSpec
from autowarm.yaml_files import read_yaml

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
SPACES = sorted((CONFIGS / "spaces").glob("*.yaml"))
WORKERS = CONFIGS / "digits_workers.yaml"
STUDIES = [STUDY, ROOT / "studies/digits/study.yaml", CONFIGS / "char_gpt_horizons.yaml", WORKERS]
SCHEDULES = sorted((CONFIGS / "schedules").glob("*.yaml"))


def test_there_is_something_of_each_kind_and_nothing_else() -> None:
    assert SPACES
    assert SCHEDULES
    assert {*SPACES, *SCHEDULES, *STUDIES} >= set(CONFIGS.rglob("*.yaml"))


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_a_space_loads(path: Path) -> None:
    assert SearchSpace.from_dict(read_yaml(path, SettingsError)).bounds["initial_lr"]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem + "-" + path.parent.name)
def test_a_study_loads_and_its_job_is_built(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["pytest"])
    monkeypatch.syspath_prepend(ROOT)
    settings = load_study(path)
    assert build(settings.job, seed=0).module is not None


def test_the_settings_of_what_may_go_wrong_are_at_their_defaults() -> None:
    settings, plain = load_study(WORKERS), StudySettings(job=JobSpec(factory="a:b"))
    for name in ("retries", "checkpoint_every", "oom_retry", "trunks", "executor", "gpus_per_trial"):
        assert getattr(settings, name) == getattr(plain, name), name
    assert settings.trial_timeout == 5400.0


@pytest.mark.parametrize("path", SCHEDULES, ids=lambda path: path.stem)
def test_an_exported_schedule_is_the_best_of_the_study_it_names(path: Path) -> None:
    provenance = read_yaml(path, SettingsError)["provenance"]
    records = read_results(ROOT / "studies" / path.stem)
    (record,) = (r for r in records if (r.role, r.trial) == ("search", provenance["trial"]))
    assert load_schedule(path) == record.schedule
    assert provenance["value"] == record.value == min(r.value for r in records if r.role == "search" and r.value)


@pytest.mark.parametrize("name", ["digits", "char_gpt"])
def test_committed_results_are_records_of_a_whole_study(name: str) -> None:
    folder = ROOT / "studies" / name
    records = read_jsonl(folder / "trials.jsonl")
    assert len([r for r in records if r.role == "search"]) == load_study(folder / "study.yaml").n_trials
    assert (folder / "report.md").is_file()
    assert (folder / "report.png").is_file()

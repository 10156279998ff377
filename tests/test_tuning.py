from __future__ import annotations

import json
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sample_jobs as jobs
import torch
from filelock import FileLock

import autowarm
from autowarm import Schedule, SearchSpace, TuneResult
from autowarm.analysis.answer import answer_of
from autowarm.analysis.best import ranked, warmup_steps
from autowarm.analysis.candidates import candidates
from autowarm.analysis.compare import comparisons
from autowarm.errors import JobError, SettingsError, StudyError
from autowarm.record import TrialRecord, read_jsonl
from autowarm.study.database import read_records

SPACE = {"initial_lr": {"low": 1e-3, "high": 0.3}, "decay": ["constant", "linear", "wsd"]}


def tune(job: Any, out: Path, **arguments: Any) -> TuneResult:
    given: dict[str, Any] = {"n_trials": 6, "n_jobs": 1, "progress": False, "name": "test", "space": SPACE}
    return autowarm.tune(job, out=out, **{**given, **arguments})


def comparable(records: tuple[TrialRecord, ...]) -> list[TrialRecord]:
    return [replace(record, seconds=0.0) for record in records]


def test_a_study_finds_a_schedule_and_leaves_its_results(tmp_path: Path) -> None:
    result = tune("sample_jobs:build", tmp_path)
    searched = [r for r in result.records if r.role == "search"]
    assert len(searched) == 6
    answer = answer_of(result.records)
    assert answer is not None
    assert result.best_schedule == answer.record.schedule
    assert result.best(total_steps=40) == answer.record.schedule
    today = Schedule(initial_lr=0.01, warmup_ratio=0.0, decay="constant")
    assert searched[0].schedule == today, "what the job has today is tried first"
    again = {r.schedule for r in result.records if r.role == "confirm"}
    expected = candidates(ranked(searched), 3)
    assert again == {r.schedule for r in expected}
    assert len(again) == 3
    checks = [(r.role, r.seed) for r in result.records if r.role != "search"]
    assert checks == [("confirm", 1), ("baseline", 1), ("confirm", 1), ("confirm", 1)]
    assert len(result.to_pandas()) == 10
    names = {path.name for path in tmp_path.iterdir()} - {".lock", ".study.db.lock"}
    derived = {"trials.jsonl", "trials.csv", "trials.parquet", "report.html", "report.md", "report.png"}
    assert names == {"study.yaml", "study.db", "events.jsonl"} | derived
    assert read_jsonl(tmp_path / "trials.jsonl") == list(result.records)
    assert sorted(read_records(tmp_path), key=lambda r: (r.role, r.trial)) == sorted(
        result.records, key=lambda r: (r.role, r.trial)
    )
    assert searched[0].versions is not None
    assert "torch" in searched[0].versions


def test_a_sequential_study_repeats_exactly_also_when_it_goes_on_in_parts(tmp_path: Path) -> None:
    whole = tune("sample_jobs:build", tmp_path / "whole", n_trials=14, confirm_seeds=0)
    tune("sample_jobs:build", tmp_path / "parts", n_trials=5, confirm_seeds=0)
    parts = tune("sample_jobs:build", tmp_path / "parts", n_trials=14, confirm_seeds=0)
    assert comparable(parts.records) == comparable(whole.records)
    other = tune("sample_jobs:build", tmp_path / "other", n_trials=14, confirm_seeds=0, seed=1)
    assert [r.label for r in other.records] != [r.label for r in whole.records]


def searches(out: Path, **arguments: Any) -> list[TrialRecord]:
    given = {"n_trials": 12, "total_steps": 80, "confirm_seeds": 0, **arguments}
    return list(tune("sample_jobs:build", out, **given).records)


def test_what_would_be_pruned_is_finished_as_an_audit_and_the_report_says_how_it_ended(tmp_path: Path) -> None:
    pruned = [r for r in searches(tmp_path / "pruned", prune_audit=0.0) if r.outcome == "PRUNED"]
    assert pruned
    assert all(r.audit_step is None for r in pruned)
    whole = searches(tmp_path / "audited", prune_audit=1.0)
    audited = [r for r in whole if r.audit_step is not None]
    assert {r.outcome for r in whole} == {"COMPLETE"}
    # until the first one the studies are the same
    first, same = pruned[0], audited[0]
    assert (same.trial, same.audit_step, same.audit_reason) == (first.trial, first.steps, first.reason)
    assert same.rungs[: len(first.rungs)] == first.rungs
    report = (tmp_path / "audited/report.md").read_text()
    assert f"of the {len(audited)} trials that pruning would have stopped, {len(audited)} were finished as" in report
    parts = tmp_path / "parts"
    searches(parts, prune_audit=0.5, n_trials=7)
    assert comparable(tuple(searches(parts, prune_audit=0.5))) == comparable(
        tuple(searches(tmp_path / "half", prune_audit=0.5))
    )


def test_averaged_weights_are_validated_for_the_pruner_alone(tmp_path: Path) -> None:
    records = tune("sample_jobs:build", tmp_path / "on", total_steps=80, n_trials=2).records
    for record in records:
        at = [step for step, _ in record.ema_rungs]
        # 14 of the 20 rungs, of 8 batches each
        expected = (list(range(24, 80, 4)), (20 + 14) * 8) if record.role == "search" else ([], 20 * 8)
        assert (at, record.val_batches) == expected, record.role
    off = searches(tmp_path / "off", n_trials=2, pruning="off")
    assert all((record.ema_rungs, record.val_batches) == ((), 20 * 8) for record in off)


def test_the_best_schedules_are_trained_again_and_the_fresh_seeds_decide(tmp_path: Path) -> None:
    given: dict[str, Any] = {"total_steps": 80, "n_trials": 8, "confirm_top": 2, "pruning": "off"}
    result = tune("sample_jobs:build", tmp_path, confirm_seeds=2, **given)
    searched = [r for r in result.records if r.role == "search"]
    again = [r for r in result.records if r.role == "confirm"]
    expected = [r.schedule for r in candidates(ranked(searched), 2)]
    assert [(r.schedule, r.seed) for r in again] == [(schedule, seed) for seed in (1, 2) for schedule in expected]
    means = {s: statistics.fmean(r.value for r in again if r.schedule == s and r.value is not None) for s in expected}
    answer = answer_of(result.records)
    assert answer is not None
    assert answer.best is not None
    assert answer.best.record.schedule == min(means, key=lambda s: means[s])
    assert result.best_schedule == answer.record.schedule
    report = (tmp_path / "report.md").read_text()
    assert f"Found at val_loss {answer.record.value:.5g}, it reached {means[result.best_schedule]:.5g} when" in report
    # a seed more is a seed more of each
    more = tune("sample_jobs:build", tmp_path, confirm_seeds=3, **given)
    assert more.records[: len(searched)] == result.records[: len(searched)]
    assert [r.seed for r in more.records if r.role == "confirm"] == [1, 1, 2, 2, 3, 3]


def test_a_budget_pays_for_checks_seed_after_seed(tmp_path: Path) -> None:
    given: dict[str, Any] = {"n_trials": None, "budget": 22, "total_steps": 40, "confirm_top": 2}
    result = tune("sample_jobs:build", tmp_path, **given)
    assert len({r.schedule for r in result.records if r.role == "confirm"}) == 2
    checks = [(r.role, r.seed) for r in result.records if r.role in ("confirm", "baseline")]
    seeds = sorted({seed for _, seed in checks})
    whole = [(role, seed) for seed in seeds for role in ("confirm", "baseline", "confirm")]
    assert len(seeds) > 1
    assert checks == whole[: len(checks)]
    answer = answer_of(result.records)
    assert answer is not None
    assert answer.noise_is_known
    assert result.best_schedule == answer.record.schedule


def test_todays_schedule_is_not_trained_twice_where_it_is_one_of_the_best(tmp_path: Path) -> None:
    space = {"initial_lr": [0.01, 0.0001], "warmup_ratio": 0.0, "decay": "constant"}
    result = tune("sample_jobs:build", tmp_path, n_trials=4, space=space, pruning="off")
    today = Schedule(initial_lr=0.01, warmup_ratio=0.0, decay="constant")
    assert result.best_schedule == today
    again = [(r.role, r.label) for r in result.records if r.role != "search"]
    assert again == [("confirm", "lr 0.0001, no warmup, constant"), ("baseline", f"today: {today}")]
    assert "**Keep today's schedule, lr 0.01, no warmup, constant**" in (tmp_path / "report.md").read_text()


class Score(jobs.Regression):
    """Logs what more is better of, and what never changes."""

    def validation_step(self, batch: jobs.Batch) -> None:
        x, y = batch
        self.log("val_score", 1 / (1 + torch.nn.functional.mse_loss(self.network(x), y)))
        self.log("val_flat", 0.5)


def scored() -> Any:
    return jobs.build(module=Score())


def test_more_of_a_metric_is_better_from_the_search_to_the_answer(tmp_path: Path) -> None:
    # peaks so low that no trial reaches the highest score there is
    space = {"initial_lr": {"low": 1e-4, "high": 0.03}, "decay": ["constant", "linear"]}
    arguments: dict[str, Any] = {"monitor": "val_score", "mode": "max", "total_steps": 80, "n_trials": 12}
    result = tune(scored, tmp_path, space=space, confirm_top=2, confirm_seeds=2, **arguments)
    searched = [r for r in result.records if r.role == "search" and r.value is not None]
    again = [r for r in result.records if r.role == "confirm"]
    best = max(searched, key=lambda r: r.value or 0.0)
    assert best.schedule in {r.schedule for r in again}
    pruned = [r for r in result.records if r.outcome == "PRUNED"]
    assert pruned
    assert all(r.rungs[-1][1] < best.rungs[len(r.rungs) - 1][1] for r in pruned), "those that were behind"
    answer = answer_of(result.records)
    assert answer is not None
    assert answer.best is not None
    others = [c for c in answer.candidates if c is not answer.best]
    assert all((c.mean or 0.0) < (answer.best.mean or 0.0) for c in others)
    (comparison, *_) = comparisons(result.records)
    assert comparison.tuned_is_ahead is (comparison.mean_difference > 0)
    assert "Keep today's" not in (tmp_path / "report.md").read_text()


def test_a_metric_that_never_changes_ends_in_the_plainest_schedule_and_is_said(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"monitor": "val_flat", "n_trials": 6, "confirm_seeds": 2}
    result = tune(scored, tmp_path, **arguments)
    searched = [r for r in result.records if r.role == "search"]
    assert {r.outcome for r in searched} == {"COMPLETE"}, "nothing is behind"
    plainest = min(searched, key=lambda r: (warmup_steps(r) or 0, r.schedule.initial_lr if r.schedule else 0.0))
    assert result.best_schedule == plainest.schedule
    report = (tmp_path / "report.md").read_text()
    assert "val_flat was 0.5 at the end of every trial: it tells no schedule from another" in report
    assert "look at \\`monitor\\`" in report


def test_what_is_trained_again_is_part_of_the_price(tmp_path: Path) -> None:
    from autowarm.progress import Display
    from autowarm.settings import StudySettings, read_job
    from autowarm.tuning import plan_study

    def runs(**changes: Any) -> int:
        job = read_job("sample_jobs:build", root=tmp_path)
        (plan,) = plan_study(StudySettings(job=job, n_trials=10, **changes), Display())
        return plan.price.runs

    assert runs() == 10 + 1 + 3
    assert runs(confirm_top=2, confirm_seeds=5) == 10 + 5 + 2 * 5
    assert runs(confirm_top=20) == 10 + 1 + 10, "there are no more schedules than trials"
    assert runs(confirm_seeds=0) == 10


def test_a_finished_study_is_not_run_again(tmp_path: Path) -> None:
    first = tune("sample_jobs:build", tmp_path)
    again = tune("sample_jobs:build", tmp_path)
    assert again.records == first.records


def test_every_horizon_is_a_study_of_its_own(tmp_path: Path) -> None:
    result = tune(
        "sample_jobs:build", tmp_path, n_trials=3, total_steps=[20, 40], dataset_size=[16, 64], confirm_seeds=0
    )
    assert {(r.horizon, r.role) for r in result.records} == {
        ((steps, size), "search") for steps in (20, 40) for size in (16, 64)
    }
    assert len(result.records) == 12
    assert result.best(total_steps=20, dataset_size=16) is not None
    with pytest.raises(StudyError, match="total_steps 30"):
        result.best(total_steps=30)
    connection = sqlite3.connect(tmp_path / "study.db")
    names = {name for (name,) in connection.execute("SELECT study_name FROM studies")}
    connection.close()
    searches = {f"test steps={steps} examples={size}" for steps in (20, 40) for size in (16, 64)}
    assert names == searches | {f"{name} checks" for name in searches}


def test_sizes_of_data_without_indices_go_to_the_jobs_own_argument(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"sampler of its own \(WeightedRandomSampler\)\. Give the job an argument"):
        tune("sample_jobs:weighted", tmp_path, dataset_size=16)
    with pytest.raises(JobError, match="iterable without indices"):
        tune("sample_jobs:sized_stream", tmp_path, dataset_size=16)
    job = {"factory": "sample_jobs:sized_stream", "dataset_size_arg": "n_examples"}
    result = tune(job, tmp_path, n_trials=2, dataset_size=[16, 32], confirm_seeds=0)
    assert [r.dataset_size for r in result.records] == [16, 16, 32, 32]
    small, large = ([r for r in result.records if r.dataset_size == size] for size in (16, 32))
    assert small[0].schedule == large[0].schedule
    assert small[0].value != large[0].value


def test_a_scheduler_that_is_no_schedule_runs_as_it_is_as_the_baseline(tmp_path: Path) -> None:
    result = tune(lambda: jobs.build(scheduler="onecycle"), tmp_path, n_trials=2, confirm_seeds=0)
    (baseline,) = (r for r in result.records if r.role == "baseline")
    assert (baseline.schedule, baseline.label, baseline.outcome) == (None, "today: OneCycleLR", "COMPLETE")


def test_diverged_trials_are_kept_apart_and_the_study_goes_on(tmp_path: Path) -> None:
    space = {"initial_lr": {"low": 0.01, "high": 30.0}, "decay": "constant"}
    result = tune("sample_jobs:build", tmp_path, n_trials=10, total_steps=200, space=space, confirm_seeds=0)
    outcomes = {r.outcome for r in result.records}
    assert {"COMPLETE", "DIVERGED"} <= outcomes
    assert result.best_schedule.initial_lr < 1.0


def test_when_all_diverge_the_error_says_which_bound_to_move(tmp_path: Path) -> None:
    space = {"initial_lr": {"low": 10.0, "high": 30.0}, "decay": "constant"}
    with pytest.raises(StudyError, match=r"(?i)all 3 trials diverged; .*lower space.initial_lr.low"):
        tune("sample_jobs:build", tmp_path, n_trials=3, total_steps=100, space=space)
    assert len(read_jsonl(tmp_path / "trials.jsonl")) == 3


class Cursed(jobs.Regression):
    """Fails in every trial, but not while it is looked at: a look ends before."""

    def training_step(self, batch: jobs.Batch) -> Any:
        if self.global_step == 20:
            raise RuntimeError("no luck")
        return super().training_step(batch)


def test_the_same_error_three_times_from_the_start_ends_the_study(tmp_path: Path) -> None:
    with pytest.raises(
        StudyError, match=r"first 3 trials failed in the same way: RuntimeError: no luck[\s\S]*Traceback"
    ):
        tune(lambda: jobs.build(module=Cursed()), tmp_path)
    records = read_jsonl(tmp_path / "trials.jsonl")
    assert [r.outcome for r in records] == ["FAILED"] * 3
    assert all("no luck" in (r.error or "") for r in records)
    last = json.loads((tmp_path / "events.jsonl").read_text().splitlines()[-1])
    assert (last["event"], last["records"]) == ("left", 3)
    assert last["reason"] == "the first 3 trials failed in the same way: RuntimeError: no luck"


class Moody(jobs.Regression):
    """Fails where its learning rate is high."""

    def training_step(self, batch: jobs.Batch) -> Any:
        if self.global_step == 20 and self.trainer.optimizers[0].param_groups[0]["initial_lr"] > 0.05:
            raise RuntimeError("too hot")
        return super().training_step(batch)


def test_a_training_that_raises_now_and_then_is_failed_and_the_study_goes_on(tmp_path: Path) -> None:
    result = tune(lambda: jobs.build(module=Moody()), tmp_path, n_trials=12, confirm_seeds=0)
    failed = [r for r in result.records if r.outcome == "FAILED"]
    assert failed
    assert all(r.reason == "RuntimeError: too hot" for r in failed)
    assert len(result.records) == 12


@pytest.mark.parametrize(
    ("job", "arguments", "error", "message"),
    [
        ("sample_jobs:biuld", {}, JobError, "did you mean 'build'"),
        ("sample_jobs:build", {"monitor": "acc"}, JobError, "it logs train_loss, val_loss"),
        ("sample_jobs:manual", {}, JobError, "manual optimization"),
        ("sample_jobs:unlimited", {}, JobError, "give total_steps"),
        ("sample_jobs:build", {"dataset_size": 1000}, JobError, "64 training examples"),
        ("sample_jobs:build", {"n_trials": 0}, SettingsError, "n_trials"),
    ],
)
def test_what_cannot_be_tuned_is_refused_before_a_trial_runs(
    job: str, arguments: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        tune(job, tmp_path, **arguments)
    assert not (tmp_path / "trials.jsonl").exists()


def test_a_folder_of_another_study_is_refused(tmp_path: Path) -> None:
    tune("sample_jobs:build", tmp_path, n_trials=1, confirm_seeds=0)
    with pytest.raises(StudyError, match=r"holds the study 'test', not 'other': choose another --out"):
        tune("sample_jobs:build", tmp_path, name="other")
    with pytest.raises(StudyError, match=r"another study .*monitor 'val_loss' there, 'train_loss' here"):
        tune("sample_jobs:build", tmp_path, monitor="train_loss")


def test_a_folder_belongs_to_one_run_at_a_time(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / ".lock")
    with lock, pytest.raises(StudyError, match="another autowarm is tuning"):
        tune("sample_jobs:build", tmp_path)


def test_results_without_their_database_are_put_aside_not_lost(tmp_path: Path) -> None:
    first = tune("sample_jobs:build", tmp_path, n_trials=2, confirm_seeds=0)
    (tmp_path / "study.db").unlink()
    tune("sample_jobs:build", tmp_path, n_trials=1, confirm_seeds=0)
    assert read_jsonl(tmp_path / "trials.earlier-1.jsonl") == list(first.records)
    assert len(read_jsonl(tmp_path / "trials.jsonl")) == 1


def test_two_jobs_at_once_run_as_many_trials(tmp_path: Path) -> None:
    result = tune("sample_jobs:build", tmp_path, n_trials=5, n_jobs=2)
    assert sorted(r.trial for r in result.records if r.role == "search") == list(range(5))


def test_a_study_can_be_run_from_another_thread(tmp_path: Path) -> None:
    found: list[TuneResult] = []
    thread = threading.Thread(
        target=lambda: found.append(tune("sample_jobs:build", tmp_path, n_trials=1, confirm_seeds=0))
    )
    thread.start()
    thread.join()
    assert len(found) == 1


def test_a_space_may_be_an_object(tmp_path: Path) -> None:
    space = SearchSpace(initial_lr=[0.01, 0.1], warmup_ratio=0.1, decay="cosine")
    result = tune("sample_jobs:build", tmp_path, n_trials=3, space=space, confirm_seeds=0)
    assert {r.schedule.warmup_ratio for r in result.records if r.schedule} == {0.1}


STUDY = """
name: slow
job: sample_jobs:slow
total_steps: 100
n_trials: 3
seed: 0
confirm_seeds: 0
space: {initial_lr: {low: 1e-3, high: 0.1}, decay: [constant, linear]}
"""


def started(folder: Path, *, n_jobs: int) -> subprocess.Popen[str]:
    (folder / "slow.yaml").write_text(STUDY)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-m", "autowarm", "tune", "slow.yaml", "--out", "out", "--n_jobs", str(n_jobs)]
    return subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_a_finished_trial(folder: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if (folder / "out" / "study.db").exists() and read_records(folder / "out"):
            return
        time.sleep(0.1)
    raise AssertionError(process.communicate())


def trials_of(folder: Path) -> list[TrialRecord]:
    return sorted(read_records(folder / "out"), key=lambda r: r.trial)


@pytest.mark.slow
@pytest.mark.parametrize(("n_jobs", "signals"), [(1, 1), (2, 1), (2, 2)])
def test_ctrl_c_keeps_what_has_finished_and_tune_again_goes_on(tmp_path: Path, n_jobs: int, signals: int) -> None:
    process = started(tmp_path, n_jobs=n_jobs)
    wait_for_a_finished_trial(tmp_path, process)
    for _ in range(signals):
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "Run the same command to go on" in errors
    kept = trials_of(tmp_path)
    assert kept
    assert read_jsonl(tmp_path / "out" / "trials.jsonl") == read_records(tmp_path / "out")
    output, errors = started(tmp_path, n_jobs=n_jobs).communicate(timeout=120)
    assert "best of the search" in output, errors
    records = trials_of(tmp_path)
    assert len(records) == 3
    assert [r for r in records if r.trial in {k.trial for k in kept}] == kept
    assert len({r.label for r in records}) == 3, "the interrupted schedules were tried again, each once"


@pytest.mark.slow
def test_a_killed_study_goes_on_and_its_report_knows_all_that_had_finished(tmp_path: Path) -> None:
    process = started(tmp_path, n_jobs=2)
    wait_for_a_finished_trial(tmp_path, process)
    process.kill()
    process.communicate()
    kept = trials_of(tmp_path)
    report = subprocess.run(
        [sys.executable, "-m", "autowarm", "report", "out"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert f"{len(kept)} trial" in report.stdout or "only trial" in report.stdout
    output, errors = started(tmp_path, n_jobs=2).communicate(timeout=120)
    assert "best of the search" in output, errors
    records = trials_of(tmp_path)
    assert len(records) == 3
    assert len({r.label for r in records}) == 3


def test_a_persons_study_file_in_the_folder_is_left_alone_and_ours_is_kept_up_to_date(tmp_path: Path) -> None:
    theirs = "# mine\nname: test\njob: sample_jobs:build\n"
    (tmp_path / "study.yaml").write_text(theirs)
    tune("sample_jobs:build", tmp_path, n_trials=1, confirm_seeds=0)
    assert (tmp_path / "study.yaml").read_text() == theirs
    (tmp_path / "study.yaml").unlink()
    for n_trials in (1, 2):
        tune("sample_jobs:build", tmp_path, n_trials=n_trials, confirm_seeds=0)
        assert f"n_trials: {n_trials}" in (tmp_path / "study.yaml").read_text()


def test_a_warmup_module_is_tuned_and_what_it_does_today_is_known(tmp_path: Path) -> None:
    result = tune(
        "sample_jobs:warmup_module", tmp_path, n_trials=2, confirm_seeds=1, space={**SPACE, "decay": "cosine"}
    )
    (baseline,) = (r for r in result.records if r.role == "baseline")
    assert baseline.schedule == Schedule(initial_lr=0.05, warmup_ratio=0.2, decay="cosine")
    assert result.records[0].schedule == baseline.schedule


def test_another_database_holds_the_study_and_goes_on(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'other.db'}"
    first = tune("sample_jobs:build", tmp_path / "out", n_trials=2, confirm_seeds=0, storage=url)
    assert not (tmp_path / "out" / "study.db").exists()
    again = tune("sample_jobs:build", tmp_path / "out", n_trials=3, confirm_seeds=0, storage=url)
    assert again.records[:2] == first.records


def test_more_of_a_metric_can_be_better(tmp_path: Path) -> None:
    result = tune("sample_jobs:build", tmp_path, n_trials=6, mode="max", confirm_seeds=0, pruning="off")
    values = {r.value: r.schedule for r in result.records if r.value is not None}
    assert result.best_schedule == values[max(values)]


def test_a_job_that_has_changed_is_another_study(tmp_path: Path) -> None:
    config = tmp_path / "user.yaml"
    text = "model: {class_path: sample_jobs.Regression}\ndata: {class_path: sample_jobs.RegressionData}\n"
    config.write_text(text + "trainer: {max_steps: 20, accelerator: cpu}\n")
    tune(config, tmp_path / "out", n_trials=1, confirm_seeds=0)
    config.write_text("# a comment more\n" + config.read_text())
    tune(config, tmp_path / "out", n_trials=1, confirm_seeds=0)
    config.write_text(text + "trainer: {max_steps: 20, accelerator: cpu, gradient_clip_val: 1.0}\n")
    with pytest.raises(StudyError, match="content of the job's file"):
        tune(config, tmp_path / "out", n_trials=1, confirm_seeds=0)

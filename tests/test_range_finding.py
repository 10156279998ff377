from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sample_jobs as jobs
import torch
from torch import Tensor

import autowarm
from autowarm import TuneResult
from autowarm.cli import main
from autowarm.errors import StudyError
from autowarm.planning.range_test import bracket_of
from autowarm.record import TrialRecord, read_jsonl
from autowarm.specs import JobSpec, TrainingSpec
from autowarm.trial import run_trial


def tune(job: Any, out: Path, **arguments: Any) -> TuneResult:
    given: dict[str, Any] = {
        "n_trials": 3,
        "n_jobs": 1,
        "progress": False,
        "name": "test",
        "space": {"decay": ["constant", "linear"]},
        "confirm_seeds": 0,
    }
    return autowarm.tune(job, out=out, **{**given, **arguments})


def range_tests(result: TuneResult) -> list[TrialRecord]:
    return [r for r in result.records if r.role == "range_test"]


def test_without_lrs_a_range_test_finds_them_once_and_the_study_keeps_them(tmp_path: Path) -> None:
    first = tune("sample_jobs:build", tmp_path)
    tests = range_tests(first)
    assert [r.seed for r in tests] == [0, 1, 2]
    assert {r.outcome for r in tests} == {"DIVERGED"}, "each was ended soon after it broke"
    assert all(r.val_batches == 0 and r.steps < r.total_steps for r in tests)
    found = bracket_of(first.records)
    # SGD on this regression trains at a constant .3 and breaks at 1.5 (the test below); the top is within a factor of 4
    assert found.edged
    assert 0.3 <= found.high <= 4 * 1.5
    searched = [r.schedule.initial_lr for r in first.records if r.role == "search" and r.schedule]
    assert all(found.low <= lr <= found.high for lr in searched)
    again = tune("sample_jobs:build", tmp_path, n_trials=6)
    assert range_tests(again) == tests
    assert len([r for r in again.records if r.role == "search"]) == 6
    assert again.records[:3] == first.records[:3]
    # another horizon of the same study is searched in the same range
    longer = tune("sample_jobs:build", tmp_path, total_steps=60)
    assert not range_tests(longer)
    assert all(found.low <= r.schedule.initial_lr <= found.high for r in longer.records if r.schedule)


@pytest.mark.parametrize(("lr", "outcome"), [(0.3, "COMPLETE"), (1.5, "DIVERGED")])
def test_the_regression_trains_below_the_range_asserted_and_breaks_above(lr: float, outcome: str) -> None:
    spec = TrainingSpec(
        job=JobSpec(factory="sample_jobs:build"),
        monitor="val_loss",
        total_steps=100,
        schedule=autowarm.Schedule(initial_lr=lr),
        rungs=(100,),
    )
    assert run_trial(spec).outcome == outcome


def test_the_results_show_the_curve_the_range_and_the_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = tune("sample_jobs:build", tmp_path)
    assert (tmp_path / "range_test.png").read_bytes().startswith(b"\x89PNG")
    report = (tmp_path / "report.md").read_text()
    assert bracket_of(result.records).words in report
    assert "![Training loss over the learning rate](range_test.png)" in report
    assert "of it range_test" in report
    assert "of 61 |" not in report, "to diverge is what a range test is for: it is not listed as a trial that did"
    steps = sum(r.steps for r in range_tests(result))
    assert f"It took {steps:,} training steps" in report
    # its steps are no horizon of their own
    assert report.count("total_steps 61") == 0
    before = report
    (tmp_path / "range_test.png").unlink()
    main(["report", str(tmp_path)])
    assert capsys.readouterr().out.rstrip() == before.rstrip()
    assert (tmp_path / "range_test.png").is_file()


def test_a_range_test_runs_at_the_longest_horizon_and_serves_all(tmp_path: Path) -> None:
    result = tune("sample_jobs:build", tmp_path, total_steps=[20, 40], n_trials=1)
    assert len(range_tests(result)) == 3
    found = bracket_of(result.records)
    for record in result.records:
        if record.role == "search" and record.schedule is not None:
            assert found.low <= record.schedule.initial_lr <= found.high
    (big, small) = (
        autowarm.SearchSpace(decay="linear").with_initial_lr(found.low, found.high).bounds["initial_lr"][::-1]
    )
    assert big > small


def test_a_space_that_names_its_lrs_needs_no_test(tmp_path: Path) -> None:
    result = tune("sample_jobs:build", tmp_path, space={"initial_lr": [0.01, 0.1], "decay": "linear"})
    assert not range_tests(result)
    assert not (tmp_path / "range_test.png").exists()


class Groups(jobs.Regression):
    """Weights at half and at twice the learning rate; keeps the ratios that it sees."""

    ratios: list[float]

    def configure_optimizers(self) -> Any:
        self.ratios = []
        layer = self.network[1]
        groups = [{"params": [layer.weight], "lr": 0.01}, {"params": [layer.bias], "lr": 0.04}]
        return torch.optim.SGD(groups, lr=0.01)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        first, second = (float(group["lr"]) for group in optimizer.param_groups)
        if abs(second / first - 4) > 1e-9:
            raise ValueError(f"the ratio is {second / first}")


def test_param_groups_keep_their_ratios(tmp_path: Path) -> None:
    result = tune(lambda: jobs.build(module=Groups()), tmp_path, n_trials=1)
    assert {r.outcome for r in range_tests(result)} == {"DIVERGED"}


class NeverFinite(jobs.Regression):
    """Has a loss that is no number in every training, but not while it is looked at."""

    def training_step(self, batch: jobs.Batch) -> Tensor:
        loss = super().training_step(batch)
        return loss * float("nan") if self.trainer.max_steps == 61 else loss


def test_a_loss_that_is_never_finite_is_the_jobs_fault_and_said(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"the training loss is not finite from a learning rate of .*: run the job"):
        tune(lambda: jobs.build(module=NeverFinite()), tmp_path)
    kept = read_jsonl(tmp_path / "trials.jsonl")
    assert [(r.role, r.outcome) for r in kept] == [("range_test", "DIVERGED")] * 3


class Negative(jobs.Regression):
    """Has losses below zero, which the divergence guard does not judge."""

    def training_step(self, batch: jobs.Batch) -> Tensor:
        return super().training_step(batch) - 100.0


def test_losses_below_zero_are_read_as_well(tmp_path: Path) -> None:
    result = tune(lambda: jobs.build(module=Negative()), tmp_path, n_trials=1)
    assert 0.3 <= bracket_of(result.records).high <= 4 * 1.5


class Unlucky(jobs.Regression):
    """Raises in a training of seed 1."""

    def __init__(self) -> None:
        super().__init__()
        self.seed = torch.initial_seed()

    def training_step(self, batch: jobs.Batch) -> Tensor:
        if self.seed == 1:
            raise RuntimeError("no luck")
        return super().training_step(batch)


def test_a_seed_that_failed_is_left_out(tmp_path: Path) -> None:
    result = tune(lambda: jobs.build(module=Unlucky()), tmp_path, n_trials=1)
    assert [r.outcome for r in range_tests(result)] == ["DIVERGED", "FAILED", "DIVERGED"]
    assert len(bracket_of(result.records).readings) == 2


def test_plan_says_that_a_range_test_would_run_and_its_price(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "study.yaml"
    study.write_text("job: sample_jobs:build\ntotal_steps: [40, 2000]\nspace: {decay: [linear]}\n")
    main(["plan", str(study), "--n_jobs", "1"])
    said = capsys.readouterr().out
    assert "initial_lr                in the range that a range test finds" in said
    assert "First a range test of initial_lr: 3 seeds of 61 steps each, rising from 1e-5 to 10" in said
    assert "at most 191 steps = 0.093 full runs of 2,000 steps" in said

"""Studies on a budget, from end to end, on a job of milliseconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import autowarm
from autowarm import SearchSpace, TuneResult
from autowarm.errors import SettingsError, StudyError
from autowarm.planning.climb import EXPONENT
from autowarm.record import VALIDATION_BATCH_COST, TrialRecord
from autowarm.space import Range

SPACE = {"initial_lr": {"low": 1e-3, "high": 0.3}, "decay": ["constant", "linear", "wsd"]}
STEPS = 320
# a validation is of 8 batches
FULL = STEPS + 20 * 8 * VALIDATION_BATCH_COST


def tune(out: Path, job: Any = "sample_jobs:build", **arguments: Any) -> TuneResult:
    given: dict[str, Any] = {
        "budget": 6,
        "total_steps": STEPS,
        "n_jobs": 1,
        "progress": False,
        "name": "test",
        "space": SPACE,
    }
    return autowarm.tune(job, out=out, **{**given, **arguments})


def comparable(result: TuneResult) -> list[TrialRecord]:
    return [replace(record, seconds=0.0) for record in result.records]


def of(result: TuneResult, role: str, steps: int = STEPS) -> list[TrialRecord]:
    return [r for r in result.records if r.role == role and r.total_steps == steps]


def test_a_budget_is_spent_up_a_ladder_and_not_exceeded(tmp_path: Path) -> None:
    result = tune(tmp_path)
    levels = {r.total_steps for r in result.records if r.role == "search"}
    assert levels == {40, 80, 320}
    assert len(of(result, "search", 40)) >= 8
    assert all(r.target_steps == STEPS for r in result.records if r.total_steps < STEPS)
    assert all(r.target_steps is None for r in result.records if r.total_steps == STEPS)
    spent = sum(r.cost for r in result.records)
    assert 5 * FULL < spent <= 6 * FULL * (1 + 1e-9)
    assert result.best_schedule in [r.schedule for r in of(result, "search")]
    assert {r.seed for r in of(result, "confirm")} & {r.seed for r in of(result, "baseline")}
    assert 0 not in {r.seed for r in result.records if r.role in ("confirm", "baseline")}
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "## The ladder" in report
    header = (tmp_path / "trials.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header.endswith(",target_steps")


@pytest.mark.parametrize(
    ("decays", "budget"),
    [(SPACE["decay"], 3), pytest.param("wsd", 6, marks=pytest.mark.slow, id="trials go on from shorter ones")],
)
def test_a_budgeted_study_repeats_exactly_also_when_it_goes_on_in_parts(
    tmp_path: Path, decays: Any, budget: int
) -> None:
    given: dict[str, Any] = {"budget": budget, "space": {**SPACE, "decay": decays}}
    whole = tune(tmp_path / "whole", **given)
    assert any(r.shared_steps for r in whole.records) == (decays == "wsd")
    again = tune(tmp_path / "whole", **given)
    assert comparable(again) == comparable(whole), "what is spent is not spent again"
    seen: list[str] = []

    # a study that is interrupted in the middle of a level: its records go, one by one, until few are left
    stop_after(tmp_path / "parts", 5, seen, given)
    stop_after(tmp_path / "parts", 4, seen, given)
    parts = tune(tmp_path / "parts", **given)
    assert comparable(parts) == comparable(whole)
    assert len(seen) == 2


def stop_after(out: Path, trials: int, seen: list[str], given: dict[str, Any]) -> None:
    """Run a study until that many more trials have ended, then interrupt it as Ctrl-C does."""
    from autowarm.loop import HorizonLoop

    count = 0
    ended = HorizonLoop._ended

    def counted(self: HorizonLoop, *arguments: Any) -> None:
        nonlocal count
        ended(self, *arguments)
        count += 1
        if count == trials:
            self.interrupts.count += 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HorizonLoop, "_ended", counted)
        with pytest.raises(KeyboardInterrupt):
            tune(out, **given)
    seen.append(f"{count} trials")


@pytest.mark.slow
def test_a_larger_budget_goes_on_where_a_smaller_one_ended(tmp_path: Path) -> None:
    small = comparable(tune(tmp_path, budget=3))
    large = comparable(tune(tmp_path, budget=8))
    assert all(record in large for record in small)
    assert len(large) > len(small)


def test_two_at_once_spend_no_more(tmp_path: Path) -> None:
    result = tune(tmp_path, n_jobs=2)
    assert sum(r.cost for r in result.records) <= 6 * FULL * (1 + 1e-9)
    assert of(result, "search")


def test_of_a_metric_that_grows_the_largest_climb(tmp_path: Path) -> None:
    result = tune(tmp_path, job="sample_jobs:scored", monitor="score", mode="max", budget=3, confirm_seeds=0)
    top = max((r for r in of(result, "search", 40) if r.value is not None), key=lambda r: r.value or 0.0)
    assert top.schedule is not None
    last = of(result, "search")[0].schedule
    assert last is not None
    assert last.initial_lr == pytest.approx(top.schedule.initial_lr * 8**-EXPONENT, rel=2.5), "near the best of below"


def test_a_metric_that_never_changes_ends_in_an_answer(tmp_path: Path) -> None:
    result = tune(tmp_path, job="sample_jobs:scored", monitor="still", budget=3, confirm_seeds=0)
    assert {r.value for r in result.records} == {1.0}
    assert result.best_schedule.warmup_ratio == min(
        r.schedule.warmup_ratio or 0.0 for r in of(result, "search") if r.schedule is not None
    )


def test_a_ladder_begins_where_the_jobs_own_warmup_fits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = tune(tmp_path, job="sample_jobs:warmed_up", budget=3, confirm_seeds=0, progress=True)
    assert {r.total_steps for r in result.records} == {80, 320}
    assert {r.outcome for r in result.records} == {"COMPLETE"}
    first = of(result, "search", 80)[0].schedule
    assert first is not None
    assert first.warmup_steps_of(80) == 16, "today's is 64 of 320 steps"
    told = " ".join(capsys.readouterr().err.split())
    assert "the job does not run for 40 steps, so no shorter run explores" in told
    assert "warmup_steps=64 must be less than total_steps=40" in told


@pytest.mark.slow
def test_a_range_test_is_part_of_the_budget(tmp_path: Path) -> None:
    result = tune(tmp_path, space={"decay": "linear"}, budget=6)
    assert of(result, "range_test", 81) or [r for r in result.records if r.role == "range_test"]
    assert sum(r.cost for r in result.records) <= 6 * FULL * (1 + 1e-9)


def test_where_everything_diverges_the_study_says_so(tmp_path: Path) -> None:
    space = SearchSpace(initial_lr=Range(50.0, 500.0, log=True))
    with pytest.raises(StudyError, match=r"no schedule was found: .* diverged; the lowest initial_lr tried was"):
        tune(tmp_path, space=space, budget=3)
    assert (tmp_path / "report.md").exists()


def test_a_budget_too_small_says_what_works(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"the smallest that works is 1$"):
        tune(tmp_path, budget=0.5)
    assert len(of(tune(tmp_path, budget=1), "search")) == 1


def test_a_budget_and_a_number_of_trials_are_not_both_given(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="give a budget or n_trials, not both"):
        tune(tmp_path, n_trials=10)

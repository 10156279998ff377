"""What the range test finds, against the largest learning rate that trains and the best one known: table.md.

Run from the folder that holds `studies`: `python -m studies.range_test.measure`, some minutes on 2 cores. For each job,
a grid of peaks a factor of 2 apart (warmup 20 %, linear decay, seed 0, whole runs) tells the largest that trains: the
run ends without divergence and with at least half of the gain of the best, counted from the loss after the first
twentieth of a run at the lowest peak. The best known is that of the study's committed results, or of the grid where
there are none.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

from autowarm.analysis.best import best_record
from autowarm.inspection import inspect_job
from autowarm.planning.range_test import RangeTestPlan, bracket_of, plan_range_test
from autowarm.record import TrialRecord, read_jsonl
from autowarm.report.range_picture import draw_range_test
from autowarm.schedule import Schedule
from autowarm.specs import JobSpec, TrainingSpec, TrialResult
from autowarm.trial import run_trial

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MONITOR = "val_loss"
PEAKS = tuple(2.0**k for k in range(-9, 2))


@dataclass(frozen=True)
class Case:
    """A job to measure: its name, what it is, the length of its run, and where its study's records are."""

    name: str
    job: JobSpec
    total_steps: int
    results: Path | None


CASES = (
    Case("char_gpt", JobSpec(config=ROOT / "autowarm/demo/job.yaml"), 700, ROOT / "studies/char_gpt/trials.jsonl"),
    Case("digits", JobSpec(factory="studies.digits.job:build"), 300, ROOT / "studies/digits/trials.jsonl"),
    Case("digits_sgd", JobSpec(factory="studies.range_test.sgd_job:build"), 300, None),
)


def sweep(case: Case, plan: RangeTestPlan) -> list[TrialRecord]:
    """Run a range test and return its records."""
    records = []
    for i, seed in enumerate(plan.seeds):
        result = run(case, plan.schedule, plan.steps, seed=seed, rungs=(plan.steps,))
        assert result.outcome is not None  # noqa: S101 - nobody stops it
        records.append(
            TrialRecord(
                study=case.name,
                trial=i,
                role="range_test",
                schedule=plan.schedule,
                label="range test",
                total_steps=plan.steps,
                dataset_size=None,
                batch_size=None,
                seed=seed,
                monitor=MONITOR,
                mode="min",
                outcome=result.outcome,
                reason=result.reason,
                train_curve=result.train_curve,
                steps=result.steps,
                val_batches=result.val_batches,
            )
        )
    return records


def run(case: Case, schedule: Schedule, steps: int, *, seed: int, rungs: tuple[int, ...]) -> TrialResult:
    """Train once."""
    spec = TrainingSpec(
        job=case.job, monitor=MONITOR, total_steps=steps, schedule=schedule, seed=seed, rungs=rungs, threads=1
    )
    return run_trial(spec)


def grid(case: Case) -> tuple[float, float]:
    """Return the largest peak of the grid that trains, and the best."""
    values: dict[float, float] = {}
    start = 0.0
    for peak in PEAKS:
        schedule = Schedule(initial_lr=peak, warmup_ratio=0.2, decay="linear")
        result = run(case, schedule, case.total_steps, seed=0, rungs=(case.total_steps // 20, case.total_steps))
        start = start or result.rungs[0][1]
        if result.value is not None:
            values[peak] = result.value
        print(f"{case.name}  peak {peak:.4g}  {result.outcome}  {result.value}", flush=True)
    best = min(values, key=lambda peak: values[peak])
    trains = [peak for peak, value in values.items() if value < (start + values[best]) / 2]
    return max(trains), best


def measure(case: Case) -> str:
    """Measure a job, draw its range test, and return its row of the table."""
    look = inspect_job(TrainingSpec(job=case.job, monitor=MONITOR, total_steps=case.total_steps))
    plan = plan_range_test(look, seed=0, run_cost=case.total_steps + 20 * look.val_batches / 3)
    records = sweep(case, plan)
    found = bracket_of(records)
    draw_range_test(records, HERE / f"{case.name}.png")
    print(f"{case.name}  {found.words}", flush=True)
    largest, best = grid(case)
    source = "grid"
    if case.results is not None:
        known = best_record(read_jsonl(case.results))
        assert known is not None  # noqa: S101 - committed
        assert known.schedule is not None  # noqa: S101
        best, source = known.schedule.initial_lr, "study"
    cost = sum(r.cost for r in records)
    cells = (
        case.name,
        f"{found.low:.2g} to {found.high:.2g}",
        f"{best:.3g} ({source})",
        "yes" if found.low <= best <= found.high else "no",
        f"{largest:.3g}",
        f"{found.high / largest:.2g}",
        f"{sum(r.steps for r in records)} ({cost / plan.run_cost:.2f})",
    )
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Measure all jobs and write the table."""
    warnings.filterwarnings("ignore")
    rows = [measure(case) for case in CASES]
    header = (
        "| job | range found | best peak known | within | largest peak that trains | top over it | steps (full runs) |"
    )
    text = "\n".join([header, "|---|---|---|---|---|---|---|", *rows])
    (HERE / "table.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

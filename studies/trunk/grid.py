"""A grid of warmup-hold-cooldown schedules, each trial by itself and as branches of trunks: the same values for less.

    python -m studies.trunk.grid [--report]

5 peaks x 3 warmups (in steps) x 3 cooldowns x 3 lengths of the run, on the digits job, with one thread. For each peak
and warmup the 9 trials are trained by themselves, then as one trunk, so that a machine that gets busier slows down
both. Some minutes on one core. `grid.jsonl` gets the records of both, without their training curves, `times.jsonl` the
times, and `trunk.md` what they say; ``--report`` writes that alone.

Last, what a branch costs beside its steps is measured on the demo's character GPT.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback

from autowarm import Schedule, Training
from autowarm.job import build
from autowarm.planning.trunks import plan_trunks
from autowarm.pruning import rungs_of
from autowarm.record import TrialRecord, read_jsonl, write_jsonl
from autowarm.specs import JobSpec, TrainingSpec, TrialResult, TrunkLink, TrunkSpec
from autowarm.trial import run_trial
from autowarm.trunk import run_trunk

HERE = Path(__file__).parent
RECORDS, TIMES, REPORT = HERE / "grid.jsonl", HERE / "times.jsonl", HERE / "trunk.md"
ALONE, TRUNKS = "by themselves", "as trunks"

PEAKS = (0.001, 0.003, 0.01, 0.03, 0.1)
WARMUPS = (0, 8, 30)
COOLDOWNS = (0.1, 0.2, 0.4)
# what the job runs by default, and the half and the quarter of it
LENGTHS = (75, 150, 300)
MONITOR = "val_loss"
# Steps and time of the trunks over those of the trials by themselves, at most.
STEPS_TARGET, TIME_TARGET = 0.45, 0.5
# Milliseconds that a branch may cost beside its steps.
BRANCH_TARGET = 150
BRANCHES = 15
DEMO = Path(__file__).parents[2] / "autowarm/demo/job.yaml"


@dataclass(frozen=True)
class Time:
    """What one part of the study took.

    Attributes:
        part: `ALONE`, `TRUNKS`, or what was measured of a branch.
        wall: seconds on the clock, and `cpu`, seconds of this process on its core; 0 where not measured.
        peak: of the grid, and `warmup_steps`; None for a branch.
    """

    part: str
    wall: float
    cpu: float = 0.0
    peak: float | None = None
    warmup_steps: int | None = None


def group(peak: float, warmup_steps: int) -> list[TrainingSpec]:
    """Return the trials of one peak and warmup."""
    return [
        TrainingSpec(
            job=JobSpec(factory="studies.digits.job:build"),
            monitor=MONITOR,
            total_steps=length,
            schedule=Schedule(initial_lr=peak, warmup_steps=warmup_steps, decay="wsd", decay_ratio=cooldown),
            rungs=rungs_of(length),
        )
        for length in LENGTHS
        for cooldown in COOLDOWNS
    ]


def trunk_of(specs: Sequence[TrainingSpec], name: str) -> tuple[TrunkSpec, list[int]]:
    """Return the trunk of some trials, and the place of each of its trials among them."""
    wanted = [(s.schedule, s.total_steps) for s in specs if s.schedule is not None and s.total_steps is not None]
    (trunk,), alone = plan_trunks(wanted)
    assert not alone  # noqa: S101 - they differ in their cooldowns alone
    order = [branch.index for branch in trunk.branches]
    steps = tuple(branch.step for branch in trunk.branches)
    return TrunkSpec(name=name, trials=tuple(specs[i] for i in order), branch_steps=steps), order


def record_of(study: str, trial: int, spec: TrainingSpec, result: TrialResult) -> TrialRecord:
    """Return the record of a trial, without its training curves."""
    assert result.outcome is not None  # noqa: S101 - nobody stops it
    assert spec.total_steps is not None  # noqa: S101 - the grid says it
    return TrialRecord(
        study=study,
        trial=trial,
        role="search",
        schedule=spec.schedule,
        label=str(spec.schedule),
        total_steps=spec.total_steps,
        dataset_size=None,
        batch_size=64,
        seed=spec.seed,
        monitor=MONITOR,
        mode="min",
        outcome=result.outcome,
        value=result.value,
        reason=result.reason,
        rungs=result.rungs,
        steps=result.steps,
        val_batches=result.val_batches,
        seconds=round(result.seconds, 4),
        trunk=result.trunk,
        shared_steps=result.shared_steps,
        exact=result.exact,
    )


def measure() -> tuple[list[TrialRecord], list[Time]]:
    """Train the whole grid in both ways."""
    records: list[TrialRecord] = []
    times: list[Time] = []
    number = 0
    # what a first training loads and compiles is nobody's
    run_trial(replace(group(PEAKS[0], 0)[0], total_steps=20, rungs=(20,)))
    for peak in PEAKS:
        for warmup_steps in WARMUPS:
            specs = group(peak, warmup_steps)
            wall, cpu = time.perf_counter(), time.process_time()
            alone = [run_trial(spec) for spec in specs]
            wall_alone, cpu_alone = time.perf_counter(), time.process_time()
            spec, order = trunk_of(specs, f"lr {peak:g}, warmup {warmup_steps} steps")
            found = run_trunk(spec)
            wall_trunk, cpu_trunk = time.perf_counter(), time.process_time()
            assert found.refused is None, found.refused  # noqa: S101 - the digits job can branch
            shared = dict(zip(order, found.results, strict=True))
            for i, (trial, result) in enumerate(zip(specs, alone, strict=True)):
                records.append(record_of(ALONE, number + i, trial, result))
                branch = shared[i]
                assert branch is not None  # noqa: S101 - nothing was refused
                records.append(record_of(TRUNKS, number + i, trial, branch))
            number += len(specs)
            times.append(Time(ALONE, wall_alone - wall, cpu_alone - cpu, peak, warmup_steps))
            times.append(Time(TRUNKS, wall_trunk - wall_alone, cpu_trunk - cpu_alone, peak, warmup_steps))
    return records, times


@dataclass
class Stopwatch(Callback):
    """Notes when each batch begins and ends."""

    begins: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)

    def on_train_batch_start(self, *_: Any) -> None:
        """Note that a batch begins."""
        self.begins.append(time.perf_counter())

    def on_train_batch_end(self, *_: Any) -> None:
        """Note that a batch has ended."""
        self.ends.append(time.perf_counter())


class Ends(TrunkLink):
    """Notes when each trial has its result."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def finished(self, trial: int, result: TrialResult) -> None:
        """Note that a trial has its result."""
        self.at.append(time.perf_counter())


def measure_branches() -> list[Time]:
    """Measure what branches of the demo's character GPT cost beside their steps: to capture, to build, to begin."""
    watches: list[Stopwatch] = []
    builds: list[float] = []

    def factory() -> Training:
        began = time.perf_counter()
        training = build(JobSpec(config=DEMO), seed=0)
        builds.append(time.perf_counter() - began)
        watches.append(Stopwatch())
        return replace(training, trainer={**training.trainer, "callbacks": [watches[-1]]})

    total = 60
    job = JobSpec(factory=factory)
    trial = TrainingSpec(job=job, monitor=MONITOR, total_steps=total, rungs=(total,))
    held = Schedule(initial_lr=1e-3, warmup_steps=4)
    cooled = replace(held, decay="wsd", decay_ratio=0.2)
    trials = (replace(trial, schedule=held), *[replace(trial, schedule=cooled)] * BRANCHES)
    (planned,), _ = plan_trunks([(held, total), (cooled, total)])
    branch_step = planned.branches[0].step
    ends = Ends()
    run_trunk(TrunkSpec(name="demo", trials=trials, branch_steps=(total, *[branch_step] * BRANCHES)), ends)
    trunk, *branches = watches
    pauses = [begin - end for begin, end in zip(trunk.begins[1:], trunk.ends, strict=False)]
    capture = pauses[branch_step - 1] - statistics.median(pauses)
    waits = [watch.begins[0] - ended for watch, ended in zip(branches, ends.at, strict=False)]
    assert len(waits) == BRANCHES  # noqa: S101 - each branch begins once
    return [
        Time("capture", capture),
        *(Time("build", seconds) for seconds in builds[1:]),
        *(Time("begin", wait) for wait in waits),
    ]


def report(records: Sequence[TrialRecord], times: Sequence[Time]) -> str:
    """Return what the records and times say, as Markdown."""
    alone = sorted((r for r in records if r.study == ALONE), key=lambda r: r.trial)
    trunks = sorted((r for r in records if r.study == TRUNKS), key=lambda r: r.trial)
    pairs = list(zip(alone, trunks, strict=True))
    same = sum((a.outcome, a.value, a.rungs) == (b.outcome, b.value, b.rungs) for a, b in pairs)
    largest = max(abs(a.value - b.value) for a, b in pairs if a.value is not None and b.value is not None)
    ranked = ranking(alone) == ranking(trunks)
    steps = [float(sum(r.own_steps for r in part)) for part in (alone, trunks)]
    batches = [float(sum(r.val_batches for r in part)) for part in (alone, trunks)]
    cost = [sum(r.cost for r in part) for part in (alone, trunks)]
    cpu = [sum(t.cpu for t in times if t.part == part) for part in (ALONE, TRUNKS)]
    wall = [sum(t.wall for t in times if t.part == part) for part in (ALONE, TRUNKS)]
    begin = 1e3 * statistics.median(t.wall for t in times if t.part == "begin")
    build_job = 1e3 * statistics.median(t.wall for t in times if t.part == "build")
    (capture,) = [1e3 * t.wall for t in times if t.part == "capture"]
    branch = capture + begin - build_job
    grid = f"{len(PEAKS)} peaks x {len(WARMUPS)} warmups x {len(COOLDOWNS)} cooldowns x {len(LENGTHS)} lengths"
    cooldowns = words(f"{c:.0%}" for c in COOLDOWNS)
    names = len({r.trunk for r in trunks})
    outcomes = words(f"{n} {name}" for name, n in Counter(r.outcome for r in alone).items())
    return f"""# One trunk, many horizons and cooldowns

```bash
python -m studies.trunk.grid
```

{grid} of the run ({words(LENGTHS)} steps; cooldowns of {cooldowns}; warmups of {words(WARMUPS)} steps)
on the digits job: {len(alone)} trials by themselves, and the same trials as branches of {names} trunks,
in one process with one thread.

| | by themselves | as trunks | share |
|---|---|---|---|
{row("optimizer steps", steps)}
{row("validation batches", batches)}
{row("cost in training steps, validations included", cost)}
{row("seconds of one core", cpu, 1)}
{row("seconds on the clock", wall, 1)}

- The same values: {same} of {len(pairs)} trials have the same outcome, final metric and
  metric at all rungs, bit for bit. The largest difference of a final metric is {largest:.3g}.
- The same ranking of the trials of each length: {"yes" if ranked else "no"}.
- Steps: {reached(steps, STEPS_TARGET)}. Time of one core: {reached(cpu, TIME_TARGET)}.
- Outcomes of the trials by themselves: {outcomes}.

## What a branch costs beside its steps

On the demo's character GPT, medians of {BRANCHES} branches: {capture:.1f} ms to capture the trunk; {begin:.0f} ms
from the end of a branch to the first batch of the next, of which {build_job:.0f} ms build the job from its
LightningCLI file, as every trial does. Without that, {branch:.0f} ms (target: at most {BRANCH_TARGET} ms).
"""


def row(name: str, both: Sequence[float], digits: int = 0) -> str:
    """Return a row of the table: trials by themselves, as trunks, and the share."""
    alone, trunks = both
    return f"| {name} | {alone:,.{digits}f} | {trunks:,.{digits}f} | {trunks / alone:.3f} |"


def words(values: Iterable[object]) -> str:
    """List values."""
    return ", ".join(map(str, values))


def ranking(records: Sequence[TrialRecord]) -> dict[int, list[int]]:
    """Return the trials of each length, the best first; those without a value last."""
    worst = float("inf")
    found: dict[int, list[int]] = {}
    for record in sorted(records, key=lambda r: (worst if r.value is None else r.value, r.trial)):
        found.setdefault(record.total_steps, []).append(record.trial)
    return found


def reached(both: Sequence[float], target: float) -> str:
    """Say whether the trunks took at most a share of what the trials took by themselves."""
    share = both[1] / both[0]
    return f"{share:.1%} (target: at most {target:.0%}; {'reached' if share <= target else 'missed'})"


def write_times(times: Sequence[Time], path: Path) -> None:
    """Write times, one a line."""
    lines = [
        json.dumps({k: round(v, 5) if isinstance(v, float) else v for k, v in vars(t).items() if v is not None})
        for t in times
    ]
    path.write_text("".join(line + "\n" for line in lines), encoding="ascii")


def read_times(path: Path) -> list[Time]:
    """Read what `write_times` wrote."""
    return [Time(**json.loads(line)) for line in path.read_text(encoding="ascii").splitlines()]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, unless only the report is asked for, and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--report", action="store_true", help="write trunk.md from the records there are")
    if not parser.parse_args(arguments).report:
        warnings.simplefilter("ignore")
        for name in ("lightning.pytorch", "lightning.fabric"):
            logging.getLogger(name).setLevel(logging.ERROR)
        records, times = measure()
        write_jsonl(records, RECORDS)
        write_times([*times, *measure_branches()], TIMES)
    REPORT.write_text(report(read_jsonl(RECORDS), read_times(TIMES)), encoding="utf-8")


if __name__ == "__main__":
    main()

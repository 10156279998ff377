"""What autowarm costs beside the training itself: prints a table, as ratios and differences within one run.

    python studies/benchmarks/overhead.py [--repeats 5] [-o studies/benchmarks/overhead.md]

By hand and through autowarm are measured in turn, so that a neighbour on the machine disturbs both; the median over the
pairs counts. Times are wall times, on one thread.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lightning
import torch
from instant import seconds_a_trial
from lightning.pytorch import Trainer, seed_everything
from overhead_job import Sleeper, loaders

from autowarm.budget import Budget
from autowarm.executors.events import Done, Rung
from autowarm.executors.local import LocalExecutor
from autowarm.pruning import rungs_of
from autowarm.record import TrialRecord, write_jsonl
from autowarm.schedule import Schedule
from autowarm.specs import JobSpec, TrainingSpec

HERE = Path(__file__).parent
SCHEDULE = Schedule(initial_lr=1e-3, warmup_ratio=0.1, decay="cosine")


def by_hand(steps: int, width: int, repeats: int) -> float:
    """Return the seconds of a `Trainer.fit` as an engineer writes it: 20 validations, no logger, no checkpoints."""
    started = time.perf_counter()
    seed_everything(0, verbose=False)
    train, val = loaders()
    trainer = Trainer(
        max_steps=steps,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        num_sanity_val_steps=0,
        val_check_interval=max(1, steps // 20),
        check_val_every_n_epoch=None,
    )
    trainer.fit(Sleeper(width, repeats), train, val)
    return time.perf_counter() - started


def through_autowarm(executor: LocalExecutor, spec: TrainingSpec, *, at_once: int = 1) -> float:
    """Return the seconds from asking for trials to having their results."""
    started = time.perf_counter()
    for _ in range(at_once):
        executor.start("trial", spec)
    left = at_once
    while left:
        for event in executor.events(1.0):
            if isinstance(event, Rung):
                executor.answer(event.key, None)
            elif isinstance(event, Done):
                left -= 1
                assert event.result is not None, event  # noqa: S101 - a benchmark of failures would mislead
                assert event.result.outcome == "COMPLETE", event  # type: ignore[union-attr] # noqa: S101
    return time.perf_counter() - started


def in_turn(repeats: int, *measures: Callable[[], float]) -> list[list[float]]:
    """Return the times of each measure, measured in turn: the first of each belong together, and so on."""
    return [list(times) for times in zip(*([m() for m in measures] for _ in range(repeats)), strict=True)]


def median_of(of: Callable[..., float], *times: list[float]) -> float:
    """Return the median over the repeats of a function of the times that belong together."""
    return statistics.median(of(*together) for together in zip(*times, strict=True))


def spec_of(job: JobSpec, steps: int) -> TrainingSpec:
    """Return a trial of the job."""
    return TrainingSpec(job=job, monitor="val_loss", total_steps=steps, schedule=SCHEDULE, rungs=rungs_of(steps))


def work_for(seconds: float) -> int:
    """Return how many products of 192 x 192 matrices make a step take about that long on one thread."""
    few, many = (statistics.median(by_hand(50, 192, n) for _ in range(3)) / 50 for n in (10, 60))
    each = (many - few) / 50
    return max(1, round(10 + (seconds - few) / each))


def seconds_of(*command: str) -> float:
    """Return the seconds that a command takes."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own commands
    return time.perf_counter() - started


def import_seconds() -> float:
    """Return what ``import autowarm`` adds to the start of Python."""
    code = "import time; t = time.perf_counter(); import autowarm; print(time.perf_counter() - t)"
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)  # noqa: S603
    return float(shown.stdout)


def write_records(folder: Path, count: int) -> None:
    """Write a study's folder of that many records, as a study of 600 steps leaves them."""
    record = TrialRecord(
        study="many",
        trial=0,
        role="search",
        schedule=SCHEDULE,
        label=str(SCHEDULE),
        total_steps=600,
        dataset_size=1000,
        batch_size=8,
        seed=0,
        monitor="val_loss",
        mode="min",
        outcome="COMPLETE",
        value=1.0,
        rungs=tuple((30 * i, 3.0 - i / 10) for i in range(1, 21)),
        train_curve=tuple((6 * i, 3.0 - i / 50) for i in range(1, 101)),
        grad_norms=tuple((6 * i, 1.0 + i / 50) for i in range(1, 101)),
        steps=600,
        val_batches=20,
        seconds=3.0,
    )
    write_jsonl((replace(record, trial=i, value=1.0 + i / count) for i in range(count)), folder / "trials.jsonl")


def table(repeats: int) -> list[tuple[str, str, str]]:
    """Measure everything; returns rows of what, measured, target."""
    torch.set_num_threads(1)
    rows = []
    factory = JobSpec(factory="overhead_job:build")
    config = JobSpec(config=HERE / "overhead.yaml")
    with LocalExecutor([factory, config]) as executor:
        through_autowarm(executor, spec_of(factory, 1))  # starts the forkserver
        through_autowarm(executor, spec_of(config, 1))
        by_hand(1, 0, 1)

        products = work_for(0.01)
        slow = replace(factory, args={"width": 192, "repeats": products})
        steps = 400
        hand, ours = in_turn(
            repeats * 3,
            lambda: by_hand(steps, 192, products),
            lambda: through_autowarm(executor, spec_of(slow, steps)),
        )
        what = f"a trial of {steps} steps of {statistics.median(hand) / steps * 1000:.1f} ms, over Trainer.fit by hand"
        rows.append((what, f"{median_of(lambda h, o: o / h, hand, ours):.3f} x", "1.05 x"))
        hand, ours, theirs = in_turn(
            repeats * 6,
            lambda: by_hand(20, 0, 1),
            lambda: through_autowarm(executor, spec_of(factory, 20)),
            lambda: through_autowarm(executor, spec_of(config, 20)),
        )
        rows.append(
            (
                "fixed cost of a trial, Python factory",
                f"{median_of(lambda h, o: o - h, hand, ours) * 1000:.0f} ms",
                "60 ms",
            )
        )
        rows.append(
            (
                "fixed cost of a trial, LightningCLI file",
                f"{median_of(lambda h, o: o - h, hand, theirs) * 1000:.0f} ms",
                "200 ms",
            )
        )
        cores = len(os.sched_getaffinity(0))
        one, two = in_turn(
            repeats,
            lambda: through_autowarm(executor, spec_of(slow, steps)),
            lambda: through_autowarm(executor, spec_of(slow, steps), at_once=2),
        )
        rows.append(
            (
                f"two trials at once over one after the other ({cores} cores)",
                f"{median_of(lambda a, b: 2 * a / b, one, two):.2f} x",
                "1.8 x",
            )
        )
    straight, ladder = in_turn(
        repeats, lambda: seconds_a_trial(n_trials=40), lambda: seconds_a_trial(budget=Budget(10, "full_runs"))
    )
    what = "sampling, storage and reports of a trial"
    rows.append((f"{what}, 40 trials by TPE", f"{statistics.median(straight) * 1000:.0f} ms", "200 ms"))
    rows.append((f"{what}, a budget of 10 full runs", f"{statistics.median(ladder) * 1000:.0f} ms", "200 ms"))
    rows.append(("import autowarm", f"{statistics.median(import_seconds() for _ in range(repeats)):.3f} s", "0.15 s"))
    with tempfile.TemporaryDirectory() as folder:
        write_records(Path(folder), 1000)
        command = (sys.executable, "-m", "autowarm", "report", folder)
        seconds = statistics.median(seconds_of(*command) for _ in range(repeats))
    rows.append(("autowarm report, 1,000 records, Python's start included", f"{seconds:.2f} s", "2 s"))
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each, of which the median counts")
    parser.add_argument("-o", "--output", type=Path, help="file to write the table to as well")
    given = parser.parse_args()
    lines = ["| | measured | target, at most (two at once: at least) |", "|---|---|---|"]
    lines += ["| " + " | ".join(row) + " |" for row in table(given.repeats)]
    machine = f"{len(os.sched_getaffinity(0))} cores, {platform.machine()}"
    versions = f"torch {torch.__version__}, lightning {lightning.__version__}, Python {platform.python_version()}"
    lines += ["", f"{machine}; {versions}."]
    text = "\n".join(lines)
    print(text)
    if given.output:
        given.output.write_text(f"# What autowarm costs beside the training\n\n{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()

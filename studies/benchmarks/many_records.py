"""What `autowarm report` takes for many records: prints a table of CPU seconds and memory.

    python studies/benchmarks/many_records.py [--records 1000 100000] [--repeats 3]

The records are made up, and as those of a real search: 20 rungs, and the losses and norms of gradients at 100 steps.
CPU seconds are those of the whole process, from its start, on one thread; the least of the repeats counts. Memory is
the most that it held.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from autowarm.decays import DecayName
from autowarm.record import Curve, Role, TrialRecord, write_jsonl
from autowarm.schedule import Schedule

HORIZONS = (500, 1000, 2000)
DECAYS: tuple[DecayName, ...] = ("cosine", "linear", "wsd", "constant")
FRESH_SEEDS = (1, 2, 3)
SEED = 0


def records(n: int) -> Iterator[TrialRecord]:
    """Yield so many records of a search at three horizons; at each, three schedules and today's on fresh seeds."""
    rng = np.random.default_rng(SEED)
    checks = len(HORIZONS) * 4 * len(FRESH_SEEDS)
    leaders: dict[int, list[TrialRecord]] = {steps: [] for steps in HORIZONS}
    for trial in range(n - checks):
        record = _searched(rng, trial)
        yield record
        if record.value is not None:
            best = leaders[record.total_steps]
            best.append(record)
            best.sort(key=lambda r: r.value or 0.0)
            del best[3:]
    today = Schedule(initial_lr=3e-4, warmup_ratio=0.0)
    trial = n - checks
    for steps, best in leaders.items():
        roles: list[tuple[TrialRecord, Role]] = [(found, "confirm") for found in best]
        roles.append((replace(best[0], schedule=today, label=str(today), value=2.2), "baseline"))
        for found, role in roles:
            for seed in FRESH_SEEDS:
                value = (found.value or 0.0) + 0.02 + 0.005 * float(rng.standard_normal())
                yield replace(found, role=role, seed=seed, trial=trial, value=value, total_steps=steps)
                trial += 1


def _searched(rng: np.random.Generator, trial: int) -> TrialRecord:
    total_steps = int(rng.choice(HORIZONS))
    lr = math.exp(rng.uniform(math.log(1e-5), math.log(1e-1)))
    decay = DECAYS[int(rng.integers(len(DECAYS)))]
    decay_ratio = float(rng.uniform(0.1, 0.6)) if decay == "wsd" else None
    schedule = Schedule(initial_lr=lr, warmup_ratio=float(rng.uniform(0, 0.3)), decay=decay, decay_ratio=decay_ratio)
    off = math.log(lr / 1e-3)
    value = 2 + 0.1 * (math.exp(min(off, 4.0)) - 1 - off) + 0.01 * float(rng.standard_normal())
    diverged = off > 2.5 and rng.random() < 0.7
    pruned = not diverged and rng.random() < 0.3
    last = total_steps // 2 if diverged or pruned else total_steps

    def curve(points: int, spread: float) -> Curve:
        at = [total_steps * (k + 1) // points for k in range(points)]
        noise = spread * rng.standard_normal(points)
        return tuple(
            (step, value + 2 * math.exp(-5 * step / total_steps) + float(e))
            for step, e in zip(at, noise, strict=True)
            if step <= last
        )

    return TrialRecord(
        study="many",
        trial=trial,
        role="search",
        schedule=schedule,
        label=str(schedule),
        total_steps=total_steps,
        dataset_size=50_000,
        batch_size=32,
        seed=0,
        monitor="val_loss",
        mode="min",
        outcome="DIVERGED" if diverged else "PRUNED" if pruned else "COMPLETE",
        value=None if diverged or pruned else value,
        reason="made up" if diverged or pruned else None,
        rungs=curve(20, 0.01),
        train_curve=curve(100, 0.05),
        grad_norms=curve(100, 0.05),
        steps=last,
        val_batches=10 * 20 * last // total_steps,
        seconds=3.0,
    )


def write(n: int, path: Path) -> None:
    """Write so many records."""
    write_jsonl(records(n), path)


def measured(folder: Path) -> tuple[float, float, float]:
    """Return the CPU seconds of `autowarm report` in user code and in the system, and the most MiB that it held."""
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "autowarm", "report", str(folder)]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, **one_thread})  # noqa: S603
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)
    return used.ru_utime, used.ru_stime, used.ru_maxrss / 1024


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, nargs="+", default=[1000, 100_000])
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    print("| records | MB | user s | system s | MiB |\n|---|---|---|---|---|")
    for n in given.records:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            # in a process of its own: the most memory that this one has held would count as its children's
            writer = multiprocessing.get_context("spawn").Process(target=write, args=(n, folder / "trials.jsonl"))
            writer.start()
            writer.join()
            size = (folder / "trials.jsonl").stat().st_size / 1e6
            user, system, memory = min(measured(folder) for _ in range(given.repeats))
        print(f"| {n:,} | {size:,.0f} | {user:.2f} | {system:.2f} | {memory:,.0f} |", flush=True)


if __name__ == "__main__":
    main()

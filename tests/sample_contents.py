"""A report with something in every section, for tests of what draws it; its numbers are made up."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np

from autowarm.analysis.cooldowns import Cooldown, CooldownTable
from autowarm.analysis.decay_choice import DecayBest, DecayChoice
from autowarm.analysis.estimate import Estimate
from autowarm.analysis.horizon_grid import GridCell, HorizonGrid
from autowarm.analysis.importance import Importance
from autowarm.analysis.runs import Runs, with_failures
from autowarm.analysis.scaling import HorizonBest, Power, Scaling
from autowarm.analysis.sensitivity import Sensitivity
from autowarm.analysis.stable_lr import StableLr
from autowarm.analysis.trust import Doubt
from autowarm.analysis.warmup_choice import WarmupChoice
from autowarm.analysis.warmup_need import Cell, Gain, WarmupNeed
from autowarm.record import Outcome, Role, TrialRecord
from autowarm.report.contents import Contents, answers_of
from autowarm.schedule import Schedule

NASTY = "<script>alert(1)</script></script> & \"q\" 'a' | %{x} @best ${y} <img src=x onerror=alert(1)>"


def sample_record(
    trial: int, lr: float, *, word: str = "", role: Role = "search", outcome: Outcome = "COMPLETE", seed: int = 0
) -> TrialRecord:
    """Return a record of 400 steps, whose value is best at lr .01; `word` is in every string that a study gives."""
    decays = ("cosine", "linear", "constant")
    schedule = Schedule(initial_lr=lr, warmup_ratio=0.05 * (trial % 6), decay=decays[trial % 3])  # type: ignore[arg-type]
    value = 1.0 + math.log10(lr / 0.01) ** 2 + 0.01 * (trial % 7) + 0.005 * seed
    rungs = tuple((step, value + 3.0 * math.exp(-step / 90)) for step in range(20, 401, 20))
    done = {"COMPLETE": 400, "PRUNED": 200, "DIVERGED": 60, "FAILED": 0}[outcome]
    return TrialRecord(
        study=f"sample{word}",
        trial=trial,
        role=role,
        schedule=schedule,
        label=f"{schedule}{word}",
        total_steps=400,
        dataset_size=1000,
        batch_size=10,
        seed=seed,
        monitor=f"val_loss{word}",
        mode="min",
        outcome=outcome,
        value=value if outcome == "COMPLETE" else None,
        reason=None if outcome == "COMPLETE" else f"it was so{word}",
        rungs=tuple(point for point in rungs if point[0] <= done),
        train_curve=tuple((step, value + 1.0) for step in range(10, done + 1, 10)),
        steps=done,
        val_batches=done // 20,
        seconds=2.0,
        error=f"Traceback:\nValueError: {word}" if outcome == "FAILED" else None,
    )


def sample_records(word: str = "") -> list[TrialRecord]:
    """Return the records of a study in which every outcome and role occurs."""
    records = [sample_record(i, 10 ** (-3 + 0.1 * i), word=word) for i in range(16)]
    outcomes: tuple[Outcome, ...] = ("PRUNED", "DIVERGED", "FAILED")
    records += [sample_record(16 + i, 0.05 * (1 + i), word=word, outcome=outcomes[i % 3]) for i in range(9)]
    best = min((r for r in records if r.value is not None), key=lambda r: r.value or 0.0)
    for seed in (1, 2, 3):
        records.append(replace(best, trial=seed, role="confirm", seed=seed, value=1.02 + 0.01 * seed))
        today = replace(sample_record(0, 0.001, word=word, role="baseline", seed=seed), trial=seed)
        records.append(replace(today, value=1.5 + 0.01 * seed))
    return records


def sample_contents(word: str = "") -> Contents:
    """Return the contents of a report on `sample_records`, with every analysis filled in."""
    contents = answers_of(sample_records(word), name=f"sample study{word}")
    return replace(contents, **_analyses(word))  # type: ignore[arg-type] # fields by name


def sample_table(word: str = "") -> Contents:
    """Return the contents of a report on a table of runs, with every analysis filled in."""
    rng = np.random.default_rng(0)
    n = 300
    lr, share = 10 ** rng.uniform(-4, -1, n), rng.uniform(0, 0.5, n)
    value = 1.0 + np.log10(lr / 0.005) ** 2 + 0.05 * rng.normal(size=n)
    failed = lr * (1 - share) > 0.04
    runs = Runs(
        initial_lr=lr,
        warmup_ratio=share,
        total_steps=rng.integers(1000, 20000, n).astype(float),
        dataset_size=np.full(n, math.nan),
        batch_size=np.full(n, math.nan),
        decay=np.array([f"linear{word}"] * n),
        seed=np.full(n, math.nan),
        value=np.where(failed, math.nan, value),
        failed=failed,
        stopped=np.zeros(n, dtype=bool),
        searched=np.ones(n, dtype=bool),
        metric=f"loss{word}",
        mode="min",
    )
    contents = Contents(name=f"table{word}", runs=with_failures(runs), notices=(f"2 rows left out{word}",), answers={})
    return replace(contents, **_analyses(word))  # type: ignore[arg-type] # fields by name


# Of the grid, by total_steps: the best schedules that were run; at 100 steps nothing is within noise of the best.
_TIES_OF = {100.0: ("lr 0.02, cosine",), 400.0: ("lr 0.01, linear", "lr 0.011, cosine")}


def _analyses(word: str) -> dict[str, object]:
    shares, lrs = (0.0, 0.05, 0.15, 0.3, 1.0), (1e-3, 1e-2, 1e-1)
    cells = tuple(
        tuple(
            Cell(
                lr_low=lr_low,
                lr_high=lr_high,
                share_low=low,
                share_high=high,
                runs=20 - 20 * (i == 0 and j == 3),
                failed=5 * i + (j == 0),
                failure=Estimate((5 * i + (j == 0)) / 20, 0.0, 0.6),
                value=1.2 + 0.1 * i,
            )
            for j, (low, high) in enumerate(pairwise(shares))
        )
        for i, (lr_low, lr_high) in enumerate(pairwise(lrs))
    )
    ends = [(0.02, 0.01, 0.03), (0.04, 0.03, 0.06), (0.05, 0.04, math.inf)]
    warmup = WarmupNeed(
        cells=cells,
        stable=tuple(
            StableLr(share_low=low, share_high=high, lr=Estimate(*lr), half=Estimate(*lr), runs=20, failed=5)
            for low, high, lr in zip(shares, shares[1:], ends, strict=False)
        ),
        sensitivity=(
            Sensitivity(
                words=f"warmup below 5 %{word}", value=Estimate(0.3, 0.2, 0.4), runs=20, lr_low=1e-3, lr_high=1e-1
            ),
        ),
        lr_factor=Estimate(2.0, 1.5, 2.6),
        gains=(Gain(share_low=0.05, share_high=0.15, gain=Estimate(0.1, 0.02, 0.2), most=0.18, runs=40),),
        noise=0.02,
        noise_is_repeats=True,
        short=Estimate(0.2, 0.1, 0.3),
        total_steps=(400.0, 400.0),
        metric=f"val_loss{word}",
        runs=160,
        choice=WarmupChoice(share=Estimate(0.05, 0.02, 0.1), by_metric=0.05, fitted=True, failed=0.0, runs=40),
        matters=True,
    )
    decays = DecayChoice(
        decays=tuple(
            DecayBest(
                decay=f"{name}{word}",
                lr=Estimate(lr, lr / 1.4, lr * 1.4),
                value=Estimate(value, value - 0.03, value + 0.03),
                runs=8,
                tied=value < 1.04,
                bound="high" if name == "constant" else None,
            )
            for name, lr, value in (("cosine", 0.01, 1.0), ("linear", 0.012, 1.01), ("constant", 0.03, 1.2))
        ),
        left_out=(f"wsd{word}",),
        total_steps=400.0,
        dataset_size=1000.0,
        metric=f"val_loss{word}",
        mode="min",
    )
    importance = Importance(
        names=("initial_lr", "warmup_ratio", "decay"),
        main=(Estimate(0.6, 0.5, 0.7), Estimate(0.1, 0.05, 0.2), Estimate(0.02, 0.0, 0.05)),
        pairs=(
            ("initial_lr", "warmup_ratio", Estimate(0.15, 0.1, 0.2)),
            ("initial_lr", "decay", Estimate(0.0, 0.0, 0.1)),
        ),
        explained=0.8,
        runs=100,
        of=120,
        clipped=2.0,
        clips=7,
        metric=f"val_loss{word}",
    )
    horizons = tuple(
        HorizonBest(
            total_steps=steps,
            dataset_size=math.nan,
            batch_size=math.nan,
            lr=Estimate(lr, lr / 1.5, lr * 1.5),
            value=Estimate(1.0, 0.9, 1.1),
            runs=20,
        )
        for steps, lr in ((100.0, 0.014), (200.0, 0.012), (400.0, 0.01))
    )
    exponent = Estimate(-0.22, -0.35, -0.1)
    power = Power(
        name="total_steps",
        exponent=exponent,
        prior=Estimate(-0.2, -0.45, 0.05),
        seen_low=100.0,
        seen_high=400.0,
        from_data=True,
    )
    grid = HorizonGrid(
        total_steps=(100.0, 400.0, 1600.0),
        dataset_sizes=(1000.0, 4000.0),
        cells=tuple(
            tuple(
                GridCell(
                    total_steps=steps,
                    dataset_size=size,
                    tried=0 if steps > 400 else 12,
                    predicted=steps > 400,
                    initial_lr=Estimate(lr, lr / 2, lr * 2),
                    warmup_ratio=0.05,
                    decay=f"cosine{word}",
                    expected=None if steps > 400 else Estimate(1.15, 1.1, 1.2),
                    value=None if steps > 400 else 1.1,
                    ties=tuple(f"{tie}{word}" for tie in _TIES_OF.get(steps, ())),
                    n_ties=len(_TIES_OF.get(steps, ())),
                )
                for steps, lr in ((100.0, 0.014), (400.0, 0.01), (1600.0, 0.007))
            )
            for size in (1000.0, 4000.0)
        ),
    )
    return {
        "warmup": warmup,
        "decays": decays,
        "importance": importance,
        "scaling": Scaling(
            powers=(power,),
            horizons=horizons,
            decay=f"cosine{word}",
            centre=np.array([math.log(400.0), math.nan, math.nan]),
            mean=np.array([math.log(0.01), -0.22, 0.0, 0.5]),
            covariance=np.diag([0.01, 0.005, 0.01, 0.02]),
            off=0.05,
            noise=0.02,
        ),
        "grid": grid,
        "cooldowns": CooldownTable(
            initial_lr=0.01,
            warmup_steps=20,
            metric=f"val_loss{word}",
            mode="min",
            seeds=2,
            total_steps=(200, 400),
            cooldowns=(Cooldown(0.0), Cooldown(0.2, "linear")),
            values={
                (200, Cooldown(0.0)): 1.4,
                (200, Cooldown(0.2, "linear")): 1.2,
                (400, Cooldown(0.2, "linear")): 1.1,
            },
            trials=6,
            steps=960,
            represented=1600,
        ),
        "doubts": (Doubt(kind="bound", words=f"The best initial_lr is at the high end{word}: raise it."),),
    }

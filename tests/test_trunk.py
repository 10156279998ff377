"""What trials share is trained once, and each of them ends, bit for bit, as if it had been trained by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sample_jobs as jobs
import sample_kept as kept
import torch

from autowarm import Schedule, Training
from autowarm.planning.trunks import plan_trunks
from autowarm.pruning import rungs_of
from autowarm.specs import JobSpec, Link, TrainingSpec, TrialResult, TrunkLink, TrunkResult, TrunkSpec
from autowarm.trial import run_trial
from autowarm.trunk import run_trunk

Factory = Callable[[list[Any]], Training]
pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    # of a machine with one core
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
    # of the loader that cannot go on where it was: which is what those tests are about
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended"),
    pytest.mark.filterwarnings("ignore:Your `val_dataloader`'s sampler has shuffling enabled"),
]


def wsd(ratio: float = 0.2, **fields: Any) -> Schedule:
    return Schedule(initial_lr=0.02, warmup_steps=4, decay="wsd", decay_ratio=ratio, **fields)


CONSTANT = Schedule(initial_lr=0.02, warmup_steps=4)
# epochs have 8 steps: some leave at the end of one, some within; the carrier is the last but one
WANTED: tuple[tuple[Schedule, int], ...] = (
    (wsd(0.4), 48),
    (wsd(0.25, cooldown="one_minus_sqrt"), 48),
    (wsd(0.4), 24),
    (CONSTANT, 24),
    (CONSTANT, 48),
    (wsd(0.5, final_lr_ratio=0.1), 30),
)


def plainly_validated(factory: Factory) -> Factory:
    """Give a job validation data in a fixed order."""

    def build(ends: list[Any]) -> Training:
        training = factory(ends)
        return replace(training, val_data=jobs.loader(shuffle=False)) if training.val_data is not None else training

    return build


def spec_of(
    factory: Factory,
    ends: list[Any],
    wanted: tuple[tuple[Schedule, int], ...] = WANTED,
    *,
    emas: bool = False,
    **fields: Any,
) -> TrunkSpec:
    job = JobSpec(factory=lambda: factory(ends))
    trials = []
    for schedule, total in wanted:
        rungs = rungs_of(total)
        trials.append(
            TrainingSpec(
                job=job,
                monitor="val_loss",
                total_steps=total,
                schedule=schedule,
                rungs=rungs,
                ema_rungs=tuple(r for r in rungs if 0.3 <= r / total < 1) if emas else (),
            )
        )
    (trunk,), _ = plan_trunks(wanted)
    order = [branch.index for branch in trunk.branches]
    steps = tuple(branch.step for branch in trunk.branches)
    return TrunkSpec(name="one", trials=tuple(trials[i] for i in order), branch_steps=steps, **fields)


class Owner(TrunkLink):
    """Keeps what it is told, and stops or prunes where it is to."""

    def __init__(self, *, stop_at: int | None = None, prune: tuple[int, int] | None = None) -> None:
        self.told: dict[int, list[tuple[int, float, float | None]]] = {}
        self.results: dict[int, TrialResult] = {}
        self.order: list[int] = []
        self.prune = prune
        self.stop_at = stop_at
        self.asked = 0

    def rung(self, trial: int, step: int, value: float, ema: float | None = None) -> str | None:
        assert trial not in self.results
        self.told.setdefault(trial, []).append((step, value, ema))
        return "far behind" if self.prune == (trial, step) else None

    def finished(self, trial: int, result: TrialResult) -> None:
        assert trial not in self.results
        self.results[trial] = result
        self.order.append(trial)

    def stopped(self) -> bool:
        self.asked += 1
        return self.stop_at is not None and self.asked >= self.stop_at


class Alone(Link):
    def __init__(self) -> None:
        self.told: list[tuple[int, float, float | None]] = []

    def rung(self, step: int, value: float, ema: float | None = None) -> str | None:
        self.told.append((step, value, ema))
        return None


def bare(result: TrialResult | None) -> TrialResult:
    """Leave out what says that a trial was part of a trunk, and who has paid."""
    assert result is not None
    return replace(result, seconds=0.0, val_batches=0, trunk=None, shared_steps=None, exact=None)


def check(factory: Factory, wanted: tuple[tuple[Schedule, int], ...] = WANTED, **fields: Any) -> TrunkResult:
    """Compare the trials of a trunk with the same trials by themselves, everything, and the weights they end with."""
    ends: list[torch.Tensor] = []
    spec = spec_of(factory, ends, wanted, **fields)
    owner = Owner()
    found = run_trunk(spec, owner)
    assert found.refused is None
    # the trunk's own end comes first, then those of the branches
    weights = iter(ends.copy())
    carried = {spec.carrier: next(weights)}
    carried |= {i: next(weights) for i in owner.order if spec.trials[i].total_steps != spec.branch_steps[i]}
    for i, (trial, result) in enumerate(zip(spec.trials, found.results, strict=True)):
        ends.clear()
        alone = Alone()
        whole = run_trial(trial, alone)
        assert whole.outcome == "COMPLETE", whole
        assert result == owner.results[i]
        assert bare(result) == bare(whole), i
        assert owner.told[i] == alone.told, i
        if i in carried:
            assert torch.equal(ends.pop(), carried[i]), i
    assert all(result is not None and result.exact for result in found.results)
    return found


# a few that differ most, and all of them among the slow tests
@pytest.mark.parametrize("name", ["AdamW", "accumulation", "numpy"])
def test_the_trials_of_a_trunk_end_as_by_themselves(name: str) -> None:
    check(plainly_validated(kept.EXACT[name]))

"""Random search stopped by Ray Tune's ASHA.

The scheduler is Ray's own, with its defaults and `max_t` the number of validations. It is asked in this process, one
trial after the other, the way that Ray's loop asks it: a process for each trial would cost seconds to start and change
no decision.
"""

from __future__ import annotations

import random
import time
from types import SimpleNamespace
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from studies.tuner_race.contestants.run import Run, Trial, trial_of
from studies.tuner_race.entries import SPACE, VALIDATIONS, Entry, sampler_seed, search_seed
from studies.tuner_race.fitting import Meter, search_fit


class Stopped(Exception):  # noqa: N818 - an ending, not an error
    """The scheduler stops the trial."""


class Reports(Callback):
    """Reports each validation to the scheduler, and stops where it says so.

    Args:
        scheduler: Ray's.
        trial: what it knows the trial by.
    """

    def __init__(self, scheduler: Any, trial: Any) -> None:
        self._scheduler = scheduler
        self._trial = trial
        self._iteration = 0

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report."""
        self._iteration += 1
        result = {"training_iteration": self._iteration, "val_loss": float(trainer.callback_metrics["val_loss"])}
        if self._iteration == VALIDATIONS:
            self._scheduler.on_trial_complete(None, self._trial, result)
        elif self._scheduler.on_trial_result(None, self._trial, result) == self._scheduler.STOP:
            raise Stopped


def run_asha(entry: Entry, seed: int, budget: float) -> Run:
    """Run trials until the budget is spent; what is named is the best trial that ran to its end.

    Args:
        entry: the job.
        seed: number of the search.
        budget: in full-run equivalents.
    """
    from ray.tune.schedulers import ASHAScheduler

    started = time.perf_counter()  # importing a library is not what its tuner costs
    # Any: its hooks take Ray's loop and trials, of which they read no more than what is given here
    scheduler: Any = ASHAScheduler(metric="val_loss", mode="min", max_t=VALIDATIONS)
    generator = random.Random(sampler_seed(entry, seed))
    trials: list[Trial] = []
    named: int | None = None
    while sum(t.cost for t in trials) < budget * entry.run_cost - 1e-6:
        schedule = draw(generator)
        trial: Any = SimpleNamespace(trial_id=str(len(trials)), config={})
        scheduler.on_trial_add(None, trial)
        meter, outcome = Meter(), "COMPLETE"
        try:
            search_fit(entry, schedule, search_seed(entry, seed), meter, [Reports(scheduler, trial)])
        except Stopped:
            outcome = "PRUNED"
        found = trial_of(meter, schedule, outcome)
        trials.append(found)
        if outcome == "COMPLETE" and found.value is not None:
            best = trials[named].value if named is not None else None
            named = len(trials) - 1 if best is None or found.value < best else named
        trials[-1] = found.naming(named)
    return Run("asha", entry.name, seed, budget, tuple(trials), time.perf_counter() - started)


def draw(generator: random.Random) -> Any:
    """Draw a schedule from the space, each dimension evenly on its own scale."""
    params: dict[str, Any] = {"decay": generator.choice(SPACE.decays)}
    lr, warmup = SPACE.initial_lr, SPACE.warmup_ratio
    params["initial_lr"] = lr.low * (lr.high / lr.low) ** generator.random()
    params["warmup_ratio"] = generator.uniform(warmup.low, warmup.high)
    if params["decay"] == "wsd":
        share: Any = SPACE.dimensions("wsd")["wsd.decay_ratio"]
        params["wsd.decay_ratio"] = generator.uniform(share.low, share.high)
    return SPACE.schedule(params)

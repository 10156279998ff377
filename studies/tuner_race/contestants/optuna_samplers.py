"""Optuna's samplers and pruners, each as its documentation has it."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import optuna
from lightning.pytorch import Callback

from autowarm.schedule import Schedule
from studies.tuner_race.contestants.run import Run, Trial, trial_of
from studies.tuner_race.entries import SPACE, VALIDATIONS, Entry, sampler_seed, search_seed
from studies.tuner_race.fitting import Meter, search_fit

# name -> (sampler from a seed, pruner)
STUDIES: dict[str, tuple[Callable[[int], Any], Callable[[], Any]]] = {
    "random": (lambda seed: optuna.samplers.RandomSampler(seed=seed), optuna.pruners.NopPruner),
    "tpe_median": (lambda seed: optuna.samplers.TPESampler(seed=seed), optuna.pruners.MedianPruner),
    "tpe_hyperband": (
        lambda seed: optuna.samplers.TPESampler(seed=seed),
        lambda: optuna.pruners.HyperbandPruner(min_resource=1, max_resource=VALIDATIONS, reduction_factor=3),
    ),
    "gp": (lambda seed: optuna.samplers.GPSampler(seed=seed), optuna.pruners.NopPruner),
}


def suggest(trial: optuna.Trial) -> Schedule:
    """Let a trial draw a schedule from the space."""
    lr, warmup = SPACE.initial_lr, SPACE.warmup_ratio
    params: dict[str, Any] = {
        "initial_lr": trial.suggest_float("initial_lr", lr.low, lr.high, log=True),
        "warmup_ratio": trial.suggest_float("warmup_ratio", warmup.low, warmup.high),
        "decay": trial.suggest_categorical("decay", SPACE.decays),
    }
    if params["decay"] == "wsd":
        share = SPACE.dimensions("wsd")["wsd.decay_ratio"]
        params["wsd.decay_ratio"] = trial.suggest_float("decay_ratio", share.low, share.high)  # type: ignore[union-attr]
    return SPACE.schedule(params)


def run_optuna(name: str, entry: Entry, seed: int, budget: float) -> Run:
    """Run a study until its budget is spent; what is named is `study.best_trial`.

    Args:
        name: one of STUDIES.
        entry: the job.
        seed: number of the search.
        budget: in full-run equivalents; the trial under way when it is spent is finished.
    """
    from optuna_integration import PyTorchLightningPruningCallback

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    # the GP sampler tells at each trial that it draws `decay_ratio`, which not every schedule has, at random
    warnings.filterwarnings("ignore", message=".*independently.*")
    started = time.perf_counter()
    make_sampler, make_pruner = STUDIES[name]
    study = optuna.create_study(
        direction="minimize", sampler=make_sampler(sampler_seed(entry, seed)), pruner=make_pruner()
    )
    trials: list[Trial] = []

    def objective(trial: optuna.Trial) -> float:
        schedule = suggest(trial)
        meter = Meter()
        outcome = "PRUNED"
        try:
            pruning: Callback = PyTorchLightningPruningCallback(trial, monitor="val_loss")
            value = search_fit(entry, schedule, search_seed(entry, seed), meter, [pruning])
            outcome = "COMPLETE"
            return value
        finally:
            trials.append(trial_of(meter, schedule, outcome))

    def spent(study: optuna.Study, _: optuna.trial.FrozenTrial) -> None:
        with suppress(ValueError):  # no trial has ended well yet
            trials[-1] = trials[-1].naming(study.best_trial.number)
        if sum(t.cost for t in trials) >= budget * entry.run_cost - 1e-6:
            study.stop()

    study.optimize(objective, callbacks=[spent])
    return Run(name, entry.name, seed, budget, tuple(trials), time.perf_counter() - started)

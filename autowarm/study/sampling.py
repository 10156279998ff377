"""From a search space to Optuna's distributions, and the sampler that proposes in it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from autowarm.space import Choice, Dimension, Fixed, Range, SearchSpace

# Proposals that are spread at random before the model of the good ones starts.
_STARTUP_TRIALS = 10


def distribution_of(dimension: Range | Choice) -> BaseDistribution:
    """Return Optuna's distribution of a searched dimension."""
    if isinstance(dimension, Choice):
        return CategoricalDistribution(list(dimension.values))
    if dimension.whole:
        return IntDistribution(int(dimension.low), int(dimension.high), log=bool(dimension.log))
    return FloatDistribution(dimension.low, dimension.high, log=bool(dimension.log))


def suggest(trial: optuna.Trial, space: SearchSpace) -> dict[str, Any]:
    """Draw a point of the conditional space: the decay first, then what belongs to it.

    Returns:
        The parameters that `SearchSpace.schedule` reads.
    """
    decay = _draw(trial, "decay", space.decay)
    params = {name: _draw(trial, name, dimension) for name, dimension in space.dimensions(decay).items()}
    return {"decay": decay, **params}


def _draw(trial: optuna.Trial, name: str, dimension: Dimension) -> Any:
    if isinstance(dimension, Fixed):
        return dimension.value
    if isinstance(dimension, Choice):
        return trial.suggest_categorical(name, list(dimension.values))
    if dimension.whole:
        return trial.suggest_int(name, int(dimension.low), int(dimension.high), log=bool(dimension.log))
    return trial.suggest_float(name, dimension.low, dimension.high, log=bool(dimension.log))


def sampler_for(*, seed: int, trial: int) -> optuna.samplers.BaseSampler:
    """Return the sampler that proposes one trial.

    Its random numbers depend on the seed and the trial's number alone, so that a study that was interrupted proposes
    what it would have proposed without.

    Args:
        seed: of the study.
        trial: number of trials there are.
    """
    state = int(np.random.SeedSequence([seed, trial]).generate_state(1)[0])
    with warnings.catch_warnings():
        # group=True has been experimental for years; constraints.txt says which Optuna it was tested with
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(multivariate=True, group=True, seed=state, n_startup_trials=_STARTUP_TRIALS)

"""From a search space to Optuna's distributions, and the samplers that propose in it."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from autowarm.space import Choice, Dimension, Fixed, Range, SearchSpace

# Proposals that are spread at random before the model of the good ones starts.
_STARTUP_TRIALS = 10
# What a Gaussian process is good for: few trials, none of them pruned (it passes over those), few dimensions that come
# and go with the decay (it knows only those that all trials have).
_GP_TRIALS = 100
_GP_DIMENSIONS = 6
_GP_CONDITIONAL = 2

Sampler: TypeAlias = Literal["tpe", "gp"]


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
    if isinstance(trial.study.sampler, optuna.samplers.GPSampler):
        with _one_thread():
            return _drawn(trial, space)
    return _drawn(trial, space)


def _drawn(trial: optuna.Trial, space: SearchSpace) -> dict[str, Any]:
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


def sampler_name(space: SearchSpace, *, trials: int, pruned: bool) -> Sampler:
    """Say which sampler fits: a Gaussian process for small flat spaces and few trials, else TPE in groups.

    Args:
        space: that is searched.
        trials: that it will have at most.
        pruned: whether trials are stopped early.
    """
    searched = {
        name for decay in space.decays for name, d in space.dimensions(decay).items() if not isinstance(d, Fixed)
    }
    conditional = {name for name in searched if not all(name in space.dimensions(decay) for decay in space.decays)}
    fits = trials <= _GP_TRIALS and len(searched) <= _GP_DIMENSIONS and len(conditional) <= _GP_CONDITIONAL
    return "gp" if fits and not pruned else "tpe"


def sampler_for(name: Sampler = "tpe", *, seed: int, trial: int) -> optuna.samplers.BaseSampler:
    """Return the sampler that proposes one trial.

    Its random numbers depend on the seed and the trial's number alone, so that a study that was interrupted proposes
    what it would have proposed without.

    Args:
        name: of the sampler.
        seed: of the study.
        trial: number of trials there are.
    """
    state = _state(seed, trial)
    with warnings.catch_warnings():
        # group=True has been experimental for years, and so has GPSampler; constraints.txt says which Optuna it was
        # tested with
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        tpe = optuna.samplers.TPESampler(
            multivariate=True, group=True, seed=state, n_startup_trials=_STARTUP_TRIALS if name == "tpe" else 0
        )
        if name == "tpe":
            return tpe
        return optuna.samplers.GPSampler(
            seed=state,
            independent_sampler=tpe,
            n_startup_trials=0,
            # what only some schedules have is known to be drawn by itself
            warn_independent_sampling=False,
        )


def _state(seed: int, trial: int) -> int:
    return int(np.random.SeedSequence([seed, trial]).generate_state(1)[0])


@dataclass(frozen=True)
class Known:
    """A schedule that was tried, as a sampler learns of it.

    Attributes:
        params: of the space, as `SearchSpace.params_of` returns them.
        value: less is better; of one that diverged, anything.
        diverged: whether it diverged.
    """

    params: Mapping[str, Any]
    value: float
    diverged: bool = False


def proposed(space: SearchSpace, known: Sequence[Known], sampler: Sampler, *, seed: int, trial: int) -> dict[str, Any]:
    """Return the parameters that a sampler proposes after what is known, in a study of no database.

    The values are told by their ranks, as the quantiles of a Gaussian: the loss of a bad peak is many times that of a
    good one, and in its units all good ones would look alike. One that diverged counts as the worst.

    Args:
        space: to propose in; what is known may lie outside of it, and then does not count.
        known: none at all where the space is to be drawn from at random.
        sampler: its name.
        seed: of the study.
        trial: number of trials there are; with the seed it decides the random numbers.
    """
    if not known:
        at_random = optuna.samplers.RandomSampler(seed=_state(seed, trial))
        return suggest(optuna.create_study(sampler=at_random).ask(), space)
    study = optuna.create_study(sampler=sampler_for(sampler, seed=seed, trial=trial))
    for point, value in zip(known, _ranks(known), strict=True):
        distributions = _distributions(space, point.params)
        if distributions is not None:
            constraints = {"diverged": float(point.diverged)}
            study.add_trial(
                optuna.create_trial(
                    params=dict(point.params), distributions=distributions, value=value, constraints=constraints
                )
            )
    return suggest(study.ask(), space)


def _ranks(known: Sequence[Known]) -> list[float]:
    worst = max((p.value for p in known if not p.diverged), default=0.0)
    values = np.array([worst if p.diverged else p.value for p in known])
    # of equal values the mean of their places
    places = np.array([((values < v).sum() + (values <= v).sum() - 1) / 2 for v in values])
    normal = statistics.NormalDist()
    return [normal.inv_cdf((place + 0.5) / len(values)) for place in places]


def _distributions(space: SearchSpace, params: Mapping[str, Any]) -> dict[str, BaseDistribution] | None:
    """Return the distributions of a point's parameters, or None where it lies outside of them."""
    decay = params.get("decay", space.decays[0])
    dimensions = {"decay": space.decay, **space.dimensions(decay)}
    searched = {n: d for n, d in dimensions.items() if isinstance(d, Range | Choice)}
    if searched.keys() != params.keys() or not all(d.holds(params[n]) for n, d in searched.items()):
        return None
    return {n: distribution_of(d) for n, d in searched.items()}


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let a Gaussian process of a few dozen points compute on one thread: more make it several times slower."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

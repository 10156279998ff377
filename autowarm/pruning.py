"""Which trials to stop early: those behind earlier trials at the same share of their own schedule.

A validation loss in the middle of a schedule says little by itself: during warmup and at the peak the
winners look bad, and what a slow decay still gains at the end a fast one has gained already. So the rule
has two halves:

- compare a trial with the earlier trials at the same share of their own schedule, step / total_steps, and
  stop it when it is worse than a percentile of them;
- never judge it before its own warmup ended, before `MIN_SHARE` of its schedule, or against fewer than
  `MIN_TRIALS` others.

Replayed on two recorded pools of 72 and 100 random trials (600 steps, 20 rungs, raw validation loss; 200
random orders; "A | B" by pool): cost in full runs a trial, regret of the best trial kept against the best
of the pool (mean), and how often the best of the pool was killed.

    percentile, from share           cost        regret          best killed
    75, .3      safe                 .66 | .57   0               0
    60, .3      balanced             .56 | .48   0               0
    50, .3      aggressive           .50 | .43   0               0
    40, .3                           .46 | .41   0 | .12 %       0 | .5 %
    60, 0                            .50 | .40   0               0
    50, 0                            .42 | .35   0 | .84 %       0 | 3.5 %
    40, 0                            .37 | .31   0 | 7.8 %       0 | 34 %
    60, 0, and during warmup         .34 | .24   .27 | 15 %      22 | 73 %
    50, 0, and during warmup         .25 | .19   1.4 | 20 %      79 | 92 %   (a median pruner)

So waiting for the end of a trial's own warmup is worth most, and the share of .3 buys the rest for 4 to 10 %
of a full run more. The pools hold no divergence and random trials only: under a sampler that learns, the
earlier trials are the worse ones, which makes the rule more lenient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

from autowarm.errors import SettingsError, unknown

# off: every trial runs to its end
# safe: stop a trial that 75 % of the earlier ones are ahead of
# balanced: ... that 60 % are ahead of
# aggressive: ... that half are ahead of
Pruning: TypeAlias = Literal["off", "safe", "balanced", "aggressive"]
PRUNINGS: tuple[str, ...] = get_args(Pruning)
PERCENTILES: Mapping[Pruning, float] = {"safe": 75.0, "balanced": 60.0, "aggressive": 50.0}

# From the replays in the module's docstring
MIN_SHARE = 0.3
MIN_TRIALS = 5
# Half the distance of 20 rungs: with rungs that fall between steps, shares of two horizons differ a little.
_SAME_SHARE = 0.025


def rungs_of(total_steps: int, n: int = 20) -> tuple[int, ...]:
    """Return the numbers of optimizer steps done after which a trial validates: n equal shares of the run.

    Rung i of n is at ceil(i * total_steps / n) steps, so never before the share i / n. A run of fewer than n
    steps has a rung after each step.

    Args:
        total_steps: optimizer steps in the run, at least 1.
        n: rungs wanted, at least 1.

    Returns:
        Strictly rising steps in [1, total_steps]; the last is `total_steps`.

    Raises:
        SettingsError: a number below 1.

    >>> rungs_of(1000, n=4)
    (250, 500, 750, 1000)
    """
    for name, value in (("total_steps", total_steps), ("n", n)):
        if value < 1:
            raise SettingsError(f"{name} must be at least 1, got {value!r}")
    rungs = min(n, total_steps)
    return tuple(-(-i * total_steps // rungs) for i in range(1, rungs + 1))


class PhasePruner:
    """Remembers what every trial of a study reported, and says which trial should stop.

    It lives in the process that owns the study. Trials that diverged or were pruned stay in the comparison
    with what they reported while they ran; without them the bar would rise with each trial pruned. Trials
    that run side by side count as earlier ones as far as they have come.

    Args:
        pruning: how readily trials are stopped; see `Pruning`.
        mode: whether less (`min`) or more (`max`) of the value is better.

    Raises:
        SettingsError: an unknown `pruning` or `mode`.
    """

    def __init__(self, pruning: Pruning = "balanced", mode: Literal["min", "max"] = "min") -> None:
        if pruning not in PRUNINGS:
            raise SettingsError(unknown("pruning", pruning, PRUNINGS))
        if mode not in ("min", "max"):
            raise SettingsError(unknown("mode", mode, ("min", "max")))
        self._percentile = PERCENTILES.get(pruning)
        self._sign = 1.0 if mode == "min" else -1.0
        # trial -> share -> value, signed so that less is better
        self._reports: dict[int, dict[float, float]] = {}

    def report(self, trial_id: int, *, share: float, value: float, warmup_share: float) -> str | None:
        """Take what a trial reached at a rung, and say why it should stop, or None if it should go on.

        Args:
            trial_id: unique among the trials compared. Told twice at a share, the later value holds.
            share: steps done over the trial's own `total_steps`, in [0, 1]; at 1 nothing is left to stop.
            value: the monitored validation metric; one that is not finite counts as the worst.
            warmup_share: warmup's share of the trial's own schedule, in [0, 1].

        Raises:
            SettingsError: a share outside its domain.
        """
        for name, number in (("share", share), ("warmup_share", warmup_share)):
            if not 0 <= number <= 1:
                raise SettingsError(f"{name} must be in [0, 1], got {number!r}")
        signed = self._sign * value if math.isfinite(value) else math.inf
        self._reports.setdefault(trial_id, {})[share] = signed
        if self._percentile is None or share < max(MIN_SHARE, warmup_share) or share == 1:
            return None
        others = self._others_at(share, trial_id)
        if len(others) < MIN_TRIALS:
            return None
        # The rank is rounded up, in the trial's favour; no interpolation, as values may be infinite.
        bar = others[math.ceil(self._percentile / 100 * (len(others) - 1))]
        if signed <= bar:
            return None
        return (
            f"{value:.4g} at {share:.0%} of its schedule is worse than {self._sign * bar:.4g}, which at "
            f"least {self._percentile:.0f} % of {len(others)} other trials had reached there"
        )

    def _others_at(self, share: float, trial_id: int) -> list[float]:
        """Return what the other trials had at this share of their schedules, the best first."""
        values = []
        for other, reports in self._reports.items():
            nearest = min(reports, key=lambda x: abs(x - share))
            if other != trial_id and abs(nearest - share) <= _SAME_SHARE:
                values.append(reports[nearest])
        return sorted(values)

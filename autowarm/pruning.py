"""Which trials to stop early: those behind earlier trials at the same share of their own schedule.

A validation loss in the middle of a schedule says little by itself: during warmup and at the peak the
winners look bad, and what a slow decay still gains at the end a fast one has gained already. So the rule
has three parts:

- compare a trial with the earlier trials at the same share of their own schedule, step / total_steps, and
  stop it when it is worse than a percentile of them;
- never judge it before its own warmup ended, before `MIN_SHARE` of its schedule, or against fewer than
  `MIN_TRIALS` others;
- judge it by the best it has reached so far, with its weights or with a running average of them: at a high
  learning rate the loss of the weights bounces, and the average shows what a decay would make of them.

Replayed on two recorded pools of 72 and 100 random trials (600 steps, 20 rungs), over 200 random orders of the
whole pools and of 40 trials drawn from them ("whole | draws", means over the pools): cost in full runs a trial,
regret of the best trial kept against the best one, and how often the best one was stopped.

    judged by                               percentile      cost         regret          best killed
    best so far of weights and average      75 safe         .66 | .71    0 | 0           0 | 0
                                            50 balanced     .50 | .56    0 | .03 %       0 | 3 %
                                            30 aggressive   .43 | .50    0 | .29 %       0 | 14 %
    best so far of the weights              50              .50 | .57    0 | .61 %       0 | 13 %
    weights and average at the share        60              .53 | .60    0 | .36 %       0 | 7 %
    weights at the share                    60              .52 | .59    0 | 1.7 %       0 | 24 %
    Optuna's median pruner, default         50              .21 | .30    9.3 | 5.2 %     75 | 61 %

So each of the two is worth much, and they are worth most together. The rule was chosen on these pools.
studies/pruner_replay/replay.md has all rows, Optuna's pruners among them, and the command. The pools hold no divergence
and random trials only: under a sampler that learns, the earlier trials are the worse ones, which makes the rule more
lenient.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from autowarm.errors import SettingsError, unknown
from autowarm.words import number, percent

# off: every trial runs to its end
# safe: stop a trial that 75 % of the earlier ones are ahead of
# balanced: ... that half are ahead of
# aggressive: ... that 30 % are ahead of
Pruning: TypeAlias = Literal["off", "safe", "balanced", "aggressive"]
PRUNINGS: tuple[str, ...] = get_args(Pruning)
PERCENTILES: Mapping[Pruning, float] = {"safe": 75.0, "balanced": 50.0, "aggressive": 30.0}

# From the replays in the module's docstring
MIN_SHARE = 0.3
MIN_TRIALS = 5
# The window of the average of the weights, in shares of the run; of the recorded T/40 and T/10 the better stand-in.
EMA_SHARE = 1 / 40
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


def ema_rungs_of(total_steps: int, n: int = 20) -> tuple[int, ...]:
    """Return the rungs at which the averaged weights are validated, too: those at which a trial may be judged.

    They are the same for every trial of a horizon, whatever its warmup, so that like is compared with like. A run so
    short that the window is a step or less has none.

    Args:
        total_steps: optimizer steps in the run, at least 1.
        n: as in `rungs_of`.

    Raises:
        SettingsError: a number below 1.

    >>> ema_rungs_of(1000, n=4)
    (500, 750)
    """
    if total_steps * EMA_SHARE <= 1:
        return ()
    return tuple(step for step in rungs_of(total_steps, n) if MIN_SHARE <= step / total_steps < 1)


@dataclass(frozen=True)
class Audit:
    """A trial that is finished although the rule would have stopped it.

    Attributes:
        share: of its schedule, where the rule would have stopped it first.
        reason: what the rule had to say.
    """

    share: float
    reason: str


class PhasePruner:
    """Remembers what every trial of a study reported, and says which trial should stop.

    It lives in the process that owns the study. Trials that diverged or were pruned stay in the comparison
    with what they reported while they ran; without them the bar would rise with each trial pruned. Trials
    that run side by side count as earlier ones as far as they have come.

    Args:
        pruning: how readily trials are stopped; see `Pruning`.
        mode: whether less (`min`) or more (`max`) of the value is better.
        audit: share of the trials it would stop that go on all the same, in [0, 1]. Which ones is drawn from `seed`
            and the trial alone, so that a study that goes on, or runs side by side, audits the same trials.
        seed: of the draw.

    Raises:
        SettingsError: an unknown `pruning` or `mode`, or an `audit` outside its domain.
    """

    def __init__(
        self,
        pruning: Pruning = "balanced",
        mode: Literal["min", "max"] = "min",
        *,
        audit: float = 0.0,
        seed: int = 0,
    ) -> None:
        if pruning not in PRUNINGS:
            raise SettingsError(unknown("pruning", pruning, PRUNINGS))
        if mode not in ("min", "max"):
            raise SettingsError(unknown("mode", mode, ("min", "max")))
        _check_share("audit", audit)
        self._percentile = PERCENTILES.get(pruning)
        self._sign = 1.0 if mode == "min" else -1.0
        self._audit = audit
        self._seed = seed
        self._audits: dict[int, Audit] = {}
        # trial -> share -> value, signed so that less is better
        self._reports: dict[int, dict[float, float]] = {}

    def report(
        self,
        trial_id: int,
        *,
        share: float,
        value: float,
        warmup_share: float,
        ema: float | None = None,
        shared: bool = False,
    ) -> str | None:
        """Take what a trial reached at a rung, and say why it should stop, or None if it should go on.

        The better of `value` and `ema` counts, and of the trial itself the best of them up to this share.

        Args:
            trial_id: unique among the trials compared. Told twice at a share, the later value holds.
            share: steps done over the trial's own `total_steps`, in [0, 1]; at 1 nothing is left to stop.
            value: the monitored validation metric; one that is not finite counts as the worst, whatever `ema` is.
            warmup_share: warmup's share of the trial's own schedule, in [0, 1].
            ema: the same metric of the averaged weights; None, or one that is not finite, does not count.
            shared: whether other trials need the steps up to here, too, so that nothing would be saved: what was
                reached is remembered, and judged with what comes.

        Raises:
            SettingsError: a share outside its domain.
        """
        _check_share("share", share)
        _check_share("warmup_share", warmup_share)
        signed = self._sign * value if math.isfinite(value) else math.inf
        if ema is not None and math.isfinite(ema) and math.isfinite(value):
            signed = min(signed, self._sign * ema)
        reports = self._reports.setdefault(trial_id, {})
        reports[share] = signed
        if self._percentile is None or share < max(MIN_SHARE, warmup_share) or share == 1 or trial_id in self._audits:
            return None
        if shared:
            return None
        others = self._others_at(share, trial_id)
        if len(others) < MIN_TRIALS:
            return None
        best = min(told for at, told in reports.items() if at <= share)
        # The rank is rounded up, in the trial's favour; no interpolation, as values may be infinite.
        bar = others[math.ceil(self._percentile / 100 * (len(others) - 1))]
        if best <= bar:
            return None
        reason = (
            f"its best by {percent(share)} of its schedule, {number(self._sign * best, 4)}, is worse than "
            f"{number(self._sign * bar, 4)}, "
            f"which at least {self._percentile:.0f} % of {len(others)} other trials had there"
        )
        # seeded by a text: the same draw in every process and on every machine
        if random.Random(f"{self._seed} {trial_id}").random() < self._audit:
            self._audits[trial_id] = Audit(share, reason)
            return None
        return reason

    def forget(self, trial_id: int) -> None:
        """Leave out what a trial reported that ended without a result: it is trained again, as another one."""
        self._reports.pop(trial_id, None)
        self._audits.pop(trial_id, None)

    def audit_of(self, trial_id: int) -> Audit | None:
        """Return where and why a trial would have been stopped that goes on as an audit; None for any other."""
        return self._audits.get(trial_id)

    def _others_at(self, share: float, trial_id: int) -> list[float]:
        """Return what the other trials had at this share of their schedules, the best first."""
        values = []
        for other, reports in self._reports.items():
            if other == trial_id:
                continue
            # trials of one horizon have the very same shares
            value = reports.get(share)
            if value is None:
                nearest = min(reports, key=lambda x: abs(x - share))
                value = reports[nearest] if abs(nearest - share) <= _SAME_SHARE else None
            if value is not None:
                values.append(value)
        return sorted(values)


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise SettingsError(f"{name} must be in [0, 1], got {value!r}")

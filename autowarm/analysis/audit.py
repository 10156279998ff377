"""How often pruning was wrong: what became of trials that it would have stopped and that were finished."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

from autowarm.analysis.best import has_value
from autowarm.record import TrialRecord

# Of the trials that ended well, what counts as the best ones.
_TOP = 0.1


@dataclass(frozen=True)
class PruningAudit:
    """What became of the audited trials of a horizon.

    Attributes:
        pruned: trials that pruning stopped.
        audited: trials that it would have stopped, and that were finished.
        best: those of them that ended better than every other trial: pruning would have cost the study its answer.
        top: those that ended in the best tenth of the trials that ended well, the best ones among them.
    """

    pruned: int
    audited: int
    best: int
    top: int

    @property
    def at_most(self) -> float | None:
        """The share of pruned trials that would have been the best, at most, with 95 % confidence; or None.

        With k of n, the p at which k or fewer have a chance of 5 % (Clopper and Pearson 1934); with none,
        1 - .05^(1 / n).
        """
        if not self.audited:
            return None
        low, high = 0.0, 1.0
        for _ in range(50):
            p = (low + high) / 2
            if _at_most(self.best, self.audited, p) > 0.05:
                low = p
            else:
                high = p
        return high


def pruning_audit(records: Iterable[TrialRecord]) -> PruningAudit:
    """Audit the pruning of a horizon.

    One that diverged later would have been stopped rightly; one that failed says nothing, and is not counted.

    Args:
        records: of one horizon; search trials count.
    """
    search = [r for r in records if r.role == "search"]
    pruned = sum(r.outcome == "PRUNED" for r in search)
    audited = [r for r in search if r.audit_step is not None and r.outcome in ("COMPLETE", "DIVERGED")]
    if not audited:
        return PruningAudit(pruned, audited=0, best=0, top=0)
    found = [_level(r) for r in audited if has_value(r)]
    others = [_level(r) for r in search if r.audit_step is None and has_value(r)]
    # rounded up: of fewer than ten the best one is the best tenth
    places = math.ceil((len(found) + len(others)) * _TOP)
    levels = sorted([*found, *others])
    best_other = min(others, default=math.inf)
    return PruningAudit(
        pruned=pruned,
        audited=len(audited),
        best=sum(level < best_other for level in found),
        # as many others ended better as levels lie below
        top=sum(bisect_left(levels, level) < places for level in found),
    )


def _level(record: TrialRecord) -> float:
    """Return the value of a record that ended well, so that less is better."""
    assert record.value is not None  # noqa: S101 - it has one
    return record.value if record.mode == "min" else -record.value


def _at_most(k: int, n: int, p: float) -> float:
    """Return the probability of k or fewer of n."""
    return sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1))

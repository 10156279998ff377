from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from autowarm.analysis.audit import PruningAudit, pruning_audit
from autowarm.record import TrialRecord

MakeRecord = Callable[..., TrialRecord]


def audited(make_record: MakeRecord, value: float | None, **fields: Any) -> TrialRecord:
    return make_record(value=value, audit_step=50, audit_reason="it was behind", **fields)


def test_nothing_audited_says_nothing(make_record: MakeRecord) -> None:
    found = pruning_audit([make_record(), make_record(outcome="PRUNED")])
    assert found == PruningAudit(pruned=1, audited=0, best=0, top=0)
    assert found.at_most is None


@pytest.mark.parametrize("sign", [1, -1])
def test_wrong_is_what_would_have_been_the_best_or_in_the_best_tenth(make_record: MakeRecord, sign: int) -> None:
    mode = "min" if sign == 1 else "max"
    ended = [make_record(value=sign * (1.0 + i), mode=mode) for i in range(17)]
    # of 20 that ended well the best tenth are 2
    records = [*ended, *(audited(make_record, sign * v, mode=mode) for v in (0.5, 1.5, 9.5))]
    records.append(make_record(outcome="PRUNED", mode=mode))
    assert pruning_audit(records) == PruningAudit(pruned=1, audited=3, best=1, top=1)
    assert pruning_audit(records[:-4] + records[-3:]) == PruningAudit(pruned=1, audited=2, best=0, top=1)


def test_one_that_diverged_later_was_rightly_stopped_and_one_that_failed_says_nothing(make_record: MakeRecord) -> None:
    records = [
        make_record(value=1.0),
        audited(make_record, None, outcome="DIVERGED"),
        audited(make_record, None, outcome="FAILED"),
        audited(make_record, 0.1, role="confirm"),
    ]
    assert pruning_audit(records) == PruningAudit(pruned=0, audited=1, best=0, top=0)


def test_two_audited_trials_that_beat_the_rest_were_both_wrong(make_record: MakeRecord) -> None:
    records = [make_record(value=1.0), audited(make_record, 0.4), audited(make_record, 0.5)]
    assert pruning_audit(records).best == 2


@pytest.mark.parametrize(
    ("best", "n", "upper"),
    # 1 - .05^(1/n); and the 95 % points of beta(2, 9) and beta(3, 18)
    [(0, 1, 0.95), (0, 10, 0.2589), (0, 59, 0.0495), (1, 10, 0.3942), (2, 20, 0.2826), (3, 3, 1.0)],
)
def test_the_bound_is_clopper_and_pearsons(best: int, n: int, upper: float) -> None:
    assert PruningAudit(pruned=0, audited=n, best=best, top=best).at_most == pytest.approx(upper, abs=1e-4)

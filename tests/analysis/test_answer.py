from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from conftest import MakeRecord

from autowarm.analysis.answer import Answer, answer_of
from autowarm.errors import RecordError
from autowarm.record import TrialRecord
from autowarm.schedule import Schedule

# (initial_lr, warmup_ratio)
Key = tuple[float, float]


def study(
    make_record: MakeRecord,
    searched: Mapping[Key, float],
    again: Mapping[Key, Sequence[float | None]],
    **fields: Any,
) -> list[TrialRecord]:
    """Return search records, and runs of some of them with seeds 1, 2, ...: None diverged."""
    records = [
        make_record(trial=i, lr=lr, warmup_ratio=warmup, value=value, **fields)
        for i, ((lr, warmup), value) in enumerate(searched.items())
    ]
    for (lr, warmup), values in again.items():
        for seed, value in enumerate(values, start=1):
            change = {"outcome": "DIVERGED"} if value is None else {"value": value}
            records.append(make_record(role="confirm", seed=seed, lr=lr, warmup_ratio=warmup, **{**fields, **change}))
    return records


def answered(records: Sequence[TrialRecord]) -> Answer:
    found = answer_of(records)
    assert found is not None
    return found


def peak(answer: Answer) -> float:
    assert answer.record.schedule is not None
    return answer.record.schedule.initial_lr


A, B, C = (0.3, 0.1), (0.2, 0.1), (0.1, 0.1)


def test_without_a_record_or_a_value_there_is_no_answer(make_record: MakeRecord) -> None:
    assert answer_of([]) is None
    assert answer_of([make_record(outcome="DIVERGED"), make_record(value=math.nan)]) is None


def test_where_nothing_was_trained_again_it_is_the_best_of_the_search(make_record: MakeRecord) -> None:
    answer = answered(study(make_record, {A: 1.0, B: 0.9, C: 1.1}, {}))
    assert (peak(answer), answer.place, answer.candidates, answer.confirmed_seeds) == (0.2, 1, (), ())
    assert answer.sentences() == []


@pytest.mark.parametrize(("mode", "sign"), [("min", 1.0), ("max", -1.0)])
def test_fresh_seeds_decide_not_the_search(make_record: MakeRecord, mode: str, sign: float) -> None:
    searched = {key: sign * value for key, value in {A: 0.5, B: 0.6, C: 0.7}.items()}
    # with a common part by seed, and a noise of about .01
    again = {
        A: [sign * v for v in (1.0, 2.0, 3.01)],
        B: [sign * v for v in (0.5, 1.51, 2.5)],
        C: [sign * v for v in (0.8, 1.8, 2.79)],
    }
    answer = answered(study(make_record, searched, again, mode=mode))
    assert peak(answer) == 0.2
    assert (answer.place, answer.confirmed_seeds) == (2, (1, 2, 3))
    assert [c.record.schedule.initial_lr for c in answer.candidates if c.record.schedule] == [0.2, 0.1, 0.3]
    assert [c.difference for c in answer.candidates] == pytest.approx([0.0, sign * 0.29333, sign * 0.5], abs=1e-4)
    first, second, _ = answer.candidates
    # rest of the layout: 4 degrees of freedom, t = 2.776
    assert second.half_width == pytest.approx(2.776 * answer_noise(again) * math.sqrt(2 / 3), rel=1e-3)
    assert first.spread == pytest.approx(1.0, abs=0.01), "of the values as they are, the seeds' part included"
    told = " ".join(answer.sentences())
    assert f"The best of the search, lr 0.3, warmup 10 %, cosine, reached val_loss {sign * 0.5:.5g} there, and" in told
    assert "what leads a search is lucky" in told


def answer_noise(again: Mapping[Key, Sequence[float]]) -> float:
    """Return the standard deviation of what neither schedule nor seed explains."""
    rows = list(again.values())
    n, m = len(rows), len(rows[0])
    whole = sum(sum(row) for row in rows) / (n * m)
    columns = [sum(row[j] for row in rows) / n for j in range(m)]
    rest = sum((row[j] - sum(row) / m - columns[j] + whole) ** 2 for row in rows for j in range(m))
    return math.sqrt(rest / ((n - 1) * (m - 1)))


@pytest.mark.parametrize(("mode", "sign"), [("min", 1.0), ("max", -1.0)])
def test_of_a_tie_the_shortest_warmup_wins_and_it_is_said(make_record: MakeRecord, mode: str, sign: float) -> None:
    long, short = (0.1, 0.2), (0.4, 0.05)
    # paired differences -.3, .1: their mean -.1 is within the standard error .2
    again = {long: [sign * 1.0, sign * 1.5], short: [sign * 1.3, sign * 1.4]}
    answer = answered(study(make_record, {long: sign * 1.0, short: sign * 1.1}, again, mode=mode))
    assert peak(answer) == 0.4
    assert answer.standard_error == pytest.approx(0.2)
    assert [c.record.trial for c in answer.tied] == [0, 1]
    assert answer.sentences()[0] == (
        "lr 0.4, warmup 5 %, cosine and lr 0.1, warmup 20 %, cosine are within noise: val_loss "
        f"{sign * 1.35:.5g} and {sign * 1.25:.5g} (one standard error of the difference is 0.2, seeds 1, 2). "
        "The shorter warmup was taken."
    )


def test_beyond_one_standard_error_is_no_tie(make_record: MakeRecord) -> None:
    long, short = (0.1, 0.2), (0.4, 0.05)
    # paired differences -.3, -.1: their mean -.2 is twice the standard error .1
    answer = answered(study(make_record, {long: 1.0, short: 1.1}, {long: [1.0, 1.2], short: [1.3, 1.3]}))
    assert peak(answer) == 0.1
    assert answer.noise_is_known
    assert not any("noise" in sentence for sentence in answer.sentences())


def test_of_a_tie_of_equal_warmups_the_lower_lr_wins(make_record: MakeRecord) -> None:
    answer = answered(study(make_record, {A: 1.0, C: 1.1}, {A: [1.0, 1.5], C: [1.3, 1.4]}))
    assert peak(answer) == 0.1
    assert "The lower lr at the same warmup was taken." in answer.sentences()[0]


def test_a_best_that_is_the_plainest_keeps_its_place_and_names_those_within_noise(make_record: MakeRecord) -> None:
    answer = answered(study(make_record, {A: 1.0, C: 1.1}, {A: [1.3, 1.4], C: [1.0, 1.5]}))
    assert peak(answer) == 0.1
    assert answer.sentences()[0] == (
        "lr 0.3, warmup 10 %, cosine is within noise of it (one standard error of the difference is 0.2, seeds 1, 2) "
        "and has a longer warmup or, at the same warmup, a higher lr."
    )


def test_one_fresh_seed_knows_no_noise_and_only_equal_values_tie(make_record: MakeRecord) -> None:
    answer = answered(study(make_record, {C: 1.0, A: 1.1}, {C: [1.20001], A: [1.2]}))
    assert peak(answer) == 0.3
    assert "With one fresh seed nothing is known of the noise" in answer.sentences()[0]
    equal = answered(study(make_record, {A: 1.0, C: 1.1}, {A: [1.2], C: [1.2]}))
    assert peak(equal) == 0.1
    assert equal.sentences()[0] == (
        "lr 0.3, warmup 10 %, cosine reached the same (seed 1) and has a longer warmup or, at the same warmup, a "
        "higher lr."
    )


def test_what_diverged_on_a_fresh_seed_comes_last_whatever_its_mean(make_record: MakeRecord) -> None:
    again: dict[Key, list[float | None]] = {A: [0.1, None, 0.1], B: [1.0, 1.1, 1.2], C: [1.5, 1.6, 1.7]}
    answer = answered(study(make_record, {A: 0.1, B: 0.2, C: 0.3}, again))
    assert peak(answer) == 0.2
    assert [c.lost for c in answer.candidates] == [0, 0, 1]
    assert answer.candidates[-1].difference is None
    assert "lr 0.3, warmup 10 %, cosine diverged on 1 of 3 fresh seeds, which counts before its mean." in (
        answer.sentences()
    )


def test_where_all_diverged_the_plainest_of_those_that_did_least(make_record: MakeRecord) -> None:
    answer = answered(study(make_record, {A: 0.1, B: 0.2, C: 0.3}, {A: [None], B: [None], C: [None]}))
    assert peak(answer) == 0.1
    assert answer.confirmed_seeds == ()


def test_a_run_that_failed_says_nothing_of_its_schedule(make_record: MakeRecord) -> None:
    records = study(make_record, {A: 1.0, B: 1.1}, {A: [1.0, 2.0, 3.0], B: [1.5, 2.5]})
    failed = make_record(role="confirm", seed=3, lr=0.2, outcome="FAILED")
    answer = answered([*records, failed])
    assert peak(answer) == 0.3
    # by plain means B would be ahead by seed 3, which is a hard one
    assert [c.difference for c in answer.candidates] == pytest.approx([0.0, 0.5])
    assert answered([*records[:2], failed]).candidates == ()


def test_a_seed_that_ran_again_counts_once_and_last(make_record: MakeRecord) -> None:
    records = study(make_record, {A: 1.0}, {A: [None]})
    answer = answered([*records, make_record(role="confirm", seed=1, lr=0.3, value=1.4)])
    assert answer.chosen is not None
    assert (answer.chosen.values, answer.chosen.lost) == ({1: 1.4}, 0)


def test_what_shares_no_seed_is_not_compared(make_record: MakeRecord) -> None:
    records = study(make_record, {A: 1.0, B: 0.9}, {A: [1.0, 1.0]})
    records.append(make_record(role="confirm", seed=7, lr=0.2, value=0.1))
    answer = answered(records)
    assert peak(answer) == 0.3
    assert [c.difference for c in answer.candidates] == [0.0, None]


def baselines(make_record: MakeRecord, key: Key, values: Sequence[float]) -> list[TrialRecord]:
    """Return today's schedule on seeds 1, 2, ..., written in steps as a job's own is."""
    schedule = Schedule(initial_lr=key[0], warmup_steps=round(key[1] * 100), decay="cosine")
    return [
        make_record(role="baseline", schedule=schedule, seed=seed, value=value)
        for seed, value in enumerate(values, start=1)
    ]


def test_todays_schedule_counts_where_it_is_one_of_the_best_of_the_search(make_record: MakeRecord) -> None:
    for again in ({A: [1.5, 1.6], C: [1.7, 1.8]}, {A: [1.5, 1.6]}):
        records = study(make_record, {A: 1.0, B: 1.1, C: 1.2}, again)
        answer = answered([*records, *baselines(make_record, B, [1.0, 1.11])])
        assert answer.is_today
        assert peak(answer) == 0.2
        assert answer.record.role == "search"
        assert answer.confirmed_seeds == (1, 2)


def test_todays_schedule_that_an_earlier_run_trained_twice_counts_once(make_record: MakeRecord) -> None:
    records = study(make_record, {A: 1.0, B: 1.1}, {A: [1.5, 1.6], B: [1.0, 1.1]})
    answer = answered([*records, *baselines(make_record, B, [1.0, 1.1])])
    assert [c.is_today for c in answer.candidates] == [True, False]
    assert len(answer.candidates[0].runs) == 2


def test_todays_schedule_that_is_none_of_the_best_is_none_of_the_candidates(make_record: MakeRecord) -> None:
    records = study(make_record, {A: 1.0, B: 1.1, C: 1.2, (0.05, 0.1): 1.3}, {A: [1.5, 1.6], B: [1.7, 1.81]})
    answer = answered([*records, *baselines(make_record, (0.05, 0.1), [1.0, 1.11])])
    assert not answer.is_today
    assert peak(answer) == 0.3
    # and its noise is none of theirs
    noisy = answered([*records, *baselines(make_record, (0.05, 0.1), [1.0, 9.0])])
    assert math.isfinite(noisy.candidates[1].half_width)
    assert noisy.candidates[1].half_width == answer.candidates[1].half_width


def test_todays_schedule_alone_at_the_top_is_the_answer(make_record: MakeRecord) -> None:
    records = study(make_record, {A: 1.0, B: 1.1}, {})
    answer = answered([*records, *baselines(make_record, A, [1.3])])
    assert answer.is_today
    assert not answered([*records, *baselines(make_record, B, [1.3])]).is_today


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("again", [{}, {A: [0.5], C: [0.5]}, {A: [0.5, 0.5], C: [0.5, 0.5]}])
def test_a_metric_that_does_not_change_gives_the_plainest_and_says_so(
    make_record: MakeRecord, mode: str, again: dict[Key, list[float]]
) -> None:
    searched = dict.fromkeys([(0.3, 0.2), A, (0.05, 0.3), C, (0.9, 0.1)], 0.5)
    answer = answered(study(make_record, searched, again, mode=mode))
    assert peak(answer) == 0.1
    assert answer.constant == 0.5
    (said,) = answer.sentences()
    assert said.startswith("val_loss was 0.5 at the end of every trial: it tells no schedule from another")


def test_the_levels_of_a_ladder_tell_of_a_constant_metric_too(make_record: MakeRecord) -> None:
    top = study(make_record, {A: 0.5}, {A: [0.5]}, total_steps=200)
    level = study(make_record, {A: 0.5, B: 0.5, C: 0.5}, {}, target_steps=200)
    assert answered([*level, *top]).constant == 0.5
    assert answered([*level, *top, make_record(value=0.6, target_steps=200)]).constant is None
    assert answered([*top, *study(make_record, {A: 0.5, B: 0.5, C: 0.5}, {})]).constant is None, "of another study"


def test_a_metric_that_changes_is_not_constant(make_record: MakeRecord) -> None:
    searched = dict.fromkeys([A, B, C], 0.5)
    assert answered(study(make_record, searched, {})).constant == 0.5
    assert answered(study(make_record, {A: 0.5, B: 0.5}, {})).constant is None, "two may agree by chance"
    assert answered(study(make_record, searched, {A: [0.5, 0.6]})).constant is None


def test_the_best_of_the_search_that_was_not_trained_again_is_named(make_record: MakeRecord) -> None:
    answer = answered(study(make_record, {A: 1.0, C: 0.5}, {A: [1.1]}))
    assert peak(answer) == 0.3
    assert any(
        said.startswith("The best of the search, lr 0.1, warmup 10 %, cosine (val_loss 0.5), was not trained again")
        for said in answer.sentences()
    )


def test_what_was_confirmed_but_not_searched_here_can_be_the_answer(make_record: MakeRecord) -> None:
    answer = answered(study(make_record, {}, {A: [1.0, 1.1], B: [2.0, 2.2]}))
    assert (peak(answer), answer.place, answer.record.role) == (0.3, None, "confirm")
    assert answer.chosen is not None
    assert answer.chosen.found is None
    late = answered(study(make_record, {}, {A: [None, 1.1], B: [None, None]}))
    assert (late.record.value, len(late.candidates)) == (1.1, 1)
    assert answer_of(study(make_record, {}, {A: [None]})) is None


def test_each_horizon_has_its_own_answer(make_record: MakeRecord) -> None:
    records = study(make_record, {A: 1.0, B: 1.1}, {A: [1.5, 1.6], B: [1.0, 1.1]})
    longer = study(make_record, {A: 1.0, B: 1.1}, {}, total_steps=200)
    assert peak(answered([*records, *longer])) == 0.3
    found = answer_of([*records, *longer], (100, 1000))
    assert found is not None
    assert peak(found) == 0.2


def test_different_metrics_are_not_compared(make_record: MakeRecord) -> None:
    records = study(make_record, {A: 1.0}, {A: [1.0]})
    records[1:] = [make_record(role="confirm", seed=1, lr=0.3, monitor="val_acc", mode="max")]
    with pytest.raises(RecordError, match="watch different metrics"):
        answer_of(records)


def grid_of(make_record: MakeRecord, values: Mapping[Key, Sequence[float | None]], **fields: Any) -> list[TrialRecord]:
    """Return search records of several seeds of each schedule: None diverged."""
    return [
        make_record(
            trial=100 * seed + i,
            seed=seed,
            lr=lr,
            warmup_ratio=warmup,
            **{**fields, **({"outcome": "DIVERGED", "value": None} if value is None else {"value": value})},
        )
        for i, ((lr, warmup), of_seeds) in enumerate(values.items())
        for seed, value in enumerate(of_seeds)
    ]


def test_where_the_search_has_several_seeds_their_mean_decides(make_record: MakeRecord) -> None:
    values = {A: [0.5, 1.2, 1.3], B: [0.9, 0.9, 0.91], C: [1.1, 1.1, 1.12]}
    answer = answered(grid_of(make_record, values))
    assert peak(answer) == 0.2, "the luckiest run is another one's"
    assert (answer.fresh, answer.confirmed_seeds) == (False, ())
    assert [c.found for c in answer.candidates] == [None] * 3
    assert answer.chosen is not None
    assert answer.chosen.mean == pytest.approx(0.90333, abs=1e-5)
    assert "trained again" not in " ".join(answer.sentences())


def test_of_several_seeds_a_schedule_that_diverges_comes_last(make_record: MakeRecord) -> None:
    answer = answered(grid_of(make_record, {A: [0.5, None, 0.5], B: [0.9, 0.9, 0.91]}))
    assert peak(answer) == 0.2
    assert "diverged on 1 of 3 seeds" in " ".join(answer.sentences())


def test_what_has_fewer_seeds_than_the_others_is_not_compared_yet(make_record: MakeRecord) -> None:
    answer = answered(grid_of(make_record, {A: [0.5], B: [0.9, 0.9], C: [1.1, 1.12]}))
    assert [c.record.schedule.initial_lr for c in answer.candidates if c.record.schedule] == [0.2, 0.1]


def test_far_from_the_best_a_training_varies_more_which_makes_no_tie(make_record: MakeRecord) -> None:
    near = {(0.2, 0.1): [0.9, 0.9, 0.91], (0.1, 0.0): [0.95, 0.95, 0.961]}
    middle: dict[Key, Sequence[float | None]] = {(0.3, i / 100): [1.0 + i / 100] * 3 for i in range(10)}
    far: dict[Key, Sequence[float | None]] = {(1.0, i / 100): [2.0, 4.0 + i, 9.0] for i in range(10)}
    answer = answered(grid_of(make_record, {**near, **middle, **far}))
    assert peak(answer) == 0.2, "the plainer one ties with it only in the noise of the worst"
    assert len(answer.candidates) == 10

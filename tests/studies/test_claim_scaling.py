"""The ladders of steps and data: the study's files, and what its findings say of planted power laws."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from planted import planted

from autowarm.analysis.estimate import Estimate
from autowarm.errors import RecordError
from autowarm.record import TrialRecord
from studies.claims.places import Place, Scale
from studies.scaling.findings import checked, findings, held, ladder, slope

LRS = (0.004, 0.008, 0.016, 0.032, 0.064, 0.128)
STEPS = (500, 1000, 2000, 4000)
SIZES = (6400, 12800, 25600, 51200)


def arm(
    name: str, best: dict[tuple[int, int], float], lrs: tuple[float, ...] = LRS, *, seeds: int = 3, first: int = 0
) -> list[TrialRecord]:
    """Records of horizons whose best learning rate is known; twice the best lr costs 2.4 % of the loss."""
    rng = np.random.default_rng(len(best) + first)
    made: list[TrialRecord] = []
    for (steps, size), peak in best.items():
        for lr in lrs:
            for seed in range(first, first + seeds):
                value = 0.01 * (1 + 0.05 * math.log(lr / peak) ** 2 + 0.001 * rng.standard_normal())
                told = {"initial_lr": lr, "total_steps": steps, "dataset_size": size, "seed": seed}
                made.append(planted(name, len(made), value, **told))
    return made


def all_arms(steps: float = -0.3, data: float = 0.1, *, next_peak: float | None = None) -> dict[str, list[TrialRecord]]:
    longest = 2 * STEPS[-1]
    peak = 0.04 * (longest / 500) ** steps if next_peak is None else next_peak
    factors = [2 ** (k / 2) for k in range(-3, 4)]
    around = 0.04 * (longest / 500) ** steps
    return {
        "steps": arm("steps", {(t, 51917): 0.04 * (t / 500) ** steps for t in STEPS}),
        "data": arm("data", {(2000, d): 0.02 * (d / 6400) ** data for d in SIZES}),
        "next": arm("next", {(longest, 51917): peak}, tuple(around * f for f in factors), first=100),
    }


def test_the_exponents_are_those_put_in() -> None:
    records = all_arms(-0.3, 0.12)
    steps, data = ladder(records["steps"], "total_steps"), ladder(records["data"], "dataset_size")
    for found, truth in ((steps.alone, -0.3), (data.alone, 0.12)):
        assert truth in found
        assert found.high - found.low < 0.2


def test_points_off_the_line_make_it_less_sure() -> None:
    x = np.log(np.array([1.0, 2.0, 4.0, 8.0]))
    line = [Estimate(v, v / 1.1, v * 1.1) for v in (1.0, 0.8, 0.64, 0.512)]
    found = slope(x, line)
    assert found.value == pytest.approx(math.log(0.8) / math.log(2), rel=1e-9)
    off = [Estimate(b.value * f, b.low * f, b.high * f) for b, f in zip(line, (1.5, 0.7, 1.5, 0.7), strict=True)]
    wider = slope(x, off)
    assert wider.high - wider.low > 3 * (found.high - found.low)


def test_a_law_that_holds_predicts_the_next_doubling() -> None:
    records = all_arms()
    check = checked(ladder(records["steps"], "total_steps"), records["next"])
    assert check.best.value in check.predicted.initial_lr
    assert check.lrs[check.at] == pytest.approx(check.predicted.initial_lr.value, rel=0.2)
    assert check.regret(check.at).value < 0.01
    assert check.regret(check.winner).value == 0


def test_a_law_that_breaks_is_found_out() -> None:
    # the best peak of the longer run is four times below what the ladder says
    records = all_arms(next_peak=0.04 * 16**-0.3 / 4)
    check = checked(ladder(records["steps"], "total_steps"), records["next"])
    regret = check.regret(check.at)
    assert regret.low > 0.01
    found = findings(records)
    assert f"costs {100 * regret.value:.2g} %" in found.found
    assert "does not hold the best peak found there" in found.found
    # at the edge of what was trained
    assert "That is the lowest one trained: lower ones may be better yet." in found.body
    assert "does not hold the best peak found there" in found.body


def test_a_band_that_just_misses_is_told_from_one_that_is_far_off() -> None:
    records = all_arms()
    check = checked(ladder(records["steps"], "total_steps"), records["next"])
    low = check.predicted.initial_lr.low
    assert held(check) == "holds"
    # the spread of what is found there reaches into the band, or not
    assert held(replace(check, best=Estimate(0.9 * low, 0.8 * low, 1.1 * low))) == "misses (the intervals overlap)"
    assert held(replace(check, best=Estimate(0.7 * low, 0.6 * low, 0.9 * low))) == "does not hold"


def test_the_words_are_those_of_what_was_put_in() -> None:
    found = findings(all_arms(-0.3, 0.0))
    assert "which overlaps the published one" in found.found
    assert "which leaves open whether it moves at all" in found.body
    assert "The band predicted for 8,000 steps holds the best peak found there" in found.found
    assert "one trained" not in found.body
    # 8,000 steps of 16 of 51,917 examples
    assert "a longer run sees it more often: 2.5 times here, 1.2 times at the ladder's top" in found.body
    flat = findings(all_arms(0.0, 0.3))
    assert "flatter than the published one" in flat.found
    assert "so it does move" in flat.body
    assert "steeper than the published one" in findings(all_arms(-0.7, 0.0)).found


def test_the_rows_of_the_check_say_what_each_peak_is() -> None:
    records = all_arms()
    check = checked(ladder(records["steps"], "total_steps"), records["next"])
    rows = [line for line in findings(records).body.splitlines() if line.endswith(" | 3 seeds |")]
    assert len(rows) == len(check.lrs)
    for place, word in ((check.at, "prediction"), (check.carried, "ladder's top"), (check.winner, "best")):
        assert word in rows[place].split("|")[1]
        assert sum(word in row for row in rows) == 1


def test_every_horizon_has_a_row() -> None:
    body = findings(all_arms()).body
    for size in (*STEPS, *SIZES):
        assert f"\n| {size:,} | " in body


def test_without_the_longer_run_it_says_what_is_missing() -> None:
    records = all_arms()
    with pytest.raises(RecordError, match="add it as the arm `next`"):
        findings({**records, "next": []})
    with pytest.raises(RecordError, match="ladder of dataset_size has too few runs"):
        findings({**records, "data": []})


def test_the_picture_shows_both_ladders_and_the_prediction() -> None:
    figure = findings(all_arms()).pictures["scaling"]()
    left, right = figure.axes
    assert {text.get_text() for text in left.get_legend().get_texts()} >= {"recommended", "found there"}  # type: ignore[union-attr]
    assert len(right.lines) == 2 * len(SIZES)


@pytest.mark.parametrize("scale", ["cpu", "gpu"])
def test_the_ladders_span_a_factor_of_eight(scale: Scale) -> None:
    place = Place("scaling", scale)
    steps, data = place.settings("steps"), place.settings("data")
    lengths = [h[0] for h in steps.horizons if h[0] is not None]
    assert max(lengths) / min(lengths) >= 8
    assert [h[1] for h in data.horizons] == list(SIZES)
    assert len({s.initial_lr for s in steps.space.grid}) >= 6
    assert len({s.warmup_ratio for s in steps.space.grid}) == 3


@pytest.mark.parametrize("scale", ["cpu", "gpu"])
def test_the_check_is_twice_the_ladder_s_top_on_seeds_of_its_own(scale: Scale) -> None:
    place = Place("scaling", scale)
    steps, after = place.settings("steps"), place.settings("next")
    assert [h[0] for h in after.horizons] == [2 * max(h[0] or 0 for h in steps.horizons)]
    assert after.seed >= steps.fresh_seed

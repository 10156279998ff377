from __future__ import annotations

import math
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from matplotlib.image import imread

from autowarm.errors import SettingsError
from autowarm.report.picture import MAX_LINES, _draw_panel, draw, healthy_range, lr_curve, new_figure, panel_of
from autowarm.schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from autowarm.record import TrialRecord

    MakeRecord = Callable[..., TrialRecord]


def every_kind(make_record: MakeRecord) -> list[TrialRecord]:
    diverging = ((5, 3.0), (10, 1e30), (15, math.nan))
    return [
        make_record(trial=0),
        make_record(trial=1, value=2.0, lr=0.5),
        make_record(trial=2, outcome="PRUNED", steps=50),
        make_record(trial=3, outcome="DIVERGED", steps=15, rungs=diverging),
        make_record(trial=4, outcome="FAILED", steps=0, rungs=()),
        make_record(role="baseline", schedule=None, label="StepLR"),
        make_record(total_steps=400, monitor="é $x$ 損失", schedule=Schedule(initial_lr=0.1, warmup_steps=0)),
    ]


def ink(path: Path) -> float:
    """Return the share of a PNG's pixels that are not white."""
    return float((np.asarray(imread(path))[..., :3].min(axis=-1) < 0.95).mean())


def test_every_kind_of_record_is_drawn(make_record: MakeRecord, tmp_path: Path) -> None:
    draw(every_kind(make_record), tmp_path / "a.png")
    assert np.asarray(imread(tmp_path / "a.png")).shape[1] == 1200
    assert ink(tmp_path / "a.png") > 0.02
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("outcome", ["DIVERGED", "FAILED", "PRUNED"])
def test_records_without_an_answer_are_drawn(make_record: MakeRecord, tmp_path: Path, outcome: str) -> None:
    draw([make_record(outcome=outcome, rungs=(), steps=3)] * 2, tmp_path / "a.png")
    assert ink(tmp_path / "a.png") > 0.005


def test_no_record_is_an_empty_picture(tmp_path: Path) -> None:
    draw([], tmp_path / "a.png")
    assert 0 < ink(tmp_path / "a.png") < 0.02


def test_an_svg_is_xml_and_repeats_exactly(make_record: MakeRecord, tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        draw(every_kind(make_record), tmp_path / name)
    assert ET.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")  # noqa: S314 - our own file
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"ends in \.png or \.svg, got 'a\.pdf'"):
        draw([], tmp_path / "a.pdf")


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_diverging_curve_does_not_set_the_range(make_record: MakeRecord, mode: str) -> None:
    sign = 1 if mode == "min" else -1
    healthy = [
        make_record(trial=i, mode=mode, value=sign * v, rungs=((50, sign * 2 * v), (100, sign * v)))
        for i, v in enumerate((1.0, 1.1, 1.2, 1.3))
    ]
    diverged = make_record(mode=mode, outcome="DIVERGED", rungs=((5, sign * 1e9), (9, math.inf)))
    span = healthy_range(panel_of([*healthy, *[diverged] * 9], (100, 1000)))
    assert span is not None
    low, high = span
    assert min(abs(low), abs(high)) < 1.0, "the best is inside"
    assert 2.0 < max(abs(low), abs(high)) < 3.0


def test_the_range_of_one_flat_curve_is_not_empty(make_record: MakeRecord) -> None:
    span = healthy_range(panel_of([make_record(rungs=((50, 0.0), (100, 0.0)), value=0.0)], (100, 1000)))
    assert span is not None
    assert span[0] < 0 < span[1]


def test_nothing_measured_has_no_range(make_record: MakeRecord) -> None:
    lost = make_record(outcome="DIVERGED", rungs=((5, math.nan),))
    assert healthy_range(panel_of([lost], (100, 1000))) is None


def test_an_lr_of_0_does_not_stretch_the_log_axis(make_record: MakeRecord) -> None:
    schedule = Schedule(initial_lr=0.01, warmup_ratio=0.5, decay="cosine")
    panel = panel_of([make_record(schedule=schedule), make_record(schedule=None, role="baseline")], (100, 1000))
    row = new_figure(width=12.0, height=4.3).subfigures(1, 1, squeeze=False)[0, 0]
    _draw_panel(panel, row)
    low, high = row.axes[0].get_ylim()
    assert 1e-5 < low < 1e-3
    assert 0.01 < high < 0.1


def test_of_many_trials_the_best_is_always_drawn(make_record: MakeRecord) -> None:
    records = [make_record(trial=i, value=1 + (i * 37 % 500)) for i in range(500)]
    panel = panel_of(records, (100, 1000))
    assert len(panel.search) == MAX_LINES
    assert panel.hidden == 500 - MAX_LINES
    assert panel.best is panel.search[-1]
    values = [r.value for r in panel.search if r.value is not None]
    assert values == sorted(values, reverse=True), "the better lie on top"


def test_the_answer_is_drawn_last_though_another_won_the_search(make_record: MakeRecord) -> None:
    records = [make_record(trial=i, lr=0.1 + i / 1000, value=1 + i) for i in range(500)]
    records.append(make_record(role="confirm", lr=0.1 + 250 / 1000, seed=1, value=1.75))
    panel = panel_of(records, (100, 1000))
    assert panel.best is not None
    assert panel.best.trial == 250
    assert panel.best is panel.search[-1]
    assert panel.confirmed == ", 1.75 on fresh seeds"


def test_a_curve_ends_where_the_trial_ended(make_record: MakeRecord) -> None:
    curve = lr_curve(make_record(outcome="PRUNED", steps=40))
    assert curve is not None
    assert (curve[0][0], curve[0][-1]) == (0, 39)
    assert lr_curve(make_record(outcome="FAILED", steps=0)) is None
    assert lr_curve(make_record(schedule=None)) is None


def test_a_thinned_curve_keeps_the_peak(make_record: MakeRecord) -> None:
    curve = lr_curve(make_record(total_steps=100_000, warmup_ratio=0.012347, lr=0.3))
    assert curve is not None
    assert len(curve[0]) < 400
    assert max(curve[1]) == 0.3


def test_a_thinned_curve_keeps_the_peak_of_a_schedule_counted_from_one(make_record: MakeRecord) -> None:
    schedule = Schedule(initial_lr=0.3, warmup_steps=1235, decay="linear", step_offset=1)
    curve = lr_curve(make_record(schedule=schedule, total_steps=100_000))
    assert curve is not None
    assert max(curve[1]) == 0.3

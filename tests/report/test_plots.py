from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from matplotlib.image import imread
from sample_contents import NASTY, sample_contents, sample_record, sample_table

from autowarm.errors import SettingsError
from autowarm.planning.range_test import Bracket
from autowarm.report.contents import ANALYSES, answers_of, contents_of_runs
from autowarm.report.markdown import markdown
from autowarm.report.matplotlib_figure import draw_plot, figure
from autowarm.report.palette import COLOURS, THEMES, colour
from autowarm.report.plot import Band, Bars, Line, Points, Squares
from autowarm.report.plots.curves import TOP
from autowarm.report.plots.registry import PLOTS, READS, plot_of, plots_of
from autowarm.report.plots.thinning import thinned_rows


def ink(path: Path) -> float:
    """Return the share of a PNG's pixels that are not white."""
    return float((np.asarray(imread(path))[..., :3].min(axis=-1) < 0.95).mean())


@pytest.mark.parametrize("name", [name for name in PLOTS if name != "range_test"])
def test_a_plot_is_drawn_whatever_the_names_are(name: str, tmp_path: Path) -> None:
    draw_plot(plot_of(sample_contents(NASTY), name), tmp_path / "a.png")
    assert ink(tmp_path / "a.png") > 0.01
    assert np.asarray(imread(tmp_path / "a.png")).shape[1] == 900


def test_an_svg_is_xml_with_the_words_of_the_plot(tmp_path: Path) -> None:
    draw_plot(plot_of(sample_contents(), "decays"), tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert ET.fromstring(text).tag.endswith("svg")  # noqa: S314 - our own file
    assert "<!-- cosine -->" in text


def test_a_plot_that_is_not_known_names_those_that_are() -> None:
    with pytest.raises(SettingsError, match="unknown plot 'warmup_mop': did you mean 'warmup_map'") as error:
        plot_of(sample_contents(), "warmup_mop")
    assert all(name in str(error.value) for name in PLOTS)


def test_a_plot_with_nothing_to_draw_says_why_and_what_could_be_drawn() -> None:
    contents = answers_of([sample_record(i, 0.01 + i / 100) for i in range(3)], name="x")
    with pytest.raises(
        SettingsError, match=r"nothing to draw in importance: there are too few runs .*: warmup_map, lr"
    ):
        plot_of(contents, "importance")
    assert list(plots_of(contents)) == ["warmup_map", "lr_curves", "loss_curves", "cost"]
    assert plots_of(answers_of([], name="x")) == {}
    with pytest.raises(SettingsError, match=r"no range test was run\. Plots with something to draw: none"):
        plot_of(answers_of([], name="x"), "range_test")


def test_a_table_of_runs_has_no_curves_and_no_cost() -> None:
    assert set(PLOTS) - set(plots_of(sample_table())) == {"lr_curves", "loss_curves", "range_test", "cost"}


def test_the_learning_rates_are_those_of_the_best_and_of_today() -> None:
    plot = plot_of(sample_contents(), "lr_curves")
    lines = [mark for mark in plot.marks if isinstance(mark, Line)]
    assert [line.label for line in lines if line.label] == ["other top schedules", "today", "the answer"]
    assert len(lines) == TOP + 1
    answer = lines[-1]
    assert max(answer.y) == pytest.approx(10**-2.1)
    assert answer.x[answer.y.index(max(answer.y))] == 60, "the end of the warmup"


def test_on_straight_axes_a_curve_is_as_many_points_as_it_has_bends() -> None:
    records = [replace(sample_record(1, lr), trial=i) for i, lr in enumerate((0.01, 0.02))]
    (first, second) = plot_of(answers_of(records, name="x"), "lr_curves").marks
    assert isinstance(first, Line)
    assert isinstance(second, Line)
    assert first.x == second.x == (0, 20, 399), "warmup and linear decay"


def test_loss_curves_are_told_apart_by_outcome() -> None:
    plot = plot_of(sample_contents(), "loss_curves")
    lines = [mark for mark in plot.marks if isinstance(mark, Line)]
    assert [line.label for line in lines if line.label] == [
        *("15 COMPLETE", "3 DIVERGED", "3 PRUNED", "today", "the answer")
    ]
    diverged = [line for line in lines if line.colour == "diverged"]
    assert {(line.dash, line.crossed, line.x[-1]) for line in diverged} == {("dot", True, 60)}
    assert all(math.isfinite(value) for line in lines for value in line.y)


def test_the_map_has_every_run_by_its_outcome_and_where_training_breaks() -> None:
    plot = plot_of(sample_contents(), "warmup_map")
    points = {mark.label: mark for mark in plot.marks if isinstance(mark, Points)}
    # FAILED trials tell nothing of their schedules; six runs repeat two schedules on other seeds
    assert len(points["stopped early"].x) == 3
    assert len(points["failed"].x) == 3
    assert len(points[""].x) == len(points[""].values) == 16 + 6
    assert points["the answer"].x == pytest.approx((10**-2.1,))
    assert points["the answer"].y == pytest.approx((15,))
    stable = [mark for mark in plot.marks if isinstance(mark, Line)]
    assert [(line.x[0], line.y) for line in stable] == [(0.02, (0.0, 5.0)), (0.04, (5.0, 15.0))], (
        "not where none failed"
    )
    assert plot.values == "val_loss (less is better)"


def test_runs_of_different_lengths_are_coloured_by_rank() -> None:
    short = [replace(sample_record(i, 10 ** (-2 + i / 10)), total_steps=100, target_steps=400) for i in range(4)]
    whole = [sample_record(i, 10 ** (-2 + i / 10)) for i in range(3)]
    plot = plot_of(answers_of([*short, *whole], name="x"), "warmup_map")
    assert plot.values.startswith("rank")
    assert plot.better == "max"
    (ended,) = [mark for mark in plot.marks if isinstance(mark, Points) and mark.values]
    assert ended.values == pytest.approx((100.0, 200 / 3, 100 / 3, 0.0, 100.0, 50.0, 0.0))


def test_predictions_look_like_predictions_and_ties_like_ties() -> None:
    plot = plot_of(sample_contents(), "horizons")
    (squares,) = plot.marks
    assert isinstance(squares, Squares)
    assert [square.predicted for square in squares.squares] == [False, False, True] * 2
    assert [square.text.startswith("≈") for square in squares.squares] == [False, True, False] * 2
    assert "nobody ran it" in plot.note
    assert [square.place for square in squares.squares][:3] == [1.0, pytest.approx(0.515, abs=0.01), 0.0]


def test_a_cell_with_too_few_runs_is_not_said_to_have_none() -> None:
    """One run of each of two lengths tells nothing by itself: both are predictions, and were run."""
    one = replace(sample_table().runs.where(np.arange(300) < 2), total_steps=np.array([1000.0, 4000.0]))
    contents = contents_of_runs(replace(one, failed=np.zeros(2, dtype=bool), value=np.ones(2)), name="few")
    (squares,) = plot_of(contents, "horizons").marks
    assert isinstance(squares, Squares)
    assert all(square.predicted for square in squares.squares)
    assert squares.squares[0].hover.startswith("predicted: the only run of 1,000 steps here is too little")
    assert "| 1: too few, predicted |" in markdown(contents)


def test_scaling_shows_the_runs_and_a_band_that_goes_on_in_dashes() -> None:
    marks = plot_of(sample_contents(), "scaling").marks
    bands, lines = [m for m in marks if isinstance(m, Band)], [m for m in marks if isinstance(m, Line)]
    assert [(line.dash, line.x[0], line.x[-1]) for line in lines] == [("solid", 100, 400), ("dash", 400, 3200)]
    assert all(low < high for band in bands for low, high in zip(band.low, band.high, strict=True))
    (points,) = [m for m in marks if isinstance(m, Points)]
    assert points.x == (100, 200, 400)


def test_an_interval_that_nothing_bounds_ends_at_the_estimate() -> None:
    whole = sample_contents()
    assert whole.decays is not None
    first = whole.decays.decays[0]
    open_ended = replace(first, value=replace(first.value, high=math.inf))
    contents = replace(whole, decays=replace(whole.decays, decays=(open_ended,)))
    (points,) = plot_of(contents, "decays").marks
    assert isinstance(points, Points)
    assert points.x_high == points.x


def test_the_cost_is_what_the_account_says() -> None:
    contents = sample_contents()
    bars = [mark for mark in plot_of(contents, "cost").marks if isinstance(mark, Bars)]
    assert sum(length for mark in bars for length in mark.lengths) == pytest.approx(contents.spent.full_runs)
    assert [bar.label for bar in bars][-2:] == ["the best again", "today's schedule"]


def test_a_range_test_is_drawn_with_the_range_it_found(monkeypatch: pytest.MonkeyPatch) -> None:
    tests = [replace(sample_record(0, 1.0, role="range_test", seed=seed), trial=seed) for seed in (0, 1)]
    contents = answers_of([sample_record(0, 0.01), *tests], name="x")
    found = Bracket(low=0.1, high=0.5, readings=(), fell=True, edged=True)
    monkeypatch.setitem(contents.__dict__, "range_found", found)
    plot = plot_of(contents, "range_test")
    assert [mark.label for mark in plot.marks if isinstance(mark, Line)] == ["seed 0", "seed 1"]
    (band,) = [mark for mark in plot.marks if isinstance(mark, Band)]
    assert band.x == (0.1, 0.5)


def test_thinned_rows_keep_the_best() -> None:
    rows = np.arange(10_000)
    kept = thinned_rows(rows, 5_001, most=100)
    assert len(kept) == 100
    assert 5_001 in kept
    assert list(thinned_rows(rows[:3], None)) == [0, 1, 2]


def test_every_colour_stands_out_from_its_paper() -> None:
    """By the contrast of WCAG 2.2, 1.4.11: 3 to 1 for what must be seen; paper, grid and squares lie behind."""
    behind = {"paper", "grid", "square_low", "square_high"}
    # what recedes on purpose, or is an area with a legend
    faint = {"pruned", "range", "fourth", "third", "fifth"}
    for theme in THEMES:
        for name in set(COLOURS) - behind:
            at_least = 2.0 if name in faint else 3.0
            assert contrast(colour(name, theme), colour("paper", theme)) >= at_least, (theme, name)


def contrast(a: str, b: str) -> float:
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(shade: str) -> float:
    parts = [int(shade[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_note_says_what_is_left_out() -> None:
    many = [sample_record(i, 10 ** (-4 + i / 1500)) for i in range(3000)]
    assert plot_of(answers_of(many, name="x"), "warmup_map").note == "2,000 of 3,000 runs are drawn, evenly."
    records = [sample_record(i, 10 ** (-4 + i / 100)) for i in range(100)]
    made = figure(plot_of(answers_of(records, name="x"), "loss_curves"))
    assert made.legends[0].get_title().get_text() == "58 of 100 trials are drawn, from the best to the worst."


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_reads_no_other_analysis_than_it_says(name: str) -> None:
    whole = sample_contents()
    kept: tuple[str, ...] = READS.get(name, ())
    less = replace(whole, **{field: () if field == "doubts" else None for field in ANALYSES if field not in kept})  # type: ignore[arg-type] # fields by name
    assert PLOTS[name][1](less) == PLOTS[name][1](whole)

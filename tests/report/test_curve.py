from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autowarm.errors import ScheduleError
from autowarm.report.curve import curve_text, draw_curve, key_steps
from autowarm.schedule import Schedule

if TYPE_CHECKING:
    from pathlib import Path

WSD = Schedule(initial_lr=3e-4, warmup_ratio=0.1, decay="wsd")

EXPECTED = """\
  1 ┤         ⢀⡠⠔⠉⠒⢄⡀
    ┤      ⢀⡠⠒⠁     ⠈⠑⠤⣀
0.5 ┤   ⣀⠤⠊⠁            ⠑⠢⢄
  0 ┤⡠⠔⠊                   ⠉⠒⢄
    └─────────────────────────
     0        step 49       99

step    lr
   0     0  first step
  25   0.5  25 % of the steps
  50     1  end of warmup, the peak; 50 % of the steps
  75   0.5  75 % of the steps
  99  0.02  last step
"""


def text(schedule: Schedule, total_steps: int, **size: int) -> str:
    """Return the curve as `autowarm show` prints it."""
    lrs = schedule.lrs(total_steps=total_steps)
    return curve_text(lrs, key_steps(schedule, total_steps), top=schedule.initial_lr, **size)


def test_a_small_curve_to_the_letter() -> None:
    schedule = Schedule(initial_lr=1.0, warmup_ratio=0.5, decay="linear")
    assert text(schedule, 100, width=30, height=4).splitlines() == EXPECTED.splitlines()


def test_the_key_steps_of_a_wsd() -> None:
    assert key_steps(WSD, 1000) == [
        (0, "first step"),
        (100, "end of warmup, the peak"),
        (250, "25 % of the steps"),
        (500, "50 % of the steps"),
        (750, "75 % of the steps"),
        (800, "cooldown starts"),
        (999, "last step"),
    ]


def test_the_key_steps_of_other_ways_to_count() -> None:
    options: list[tuple[dict[str, Any], list[tuple[int, str]]]] = [
        ({"step_offset": 1}, [(99, "end of warmup, the peak"), (799, "cooldown starts")]),
        ({"decay_from": "start"}, [(100, "end of warmup"), (800, "cooldown starts")]),
        ({"decay_to": "last_step"}, [(100, "end of warmup, the peak"), (799, "cooldown starts")]),
    ]
    for counting, expected in options:
        schedule = replace(WSD, **counting)
        told = [(step, words) for step, words in key_steps(schedule, 1000) if "of the steps" not in words]
        assert told == [(0, "first step"), *expected, (999, "last step")]
        multipliers = schedule.multipliers(total_steps=1000)
        # the hold begins and ends there
        assert multipliers[expected[0][0] - 1] < 1 == multipliers[expected[0][0]]
        assert multipliers[expected[1][0] + 1] < 1 == multipliers[expected[1][0]]


def test_steps_that_fall_together_are_told_once() -> None:
    assert [step for step, _ in key_steps(Schedule(initial_lr=1.0), 1)] == [0]
    assert key_steps(Schedule(initial_lr=1.0, warmup_ratio=0.5), 100)[2] == (
        50,
        "end of warmup, the peak; 50 % of the steps",
    )


def test_the_table_gives_the_lr_that_the_step_uses() -> None:
    rows = [line.split()[:2] for line in text(WSD, 1000).split("\n\n")[1].splitlines()[1:]]
    assert [(int(step), float(lr)) for step, lr in rows] == [
        *((0, 0.0), (100, 3e-4), (250, 3e-4), (500, 3e-4), (750, 3e-4), (800, 3e-4), (999, 1.5e-6)),
    ]


@given(
    total=st.integers(1, 3000),
    width=st.integers(30, 200),
    height=st.integers(4, 40),
    decay=st.sampled_from(["constant", "cosine", "cosine_restarts", "step", "wsd", "inverse_sqrt"]),
    ratio=st.floats(0, 0.5),
)
def test_the_plot_keeps_to_its_size(total: int, width: int, height: int, decay: str, ratio: float) -> None:
    schedule = Schedule.from_dict({"initial_lr": 1.234e-5, "warmup_ratio": ratio, "decay": decay})
    plot = text(schedule, total, width=width, height=height).split("\n\n")[0].splitlines()
    assert len(plot) == height + 2
    assert all(len(line) <= width for line in plot)
    assert "1.23e-5" in plot[0]


def test_a_warmup_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ScheduleError, match="must be less than total_steps"):
        text(Schedule(initial_lr=1.0, warmup_steps=10), 10)


@pytest.mark.parametrize("name", ["a.png", "a.svg"])
def test_a_curve_is_drawn(tmp_path: Path, name: str) -> None:
    draw_curve(WSD.lrs(total_steps=1000), str(WSD), tmp_path / name)
    assert (tmp_path / name).stat().st_size > 3000

"""What `autowarm status` says, of studies whose state is made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autowarm.errors import StudyError
from autowarm.standing import at_work, pace_of, seconds_left, status_data, status_text
from autowarm.study.status import HorizonStatus, Underway, read_status

NOW = 1_000_000.0


def underway(**changes: Any) -> Underway:
    usual: dict[str, Any] = {
        "trial": 7,
        "role": "search",
        "by": "node1:42",
        "step": 120,
        "total_steps": 300,
        "heard": 4.0,
        "gone": False,
        "params": {},
    }
    return Underway(**(usual | changes))


def horizon(*running: Underway, **changes: Any) -> HorizonStatus:
    # ten runs, of which one ended a minute, the last one now
    usual: dict[str, Any] = {
        "name": "mine steps=300",
        "planned": 30,
        "outcomes": {"PRUNED": 3, "COMPLETE": 6},
        "checks": {"baseline": 1},
        "underway": running,
        "waiting": 0,
        "ended": tuple(NOW - 60 * i for i in reversed(range(10))),
    }
    return HorizonStatus(**(usual | changes))


def test_what_is_done_and_runs_and_how_long_it_takes() -> None:
    run = underway(params={"decay": "wsd", "initial_lr": 0.00123456, "wsd.decay_ratio": 0.25})
    assert status_text([horizon(run, waiting=2)], now=NOW) == (
        "mine steps=300: 10 runs done of 30 at most (6 complete, 3 pruned, 1 baseline), 1 running, 2 waiting, "
        "1 runs a minute, about 20 min 0 s left\n"
        "  search 7: step 120 of 300 on node1:42  wsd  initial_lr 0.00123  decay_ratio 0.25"
    )


def test_nothing_has_begun() -> None:
    assert status_text([]) == "nothing has begun"
    assert status_data([]) == []
    begun = horizon(planned=None, outcomes={}, checks={}, ended=())
    assert status_text([begun], now=NOW) == "mine steps=300: 0 runs done"


def test_every_horizon_has_a_line() -> None:
    text = status_text([horizon(name="mine steps=100", planned=10), horizon(underway(trial=3))], now=NOW)
    assert [line.partition(":")[0] for line in text.splitlines()] == ["mine steps=100", "mine steps=300", "  search 3"]


@pytest.mark.parametrize(
    ("apart", "said"), [(0.5, "120 runs a minute"), (60.0, "1 runs a minute"), (240.0, "15 runs an hour")]
)
def test_a_pace_is_in_numbers_that_people_read(apart: float, said: str) -> None:
    ended = tuple(NOW - apart * i for i in reversed(range(10)))
    assert f", {said}, about " in status_text([horizon(underway(), ended=ended)], now=NOW)


def test_the_pace_is_that_of_the_last_runs() -> None:
    # a hundred slow ones, then twenty that ended a second apart
    ended = tuple(NOW - 3600.0 * (100 - i) for i in range(100)) + tuple(NOW - 1.0 * i for i in reversed(range(20)))
    assert pace_of(horizon(underway(), ended=ended), NOW) == pytest.approx(1.0)


def test_a_run_that_does_not_end_slows_the_pace_down() -> None:
    status = horizon(underway())
    assert pace_of(status, NOW) == pytest.approx(1 / 60)
    # half an hour later nothing more has ended
    assert pace_of(status, NOW + 1800) == pytest.approx(9 / (9 * 60 + 1800))
    assert seconds_left(status, NOW + 1800) == pytest.approx(20 * (9 * 60 + 1800) / 9)


@pytest.mark.parametrize("ended", [(), (NOW - 60,)])
def test_one_run_has_no_pace(ended: tuple[float, ...]) -> None:
    status = horizon(underway(), ended=ended)
    assert (pace_of(status, NOW), seconds_left(status, NOW)) == (None, None)
    assert "left" not in status_text([status], now=NOW)


def test_runs_that_ended_at_once_have_a_pace_all_the_same() -> None:
    assert pace_of(horizon(underway(), ended=(NOW, NOW)), NOW) == pytest.approx(1000.0)


def test_a_study_whose_length_is_unknown_has_a_pace_and_no_end() -> None:
    (data,) = status_data([horizon(underway(), planned=None)], now=NOW)
    assert (data["runs_an_hour"], data["seconds_left"]) == (60.0, None)


def test_nobody_works_on_it() -> None:
    first, second = status_text([horizon()], now=NOW).splitlines()
    assert first.endswith("(6 complete, 3 pruned, 1 baseline)")
    assert second == "  nobody works on it: unless it has ended, `autowarm tune` with its study file goes on"
    # what is done is done
    assert status_text([horizon(planned=10)], now=NOW).count("\n") == 0
    assert "nobody works on it" in status_text([horizon(planned=10, waiting=1)], now=NOW)


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (underway(gone=True), "on node1:42, which is gone: to be trained again"),
        (underway(heard=7300.0), "on node1:42, last heard 2 h 1 min ago"),
    ],
)
def test_a_run_whose_owner_is_gone_is_nobodys(left: Underway, said: str) -> None:
    status = horizon(left)
    assert at_work(status) == []
    (data,) = status_data([status], now=NOW)
    assert (data["runs_an_hour"], data["seconds_left"]) == (None, None)
    lines = status_text([status], now=NOW).splitlines()
    assert lines[0].endswith("baseline), 1 left undone")
    assert lines[1].startswith("  nobody works on it")
    assert lines[2].endswith(said)
    # somebody else goes on with it
    beside = status_text([horizon(left, underway(trial=8))], now=NOW)
    assert ", 1 running, 1 left undone, 1 runs a minute" in beside
    assert "nobody" not in beside


@pytest.mark.parametrize(("heard", "late"), [(None, False), (-5.0, False), (29.0, False), (31.0, True), (299.0, True)])
def test_an_owner_that_is_late_is_still_at_work(heard: float | None, late: bool) -> None:
    status = horizon(underway(heard=heard))
    assert len(at_work(status)) == 1
    assert ("last heard" in status_text([status], now=NOW)) == late


def test_a_run_of_unknown_length_says_where_it_is() -> None:
    assert "  search 7: step 120 on node1:42" in status_text([horizon(underway(total_steps=None))], now=NOW)


def test_the_data_is_json_and_says_the_same() -> None:
    running = underway(params={"decay": "linear", "initial_lr": 0.1})
    (data,) = json.loads(json.dumps(status_data([horizon(running, waiting=1)], now=NOW), allow_nan=False))
    assert data == {
        "study": "mine steps=300",
        "planned": 30,
        "done": 10,
        "outcomes": {"COMPLETE": 6, "PRUNED": 3},
        "checks": {"baseline": 1},
        "waiting": 1,
        "running": [
            {
                "trial": 7,
                "role": "search",
                "by": "node1:42",
                "step": 120,
                "total_steps": 300,
                "heard": 4.0,
                "gone": False,
                "params": {"decay": "linear", "initial_lr": 0.1},
            }
        ],
        "runs_an_hour": 60.0,
        "seconds_left": 1200,
    }


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"there is no database sqlite:///.*absent\.db"):
        read_status(None, f"sqlite:///{tmp_path / 'absent.db'}")
    assert not list(tmp_path.iterdir())

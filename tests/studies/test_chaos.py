"""The storm of studies/chaos on a small scale, and its verdict on what went wrong on purpose."""

from __future__ import annotations

from typing import Any

import pytest

from studies.chaos.stored import Stored
from studies.chaos.verdict import best_values, verdict

LINEAR = {"decay": "linear", "initial_lr": 0.1}


def trial(
    number: int, *, study: str = "s", state: str = "COMPLETE", lr: float | None = None, **attributes: Any
) -> Stored:
    return Stored(study, number, state, attributes, {"initial_lr": lr} if lr is not None else {})


def ended(number: int, *, lr: float | None = None, role: str = "search", seed: int = 0, **more: Any) -> Stored:
    lr = lr if lr is not None else number + 1.0
    schedule = LINEAR | {"initial_lr": lr}
    record = {"role": role, "seed": seed, "schedule": schedule, "outcome": "COMPLETE", "value": 0.5, "trial": number}
    return trial(number, lr=lr, record=record, **more)


def told(number: int, *, role: str = "search", value: float = 0.5) -> dict[str, Any]:
    return {"event": "ended", "role": role, "trial": number, "outcome": "COMPLETE", "value": value}


def calm() -> list[Stored]:
    """A study in which one trial was interrupted, and done again."""
    check = {"study": "s checks", "role": "confirm"}
    return [
        ended(0),
        trial(1, state="FAIL", lr=3.0),
        ended(2, again_of=1),
        # killed before it was known what to train, and one that another process had begun, too
        trial(3, state="FAIL"),
        trial(5, state="FAIL", lr=1.0),
        ended(0, **check, lr=1.0, seed=1),
        ended(1, **check, lr=1.0, seed=2),
    ]


WRONG = ("lost", "forgotten", "twice", "unfinished_with_record", "running", "waiting")


def test_a_study_in_order_has_nothing_wrong() -> None:
    events = [told(0), told(2), told(0, role="confirm"), {"event": "started", "role": "search", "trial": 1}]
    found = verdict(calm(), events)
    assert {name: found[name] for name in WRONG} == dict.fromkeys(WRONG, 0)
    assert (found["finished"], found["distinct"], found["interrupted"]) == (2, 2, 1)
    assert found["checks"] == {"confirm": 2}
    assert found["checks_of_each_seed"] == [1, 1]


@pytest.mark.parametrize(
    ("wrong", "more"),
    [
        ("lost", told(9)),
        ("lost", told(0, value=0.4)),
        ("forgotten", trial(4, state="FAIL", lr=7.0)),
        ("twice", ended(4, lr=1.0)),
        ("twice", ended(4, again_of=0)),
        ("twice", ended(4, again_of=1)),
        ("twice", told(0)),
        ("twice", ended(2, study="s checks", role="confirm", lr=1.0, seed=1)),
        ("unfinished_with_record", ended(4, state="RUNNING")),
        ("running", trial(4, state="RUNNING")),
        ("waiting", trial(4, state="WAITING")),
    ],
)
def test_what_goes_wrong_is_seen(wrong: str, more: Stored | dict[str, Any]) -> None:
    trials, events = calm(), [told(0), told(2)]
    if isinstance(more, Stored):
        trials.append(more)
    else:
        events.append(more)
    assert verdict(trials, events)[wrong] == 1


def test_the_best_is_that_of_the_least_mean_on_all_seeds() -> None:
    check = {"study": "s checks", "role": "confirm"}
    trials = [
        ended(i, **check, lr=lr, seed=seed) for i, (lr, seed) in enumerate([(1, 1), (1, 2), (2, 1), (2, 2), (3, 1)])
    ]
    for given, value in zip(trials, (0.3, 0.2, 0.1, 0.6, 0.0), strict=True):
        assert given.record is not None
        given.attributes["record"]["value"] = value
    assert best_values(trials) == {"1": 0.3, "2": 0.2}


@pytest.mark.slow
@pytest.mark.postgres
# of connections that the server broke, which psycopg counts as open
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_small_storm_loses_and_doubles_nothing() -> None:
    from studies.chaos.storm import Plan, storm_figures

    planned = {0: "training", 1: "worker", 2: "connections", 3: "driver", 4: "server"}
    plan = Plan(workers=2, n_trials=20, calm=(2, 3), at_most=5, planned=planned, seconds=300.0)
    figures = storm_figures(0, plan, calm_runs=0, repeated=4)
    assert figures["kills"] == dict.fromkeys(planned.values(), 1)
    assert {name: figures[name] for name in (*WRONG, "left_over")} == dict.fromkeys((*WRONG, "left_over"), 0)
    assert (figures["finished"], figures["distinct"]) == (20, 20)
    assert len(set(figures["checks_of_each_seed"])) == 1, "each schedule on each seed"
    assert figures["repeated"]["same"] == 4

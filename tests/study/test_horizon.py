from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from autowarm.errors import StudyError
from autowarm.planning.known_divergence import Diverged
from autowarm.record import TrialRecord
from autowarm.schedule import Schedule
from autowarm.space import SearchSpace
from autowarm.study.checks import Check
from autowarm.study.database import Storage, database, quiet_optuna
from autowarm.study.horizon import HorizonStudy, Proposal
from autowarm.study.lease import Watch
from autowarm.study.mutex import TurnLostError

MakeRecord = Callable[..., TrialRecord]
Open = Callable[..., HorizonStudy]

IDENTITY = {"name": "demo", "job": "a:b", "monitor": "val_loss", "mode": "min"}
LRS = {"low": 1e-5, "high": 1e-1}
SPACE = SearchSpace(initial_lr=LRS, decay=["constant", "linear", "wsd"])
GUESSES = {
    "today": Schedule(initial_lr=0.01, decay="constant"),
    "warmup": Schedule(initial_lr=0.01, warmup_ratio=0.1, decay="linear"),
    "outside": Schedule(initial_lr=5.0, decay="linear"),
}


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    with quiet_optuna(), database(None, tmp_path) as opened:
        yield opened


@pytest.fixture
def open_study(storage: Storage) -> Open:
    """Give a function that opens the horizon of 100 steps, as often as one likes."""

    def opens(
        *,
        seed: int = 0,
        total_steps: int = 100,
        space: SearchSpace = SPACE,
        watch: Watch | None = None,
        **identity: str,
    ) -> HorizonStudy:
        return HorizonStudy(
            storage,
            identity={**IDENTITY, **identity},
            space=space,
            total_steps=total_steps,
            dataset_size=None,
            seed=seed,
            watch=watch,
        )

    return opens


@pytest.fixture
def tell(make_record: MakeRecord) -> Callable[..., TrialRecord]:
    """Give a function that makes a proposal's record and tells it."""

    def tells(study: HorizonStudy, proposal: Proposal, **fields: Any) -> TrialRecord:
        fields.setdefault("value", math.log10(proposal.schedule.initial_lr) ** 2)
        if fields.get("outcome", "COMPLETE") != "COMPLETE":
            fields["value"] = None
        record = make_record(trial=proposal.number, **fields)
        record = replace(record, schedule=proposal.schedule, label=str(proposal.schedule))
        study.tell(record)
        return record

    return tells


Tell = Callable[..., TrialRecord]


def _trials(study: HorizonStudy) -> list[optuna.trial.FrozenTrial]:
    return study._search.get_trials()


def test_a_record_comes_back_as_it_was_told(open_study: Open, tell: Tell) -> None:
    study = open_study()
    records = [tell(study, study.ask(), outcome=o) for o in ("COMPLETE", "DIVERGED", "PRUNED", "FAILED")]
    assert study.records() == records
    assert open_study().records() == records
    assert study.finished == 4


def test_the_record_is_stored_before_the_trial_is_told(
    open_study: Open, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = open_study()
    proposal = study.ask()

    def dies(*_: object, **__: object) -> None:
        raise SystemExit

    monkeypatch.setattr(study._search, "tell", dies)
    with pytest.raises(SystemExit):
        tell(study, proposal, value=0.5)
    (trial,) = _trials(open_study())
    assert trial.state == TrialState.RUNNING
    assert [r.value for r in open_study().records()] == [0.5]


@pytest.mark.parametrize(("mode", "worst"), [("min", 3.0), ("max", 1.0)])
def test_a_diverged_trial_is_told_as_the_worst_that_trained_and_as_infeasible(
    mode: str, worst: float, open_study: Open, tell: Tell
) -> None:
    study = open_study(mode=mode)
    for value in (2.0, 3.0, 1.0):
        tell(study, study.ask(), value=value, mode=mode)
    tell(study, study.ask(), outcome="DIVERGED", mode=mode, rungs=((10, 99.0), (20, -99.0)))
    tell(study, study.ask(), outcome="DIVERGED", mode=mode)
    for trial in _trials(study)[3:]:
        assert trial.state == TrialState.COMPLETE
        assert trial.value == worst
        assert trial.constraints == {"diverged": 1.0}
    assert study._search.best_trial.number == (2 if mode == "min" else 1)


@pytest.mark.parametrize(("mode", "worst"), [("min", 7.0), ("max", 2.0)])
def test_a_diverged_trial_before_any_other_is_told_what_it_lost_itself(
    mode: str, worst: float, open_study: Open, tell: Tell
) -> None:
    study = open_study(mode=mode)
    curve = ((5, 7.0), (6, math.inf), (7, math.nan))
    tell(study, study.ask(), outcome="DIVERGED", mode=mode, rungs=((5, 2.0),), train_curve=curve)
    assert _trials(study)[0].value == worst


def test_what_a_diverged_trial_lost_is_not_what_the_next_one_is_told(open_study: Open, tell: Tell) -> None:
    study = open_study()
    tell(study, study.ask(), outcome="DIVERGED", rungs=((5, 99.0),))
    tell(study, study.ask(), value=2.0)
    tell(study, study.ask(), outcome="DIVERGED", rungs=((5, 50.0),))
    assert [t.value for t in _trials(study)] == [99.0, 2.0, 2.0]


def test_a_diverged_trial_that_lost_nothing_finite_is_told_0(open_study: Open, tell: Tell) -> None:
    study = open_study()
    tell(study, study.ask(), outcome="DIVERGED", rungs=(), train_curve=((0, math.nan),))
    assert _trials(study)[0].value == 0.0


def test_a_failed_trial_says_nothing_about_its_schedule(open_study: Open, tell: Tell) -> None:
    study = open_study()
    tell(study, study.ask(), outcome="FAILED")
    (trial,) = _trials(study)
    assert trial.state == TrialState.FAIL
    assert trial.constraints == {}


def test_a_pruned_trial_is_told_with_what_it_reported(open_study: Open, tell: Tell) -> None:
    study = open_study()
    tell(study, study.ask(), outcome="PRUNED", rungs=((5, 3.0), (10, 2.0)))
    tell(study, study.ask(), outcome="PRUNED", rungs=((5, math.nan),))
    tell(study, study.ask(), outcome="PRUNED", rungs=())
    first, second, third = _trials(study)
    assert {t.state for t in (first, second, third)} == {TrialState.PRUNED}
    assert first.intermediate_values == {5: 3.0, 10: 2.0}
    assert math.isnan(second.intermediate_values[5])
    assert third.intermediate_values == {}


def test_every_trial_that_trained_has_the_constraint(open_study: Open, tell: Tell) -> None:
    study = open_study()
    tell(study, study.ask())
    tell(study, study.ask(), outcome="PRUNED")
    assert [t.constraints for t in _trials(study)] == [{"diverged": 0.0}] * 2


def test_what_is_no_search_is_never_seen_by_the_sampler(open_study: Open, tell: Tell, make_record: MakeRecord) -> None:
    study = open_study()
    found = tell(study, study.ask())
    checks = [
        make_record(role="baseline", trial=0, value=0.0),
        make_record(role="confirm", trial=1, outcome="DIVERGED"),
        make_record(role="range_test", trial=2, schedule=None),
    ]
    for record in checks:
        with study.exclusive():
            assert study.checks.claim(Check.of(record)) == record.trial
        assert study.checks.claimed() == open_study().checks.claimed() == {Check.of(record).key}
        assert study.checks.add(record)
    assert len(_trials(study)) == study.finished == 1
    assert study.checks.claimed() == set()
    assert open_study().records() == [found, *checks]


def test_guesses_are_proposed_first_and_once_and_those_outside_are_named(open_study: Open, tell: Tell) -> None:
    study = open_study()
    assert study.enqueue(GUESSES, total_steps=100) == ["outside"]
    assert study.enqueue(GUESSES, total_steps=100) == ["outside"]
    first, second, third = study.ask(), study.ask(), study.ask()
    assert [p.origin for p in (first, second, third)] == ["today", "warmup", "sampler"]
    assert first.schedule == GUESSES["today"]
    assert second.schedule == GUESSES["warmup"]
    for proposal in (first, second, third):
        tell(study, proposal)
    again = open_study()
    assert again.enqueue(GUESSES, total_steps=100) == ["outside"]
    assert again.ask().origin == "sampler"


def test_a_killed_run_leaves_trials_that_are_proposed_again_exactly_once(open_study: Open, tell: Tell) -> None:
    killed = open_study(watch=(gone := Watch()))
    killed.enqueue(GUESSES, total_steps=100)
    tell(killed, killed.ask())
    guess, drawn = killed.ask(), killed.ask()
    study = open_study()
    assert study.reap() == 0, "as long as it works, its trials are its own"
    gone.close()
    assert study.reap() == 2
    assert study.reap() == open_study().reap() == 0
    assert study.finished == 1
    again = [study.ask(), study.ask()]
    assert [(p.schedule, p.origin) for p in again] == [(guess.schedule, "warmup"), (drawn.schedule, "sampler")]
    assert study.ask().schedule not in {guess.schedule, drawn.schedule}
    states = [t.state for t in _trials(study)]
    assert states == [TrialState.COMPLETE, *[TrialState.FAIL] * 2, *[TrialState.RUNNING] * 3]


def test_a_guess_that_was_killed_before_its_first_step_is_not_lost(open_study: Open) -> None:
    killed = open_study(watch=(gone := Watch()))
    killed.enqueue(GUESSES, total_steps=100)
    killed._search.ask()
    half = killed._search.ask()
    half.suggest_categorical("decay", list(SPACE.decays))
    gone.close()
    study = open_study()
    assert study.reap() == 2
    study.enqueue(GUESSES, total_steps=100)
    assert [(p.origin, p.schedule) for p in (study.ask(), study.ask())] == [
        (n, GUESSES[n]) for n in ("today", "warmup")
    ]
    assert study.ask().origin == "sampler"


def test_an_interrupted_trial_is_proposed_again_exactly_once(open_study: Open) -> None:
    study = open_study()
    proposal = study.ask()
    study.interrupted(proposal.number)
    assert study.finished == 0
    assert study.records() == []
    again = open_study().ask()
    assert (again.number, again.schedule, again.origin) == (1, proposal.schedule, "sampler")
    assert open_study().ask().schedule != proposal.schedule


def test_what_waits_is_known_beforehand_and_any_of_it_can_be_claimed_once(open_study: Open) -> None:
    study = open_study()
    study.enqueue(GUESSES, total_steps=100)
    assert [(p.number, p.origin, p.schedule) for p in study.peek()] == [
        (0, "today", GUESSES["today"]),
        (1, "warmup", GUESSES["warmup"]),
    ]
    assert study.claim(1) == Proposal(1, GUESSES["warmup"], "warmup")
    assert [p.number for p in study.peek()] == [0]
    assert study.running == 1
    with pytest.raises(TurnLostError):
        open_study().claim(1)
    assert study.ask().number == 0


def test_what_waits_under_the_only_decay_is_known_too(open_study: Open) -> None:
    study = open_study(space=SearchSpace(initial_lr=LRS, decay="linear"), name="only")
    study.enqueue(GUESSES, total_steps=100)
    assert [p.schedule for p in study.peek()] == [GUESSES["warmup"]]
    watching = open_study(space=SearchSpace(initial_lr=LRS, decay="linear"), watch=Watch(), name="only")
    study.ask()
    assert watching.schedules_of_others() == [GUESSES["warmup"]]


def test_a_trial_that_a_trunk_has_left_stays_one_to_be_trained_by_itself(open_study: Open) -> None:
    study = open_study()
    study.interrupted(study.ask().number, alone=True)
    again = study.ask()
    assert again.alone
    study.interrupted(again.number)
    assert study.ask().alone


def _run(study: HorizonStudy, tell: Tell, n: int) -> list[Schedule]:
    """Ask and tell `n` trials, some of which end badly."""
    asked = []
    for _ in range(n):
        proposal = study.ask()
        asked.append(proposal.schedule)
        lr = proposal.schedule.initial_lr
        outcome = "DIVERGED" if lr > 0.03 else "PRUNED" if lr < 1e-4 else "COMPLETE"
        tell(study, proposal, outcome=outcome)
    return asked


N = 16  # the sampler's model starts after 10


def test_a_seeded_study_repeats_exactly(tmp_path: Path, tell: Tell) -> None:
    runs = [_sessions(tmp_path / str(i), tell, [N], seed=seed) for i, seed in enumerate((3, 3, 4))]
    assert runs[0] == runs[1] != runs[2]


def test_a_study_that_is_closed_and_opened_again_goes_on_as_if_it_had_not(tmp_path: Path, tell: Tell) -> None:
    whole = _sessions(tmp_path / "whole", tell, [N])
    assert _sessions(tmp_path / "parts", tell, [3, 9, N - 12]) == whole


def test_a_study_with_an_interrupted_trial_goes_on_as_if_it_had_not(tmp_path: Path, tell: Tell) -> None:
    whole = _sessions(tmp_path / "whole", tell, [N])
    assert _sessions(tmp_path / "interrupted", tell, [4, 8, N - 12], interrupt=True) == whole
    assert _sessions(tmp_path / "killed", tell, [4, 8, N - 12], kill=True) == whole


def _sessions(
    out: Path, tell: Tell, parts: list[int], *, seed: int = 0, interrupt: bool = False, kill: bool = False
) -> list[Schedule]:
    out.mkdir()
    asked: list[Schedule] = []
    for part in parts:
        with quiet_optuna(), database(None, out) as storage:
            watch = Watch()
            study = HorizonStudy(
                storage,
                identity=IDENTITY,
                space=SPACE,
                total_steps=100,
                dataset_size=None,
                seed=seed,
                watch=watch,
            )
            study.reap()
            study.enqueue(GUESSES, total_steps=100)
            asked += _run(study, tell, part)
            if interrupt:
                study.interrupted(study.ask().number)
            if kill:
                study.ask()
            watch.close()
    return asked


@pytest.mark.parametrize("changed", [{"job": "c:d"}, {"monitor": "acc"}, {"mode": "max"}])
def test_another_identity_is_refused(changed: dict[str, str], open_study: Open) -> None:
    open_study()
    (name, value) = next(iter(changed.items()))
    with pytest.raises(StudyError, match=rf"holds another study \({name} '.*' there, '{value}' here\): choose another"):
        open_study(**changed)


def test_an_identity_that_tells_less_is_another_one(open_study: Open) -> None:
    open_study(dataset_size_arg="n_examples")
    with pytest.raises(StudyError, match=r"another study \(dataset_size_arg 'n_examples' there, None here\)"):
        open_study()


def test_studies_of_other_names_or_horizons_share_a_database_without_meeting(open_study: Open, tell: Tell) -> None:
    study = open_study()
    tell(study, study.ask())
    assert open_study(name="other").records() == open_study(total_steps=200).records() == []


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"decay": ["constant", "linear", "cosine"]}, "decay"),
        ({"decay": ["wsd", "linear", "constant"]}, "decay"),
        ({"initial_lr": {"low": 1e-5, "high": 1e-1, "log": False}}, "initial_lr"),
        ({"warmup_ratio": [0.0, 0.1]}, "warmup_ratio"),
        ({"decay_ratio": [0.1, 0.2]}, "decay_ratio"),
    ],
)
def test_choices_that_have_changed_are_refused_before_the_first_trial(
    changed: dict[str, Any], name: str, open_study: Open, tell: Tell
) -> None:
    study = open_study()
    study.enqueue({"wsd": Schedule(initial_lr=0.01, decay="wsd")}, total_steps=100)
    tell(study, study.ask())
    with pytest.raises(StudyError, match=rf"space\.{name} has changed since this study began.*choose another --out"):
        open_study(space=SearchSpace.from_dict({**SPACE.to_dict(), **changed}))


def test_a_range_may_be_narrowed_or_widened(open_study: Open, tell: Tell) -> None:
    study = open_study()
    tell(study, study.ask())
    narrow = SearchSpace.from_dict({**SPACE.to_dict(), "initial_lr": {"low": 1e-3, "high": 1e-2}})
    assert 1e-3 <= open_study(space=narrow).ask().schedule.initial_lr <= 1e-2


def test_every_proposal_is_a_schedule_of_the_space(open_study: Open, tell: Tell) -> None:
    space = SearchSpace(
        initial_lr=LRS,
        decay=["cosine_restarts", "polynomial", "exponential", "step", "inverse_sqrt", "wsd"],
        warmup=["linear", "exponential"],
        warmup_start_ratio={"low": 1e-3, "high": 0.1},
        final_lr_ratio={"low": 0, "high": 0.1},
    )
    study = open_study(space=space)
    for _ in range(20):
        proposal = study.ask()
        assert space.params_of(proposal.schedule, total_steps=100) is not None
        tell(study, proposal)
    assert len({r.schedule for r in study.records()}) == 20


def test_what_is_bound_to_diverge_is_passed_over_and_the_sampler_hears_of_it(open_study: Open) -> None:
    study = open_study(space=SearchSpace(initial_lr=LRS, warmup_ratio=0.0, decay="constant"))
    low = Diverged(Schedule(initial_lr=0.01, warmup_ratio=0.0, decay="constant"), total_steps=100, steps=1)
    proposals = [study.ask([low]) for _ in range(8)]
    assert all(p.schedule.lr_at(0, total_steps=100) < 0.01 for p in proposals)
    passed = [t for t in _trials(study) if "passed over" in t.user_attrs]
    assert passed
    assert all(t.constraints == {"diverged": 1.0} for t in passed)
    assert study.finished == 0, "none of them was trained"


def test_where_everything_is_bound_to_diverge_it_is_trained_all_the_same(open_study: Open) -> None:
    study = open_study()
    all_of_it = Diverged(Schedule(initial_lr=1e-9, warmup_ratio=0.9, decay="linear"), total_steps=100, steps=100)
    assert study.ask([all_of_it]).origin == "sampler"


def test_a_schedule_is_asked_for_unless_something_waits(open_study: Open) -> None:
    study = open_study()
    wanted = Schedule(initial_lr=0.02, warmup_ratio=0.1, decay="linear")
    proposal = study.ask_for(wanted, "somebody")
    assert proposal is not None
    assert (proposal.schedule, proposal.origin) == (wanted, "somebody")
    outside = Schedule(initial_lr=0.02, warmup_ratio=0.1, decay="step")
    assert study.ask_for(outside, "somebody") is None
    study.interrupted(proposal.number)
    again = study.ask_for(Schedule(initial_lr=0.03, warmup_ratio=0.1, decay="linear"), "else")
    assert again is not None
    assert again.schedule == wanted


@pytest.mark.parametrize("finished", [False, True])
def test_what_two_had_proposed_at_once_is_trained_once(
    finished: bool, open_study: Open, make_record: MakeRecord
) -> None:
    """Both had lost their turn, and ask the sampler with the same random numbers."""
    ours, theirs = open_study(watch=Watch()), open_study(watch=Watch())
    first = ours.ask()
    twin = theirs.ask_for(first.schedule, "sampler")
    assert twin is not None
    assert twin.schedule == first.schedule
    ours.interrupted(first.number)
    if finished:
        theirs.tell(make_record(trial=twin.number, schedule=twin.schedule, label=str(twin.schedule)))
    else:
        theirs.interrupted(twin.number)
    assert ours.waiting == (0 if finished else 1)
    again = ours.ask()
    assert (again.schedule == first.schedule) == (not finished)

from __future__ import annotations

from pathlib import Path

from conftest import MakeRecord

from autowarm.report.summary import summary

OUT = Path("studies/demo")


def test_it_answers_for_each_horizon_and_says_what_comes_next(make_record: MakeRecord) -> None:
    records = [
        make_record(trial=0, value=2.0),
        make_record(trial=1, value=1.5, lr=0.2),
        make_record(trial=0, value=2.1, role="confirm", lr=0.2, seed=1),
        make_record(trial=1, value=1.9, role="baseline", schedule=None, label="today: OneCycleLR", seed=1),
        make_record(trial=0, total_steps=200, outcome="DIVERGED"),
    ]
    said = summary(records, OUT)
    assert "At total_steps 100, dataset_size 1,000:\n  best of the search  val_loss 1.5000  lr 0.2" in said
    assert "trained anew on seed 1, which the search has not seen:" in said
    assert "    today  val_loss 1.9000  OneCycleLR\n    tuned  val_loss 2.1000  lr 0.2" in said
    assert "Tuned is not better than today's schedule" in said
    assert "At total_steps 200, dataset_size 1,000:\n  no trial ended well" in said
    assert "Next: search on (the same command with a larger --n_trials)" in said


def test_all_that_was_trained_again_is_shown_the_answer_first(make_record: MakeRecord) -> None:
    records = [
        make_record(trial=0, value=1.5, lr=0.2),
        make_record(trial=1, value=1.6, lr=0.1),
        *(make_record(role="confirm", lr=0.2, seed=s, value=2.0 + s) for s in (1, 2)),
        *(make_record(role="confirm", lr=0.1, seed=s, value=1.0 + s) for s in (1, 2)),
        *(make_record(role="baseline", schedule=None, label="today: StepLR", seed=s, value=8.0 + s) for s in (1, 2)),
    ]
    said = summary(records, OUT)
    assert (
        "  best of the search  val_loss 1.5000  lr 0.2, warmup 10 %, cosine\n"
        "  trained anew on seeds 1, 2, which the search has not seen:\n"
        "    today  val_loss 9.0000, 10.0000  StepLR\n"
        "    tuned  val_loss 2.0000, 3.0000  lr 0.1, warmup 10 %, cosine\n"
        "    other  val_loss 3.0000, 4.0000  lr 0.2, warmup 10 %, cosine\n"
        "  Tuned is better by 7 (95 % interval +- 0, 2 seeds): val_loss 2.5 against 9.5.\n"
        "  The best of the search, lr 0.2, warmup 10 %, cosine, reached val_loss 1.5 there, and 3.5 when trained again."
    ) in said


def test_todays_schedule_that_is_the_answer_is_kept(make_record: MakeRecord) -> None:
    records = [make_record(value=1.5), make_record(role="baseline", seed=1, value=1.7), make_record(value=2.0, lr=0.3)]
    said = summary(records, OUT)
    assert "    today  val_loss 1.7000  lr 0.1, warmup 10 %, cosine" in said
    assert "Next: search on" in said


def test_what_has_beaten_todays_schedule_is_to_be_exported(make_record: MakeRecord) -> None:
    records = [
        make_record(trial=0, value=1.5),
        make_record(trial=0, value=1.6, role="confirm", seed=1),
        make_record(trial=1, value=1.9, role="baseline", schedule=None, label="today: OneCycleLR", seed=1),
    ]
    assert summary(records, OUT).endswith("Next: autowarm export studies/demo --format yaml -o best.yaml")

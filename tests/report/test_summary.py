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


def test_what_has_beaten_todays_schedule_is_to_be_exported(make_record: MakeRecord) -> None:
    records = [
        make_record(trial=0, value=1.5),
        make_record(trial=0, value=1.6, role="confirm", seed=1),
        make_record(trial=1, value=1.9, role="baseline", schedule=None, label="today: OneCycleLR", seed=1),
    ]
    assert summary(records, OUT).endswith("Next: autowarm export studies/demo --format yaml -o best.yaml")

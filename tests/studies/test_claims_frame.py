"""The frame of the claims' studies: it runs arms, puts records together, and writes pages from them alone."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from autowarm.errors import RecordError
from autowarm.record import TrialRecord, read_jsonl, write_jsonl
from autowarm.schedule import Schedule
from studies.claims import pages
from studies.claims.__main__ import main
from studies.claims.findings import Findings, Records
from studies.claims.places import STUDIES, Place
from studies.claims.running import run, thinned

ARM = """\
job: {{factory: sample_jobs:build, args: {{}}}}
total_steps: 20
n_trials: 2
seed: {seed}
n_jobs: 2
pruning: off
confirm_seeds: 0
space: {{initial_lr: {{low: 0.01, high: 0.1}}, warmup_ratio: [0.0, 0.2], decay: linear}}
"""


def record(study: str, trial: int, value: float = 1.0) -> TrialRecord:
    return TrialRecord(
        study=study,
        trial=trial,
        role="search",
        schedule=Schedule(initial_lr=0.1, warmup_ratio=0.0, decay="linear"),
        label="",
        total_steps=100,
        dataset_size=None,
        batch_size=None,
        seed=0,
        monitor="val_loss",
        mode="min",
        outcome="COMPLETE",
        value=value,
        rungs=((50, 1.23456789), (100, value)),
        train_curve=((50, 2.0),),
        grad_norms=((50, 3.0),),
        steps=100,
        seconds=2.0,
    )


def test_thinned_records_keep_what_the_findings_read() -> None:
    (kept,) = thinned([record("tuned", 0)], "arm", ("grad_norms",))
    assert kept.study == "arm"
    assert tuple(kept.rungs) == ((50, 1.235), (100, 1.0))
    assert (kept.train_curve, tuple(kept.grad_norms)) == ((), ((50, 3.0),))
    assert kept.value == 1.0


def test_an_arm_without_records_is_told_and_not_left_out(tmp_path: Path) -> None:
    place = Place("stability", root=tmp_path)
    with pytest.raises(RecordError, match=r"run stability` makes them"):
        place.records()
    place.folder.mkdir()
    for arm in ("a", "b"):
        (place.folder / f"{arm}.yaml").write_text("")
    write_jsonl([record("a", 0), record("a", 1)], place.records_file)
    assert {arm: len(records) for arm, records in place.records().items()} == {"a": 2, "b": 0}


def test_a_page_says_what_was_spent() -> None:
    found = Findings(title="T", claim="C.", found="F.", body="Words.", afterwards="All of it.")
    records: Records = {"a": [record("a", 0), replace(record("a", 1), steps=40, outcome="DIVERGED", value=None)]}
    text = pages.page(Place("stability", "gpu"), records, found)
    chosen = "The learning rates of the grid were chosen from single runs, on one seed."
    assert f"## Chosen and changed on the way\n\n{chosen} All of it.\n" in text
    assert "| a | 2 | 1 COMPLETE, 1 DIVERGED | 140 | 1 | 4 s |" in text
    assert "In all 2 trials, 140 optimizer steps and 4 s of training." in text
    assert "python -m studies.claims run stability --scale gpu\n" in text


def test_findings_show_every_picture_and_fit_into_a_row() -> None:
    with pytest.raises(ValueError, match="picture p is not shown"):
        Findings(title="T", claim="C", found="F", body="none", afterwards="", pictures={"p": Figure})
    with pytest.raises(ValueError, match="found must be one line"):
        Findings(title="T", claim="C", found="a | b", body="", afterwards="")


@pytest.mark.slow
def test_an_arm_is_run_once_and_its_records_carry_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Place, "curves", ("train_curve",))
    place = Place("stability", root=tmp_path)
    place.folder.mkdir()
    (place.folder / "one.yaml").write_text(ARM.format(seed=3))
    run(place)
    first = read_jsonl(place.records_file)
    assert [(r.study, r.trial, r.seed) for r in first] == [("one", 0, 3), ("one", 1, 3)]
    run(place, n_jobs=1)
    assert read_jsonl(place.records_file) == first


@pytest.mark.parametrize("words", [["run", "nothing"], ["report", "--scale", "tpu"]])
def test_the_command_knows_its_words(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["studies.claims", *words])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert f"invalid choice: {words[-1]!r}" in capsys.readouterr().err


def test_every_study_has_a_folder() -> None:
    for name in STUDIES:
        assert Place(name).arms, name

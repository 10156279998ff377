from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from autowarm.decays import DECAYS
from autowarm.errors import SettingsError, StudyError
from autowarm.export import FORMATS, choose, export
from autowarm.schedule import Schedule, load_schedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from autowarm.record import TrialRecord

    MakeRecord = Callable[..., TrialRecord]

NASTY = "a|b\nseed_everything: <b> 'x'\u2028trainer: [y]"


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    share = st.floats(0, 1, exclude_max=True)
    decay = draw(st.sampled_from(sorted(DECAYS)))
    fields: dict[str, Any] = {
        "initial_lr": draw(st.floats(1e-300, 1e6)),
        "decay": decay,
        "warmup": draw(st.sampled_from(["linear", "cosine", "exponential"])),
        "warmup_start_ratio": draw(st.floats(1e-12, 1)),
    }
    length: tuple[str, Any] = draw(
        st.one_of(
            st.tuples(st.just("warmup_ratio"), share),
            st.tuples(st.just("warmup_steps"), st.integers(0, 10**9)),
            st.tuples(st.just("warmup_epochs"), st.floats(0, 1e6)),
        )
    )
    fields[length[0]] = length[1]
    positive = st.floats(1e-9, 1)
    own = {
        "power": positive,
        "gamma": positive,
        "step_size_ratio": positive,
        "num_cycles": st.integers(1, 99),
    }
    fields.update({name: draw(own[name]) for name in DECAYS[decay].parameters if name in own})
    if decay == "wsd":
        fields["decay_ratio"] = (1 - (fields.get("warmup_ratio") or 0.0)) * draw(st.floats(0.01, 1))
        fields["cooldown"] = draw(st.sampled_from(["linear", "one_minus_sqrt"]))
    if DECAYS[decay].ends_at_final_lr_ratio:
        fields["final_lr_ratio"] = draw(st.floats(0, 1))
    return Schedule(**fields)


def overlay(text: str) -> dict[str, Any]:
    """Return the one callback's settings of an overlay file, read as PyYAML reads it."""
    (callback,) = yaml.safe_load(text)["trainer"]["callbacks+"]
    assert callback["class_path"] == "autowarm.TunedSchedule"
    settings: dict[str, Any] = callback["init_args"]["schedule"]
    return settings


@given(schedules())
def test_export_then_load_is_the_identity(schedule: Schedule) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "schedule.yaml"
        path.write_text(export(schedule, "yaml"), encoding="utf-8")
        assert load_schedule(path) == schedule


@given(schedules())
def test_the_overlay_holds_the_same_numbers_for_any_yaml_reader(schedule: Schedule) -> None:
    settings = overlay(export(schedule, "lightning"))
    assert settings == schedule.to_dict()
    assert isinstance(settings["initial_lr"], float), "1e-05 without a dot is text to YAML 1.1"
    assert load_schedule(settings) == schedule


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_hostile_study_name_stays_a_name(make_record: MakeRecord, file_format: str) -> None:
    record = make_record(study=NASTY, versions={"torch": "2.13.0"})
    data = yaml.safe_load(export(record, file_format))
    assert set(data) == ({"trainer"} if file_format == "lightning" else {"autowarm", "schedule", "provenance"})


def test_the_provenance(make_record: MakeRecord) -> None:
    record = make_record(study=NASTY, value=0.1 + 0.2, versions={"torch": "2.13.0", "autowarm": "0.0.7"}, trial=4)
    assert yaml.safe_load(export(record))["provenance"] == {
        "study": NASTY,
        "trial": 4,
        "role": "search",
        "monitor": "val_loss",
        "value": 0.30000000000000004,
        "total_steps": 100,
        "warmup_steps": 10,
        "dataset_size": 1000,
        "batch_size": 10,
        "seed": 0,
        "versions": {"autowarm": "0.0.7", "torch": "2.13.0"},
    }
    unknown = yaml.safe_load(export(make_record(dataset_size=None)))["provenance"]
    assert not {"dataset_size", "versions"} & set(unknown)


def test_the_overlay_says_where_it_goes(make_record: MakeRecord) -> None:
    assert export(make_record(), "lightning").startswith("# Pass this file AFTER your own config")


def test_an_unknown_format_is_answered_with_the_nearest(make_record: MakeRecord) -> None:
    with pytest.raises(SettingsError, match="did you mean 'lightning'"):
        export(make_record(), "lightening")


def test_a_jobs_own_scheduler_cannot_be_exported(make_record: MakeRecord) -> None:
    with pytest.raises(StudyError, match=r"the job's own scheduler \(StepLR\)"):
        export(make_record(schedule=None, label="StepLR"))


def test_choose_takes_the_best_of_the_largest_horizon(make_record: MakeRecord) -> None:
    records = [
        make_record(trial=0, total_steps=100, dataset_size=900, value=0.1),
        make_record(trial=1, total_steps=200, dataset_size=None, value=0.2),
        make_record(trial=2, total_steps=200, dataset_size=500, value=0.9),
        make_record(trial=3, total_steps=200, dataset_size=500, value=0.8),
        make_record(trial=4, total_steps=999, role="baseline", value=0.0),
    ]
    assert choose(records).trial == 3
    assert choose(records, total_steps=100).trial == 0
    assert choose(records, dataset_size=900).trial == 0
    assert choose(records, 200, 500).trial == 3
    with pytest.raises(StudyError, match="no trial was searched at total_steps 300, dataset_size 500") as e:
        choose(records, 300, 500)
    assert str(e.value).endswith(
        "total_steps 200, dataset_size 500; total_steps 200; total_steps 100, dataset_size 900"
    )


def test_choose_says_why_there_is_nothing(make_record: MakeRecord) -> None:
    with pytest.raises(StudyError, match="there is no search trial"):
        choose([make_record(role="baseline")])
    lost = [make_record(outcome="DIVERGED"), make_record(outcome="DIVERGED"), make_record(outcome="FAILED")]
    with pytest.raises(StudyError, match=r"is COMPLETE with a finite value \(2 DIVERGED, 1 FAILED\): see"):
        choose(lost)
    with pytest.raises(StudyError, match="There is one at: total_steps 50, dataset_size 1,000"):
        choose([*lost, make_record(total_steps=50)])

from __future__ import annotations

import ast
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from autowarm.decays import COOLDOWNS, DECAYS
from autowarm.errors import ScheduleError, SettingsError, StudyError
from autowarm.export import FORMATS, Source, choose, confirmed_seeds, export
from autowarm.schedule import OPTIONS, Schedule, load_schedule
from autowarm.warmups import WARMUPS

if TYPE_CHECKING:
    from collections.abc import Callable

    from autowarm.record import TrialRecord

    MakeRecord = Callable[..., TrialRecord]


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    share = st.floats(0, 1, exclude_max=True)
    decay = draw(st.sampled_from(sorted(DECAYS)))
    fields: dict[str, Any] = {
        "initial_lr": draw(st.floats(1e-300, 1e6)),
        "decay": decay,
        "warmup": draw(st.sampled_from(WARMUPS)),
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
        "num_cycles": st.integers(1, 99) if decay == "cosine_restarts" else st.floats(1e-9, 99),
        "timescale": st.one_of(st.none(), st.integers(1, 10**9)),
    }
    fields.update({name: draw(own[name]) for name in DECAYS[decay].parameters if name in own})
    if decay == "wsd":
        fields["decay_ratio"] = (1 - (fields.get("warmup_ratio") or 0.0)) * draw(st.floats(0.01, 1))
        fields["cooldown"] = draw(st.sampled_from(COOLDOWNS))
    if DECAYS[decay].ends_at_final_lr_ratio:
        fields["final_lr_ratio"] = draw(st.floats(0, 1))
    options = {name: draw(st.sampled_from(values)) for name, values in OPTIONS.items()}
    if options["step_offset"]:
        del options["decay_to"]
    return Schedule(**fields, **options)


CALLBACKS = {
    "lightning": "autowarm.TunedSchedule",
    "pytorch_lightning": "autowarm.adapters.pytorch_lightning.TunedSchedule",
}


def overlay(text: str, class_path: str) -> dict[str, Any]:
    """Return the one callback's settings of an overlay file, read as PyYAML reads it."""
    (callback,) = yaml.safe_load(text)["trainer"]["callbacks+"]
    assert callback["class_path"] == class_path
    settings: dict[str, Any] = callback["init_args"]["schedule"]
    return settings


@given(schedules())
def test_export_then_load_is_the_identity(schedule: Schedule) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "schedule.yaml"
        path.write_text(export(schedule, "yaml"), encoding="utf-8")
        assert load_schedule(path) == schedule


@pytest.mark.parametrize("file_format", CALLBACKS)
@given(schedule=schedules())
def test_the_overlay_holds_the_same_numbers_for_any_yaml_reader(file_format: str, schedule: Schedule) -> None:
    settings = overlay(export(schedule, file_format), CALLBACKS[file_format])
    assert settings == schedule.to_dict()
    assert isinstance(settings["initial_lr"], float), "1e-05 without a dot is text to YAML 1.1"
    assert load_schedule(settings) == schedule


YAML_KEYS = {
    "yaml": {"autowarm", "schedule", "provenance"},
    "lightning": {"trainer"},
    "pytorch_lightning": {"trainer"},
    "transformers": {"learning_rate", "lr_scheduler_type", "warmup_steps", "max_steps"},
}
# what ends a comment, a docstring, a line for Python or for YAML, or is no character at all
NASTY = [
    "a|b\nseed_everything: <b> 'x'\u2028trainer: [y]",
    'x"""\nraise SystemExit("out of the docstring")\n"""',
    'x\\"""\nINITIAL_LR = 9 \\N{BELL} \\',
    'ends in a quote"',
    "\r\x0c\x85\u2029# \x00 tab\there ",
]


@pytest.mark.parametrize("name", NASTY)
@pytest.mark.parametrize("file_format", FORMATS)
def test_a_hostile_study_name_stays_a_name(make_record: MakeRecord, file_format: str, name: str) -> None:
    text = export(make_record(study=name, versions={name: "2.13.0"}), file_format)
    if file_format in YAML_KEYS:
        assert set(yaml.safe_load(text)) == YAML_KEYS[file_format]
        return
    parsed = ast.parse(text)
    told = ast.get_docstring(parsed, clean=False)
    assert told is not None
    assert yaml.safe_load(told[told.index("provenance:") :])["provenance"]["study"] == name
    assert ast.dump(ast.Module(parsed.body[1:], [])) == ast.dump(
        ast.Module(ast.parse(export(make_record(), file_format)).body[1:], [])
    )


def test_the_provenance(make_record: MakeRecord) -> None:
    versions = {"torch": "2.13.0", "autowarm": "0.0.7"}
    record = make_record(study=NASTY[0], value=0.1 + 0.2, versions=versions, trial=4)
    told = {
        "study": NASTY[0],
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
    assert yaml.safe_load(export(record))["provenance"] == told
    unknown = yaml.safe_load(export(make_record(dataset_size=None)))["provenance"]
    assert not {"dataset_size", "versions"} & set(unknown)
    wsd = make_record(schedule=Schedule(initial_lr=0.1, warmup_ratio=0.1, decay="wsd", decay_ratio=0.25))
    assert yaml.safe_load(export(wsd))["provenance"]["cooldown_steps"] == 25
    assert "# num_decay_steps is decay_ratio 0.25 of max_steps.\n" in export(wsd, "transformers")


def test_the_schedule_of_a_failed_record_need_not_fit_into_its_run(make_record: MakeRecord) -> None:
    schedule = Schedule(initial_lr=0.1, warmup_steps=90, decay="wsd")
    record = make_record(schedule=schedule, outcome="FAILED")
    assert not {"warmup_steps", "cooldown_steps"} & set(yaml.safe_load(export(record))["provenance"])
    with pytest.raises(ScheduleError, match="do not both fit into total_steps=100"):
        export(record, "torch")


@pytest.mark.parametrize("file_format", FORMATS)
def test_every_format_tells_the_provenance(make_record: MakeRecord, file_format: str) -> None:
    text = export(Source.of_record(make_record(study="mine", trial=4, value=0.25), [1, 2]), file_format)
    for told in ("study: mine", "trial: 4", "monitor: val_loss", "value: 0.25", "warmup_steps: 10", "seed: 0"):
        assert told in text
    for told in ("role: search", "total_steps: 100", "dataset_size: 1000", "confirmed_seeds:"):
        assert told in text


def test_the_seeds_a_schedule_was_confirmed_on(make_record: MakeRecord) -> None:
    chosen = make_record(seed=0)
    records = [
        chosen,
        make_record(role="confirm", seed=2),
        make_record(role="confirm", seed=1),
        make_record(role="confirm", seed=3, outcome="DIVERGED"),
        make_record(role="confirm", seed=4, lr=0.7),
        make_record(role="confirm", seed=5, total_steps=50),
        make_record(role="baseline", seed=6, lr=0.3),
    ]
    assert confirmed_seeds(records, chosen) == (1, 2)


def test_a_file_passes_its_provenance_on_and_nothing_else(make_record: MakeRecord, tmp_path: Path) -> None:
    secret = "postgresql://me:hunter2@host/db"  # noqa: S105
    record = make_record(study="mine", error=f"cannot reach {secret}", reason=secret)
    file = tmp_path / "best.yaml"
    file.write_text(export(record) + f"  storage: {secret}\nnotes: {secret}\n", encoding="utf-8")
    source = Source.of_file(file)
    assert (source.schedule, source.total_steps) == (record.schedule, 100)
    for file_format in FORMATS:
        text = export(source, file_format)
        assert "hunter2" not in text + export(record, file_format)
        assert "study: mine" in text


def test_another_length_is_told_beside_the_one_tuned_at(make_record: MakeRecord, tmp_path: Path) -> None:
    file = tmp_path / "best.yaml"
    file.write_text(export(make_record(), total_steps=5000), encoding="utf-8")
    told = yaml.safe_load(file.read_text(encoding="utf-8"))["provenance"]
    assert (told["total_steps"], told["exported_for"]) == (100, {"total_steps": 5000, "warmup_steps": 500})
    assert Source.of_file(file).total_steps == 5000
    back = yaml.safe_load(export(Source.of_file(file), total_steps=100))["provenance"]
    assert "exported_for" not in back
    assert back["total_steps"] == 100


@pytest.mark.parametrize("steps", ["0", "-3", "many", "1.5", "true"])
def test_a_length_that_is_none_is_refused(steps: str, tmp_path: Path) -> None:
    file = tmp_path / "best.yaml"
    file.write_text(f"schedule:\n  initial_lr: 0.1\nprovenance:\n  total_steps: {steps}\n", encoding="utf-8")
    with pytest.raises(ScheduleError, match="total_steps must be a whole number of at least 1"):
        Source.of_file(file)
    with pytest.raises(ScheduleError, match="total_steps must be a whole number of at least 1"):
        export(Schedule(initial_lr=0.1), "torch", total_steps=0)


@pytest.mark.parametrize("file_format", ["transformers", "torch", "optax"])
def test_a_format_that_counts_in_steps_needs_them(make_record: MakeRecord, file_format: str) -> None:
    with pytest.raises(ScheduleError, match="counts in steps: give total_steps"):
        export(Schedule(initial_lr=0.1), file_format)
    in_epochs = Schedule(initial_lr=0.1, warmup_epochs=0.5)
    with pytest.raises(ScheduleError, match=r"warmup_epochs=0\.5 has no length in steps"):
        export(in_epochs, file_format, total_steps=100)
    # 1000 examples in batches of 30: 34 steps an epoch
    text = export(make_record(schedule=in_epochs, batch_size=30), file_format)
    assert "17" in text
    assert text == export(
        Source(
            Schedule(initial_lr=0.1, warmup_steps=17),
            100,
            Source.of_record(make_record(schedule=in_epochs, batch_size=30)).provenance,
        ),
        file_format,
    )
    odd = Source(in_epochs, 100, {"dataset_size": "many", "batch_size": 30})
    with pytest.raises(ScheduleError, match=r"warmup_epochs=0\.5 has no length in steps"):
        export(odd, file_format)
    with pytest.raises(ScheduleError, match="warmup_steps=17 must be less than total_steps=10"):
        export(Schedule(initial_lr=0.1, warmup_steps=17), file_format, total_steps=10)


@pytest.mark.parametrize(
    ("installed", "said", "ratio"),
    [
        ("5.24.0", "transformers 5.24.0", "warmup_steps: 0.06"),
        ("4.57.1", "transformers 4.57.1", "warmup_ratio: 0.06"),
        (None, "transformers 5.x (none is installed here)", "warmup_steps: 0.06"),
    ],
)
def test_the_keywords_are_those_of_the_installed_transformers(
    installed: str | None, said: str, ratio: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        assert name == "transformers"
        if installed is None:
            raise PackageNotFoundError(name)
        return installed

    monkeypatch.setattr("autowarm.export.transformers.version", version)
    text = export(Schedule(initial_lr=1e-5, warmup_ratio=0.06), "transformers", total_steps=1000)
    assert f"# Keywords of TrainingArguments in {said}:" in text
    assert f"# For another max_steps, the ratio is {ratio}; transformers rounds it up." in text
    assert yaml.safe_load(text) == {
        "learning_rate": 1e-5,
        "lr_scheduler_type": "constant_with_warmup",
        "warmup_steps": 60,
        "max_steps": 1000,
    }


def test_what_an_older_transformers_gets_wrong_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    timescale = Schedule(initial_lr=0.1, decay="inverse_sqrt", timescale=8)
    assert "timescale: 8" in export(timescale, "transformers", total_steps=100)
    for installed, said in (
        ("5.3.0", r"5\.3\.0 does not pass inverse_sqrt a timescale"),
        ("4.57.1", r"4\.57\.1 does not pass"),
        ("4.56.2", r"transformers 4\.56\.2 is older than 4\.57"),
    ):
        monkeypatch.setattr("autowarm.export.transformers.version", lambda _, installed=installed: installed)
        with pytest.raises(ScheduleError, match=said):
            export(timescale, "transformers", total_steps=100)


def test_a_count_beyond_what_jax_counts_to_is_refused() -> None:
    schedule = Schedule(initial_lr=0.1, decay="cosine_restarts", num_cycles=3)
    with pytest.raises(ScheduleError, match="counts steps in 32 bits"):
        export(schedule, "optax", total_steps=2**30)


@pytest.mark.parametrize("file_format", CALLBACKS)
def test_the_overlay_says_where_it_goes(make_record: MakeRecord, file_format: str) -> None:
    assert export(make_record(), file_format).startswith("# Pass this file AFTER your own config")


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
        "total_steps 200, dataset_size 500; total_steps 200; total_steps 100, dataset_size 900. "
        "For a run of another length, export a schedule file: `autowarm export best.yaml --total_steps STEPS`"
    )


def test_choose_takes_what_fresh_seeds_decide(make_record: MakeRecord) -> None:
    records = [make_record(trial=0, value=0.5, lr=0.2), make_record(trial=1, value=0.6, lr=0.1)]
    records += [make_record(role="confirm", lr=0.2, seed=seed, value=2.0 + seed) for seed in (1, 2)]
    assert choose(records).trial == 0
    records += [make_record(role="confirm", lr=0.1, seed=seed, value=1.0 + seed) for seed in (1, 2)]
    chosen = choose(records)
    assert (chosen.trial, chosen.role, confirmed_seeds(records, chosen)) == (1, "search", (1, 2))


def test_choose_says_why_there_is_nothing(make_record: MakeRecord) -> None:
    with pytest.raises(StudyError, match="there is no search trial"):
        choose([make_record(role="baseline")])
    lost = [make_record(outcome="DIVERGED"), make_record(outcome="DIVERGED"), make_record(outcome="FAILED")]
    with pytest.raises(StudyError, match=r"is COMPLETE with a finite value \(2 DIVERGED, 1 FAILED\): see"):
        choose(lost)
    with pytest.raises(StudyError, match="There is one at: total_steps 50, dataset_size 1,000"):
        choose([*lost, make_record(total_steps=50)])

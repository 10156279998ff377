from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from autowarm.errors import SettingsError
from autowarm.settings import StudySettings, load_study, read_job, settings_yaml
from autowarm.space import Range, SearchSpace
from autowarm.specs import JobSpec


def _load(folder: Path, text: str, name: str = "digits.yaml") -> StudySettings:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return load_study(path)


def build(**_arguments: Any) -> None:
    """Stand for a factory."""


def test_a_study_is_read_with_its_numbers_as_people_write_them(tmp_path: Path) -> None:
    text = """
    name: mine
    job: package.jobs:build
    monitor: val_acc
    mode: max
    space: {initial_lr: {low: 3e-4, high: 1e-1}, decay: [linear, cosine]}
    total_steps: [200, 100]
    dataset_size: 500
    n_trials: 12
    seed: 3
    n_jobs: 2
    pruning: safe
    confirm_seeds: 0
    keep_callbacks: [EarlyStopping]
    storage: sqlite:///x.db
    """
    settings = _load(tmp_path, text)
    assert settings.job == JobSpec(factory="package.jobs:build")
    assert settings.space.initial_lr == Range(3e-4, 1e-1, log=True)
    assert settings.horizons == ((100, 500), (200, 500))
    assert settings.keep_callbacks == ("EarlyStopping",)
    told = {"name": "mine", "job": "package.jobs:build", "monitor": "val_acc", "mode": "max", "seed": "3"}
    assert settings.identity == {**told, "classes": "", "args": "{}"}


@pytest.mark.parametrize("job", ["job: train.yaml", "job: {config: train.yaml}"])
def test_a_path_is_relative_to_the_study_file(job: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train.yaml").write_text("model: x", encoding="utf-8")
    monkeypatch.chdir("/")
    assert _load(tmp_path, job).job == JobSpec(config=(tmp_path / "train.yaml").resolve())


def test_a_job_names_its_classes_beside_its_file(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text("model: x", encoding="utf-8")
    job = _load(tmp_path, "job: {config: train.yaml, model_class: a.Model, data_class: a.Data, cli_class: a.Cli}").job
    assert (job.model_class, job.data_class, job.cli_class) == ("a.Model", "a.Data", "a.Cli")
    assert job.modules == ("a", "a", "a")


def test_a_factory_has_arguments(tmp_path: Path) -> None:
    job = _load(tmp_path, "job: {factory: 'a.b:c', args: {lr: 3e-4}}").job
    assert job == JobSpec(factory="a.b:c", args={"lr": 3e-4})
    assert job.modules == ("a.b",)


@pytest.mark.parametrize(
    ("file", "name"), [("digits.yaml", "digits"), ("my study (2).yaml", "my-study-2"), ("ü.yaml", "study")]
)
def test_a_study_is_named_after_its_file(file: str, name: str, tmp_path: Path) -> None:
    assert _load(tmp_path, "job: a:b", file).name == name


def test_a_file_that_is_just_called_study_is_named_after_its_folder(tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    assert _load(tmp_path / "digits", "job: a:b", "study.yaml").name == "digits"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("job: a:b\nn_trails: 3", r"digits\.yaml: unknown key 'n_trails': did you mean 'n_trials'"),
        ("job: a:b\nspace: {decays: [linear]}", "unknown key of space 'decays': did you mean 'decay'"),
        ("job: {factroy: 'a:b'}", "unknown key of job 'factroy': did you mean 'factory'"),
        ("job: a:b\nspace: [a", r"digits\.yaml, line 2: invalid YAML"),
        ("job: a:b\nseed: 1\nseed: 2", "line 3: invalid YAML: the key 'seed' is given twice"),
        ("", "expected 'key: value' lines at the top, found nothing"),
        ("- a", "expected 'key: value' lines at the top, found a list"),
        ("3: 4", "keys must be words, got 3"),
        ("n_trials: 3", "'job' is missing: a LightningCLI file, or package"),
        ("job: nothere.yaml", r"job: there is no file .*nothere\.yaml"),
        ("job: .\\.yaml", "job: there is no file"),
        ('job: "a\\0.yaml"', "is no file: embedded null byte"),
        (f"job: {'a' * 5000}.yaml", "is no file: .*too long"),
        ("job: 3", "job must be a LightningCLI file or package"),
        ("job: [a:b]", "job must be a LightningCLI file or package"),
        ("job: {}", "job must have either config"),
        ("job: {config: a.yaml, factory: 'a:b'}", "job must have either config"),
        ("job: {factory: 'a:b', model_class: a.B}", "job.model_class goes with config, not with factory"),
        ("job: {config: a.yaml, args: {}}", "job.args goes with factory, not with config"),
        ("job: {config: 3}", "job.config must be a word, got 3"),
        ("job: {factory: 3}", "a factory must look like package.module:function, got 3"),
        ("job: notafunction", "a factory must look like package.module:function, got 'notafunction'"),
        (
            "job: {factory: 'a:b', dataset_size_arg: data.n}",
            "dataset_size_arg must be the name of an argument",
        ),
        ("job: {factory: 'a:b', dataset_size_arg: 3}", "dataset_size_arg must be the name of an argument.*, got 3"),
        ("job: {factory: 'a:b', dataset_size_args: n}", "did you mean 'dataset_size_arg'"),
        (
            "job: {config: a.yaml, dataset_size_arg: n}",
            "dataset_size_arg must be the path of a key, such as",
        ),
        ("job: {config: a.yaml, dataset_size_arg: 3}", "job.dataset_size_arg must be a word, got 3"),
        ("job: {factory: 'a:b', args: [1]}", r"job.args must hold 'key: value' lines, got \[1\]"),
        ("job: {factory: 'a:b', args: {1: 2}}", r"job.args must hold 'key: value' lines, got \{1: 2\}"),
        ("job: a:b\nspace: linear", "space must hold 'key: dimension' lines, got 'linear'"),
        ("job: a:b\nn_trials: 0", "n_trials must be a whole number of at least 1, got 0"),
        ("job: a:b\nn_trials: 1.5", "n_trials must be a whole number of at least 1, got 1.5"),
        ("job: a:b\nn_trials: true", "n_trials must be a whole number of at least 1, got True"),
        ("job: a:b\nseed: -1", "seed must be a whole number of at least 0, got -1"),
        ("job: a:b\nseed: 4294967295", "seed must be at most 4294967294, got 4294967295"),
        ("job: a:b\nseeds: 0", "seeds must be a whole number of at least 1, got 0"),
        ("job: a:b\nseeds: 3", "seeds: 3 goes with sampler: grid; a search trains its best ones on confirm_seeds"),
        ("job: a:b\nsampler: gird", "unknown sampler 'gird': did you mean 'grid'"),
        (
            "job: a:b\nsampler: grid\nn_trials: 3",
            "a grid has as many trials as its space and seeds make: leave n_trials out",
        ),
        ("job: a:b\nsampler: grid\nbudget: 3", "leave a budget out"),
        ("job: a:b\nsampler: grid", r"a grid needs the values of space\.initial_lr: \[1e-4"),
        (
            "job: a:b\nsampler: grid\nspace: {initial_lr: 0.1}",
            r"the values of space\.warmup_ratio, and there is a range from 0 to 0\.3: list them, or give one",
        ),
        (
            "job: a:b\nsampler: grid\nspace: {initial_lr: 0.1, warmup_ratio: 0, decay: wsd}",
            r"a grid needs the values of space\.decay_ratio, .* from 0\.1 to 0\.6 under wsd",
        ),
        ("job: a:b\nn_jobs: 0", "n_jobs must be a whole number of at least 1, got 0"),
        ("job: a:b\nconfirm_top: 0", "confirm_top must be a whole number of at least 1, got 0"),
        ("job: a:b\nconfirm_top: all", "confirm_top must be a whole number of at least 1, got 'all'"),
        ("job: a:b\nconfirm_seeds: -1", "confirm_seeds must be a whole number of at least 0"),
        ("job: a:b\nmode: minimum", "mode must be min or max, got 'minimum'"),
        ("job: a:b\nmode: [min]", "mode must be min or max"),
        ("job: a:b\nprune_audit: 1.5", r"prune_audit must be in \[0, 1\], got 1.5"),
        ("job: a:b\nprune_audit: -0.1", r"prune_audit must be in \[0, 1\], got -0.1"),
        ("job: a:b\nprune_audit: true", r"prune_audit must be in \[0, 1\], got True"),
        ("job: a:b\nprune_audit: often", r"prune_audit must be in \[0, 1\], got 'often'"),
        ("job: a:b\npruning: saf", "unknown pruning 'saf': did you mean 'safe'"),
        ("job: a:b\npruning: true", "unknown pruning True"),
        ("job: a:b\nmonitor: ''", "monitor must be the name of a metric"),
        ("job: a:b\ntotal_steps: [100, 100]", "total_steps must be a number or a list of different numbers"),
        ("job: a:b\ntotal_steps: []", "total_steps must be a number or a list of different numbers"),
        ("job: a:b\ntotal_steps: 0", "total_steps must be a whole number of at least 1, got 0"),
        ("job: a:b\ntotal_steps: [[1]]", r"total_steps must be a whole number of at least 1, got \[1\]"),
        ("job: a:b\ntotal_steps: {a: 1}", r"total_steps must be a whole number of at least 1, got \{'a': 1\}"),
        ("job: a:b\ndataset_size: [1, many]", "dataset_size must be a whole number of at least 1, got 'many'"),
        ("job: a:b\nstorage: study.db", "storage must be a database URL such as sqlite:///study.db, got 'study.db'"),
        ("job: a:b\nexecutor: rya", "unknown executor 'rya': did you mean 'ray'"),
        ("job: a:b\nexecutor: [ray]", r"unknown executor \['ray'\]"),
        ("job: a:b\ngpus_per_trial: 1.5", r"gpus_per_trial must be a whole number of GPUs"),
        ("job: a:b\nexecutor: ray\ngpus_per_trial: 0", r"gpus_per_trial must be a whole number of GPUs"),
        ("job: a:b\ngpus_per_trial: all", r"gpus_per_trial must be .*, got 'all'"),
        ("job: a:b\nretries: -1", r"retries must be a whole number of at least 0, got -1"),
        (
            "job: a:b\ntrial_timeout: 5 steps",
            r"trial_timeout must look like 90 min, 1.5 h or 600 \(seconds\), got '5 steps'",
        ),
        ("job: a:b\ntrial_timeout: 0", r"trial_timeout must look like"),
        ("job: a:b\ncheckpoint_every: never", r"checkpoint_every must look like .*, got 'never'"),
        ("job: a:b\noom_retry: 2", r"oom_retry must be true or false, got 2"),
        ("job: a:b\ntrunks: always", "trunks must be true, false or explore, got 'always'"),
        ("job: a:b\nname: a/b", "name must be of letters, digits, '.', '_' and '-', got 'a/b'"),
        ("job: a:b\nname: ..", "name must be of letters"),
        ("job: a:b\nname: ''", "name must be of letters"),
        ('job: a:b\nname: "a\\n"', "name must be of letters"),
        ("job: a:b\nkeep_callbacks: Timer", "keep_callbacks must be true, false or a list of class names, got 'Timer'"),
    ],
)
def test_a_bad_study_file_says_what_is_wrong(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=message):
        _load(tmp_path, text)


def test_pruning_is_off_without_quotes(tmp_path: Path) -> None:
    assert _load(tmp_path, "job: a:b\npruning: off").pruning == "off"


def test_a_study_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nothere\.yaml: there is no such file"):
        load_study(tmp_path / "nothere.yaml")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_study(tmp_path)


KEYS = st.sampled_from(
    [
        *(f.name for f in fields(StudySettings)),
        *(f.name for f in fields(SearchSpace)),
        *("config", "model_class", "factory", "args", "low", "high", "log"),
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.dates(),
    st.just(10**400),
    st.text(max_size=8),
    st.sampled_from(["a:b", "a.yaml", "min", "cosine", "wsd", "step", "linear", "://", "\0.yaml"]),
)
DATA = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | SCALARS, inner, max_size=4),
    max_leaves=8,
)


def _loads_or_says_why(text: str) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "fuzz.yaml"
        path.write_bytes(text.encode("utf-8", errors="surrogatepass"))
        try:
            load_study(path)
        except SettingsError as e:
            assert str(path) in str(e)  # noqa: PT017 - a file may also be fine


@given(given_fields=st.dictionaries(KEYS, DATA, max_size=4), space=st.dictionaries(KEYS, DATA, max_size=3))
def test_whatever_a_study_file_holds_only_a_settings_error_comes_out(
    given_fields: dict[str, Any], space: dict[str, Any]
) -> None:
    _loads_or_says_why(yaml.safe_dump({"job": "a:b", **given_fields}))
    _loads_or_says_why(yaml.safe_dump({"job": "a:b", "space": space}))


@given(text=st.text(max_size=60))
def test_whatever_text_a_study_file_is_only_a_settings_error_comes_out(text: str) -> None:
    _loads_or_says_why(text)
    _loads_or_says_why(f"job: a:b\n{text}")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"name": "mine", "monitor": "acc", "mode": "max", "n_trials": 3, "seed": 5, "n_jobs": 2, "pruning": "off"},
        {"total_steps": (100, 200), "dataset_size": (None,), "confirm_seeds": 0, "keep_callbacks": True},
        {"total_steps": 100, "keep_callbacks": ("Timer",)},
        {"executor": "ray", "gpus_per_trial": 0.25},
        {"job": JobSpec(factory="a:b", args={"lr": 1e-5, "sizes": [1, 2], "name": None})},
        {"job": JobSpec(factory="a:b", dataset_size_arg="n_examples"), "dataset_size": (50, 100)},
    ],
)
def test_settings_come_back_from_the_file_that_records_them(changes: dict[str, Any], tmp_path: Path) -> None:
    settings = StudySettings(**{"job": JobSpec(factory="package.jobs:build"), **changes})
    assert _load(tmp_path, settings_yaml(settings, root=tmp_path)) == settings


def test_a_job_from_a_file_comes_back_wherever_its_record_lies(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text("model: x", encoding="utf-8")
    (tmp_path / "elsewhere").mkdir()
    settings = StudySettings(job=read_job({"config": "train.yaml", "model_class": "a.B"}, root=tmp_path))
    assert (
        _load(tmp_path / "elsewhere", settings_yaml(settings, root=tmp_path / "elsewhere"), "study.yaml").job
        == settings.job
    )


def test_another_way_to_give_a_size_is_another_study(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text("model: x", encoding="utf-8")
    job = _load(tmp_path, "job: {config: train.yaml, dataset_size_arg: data.init_args.n_examples}").job
    assert job.dataset_size_arg == "data.init_args.n_examples"
    identity = StudySettings(job=job).identity
    assert identity["dataset_size_arg"] == "data.init_args.n_examples"
    assert "dataset_size_arg" not in StudySettings(job=replace(job, dataset_size_arg=None)).identity


def test_a_password_is_never_written(tmp_path: Path) -> None:
    settings = StudySettings(job=JobSpec(factory="a:b"), storage="postgresql://me:hunter2@host/db")
    assert "hunter2" not in settings_yaml(settings, root=tmp_path)
    assert "storage" not in settings_yaml(settings, root=tmp_path)
    assert _load(tmp_path, settings_yaml(replace(settings, name="x"), root=tmp_path)).storage is None


def test_a_function_and_arguments_that_yaml_has_no_word_for_are_recorded_as_python_shows_them() -> None:
    job = read_job({"factory": build, "args": {"path": Path("data"), "kind": int}}, root=Path())
    assert read_job(build, root=Path()).factory is build
    written = yaml.safe_load(settings_yaml(StudySettings(job=job), root=Path()))["job"]
    assert written["factory"].endswith("test_settings:build")
    assert written["args"] == {"path": "data", "kind": "<class 'int'>"}


@pytest.mark.parametrize(
    ("monitor", "mode", "asked"),
    [("val/acc", "min", True), ("val_F1", "min", True), ("val/acc", "max", False), ("val_accident_loss", "min", False)],
)
def test_a_metric_that_sounds_as_if_more_were_better_is_asked_about(monitor: str, mode: Any, asked: bool) -> None:
    settings = StudySettings(job=JobSpec(factory="sample_jobs:build"), monitor=monitor, mode=mode)
    assert (settings.doubt is not None) == asked

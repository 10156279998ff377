from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sample_jobs as jobs
import sample_pl_jobs as pl_jobs
import torch
from lightning.pytorch.callbacks import (
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    StochasticWeightAveraging,
)
from lightning.pytorch.loggers import CSVLogger

from autowarm.errors import JobError
from autowarm.job import build, import_object, package_of, trainer_keywords
from autowarm.specs import JobSpec

WITH_CLASS_PATHS = """
seed_everything: 7
model:
  class_path: sample_jobs.Regression
  init_args: {lr: 0.5}
data:
  class_path: sample_jobs.RegressionData
trainer:
  max_epochs: 2
  accumulate_grad_batches: 2
  callbacks:
    - class_path: lightning.pytorch.callbacks.EarlyStopping
      init_args: {monitor: val_loss}
ckpt_path: last.ckpt
"""
WITHOUT_CLASS_PATHS = """
model: {lr: 0.5}
trainer: {max_epochs: 2}
"""


@pytest.fixture(autouse=True)
def _no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["pytest"])


def written(folder: Path, text: str) -> Path:
    path = folder / "user.yaml"
    path.write_text(text)
    return path


def test_a_factory_is_called_with_its_arguments() -> None:
    training = build(JobSpec(factory="sample_jobs:build", args={"lr": 0.25}), seed=0)
    assert training.module.lr == 0.25
    assert training.trainer["max_steps"] == 40


def test_a_factory_may_be_the_function_itself() -> None:
    assert isinstance(build(JobSpec(factory=jobs.build), seed=0).module, jobs.Regression)


def test_the_seed_decides_the_weights() -> None:
    def weights(seed: int) -> torch.Tensor:
        module: Any = build(JobSpec(factory=jobs.build), seed=seed).module
        return module.network[1].weight.detach()  # type: ignore[no-any-return]

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_a_lightning_cli_file_builds_module_data_and_the_trainers_keywords(tmp_path: Path) -> None:
    training = build(JobSpec(config=written(tmp_path, WITH_CLASS_PATHS)), seed=0)
    assert training.module.lr == 0.5
    assert isinstance(training.data, jobs.RegressionData)
    assert training.trainer["max_epochs"] == 2
    assert training.trainer["accumulate_grad_batches"] == 2
    assert [type(callback) for callback in training.trainer["callbacks"]] == [EarlyStopping]


def test_a_project_without_class_paths_names_its_classes_beside_the_file(tmp_path: Path) -> None:
    spec = JobSpec(
        config=written(tmp_path, WITHOUT_CLASS_PATHS),
        model_class="sample_jobs.Regression",
        data_class="sample_jobs.RegressionData",
    )
    training = build(spec, seed=0)
    assert training.module.lr == 0.5
    assert isinstance(training.data, jobs.RegressionData)


def test_a_project_may_name_its_own_cli(tmp_path: Path) -> None:
    spec = JobSpec(config=written(tmp_path, WITHOUT_CLASS_PATHS), cli_class="sample_jobs.OwnCLI")
    assert build(spec, seed=0).module.lr == 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("sample_jobs.RegressionData", "sample_jobs.RegresionData"), "RegresionData"),
        (("lr: 0.5", "learning_rate: 0.5"), "learning_rate"),
        (("max_epochs: 2", "max_epochs: two"), "max_epochs"),
        (("sample_jobs.Regression\n", "no_such_package.Model\n"), "no_such_package"),
    ],
)
def test_a_file_that_lightning_cli_refuses_says_which_and_why(
    change: tuple[str, str], message: str, tmp_path: Path
) -> None:
    path = written(tmp_path, WITH_CLASS_PATHS.replace(*change))
    with pytest.raises(JobError, match=message) as caught:
        build(JobSpec(config=path), seed=0)
    assert str(path) in str(caught.value)


def test_a_file_without_data_says_so(tmp_path: Path) -> None:
    path = written(tmp_path, "model: {class_path: sample_jobs.Regression}\n")
    with pytest.raises(JobError, match="names no data"):
        build(JobSpec(config=path), seed=0)


def test_a_factory_that_returns_something_else_is_told_what_to_return() -> None:
    with pytest.raises(JobError, match=r"must return autowarm.Training.* got str"):
        build(JobSpec(factory="sample_jobs:not_a_training"), seed=0)


def test_fast_dev_run_is_no_training_to_tune() -> None:
    with pytest.raises(JobError, match="fast_dev_run"):
        build(JobSpec(factory="sample_jobs:build", args={"trainer": {"fast_dev_run": True}}), seed=0)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no_such_module:build", "there is no module 'no_such_module'"),
        ("sample_jobs.inner:build", "there is no module 'sample_jobs.inner'"),
        ("sample_jobs:biuld", "unknown name in sample_jobs 'biuld': did you mean 'build'?"),
        ("build", "package.module:name"),
    ],
)
def test_a_path_that_does_not_import_says_why(path: str, message: str) -> None:
    with pytest.raises(JobError, match=message):
        import_object(path, "the factory")


def test_an_import_that_fails_inside_the_users_module_is_theirs_to_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needs_more.py").write_text("import not_installed_anywhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="not_installed_anywhere"):
        import_object("needs_more:build", "the factory")


def test_a_trial_drops_what_logs_saves_and_stops_and_keeps_what_trains(tmp_path: Path) -> None:
    averaging = StochasticWeightAveraging(1e-2)
    given = {
        "callbacks": [EarlyStopping("val_loss"), ModelCheckpoint(tmp_path), LearningRateMonitor(), averaging],
        "logger": CSVLogger(tmp_path),
        "max_steps": 7,
        "max_time": "00:01:00:00",
        "precision": "bf16-mixed",
        "gradient_clip_val": 1.0,
        "limit_val_batches": None,
    }
    keywords, dropped = trainer_keywords(given, keep_callbacks=False)
    assert keywords["callbacks"] == [averaging]
    assert dropped == ("EarlyStopping", "ModelCheckpoint", "LearningRateMonitor", "CSVLogger")
    assert keywords["precision"] == "bf16-mixed"
    assert keywords["gradient_clip_val"] == 1.0
    assert not {"max_steps", "max_time", "limit_val_batches"} & set(keywords)
    assert keywords["enable_checkpointing"] is False


def test_callbacks_are_kept_by_name_or_all_of_them(tmp_path: Path) -> None:
    callbacks = [EarlyStopping("val_loss"), ModelCheckpoint(tmp_path)]
    keywords, dropped = trainer_keywords({"callbacks": callbacks}, keep_callbacks=("ModelCheckpoint",))
    assert keywords["callbacks"] == callbacks[1:]
    assert keywords["enable_checkpointing"] is True
    assert dropped == ("EarlyStopping",)
    assert trainer_keywords({"callbacks": callbacks}, keep_callbacks=True)[0]["callbacks"] == callbacks


def test_a_module_that_runs_a_command_line_when_it_is_imported_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "unguarded.py").write_text("import sys\nsys.exit(2)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(JobError, match="unguarded runs a command line when it is imported"):
        import_object("unguarded:Model", "model_class")


def test_a_mixin_of_the_other_package_does_not_decide_where_a_module_belongs() -> None:
    from pytorch_lightning.core.mixins.hparams_mixin import HyperparametersMixin

    class Mixed(jobs.Regression, HyperparametersMixin):  # type: ignore[misc] # twins of the same name
        pass

    assert package_of(Mixed) == "lightning.pytorch"
    assert package_of(pl_jobs.Regression) == "pytorch_lightning"


def test_a_file_without_class_paths_says_where_to_name_the_classes(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"names no class_path for model: name model_class and data_class"):
        build(JobSpec(config=written(tmp_path, WITHOUT_CLASS_PATHS)), seed=0)


def test_a_size_goes_to_the_argument_of_a_factory_over_what_its_arguments_say() -> None:
    def size(spec: JobSpec, dataset_size: int | None) -> int:
        data: Any = build(spec, seed=0, dataset_size=dataset_size).data
        return int(data.n_examples)

    spec = JobSpec(factory="sample_jobs:weighted", dataset_size_arg="n_examples", args={"n_examples": 40})
    assert (size(spec, 20), size(spec, None)) == (20, 40)
    assert size(replace(spec, dataset_size_arg=None), 20) == 40


def test_a_factory_without_the_argument_is_refused_with_the_nearest() -> None:
    spec = JobSpec(factory="sample_jobs:weighted", dataset_size_arg="n_exmples")
    said = (
        "the factory sample_jobs:weighted does not take the dataset_size_arg: "
        "unknown argument 'n_exmples': did you mean 'n_examples'"
    )
    with pytest.raises(JobError, match=said):
        build(spec, seed=0, dataset_size=20)
    # only where it is used
    build(spec, seed=0)
    # of **arguments nobody can tell
    with pytest.raises(TypeError, match="n_exmples"):
        build(replace(spec, factory="sample_jobs:build"), seed=0, dataset_size=20)


@pytest.mark.parametrize(
    ("text", "classes", "path"),
    [
        ("data: {class_path: sample_jobs.WeightedData}\n", {}, "data.init_args.n_examples"),
        ("data: {n_examples: 30}\n", {"data_class": "sample_jobs.WeightedData"}, "data.n_examples"),
    ],
)
def test_a_size_goes_to_a_key_of_a_lightning_cli_file(
    text: str, classes: dict[str, str], path: str, tmp_path: Path
) -> None:
    model = "model: {class_path: sample_jobs.Regression}\n" if not classes else "model: {lr: 0.5}\n"
    given: Any = {**classes, "model_class": "sample_jobs.Regression"} if classes else {}
    spec = JobSpec(config=written(tmp_path, model + text), **given, dataset_size_arg=path)
    data: Any = build(spec, seed=0, dataset_size=20).data
    assert data.n_examples == 20
    wrong = path.replace("n_examples", "n_exmples")
    with pytest.raises(JobError, match=rf"user\.yaml, with {wrong} = 20 for the dataset_size: .*n_exmples"):
        build(replace(spec, dataset_size_arg=wrong), seed=0, dataset_size=20)

"""Building one fresh training from a job: a LightningCLI file or a Python factory.

torch and Lightning are imported inside the functions, so that `autowarm.Training` costs nothing to import.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from autowarm.errors import JobError, unknown
from autowarm.specs import JobSpec, KeepCallbacks
from autowarm.yaml_files import read_yaml

if TYPE_CHECKING:
    import pytorch_lightning
    from lightning.pytorch import LightningDataModule, LightningModule
    from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
    from torch.utils.data import DataLoader

Data: TypeAlias = (
    "LightningDataModule | LightningModule | DataLoader[Any] | "
    "pytorch_lightning.LightningDataModule | pytorch_lightning.LightningModule"
)

# `fit` takes these beside the model, the data and the trainer; a file made for it may hold them.
_RUN_ONLY = ("ckpt_path", "weights_only", "return_predictions", "verbose")
# Keywords of the Trainer that the runner owns.
_OWNED = frozenset(
    {
        "logger",
        "callbacks",
        "enable_checkpointing",
        "enable_progress_bar",
        "enable_model_summary",
        "default_root_dir",
        "profiler",
        "max_epochs",
        "min_epochs",
        "max_steps",
        "min_steps",
        "max_time",
        "val_check_interval",
        "check_val_every_n_epoch",
        "num_sanity_val_steps",
        "fast_dev_run",
        "overfit_batches",
        "barebones",
    }
)
# Lightning counts batches for `val_check_interval`; this many never come.
NEVER = 2**62


@dataclass(kw_only=True)
class Training:
    """One fresh training: what a Python factory returns, anew at each call.

    Attributes:
        module: the LightningModule, of `lightning.pytorch` or of `pytorch_lightning`.
        data: a LightningDataModule, the training DataLoader, or the module itself where it has its own loaders.
        val_data: the validation DataLoader, beside a training DataLoader.
        trainer: keywords of the package's `Trainer`, as the job would pass them.
    """

    module: LightningModule | pytorch_lightning.LightningModule
    data: Data
    val_data: DataLoader[Any] | None = None
    trainer: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fit_arguments(self) -> dict[str, Any]:
        """The data as keywords of `Trainer.fit`."""
        if self.data is self.module:
            return {}
        if hasattr(self.data, "train_dataloader"):
            return {"datamodule": self.data}
        return {"train_dataloaders": self.data, "val_dataloaders": self.val_data}


def build(spec: JobSpec, *, seed: int, dataset_size: int | None = None) -> Training:
    """Build the job's training with all random numbers seeded.

    Args:
        spec: the job.
        seed: of weights, data order and dropout.
        dataset_size: what the job's `dataset_size_arg` is given; without effect where it has none.

    Raises:
        JobError: a class path or factory that does not import, a file that LightningCLI does not accept, a
            `dataset_size_arg` that the job does not take, or a factory that does not return a `Training`.
    """
    from lightning.pytorch import seed_everything

    seed_everything(seed, workers=True, verbose=False)
    sized = spec.dataset_size_arg is not None and dataset_size is not None
    extra = {cast("str", spec.dataset_size_arg): cast("int", dataset_size)} if sized else {}
    training = _from_config(spec, seed, extra) if spec.config is not None else _from_factory(spec, extra)
    if training.trainer.get("fast_dev_run") or training.trainer.get("overfit_batches"):
        raise JobError("the job's trainer has fast_dev_run or overfit_batches set: tune the real training without them")
    return training


def _from_factory(spec: JobSpec, extra: Mapping[str, int]) -> Training:
    factory = spec.factory
    if isinstance(factory, str):
        factory = cast("Callable[..., Any]", import_object(factory, "the job's factory"))
    assert factory is not None  # noqa: S101 - a spec has a config or a factory
    _check_takes(factory, spec, extra)
    training = factory(**{**spec.args, **extra})
    if not isinstance(training, Training):
        raise JobError(
            f"the factory {spec} must return autowarm.Training(module=..., data=..., trainer={{...}}), "
            f"got {type(training).__name__}"
        )
    return training


def _check_takes(factory: Callable[..., Any], spec: JobSpec, names: Iterable[str]) -> None:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # of a callable that does not tell
        return
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return
    taken = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    for name in names:
        if name not in taken:
            raise JobError(f"the factory {spec} does not take the dataset_size_arg: {unknown('argument', name, taken)}")


def _from_config(spec: JobSpec, seed: int, extra: Mapping[str, int]) -> Training:
    assert spec.config is not None  # noqa: S101 - the caller has seen it
    # jsonargparse reads the file once more; what bounds it, and how faults are told, is the same as of our own files
    if read_yaml(spec.config, JobError).get("trainer", {}) is None:
        raise JobError(f"{spec.config}: trainer holds nothing: leave it out, or give keywords of the Trainer")
    classes = {
        "model_class": import_object(spec.model_class, "model_class") if spec.model_class else None,
        "datamodule_class": import_object(spec.data_class, "data_class") if spec.data_class else None,
    }
    cli_module = importlib.import_module(f"{_package_of(spec, classes['model_class'])}.cli")
    lightning_cli: type[LightningCLI] = cli_module.LightningCLI
    base = lightning_cli
    if spec.cli_class:
        base = cast("type[LightningCLI]", import_object(spec.cli_class, "cli_class"))

    class JobCLI(base):  # type: ignore[misc, valid-type]
        """Instantiates the model and the data, and keeps the Trainer's keywords for the runner to build it."""

        def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
            super().add_arguments_to_parser(parser)
            for name in _RUN_ONLY:
                if f"--{name}" in parser._option_string_actions:  # noqa: SLF001 - the project has it itself
                    continue
                parser.add_argument(f"--{name}", type=Any, default=None)

        def instantiate_trainer(self, **kwargs: Any) -> Any:
            self.trainer_class = dict
            return super().instantiate_trainer(**kwargs)

    def parser_error(_parser: object, message: str, _cause: object = None) -> None:
        # whose fault it is, the message says
        with_size = "".join(f", with {name} = {value} for the dataset_size" for name, value in extra.items())
        raise JobError(f"{spec.config}{with_size}: {' '.join(message.split())}")

    parser_class = type("JobParser", (cli_module.LightningArgumentParser,), {"error": parser_error})
    # A class of the project's own knows its model and data; it takes those as its arguments only when they are given.
    given = {name: value for name, value in classes.items() if value is not None or base is lightning_cli}
    cli = JobCLI(
        **given,
        args=[
            *("--config", str(spec.config), "--seed_everything", str(seed)),
            *(f"--{name}={value}" for name, value in extra.items()),
        ],
        run=False,
        save_config_callback=None,
        parser_class=parser_class,
    )
    if cli.datamodule is None and not _has_own_loader(cli.model):
        raise JobError(f"{spec.config}: names no data: give 'data' with a class_path, or data_class in the study file")
    return Training(module=cli.model, data=cli.datamodule or cli.model, trainer=cast("dict[str, Any]", cli.trainer))


def _has_own_loader(module: LightningModule) -> bool:
    hooks = importlib.import_module(f"{package_of(type(module))}.core.hooks")
    return type(module).train_dataloader is not hooks.DataHooks.train_dataloader


def package_of(module_class: type) -> str:
    """Return which of Lightning's two packages a class comes from: their modules, Trainers and callbacks do not mix."""
    # the first one decides: a mixin of the other package may come with it
    names = ("LightningModule", "LightningCLI")
    home = next((base.__module__ for base in module_class.__mro__ if base.__name__ in names), "")
    return "pytorch_lightning" if home.startswith("pytorch_lightning.") else "lightning.pytorch"


def _package_of(spec: JobSpec, model_class: type | None) -> str:
    """Return the package that the model of a LightningCLI file needs its command line from."""
    assert spec.config is not None  # noqa: S101 - the caller has seen it
    if spec.cli_class:
        return package_of(import_object(spec.cli_class, "cli_class"))
    if model_class is None:
        model = read_yaml(spec.config, JobError).get("model")
        path = model.get("class_path") if isinstance(model, Mapping) else model
        if isinstance(model, Mapping) and path is None:
            raise JobError(
                f"{spec.config}: names no class_path for model: name model_class and data_class beside it in the study "
                "file, as job: {config: ..., model_class: package.Model, data_class: package.Data}; or cli_class"
            )
        if not isinstance(path, str) or "." not in path:
            return "lightning.pytorch"
        try:
            model_class = import_object(path, "the class_path of model")
        except JobError as e:
            raise JobError(f"{spec.config}: {e}") from None
    return package_of(model_class) if isinstance(model_class, type) else "lightning.pytorch"


def import_object(path: str, what: str) -> Any:
    """Import ``package.module:name`` or ``package.module.name``.

    Args:
        path: the object.
        what: what it is for, for the message.

    Raises:
        JobError: the module or the name in it is not there. An error inside the module is raised as it is.
    """
    module_name, _, name = path.partition(":") if ":" in path else path.rpartition(".")
    if not module_name or not name:
        raise JobError(f"{what} must look like package.module:name, got {path!r}")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as e:
        if e.name is None or not (module_name + ".").startswith(e.name + "."):
            raise
        raise JobError(
            f"{what} {path!r} does not import: there is no module {e.name!r} here. "
            "Run from the folder that holds it, or install its package"
        ) from None
    except SystemExit:
        raise JobError(
            f"{what} {path!r} does not import: the module {module_name} runs a command line when it is imported. "
            "Put that under: if __name__ == '__main__'"
        ) from None
    try:
        return getattr(module, name)
    except AttributeError:
        own = [n for n, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
        raise JobError(f"{what} {path!r} does not import: {unknown(f'name in {module_name}', name, own)}") from None


def trainer_keywords(
    given: Mapping[str, Any], *, keep_callbacks: KeepCallbacks
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the Trainer's keywords for a trial, and the names of the job's callbacks and loggers that it drops.

    A trial logs nothing, saves nothing and is stopped by its owner alone; everything that shapes the training
    (precision, accumulation, clipping, batch limits, the other callbacks) stays as the job has it.

    Args:
        given: keywords as the job has them.
        keep_callbacks: True, or names of classes, to keep callbacks that log, save or stop.
    """
    from lightning.pytorch.callbacks import (
        BatchSizeFinder,
        Checkpoint,
        DeviceStatsMonitor,
        EarlyStopping,
        LearningRateFinder,
        LearningRateMonitor,
        ModelSummary,
        ProgressBar,
        Timer,
    )
    from lightning.pytorch.loggers.logger import DummyLogger

    meddling = (
        BatchSizeFinder,
        Checkpoint,
        DeviceStatsMonitor,
        EarlyStopping,
        LearningRateFinder,
        LearningRateMonitor,
    )
    quiet = (ModelSummary, ProgressBar, Timer)
    names_kept = keep_callbacks if isinstance(keep_callbacks, tuple) else ()
    callbacks = given.get("callbacks") or []
    kept, dropped = [], []
    for callback in callbacks if isinstance(callbacks, list | tuple) else [callbacks]:
        name = type(callback).__name__
        # by name too: the same classes of the `pytorch_lightning` package are others
        classes = {c.__name__ for c in type(callback).__mro__}
        if keep_callbacks is True or name in names_kept:
            kept.append(callback)
        elif classes & {c.__name__ for c in meddling}:
            dropped.append(name)
        elif not classes & {c.__name__ for c in quiet}:
            kept.append(callback)
    logger = given.get("logger")
    if logger not in (None, True, False):
        dropped += [type(x).__name__ for x in (logger if isinstance(logger, list | tuple) else [logger])]
    keywords = {name: value for name, value in given.items() if name not in _OWNED and value is not None}
    if str(keywords.get("devices", "auto")) == "auto":
        keywords["devices"] = 1
    keywords |= {
        "callbacks": kept,
        # not False: a module may call self.logger.experiment.add_image(...)
        "logger": False if logger is False else DummyLogger(),
        "enable_checkpointing": any("Checkpoint" in (k.__name__ for k in type(c).__mro__) for c in kept),
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        # the runner says when to validate
        "val_check_interval": NEVER,
        "check_val_every_n_epoch": None,
    }
    return keywords, tuple(dropped)

"""Building one fresh training from a job: a LightningCLI file or a Python factory.

torch and Lightning are imported inside the functions, so that `autowarm.Training` costs nothing to import.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from autowarm.errors import JobError, unknown
from autowarm.specs import JobSpec, KeepCallbacks

if TYPE_CHECKING:
    from lightning.pytorch import LightningDataModule, LightningModule
    from lightning.pytorch.cli import LightningCLI
    from torch.utils.data import DataLoader

# The examples of a subset are drawn with this seed, whatever the trial's: the same size is the same examples.
SUBSET_SEED = 0
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
        module: the LightningModule.
        data: a LightningDataModule, the training DataLoader, or the module itself where it has its own loaders.
        val_data: the validation DataLoader, beside a training DataLoader.
        trainer: keywords of `lightning.pytorch.Trainer`, as the job would pass them.
    """

    module: LightningModule
    data: LightningDataModule | DataLoader[Any] | LightningModule
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


def build(spec: JobSpec, *, seed: int) -> Training:
    """Build the job's training with all random numbers seeded.

    Args:
        spec: the job.
        seed: of weights, data order and dropout.

    Raises:
        JobError: a class path or factory that does not import, a file that LightningCLI does not accept, or a
            factory that does not return a `Training`.
    """
    from lightning.pytorch import seed_everything

    seed_everything(seed, workers=True, verbose=False)
    training = _from_config(spec, seed) if spec.config is not None else _from_factory(spec)
    if training.trainer.get("fast_dev_run") or training.trainer.get("overfit_batches"):
        raise JobError("the job's trainer has fast_dev_run or overfit_batches set: tune the real training without them")
    return training


def _from_factory(spec: JobSpec) -> Training:
    factory = spec.factory
    if isinstance(factory, str):
        factory = cast("Callable[..., Any]", import_object(factory, "the job's factory"))
    assert factory is not None  # noqa: S101 - a spec has a config or a factory
    training = factory(**spec.args)
    if not isinstance(training, Training):
        raise JobError(
            f"the factory {spec} must return autowarm.Training(module=..., data=..., trainer={{...}}), "
            f"got {type(training).__name__}"
        )
    return training


def _from_config(spec: JobSpec, seed: int) -> Training:
    from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

    base: type[LightningCLI] = LightningCLI
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
        raise JobError(f"{spec.config}: {' '.join(message.split())}")

    parser_class = type("JobParser", (LightningArgumentParser,), {"error": parser_error})
    classes = {
        "model_class": import_object(spec.model_class, "model_class") if spec.model_class else None,
        "datamodule_class": import_object(spec.data_class, "data_class") if spec.data_class else None,
    }
    # A class of the project's own knows its model and data; it takes those as its arguments only when they are given.
    given = {name: value for name, value in classes.items() if value is not None or base is LightningCLI}
    cli = JobCLI(
        **given,
        args=["--config", str(spec.config), "--seed_everything", str(seed)],
        run=False,
        save_config_callback=None,
        parser_class=parser_class,
    )
    if cli.datamodule is None and not _has_own_loader(cli.model):
        raise JobError(f"{spec.config}: names no data: give 'data' with a class_path, or data_class in the study file")
    return Training(module=cli.model, data=cli.datamodule or cli.model, trainer=cast("dict[str, Any]", cli.trainer))


def _has_own_loader(module: LightningModule) -> bool:
    from lightning.pytorch.utilities.model_helpers import is_overridden

    return is_overridden("train_dataloader", module)


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
        "enable_checkpointing": any(isinstance(c, Checkpoint) for c in kept),
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        # the runner says when to validate
        "val_check_interval": NEVER,
        "check_val_every_n_epoch": None,
    }
    return keywords, tuple(dropped)


def take_subset(training: Training, dataset_size: int) -> None:
    """Make a training use only `dataset_size` of its examples, the same ones for the same number.

    A smaller subset is part of every larger one.

    Args:
        training: changed in place.
        dataset_size: examples to train on, at least 1 and at most those there are.

    Raises:
        JobError: the training data has no length or a sampler of its own, or has fewer examples.
    """
    if hasattr(training.data, "train_dataloader"):
        owner = cast("Any", training.data)
        whole = owner.train_dataloader

        def train_dataloader() -> Any:
            return _subset_loader(whole(), dataset_size)

        owner.train_dataloader = train_dataloader
    else:
        training.data = _subset_loader(training.data, dataset_size)


def _subset_loader(loader: Any, dataset_size: int) -> DataLoader[Any]:
    import torch
    from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler, Subset

    why = None
    size = len(loader.dataset) if hasattr(getattr(loader, "dataset", None), "__len__") else 0
    if type(loader) is not DataLoader:
        why = f"the training data comes from a {type(loader).__name__}, not from a plain DataLoader"
    elif isinstance(loader.dataset, torch.utils.data.IterableDataset):
        why = "the training data is an iterable without indices"
    elif type(loader.batch_sampler) is not BatchSampler:
        why = f"the training loader has a batch sampler of its own ({type(loader.batch_sampler).__name__})"
    elif type(loader.sampler) not in (RandomSampler, SequentialSampler):
        why = f"the training loader has a sampler of its own ({type(loader.sampler).__name__})"
    elif isinstance(loader.sampler, RandomSampler) and (
        loader.sampler.replacement or loader.sampler.num_samples != size
    ):
        why = "the training loader draws its samples with replacement or a number of its own"
    if why:
        raise JobError(
            f"dataset_size={dataset_size} cannot be taken from this job, because {why}: "
            "make the size an argument of the job and tune the sizes as studies of their own"
        )
    if dataset_size > size:
        raise JobError(f"dataset_size={dataset_size} is more than the job's {size} training examples")
    order = torch.randperm(size, generator=torch.Generator().manual_seed(SUBSET_SEED))
    # sorted, so that a loader that does not shuffle keeps the order of its data
    indices = sorted(order[:dataset_size].tolist())
    workers = {
        name: getattr(loader, name) for name in ("prefetch_factor", "persistent_workers") if loader.num_workers > 0
    }
    return DataLoader(
        Subset(loader.dataset, indices),
        batch_size=loader.batch_size,
        shuffle=isinstance(loader.sampler, RandomSampler),
        drop_last=loader.drop_last,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=loader.generator,
        **workers,
    )

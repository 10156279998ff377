"""What goes to a process that trains, and what comes back: plain data, the same for every executor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeAlias

from autowarm.errors import JobError
from autowarm.record import Curve, Outcome, Resumed
from autowarm.schedule import Schedule
from autowarm.yaml_files import read_yaml

# True keeps all callbacks of the job, a tuple those of the classes named in it.
KeepCallbacks: TypeAlias = bool | tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """How to build one fresh training; exactly one of `config` and `factory` is given.

    Attributes:
        config: a LightningCLI file with `model`, `data` and `trainer`.
        model_class: class path of the model, for projects whose file has no class paths; likewise `data_class`.
        cli_class: class path of the project's own LightningCLI subclass.
        factory: ``package.module:function`` or the function itself; returns an `autowarm.Training`.
        args: keyword arguments of the factory.
        dataset_size_arg: what the job takes a `dataset_size` by, where it cannot be taken from its data by index: a
            keyword of the factory, or the path of a key of the file, such as ``data.init_args.n_examples``. What it
            means is the job's: the same examples for the same number, and fewer of them part of more.
    """

    config: Path | None = None
    model_class: str | None = None
    data_class: str | None = None
    cli_class: str | None = None
    factory: str | Callable[..., Any] | None = None
    args: Mapping[str, Any] = field(default_factory=dict)
    dataset_size_arg: str | None = None

    def __str__(self) -> str:
        """Name the job in a word."""
        if self.config is not None:
            return self.config.name
        if callable(self.factory):
            return f"{self.factory.__module__}:{getattr(self.factory, '__qualname__', type(self.factory).__name__)}"
        return str(self.factory)

    @property
    def modules(self) -> tuple[str, ...]:
        """Names of the modules that building the job will import, as far as the spec or its file names them."""
        paths = [self.model_class, self.data_class, self.cli_class]
        if self.config is not None:
            # what is wrong with the file, building the job says
            with suppress(JobError):
                paths += _class_paths(read_yaml(self.config, JobError))
        modules = [path.rpartition(".")[0] for path in paths if path]
        if isinstance(self.factory, str):
            modules.append(self.factory.partition(":")[0])
        return tuple(name for name in modules if name)


def _class_paths(node: object) -> Iterator[str]:
    if isinstance(node, Mapping):
        if isinstance(path := node.get("class_path"), str):
            yield path
        node = list(node.values())
    for child in node if isinstance(node, list) else ():
        yield from _class_paths(child)


@dataclass(frozen=True, kw_only=True)
class GrowingTrunk:
    """A trunk that grows from training to training: a longer one goes on from where a shorter one let go of its peak.

    Attributes:
        name: of the trunk; records carry it.
        key: the same for trainings whose first learning rates are the same, and for no others of the study.
        step: optimizer steps of this training whose learning rates are the trunk's, at least 1.
        begin: file with the state to go on from, after `step` steps at most; None, or where it is not there: the
            training begins at its start.
        leave: file to leave the state after `step` steps in; None: no longer training will ask for it.
    """

    name: str
    key: str
    step: int
    begin: Path | None = None
    leave: Path | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingSpec:
    """One training of a job.

    Attributes:
        job: what is trained.
        monitor: the metric that is watched; None: none (only to inspect a job).
        total_steps: optimizer steps of the run; None: as the job is set up (only to inspect a job).
        dataset_size: train on that many examples, the same ones for the same number; None: on all. The job's
            `dataset_size_arg` takes them, where it has one.
        schedule: what the learning rate follows; None: the job's own scheduler.
        seed: of weights, data order and dropout.
        rungs: steps at which to validate and report, rising, the last one `total_steps`.
        ema_rungs: those of them at which to validate once more, with a running average of the weights.
        processes: of the training, on this machine; more than one is DDP, each with a share of the data.
        threads: CPU threads of each process.
        keep_callbacks: callbacks of the job that trials keep although they log, save or stop.
        checkpoint: file in which this training keeps itself, removed when it has ended with a result. Where it exists,
            the training goes on from it. A training of several processes keeps nothing and starts anew.
        checkpoint_seconds: wall time between two writes of it, at least 0.
        split_batches: parts that each training batch is cut into, to save memory; `accumulate_grad_batches` grows by as
            much, so that a step sees the same examples.
        devices: GPUs that the training sees, as `CUDA_VISIBLE_DEVICES` names them; None: those of its owner.
        gpu_memory_share: of its GPU's memory that the training may take, in (0, 1]; None: all.
        trunk: that it takes part in; None: in none. A training of several processes takes part in none.
    """

    job: JobSpec
    monitor: str | None
    total_steps: int | None
    dataset_size: int | None = None
    schedule: Schedule | None = None
    seed: int = 0
    rungs: tuple[int, ...] = ()
    ema_rungs: tuple[int, ...] = ()
    processes: int = 1
    threads: int = 1
    keep_callbacks: KeepCallbacks = False
    checkpoint: Path | None = None
    checkpoint_seconds: float = 600.0
    split_batches: int = 1
    devices: tuple[str, ...] | None = None
    gpu_memory_share: float | None = None
    trunk: GrowingTrunk | None = None


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """How a training ended; the fields are those of `autowarm.record.TrialRecord`, but for the two named here.

    `outcome` None is a training that was told to stop before its end: no result. `out_of_memory` tells why it FAILED,
    and `notices` say what its owner should know of its checkpoint.
    """

    outcome: Outcome | None
    value: float | None = None
    reason: str | None = None
    rungs: Curve = ()
    ema_rungs: Curve = ()
    train_curve: Curve = ()
    grad_norms: Curve = ()
    steps: int = 0
    val_batches: int = 0
    seconds: float = 0.0
    error: str | None = None
    resumed: Resumed | None = None
    notices: tuple[str, ...] = ()
    out_of_memory: bool = False
    trunk: str | None = None
    shared_steps: int | None = None
    exact: bool | None = None

    @property
    def recorded(self) -> dict[str, Any]:
        """What a record keeps of it, by the names of its fields."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _NOT_RECORDED}


# What a result tells its owner alone.
_NOT_RECORDED = ("notices", "out_of_memory")


@dataclass(frozen=True, kw_only=True)
class TrunkResult:
    """How the trials of a trunk ended.

    Attributes:
        results: of each trial, in their order; None where it could not branch, and is to be trained by itself.
        refused: why it could not; None where all have a result.
    """

    results: tuple[TrialResult | None, ...]
    refused: str | None = None


@dataclass(frozen=True, kw_only=True)
class Branching:
    """Whether the trials of a job can share a trunk.

    Attributes:
        refused: why not; None where they can.
    """

    refused: str | None


@dataclass(frozen=True, kw_only=True)
class JobInfo:
    """What a few steps of a job told about it.

    Attributes:
        total_steps: optimizer steps of the run.
        dataset_size: training examples: as many as were asked for, or as the data has; None where it has no length.
        batch_size: training examples an optimizer step uses; None where unknown.
        loader_batch_size: training examples in a batch, of which a step may accumulate several; None where unknown.
        steps_per_epoch: optimizer steps in an epoch; None where the data has no length.
        val_batches: validation batches of one validation.
        step_seconds: wall time of a training step, and `validation_seconds`, of one validation.
        fixed_seconds: wall time of all the rest: building the job, starting the fit.
        lrs: learning rates of the first param group over the run, by the job's own scheduler, where they can be
            known without training; shape (total_steps,).
        scheduler: name of the job's own scheduler; None where it has none.
        schedule: what the job follows today, if its scheduler is one of ours.
        beta2: Adam's second moment decay; None for other optimizers.
        accelerator: `cpu`, `cuda`, ...
        notices: what a user should know about how the trials differ from the job.
        processes: that one training runs in.
        gpus: that a training on CUDA sees; 0 on anything else.
        seen_lrs: learning rates of the first param group in the steps looked at.
    """

    total_steps: int
    dataset_size: int | None
    batch_size: int | None
    steps_per_epoch: float | None
    val_batches: int
    step_seconds: float
    validation_seconds: float
    fixed_seconds: float
    lrs: tuple[float, ...] | None
    scheduler: str | None
    schedule: Schedule | None
    beta2: float | None
    accelerator: str
    notices: tuple[str, ...] = ()
    processes: int = 1
    seen_lrs: tuple[float, ...] = ()
    loader_batch_size: int | None = None
    gpus: int = 0


@dataclass(frozen=True, kw_only=True)
class TrunkSpec:
    """Trials of one job and seed whose learning rates begin alike: what they share is trained once.

    The trunk is the training of one of the trials, the carrier. Each of the others leaves it after a number of steps,
    and goes on from there by itself; one that leaves it at its end needs no training.

    Attributes:
        name: of the trunk; its results carry it.
        trials: alike but for `schedule`, `total_steps`, `rungs` and `ema_rungs`; each with a schedule, whose warmup is
            not in epochs, in one process, and without a `checkpoint` or a `trunk` of its own.
        branch_steps: for each trial, the optimizer steps whose learning rates it has in common with the carrier, in
            [1, `total_steps`].
        memory_bytes: what the states that branches begin from may take of the memory; what is more lies in files.
        folder: an existing one for those files, which are removed; default: that of the system.

    Raises:
        JobError: a trial that does not fit; says which and why.
    """

    name: str
    trials: tuple[TrainingSpec, ...]
    branch_steps: tuple[int, ...]
    memory_bytes: int = 2**30
    folder: Path | None = None

    def __post_init__(self) -> None:
        """Check that the trials are alike, and alike as far as they are to share their steps."""
        if not self.trials or len(self.trials) != len(self.branch_steps):
            raise JobError(f"a trunk of {len(self.trials)} trials needs as many steps, got {len(self.branch_steps)}")
        carrier = self.trials[self.carrier]
        common = _common(carrier)
        for number, (trial, step) in enumerate(zip(self.trials, self.branch_steps, strict=True)):
            if trial.schedule is None or trial.total_steps is None or trial.monitor is None:
                raise JobError(f"trial {number} of a trunk needs a schedule, total_steps and a metric")
            if trial.processes > 1 or trial.checkpoint is not None or trial.trunk is not None:
                raise JobError(f"trial {number} of a trunk must run in one process, and keep and leave no state")
            if _common(trial) != common:
                raise JobError(
                    f"trial {number} of a trunk differs from the others in more than its schedule and length"
                )
            if not 1 <= step <= trial.total_steps:
                raise JobError(
                    f"trial {number} leaves its trunk after {step} steps: must be in [1, {trial.total_steps}]"
                )
            if not _begin_alike(trial, carrier, step):
                raise JobError(f"trial {number} has other learning rates than its trunk within its first {step} steps")

    @property
    def carrier(self) -> int:
        """Number of the trial whose training the trunk is."""
        return carrier_of(self.branch_steps, [trial.total_steps or 0 for trial in self.trials])

    def shared(self, trial: int) -> int:
        """Return the steps of a trial that others need, too: up to its branch; the carrier's, to the last branch."""
        if trial != self.carrier:
            return self.branch_steps[trial]
        return max((step for i, step in enumerate(self.branch_steps) if i != trial), default=0)


# What a process of its own trains.
Spec: TypeAlias = TrainingSpec | TrunkSpec


def training_of(spec: Spec) -> TrainingSpec:
    """Return the training of a spec; of a trunk, that of its carrier, whose place and means are those of all."""
    return spec.trials[spec.carrier] if isinstance(spec, TrunkSpec) else spec


def placed(spec: Spec, **fields: Any) -> Spec:
    """Return a spec with other fields of `TrainingSpec`, in all its trials, such as the GPUs that it sees."""
    if isinstance(spec, TrunkSpec):
        return replace(spec, trials=tuple(replace(trial, **fields) for trial in spec.trials))
    return replace(spec, **fields)


def carrier_of(branch_steps: Sequence[int], total_steps: Sequence[int]) -> int:
    """Return which trial of a trunk to train through: the first of those that share the most, and of those the longest.

    >>> carrier_of([3, 8, 8], [10, 8, 10])
    2
    """
    return max(range(len(branch_steps)), key=lambda i: (branch_steps[i], total_steps[i], -i))


def _common(trial: TrainingSpec) -> TrainingSpec:
    return replace(trial, schedule=None, total_steps=None, rungs=(), ema_rungs=())


def _begin_alike(trial: TrainingSpec, carrier: TrainingSpec, steps: int) -> bool:
    curves = [
        (t.schedule.initial_lr, *t.schedule.multipliers(total_steps=t.total_steps)[:steps].tolist())
        for t in (trial, carrier)
        if t.schedule is not None and t.total_steps is not None
    ]
    return len(curves) == 2 and curves[0] == curves[1]


class Link:
    """What a training tells its owner while it runs, and is told. This one is alone: it prunes and stops nothing."""

    def progress(self, step: int, loss: float) -> None:
        """Tell where the training is; may be dropped."""

    def rung(self, step: int, value: float, ema: float | None = None) -> str | None:
        """Report the metric, and that of the averaged weights, at a rung; returns a reason to prune, or None.

        A training that goes on from a checkpoint first reports the rungs of its past again, in their order. What is
        answered to those is not obeyed: the training has passed them, and the next rung asks again.
        """

    def stopped(self) -> bool:
        """Tell whether the owner wants the training to end now."""
        return False


class TrunkLink:
    """What a trunk tells its owner, trial by trial, and is told. This one is alone: it prunes and stops nothing.

    Trials are named by their number in `TrunkSpec.trials`. Each is heard of as if it were trained by itself: `rung` for
    each of its rungs in their order, then `finished`, once. But the rungs that it shares come at once: when it begins
    its branch, or ends on the trunk.
    """

    def progress(self, trial: int, step: int, loss: float) -> None:
        """Tell where the training of a trial is, which may be the trunk's; may be dropped."""

    def rung(self, trial: int, step: int, value: float, ema: float | None = None) -> str | None:
        """Report a rung of a trial; returns a reason to prune the trial, or None.

        What is answered to a rung on the trunk is not obeyed: others need those steps. The next rung asks again.
        """

    def finished(self, trial: int, result: TrialResult) -> None:
        """Tell the result of a trial as soon as there is one; its outcome is None where the owner has said stop.

        Not heard of are trials that could not branch: `TrunkResult` says which.
        """

    def stopped(self) -> bool:
        """Tell whether the owner wants the trunk, and all that is left of it, to end now."""
        return False

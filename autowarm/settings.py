"""The settings of a study: read from a study file, or given as arguments, and checked before anything runs."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast, get_args

from autowarm.budget import Budget, read_budget, read_seconds
from autowarm.errors import SettingsError, unknown
from autowarm.gpus import checked_gpus_per_trial
from autowarm.pruning import PRUNINGS, Pruning
from autowarm.record import Mode
from autowarm.space import SearchSpace
from autowarm.specs import JobSpec, KeepCallbacks
from autowarm.values import is_number
from autowarm.yaml_files import read_yaml, to_yaml

# What lies in a study's folder beside its results: the study as it was run, and the database.
STUDY_FILE = "study.yaml"
DATABASE = "study.db"
# What happened, line by line; and records that the database could not take.
EVENTS = "events.jsonl"
UNSAVED = "unsaved.jsonl"
# What long trials keep themselves in while they run.
CHECKPOINTS = "checkpoints"
# The first line of a study file that autowarm wrote; one without it is a person's, and is left alone.
WRITTEN = "# Written by autowarm: this study as it was run last.\n"
# Where trials run: in processes of this machine, or on the nodes of a Ray cluster.
ExecutorName: TypeAlias = Literal["local", "ray"]
# What chooses the schedules of a search: Optuna's sampler that fits, or every combination of the values listed.
SamplerName: TypeAlias = Literal["auto", "grid"]
# Which steps are trained once; see `StudySettings.trunks`.
Trunks: TypeAlias = bool | Literal["explore"]
_JOB_KEYS = ("config", "model_class", "data_class", "cli_class", "factory", "args", "dataset_size_arg")
# Words in the names of metrics of which more is better.
_MORE_IS_BETTER = {"acc", "accuracy", "auc", "auroc", "bleu", "dice", "f1", "iou", "precision", "r2", "recall"}
# Search trials of who says nothing about the price.
N_TRIALS = 40
_URL = "a database URL such as sqlite:///study.db"
# numpy, and with it Lightning, seeds with 32 bits
_SEEDS = 2**32


@dataclass(frozen=True, kw_only=True)
class StudySettings:
    """What a study searches, on which job, at what price.

    Attributes:
        job: the training that is tuned.
        name: of the study, and of its folder; letters, digits, `.`, `_` and `-`.
        monitor: the metric that decides, and `mode`, whether less (`min`) or more (`max`) of it is better.
        space: the schedules to search.
        total_steps: horizons: optimizer steps of a trial; None: as many as the job runs.
        dataset_size: horizons: training examples of a trial; None: all.
        n_trials: search trials at each horizon, at least 1; None: as many as `budget` pays for, or 40 without one.
        budget: what each horizon may cost, instead of n_trials: full runs (``2``), training steps (``5000 steps``) or
            time (``1.5 h``); see `autowarm.budget`. Most of the search is shorter runs, `autowarm.planning.ladder`.
        sampler: what chooses the schedules: `auto`, Optuna's sampler that fits the space, or `grid`: every combination
            of the values that the space lists, in place of `n_trials` and of a budget.
        seed: of the sampler and of the trainings; a sequential study repeats exactly.
        seeds: of a grid: on how many seeds each schedule is trained: `seed`, `seed` + 1, ...
        n_jobs: trials at once; None: as many as cores on a CPU, one elsewhere, and on Ray as many as the cluster has
            room for. Only 1 is reproducible.
        executor: where trials run: `local`, in processes of this machine, or `ray`, on the nodes of a Ray cluster: the
            one that the environment's RAY_ADDRESS names, else one of this machine alone.
        gpus_per_trial: GPUs that a trial takes: whole ones, or a share of one, such as 0.25 for four trials on each;
            None: 1. Jobs that train on the CPU get none.
        trunks: train the steps that trials have in common once, where the job can branch: those of trials that wait
            (`autowarm.trunk`), and, with a budget, of short runs and the longer ones that go on from them where every
            decay of the space holds its peak; `explore`: where any does (`autowarm.planning.growth`).
        oom_retry: train again what has run out of memory, its batches in parts with as much more accumulation.

    Raises:
        SettingsError: a value outside its domain.
    """

    job: JobSpec
    name: str = "study"
    monitor: str = "val_loss"
    mode: Mode = "min"
    space: SearchSpace = field(default_factory=SearchSpace)
    total_steps: tuple[int | None, ...] = (None,)
    dataset_size: tuple[int | None, ...] = (None,)
    n_trials: int | None = None
    budget: Budget | None = None
    sampler: SamplerName = "auto"
    seed: int = 0
    seeds: int = 1
    n_jobs: int | None = None
    pruning: Pruning = "balanced"
    prune_audit: float = 0.1
    confirm_top: int = 3
    confirm_seeds: int = 1
    keep_callbacks: KeepCallbacks = False
    retries: int = 2
    checkpoint_every: float = 600.0
    trial_timeout: float | None = None
    executor: ExecutorName = "local"
    gpus_per_trial: float | None = None
    oom_retry: bool = False
    trunks: Trunks = True
    # a URL may hold a password, which no repr may show
    storage: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Check each value."""
        self._check_words()
        for name in ("total_steps", "dataset_size"):
            object.__setattr__(self, name, _sizes(name, getattr(self, name)))
        numbers = {"seed": 0, "seeds": 1, "confirm_top": 1, "confirm_seeds": 0, "retries": 0}
        for name, minimum in numbers.items():
            _check_whole(name, getattr(self, name), minimum)
        self._check_size()
        if self.fresh_seed + self.confirm_seeds > _SEEDS:
            raise SettingsError(f"seed must be at most {_SEEDS - self.seeds - self.confirm_seeds}, got {self.seed}")
        _check_share("prune_audit", self.prune_audit)
        if self.n_jobs is not None:
            _check_whole("n_jobs", self.n_jobs, 1)
        object.__setattr__(self, "checkpoint_every", read_seconds("checkpoint_every", self.checkpoint_every))
        if self.trial_timeout is not None:
            object.__setattr__(self, "trial_timeout", read_seconds("trial_timeout", self.trial_timeout))
        self._check_place()
        object.__setattr__(self, "keep_callbacks", _names_kept(self.keep_callbacks))

    def _check_words(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.name):
            raise SettingsError(f"name must be of letters, digits, '.', '_' and '-', got {self.name!r}")
        if not isinstance(self.monitor, str) or not self.monitor:
            raise SettingsError(f"monitor must be the name of a metric, got {self.monitor!r}")
        if self.mode not in get_args(Mode):
            raise SettingsError(f"mode must be min or max, got {self.mode!r}")
        if self.pruning not in PRUNINGS:
            raise SettingsError(unknown("pruning", self.pruning, PRUNINGS))
        if self.storage is not None and (not isinstance(self.storage, str) or "://" not in self.storage):
            raise SettingsError(
                f"storage must be a database URL such as sqlite:///study.db, got {_shown(self.storage)}"
            )

    def _check_place(self) -> None:
        if self.executor not in get_args(ExecutorName):
            raise SettingsError(unknown("executor", self.executor, get_args(ExecutorName)))
        if self.gpus_per_trial is not None:
            checked_gpus_per_trial(self.gpus_per_trial)
        if not isinstance(self.oom_retry, bool):
            raise SettingsError(f"oom_retry must be true or false, got {self.oom_retry!r}")
        if not isinstance(self.trunks, bool) and self.trunks != "explore":
            raise SettingsError(f"trunks must be true, false or explore, got {self.trunks!r}")

    def _check_size(self) -> None:
        """Settle how much is searched: by a grid, a budget, or a number of trials."""
        if self.sampler not in get_args(SamplerName):
            raise SettingsError(unknown("sampler", self.sampler, get_args(SamplerName)))
        if self.sampler == "grid":
            if self.n_trials is not None or self.budget is not None:
                given = "n_trials" if self.n_trials is not None else "a budget"
                raise SettingsError(f"a grid has as many trials as its space and seeds make: leave {given} out")
            # what cannot be laid out is refused here
            _ = self.space.grid
            return
        if self.seeds > 1:
            raise SettingsError(
                f"seeds: {self.seeds} goes with sampler: grid; a search trains its best ones on confirm_seeds"
            )
        if self.budget is not None:
            if self.n_trials is not None:
                raise SettingsError("give a budget or n_trials, not both: a budget decides how many trials there are")
            object.__setattr__(self, "budget", read_budget(self.budget))
            return
        if self.n_trials is None:
            object.__setattr__(self, "n_trials", N_TRIALS)
        _check_whole("n_trials", self.n_trials, 1)

    @property
    def horizons(self) -> tuple[tuple[int | None, int | None], ...]:
        """Every (total_steps, dataset_size) asked for."""
        return tuple((steps, size) for size in self.dataset_size for steps in self.total_steps)

    @property
    def trials(self) -> int:
        """Search trials at each horizon; 0 where a budget decides."""
        return len(self.space.grid) * self.seeds if self.sampler == "grid" else self.n_trials or 0

    @property
    def fresh_seed(self) -> int:
        """The first seed that the search does not use."""
        return self.seed + self.seeds

    @property
    def doubt(self) -> str | None:
        """A question about the settings that a user may want to hear before anything is spent."""
        words = re.split(r"[^a-z0-9]+", self.monitor.lower())
        if self.mode == "min" and _MORE_IS_BETTER & set(words):
            return f"less {self.monitor} is taken as better: say mode: max if more is"
        return None

    @property
    def identity(self) -> dict[str, str]:
        """What must stay the same for records to belong to one study."""
        job = self.job
        identity = {
            "name": self.name,
            "job": str(job),
            "classes": ", ".join(path for path in (job.model_class, job.data_class, job.cli_class) if path),
            "args": json.dumps(_writable(job.args), sort_keys=True, default=str),
            "monitor": self.monitor,
            "mode": self.mode,
            "seed": str(self.seed),
        }
        if job.dataset_size_arg is not None:
            identity["dataset_size_arg"] = job.dataset_size_arg
        if job.config is not None:
            # what it says, not how: a comment more is the same job
            said = json.dumps(read_yaml(job.config, SettingsError), sort_keys=True, default=str)
            identity["content of the job's file"] = hashlib.sha256(said.encode()).hexdigest()[:12]
        return identity


def load_study(path: Path) -> StudySettings:
    """Read a study file; relative paths in it are relative to it.

    Raises:
        SettingsError: the file cannot be read, has an unknown key (the nearest one is suggested), or a bad value.
    """
    data = read_yaml(path, SettingsError)
    try:
        return _from_mapping(data, path)
    except SettingsError as e:
        raise SettingsError(f"{path}: {e}") from None


def _from_mapping(data: dict[str, Any], path: Path) -> StudySettings:
    known = [f.name for f in fields(StudySettings)]
    for key in data:
        if key not in known:
            raise SettingsError(unknown("key", key, known))
    if "job" not in data:
        raise SettingsError("'job' is missing: a LightningCLI file, or package.module:function")
    space = data.get("space", {})
    if not isinstance(space, Mapping):
        raise SettingsError(f"space must hold 'key: dimension' lines, got {space!r}")
    data.setdefault("name", name_from(path))
    if data.get("pruning") is False:
        # what the `off` of YAML is
        data["pruning"] = "off"
    data["job"] = read_job(data["job"], root=path.parent)
    data["space"] = SearchSpace.from_dict(space)
    return StudySettings(**data)


def read_job(value: object, *, root: Path) -> JobSpec:
    """Read the `job` of a study.

    Args:
        value: a LightningCLI file, ``package.module:function``, a function, or a mapping with `config` (and
            `model_class`, `data_class`, `cli_class`) or `factory` (and `args`), and `dataset_size_arg` with either.
        root: the folder that a relative path is relative to.

    Raises:
        SettingsError: none of these, or a file that is not there.
    """
    if isinstance(value, JobSpec):
        return value
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, str):
        value = {"config": value} if value.endswith((".yaml", ".yml")) else {"factory": value}
    elif callable(value):
        value = {"factory": value}
    if not isinstance(value, Mapping):
        raise SettingsError(f"job must be a LightningCLI file or package.module:function, got {value!r}")
    given = dict(value)
    for key in given:
        if key not in _JOB_KEYS:
            raise SettingsError(unknown("key of job", key, _JOB_KEYS))
    if ("config" in given) == ("factory" in given):
        raise SettingsError("job must have either config (a LightningCLI file) or factory (package.module:function)")
    return _factory_job(given) if "factory" in given else _config_job(given, root)


def _factory_job(given: dict[str, Any]) -> JobSpec:
    extra = [key for key in given if key not in ("factory", "args", "dataset_size_arg")]
    if extra:
        raise SettingsError(f"job.{extra[0]} goes with config, not with factory")
    factory = given["factory"]
    if not callable(factory) and not (isinstance(factory, str) and re.fullmatch(r"[\w.]+:[\w.]+", factory)):
        raise SettingsError(f"a factory must look like package.module:function, got {factory!r}")
    args = given.get("args", {})
    if not isinstance(args, Mapping) or not all(isinstance(key, str) for key in args):
        raise SettingsError(f"job.args must hold 'key: value' lines, got {args!r}")
    _check_argument(given.get("dataset_size_arg"), r"[^\W\d]\w*", "the name of an argument, such as n_examples")
    return JobSpec(**given)


def _config_job(given: dict[str, Any], root: Path) -> JobSpec:
    if "args" in given:
        raise SettingsError("job.args goes with factory, not with config")
    for key, value in given.items():
        if not isinstance(value, str):
            raise SettingsError(f"job.{key} must be a word, got {value!r}")
    pattern, said = r"[^\W\d]\w*(\.[^\W\d]\w*)+", "the path of a key, such as data.init_args.n_examples"
    _check_argument(given.get("dataset_size_arg"), pattern, said)
    path = root / given["config"]
    try:
        path = path.resolve()
        found = path.is_file()
    except (OSError, ValueError) as e:  # a name that no file can have
        raise SettingsError(f"job: {given['config']!r} is no file: {e}") from None
    if not found:
        raise SettingsError(f"job: there is no file {path}")
    return JobSpec(**{**given, "config": path})


def _check_argument(value: object, pattern: str, said: str) -> None:
    if value is not None and not (isinstance(value, str) and re.fullmatch(pattern, value)):
        raise SettingsError(f"job.dataset_size_arg must be {said}, got {value!r}")


def settings_yaml(settings: StudySettings, *, root: Path) -> str:
    """Format settings as a study file, for the record of what was run.

    Args:
        settings: of the study; its storage is left out, since a URL may hold a password.
        root: the folder of the file, which the path of a LightningCLI file is made relative to.
    """
    data = {f.name: getattr(settings, f.name) for f in fields(settings)}
    job = settings.job
    given = {key: getattr(job, key) for key in _JOB_KEYS if getattr(job, key)}
    data["job"] = {**given, **({"config": _relative(job.config, root)} if job.config else {"factory": str(job)})}
    data["space"] = settings.space.to_dict()
    for name in ("total_steps", "dataset_size"):
        sizes = list(data[name])
        data[name] = sizes[0] if len(sizes) == 1 else sizes
    if isinstance(settings.keep_callbacks, tuple):
        data["keep_callbacks"] = list(settings.keep_callbacks)
    data.pop("storage")
    if settings.budget is not None:
        data["budget"] = str(settings.budget)
    return WRITTEN + to_yaml({key: _writable(value) for key, value in data.items() if value is not None})


def _relative(path: Path, root: Path) -> str:
    try:
        return Path(os.path.relpath(path, root.resolve())).as_posix()
    except ValueError:
        # another drive
        return str(path)


def name_from(path: Path) -> str:
    """Name a study after its file, or after its folder where the file is just called study."""
    words = path.resolve().parent.name if path.stem == "study" else path.stem
    return re.sub(r"[^A-Za-z0-9._-]+", "-", words).strip("-._") or "study"


def _writable(value: Any) -> Any:
    """Return what YAML has a word for; arguments from Python, which may be anything, as Python shows them."""
    if isinstance(value, Mapping):
        return {key: _writable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_writable(item) for item in value]
    return value if value is None or type(value) in (bool, int, float, str) else str(value)


def _sizes(name: str, value: object) -> tuple[int | None, ...]:
    values = tuple(value) if isinstance(value, list | tuple) else (value,)
    for size in values:
        if size is not None:
            _check_whole(name, size, 1)
    if not values or len(set(values)) < len(values):
        raise SettingsError(f"{name} must be a number or a list of different numbers, got {value!r}")
    return cast("tuple[int | None, ...]", tuple(sorted(values, key=lambda size: (size is None, size))))


def _names_kept(keep: object) -> KeepCallbacks:
    if isinstance(keep, bool):
        return keep
    if not isinstance(keep, list | tuple) or not all(isinstance(name, str) for name in keep):
        raise SettingsError(f"keep_callbacks must be true, false or a list of class names, got {keep!r}")
    return tuple(keep)


def _shown(storage: object) -> str:
    # what is no URL may still hold a password
    plain = isinstance(storage, str) and not set(storage) & set("@=")
    if isinstance(storage, str):
        return repr(storage) if plain else "one without ://"
    return f"a {type(storage).__name__}"


def _check_whole(name: str, value: object, minimum: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise SettingsError(f"{name} must be a whole number of at least {minimum}, got {value!r}")


def _check_share(name: str, value: object) -> None:
    if not is_number(value) or not 0 <= cast("float", value) <= 1:
        raise SettingsError(f"{name} must be in [0, 1], got {value!r}")

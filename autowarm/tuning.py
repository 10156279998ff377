"""From a job to its best schedule: looks at the job, searches each horizon, checks the winner, writes the results."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autowarm.analysis.advice import advise
from autowarm.budget import Budget
from autowarm.errors import AutowarmError, DatabaseError, JobError, OutOfMemoryError, SettingsError, StudyError
from autowarm.events import EventLog
from autowarm.executors.choice import executor_for
from autowarm.executors.events import Executor
from autowarm.executors.local import cores
from autowarm.export import choose
from autowarm.interrupts import Interrupts, interrupts
from autowarm.planning.growth import grown_decay, held_share
from autowarm.planning.guesses import incumbent_of, starting_guesses
from autowarm.planning.horizon_plan import HorizonPlan
from autowarm.planning.ladder import MIN_STEPS, Ladder, plan_ladder
from autowarm.planning.price import price_of
from autowarm.planning.range_test import plan_range_test
from autowarm.planning.smaller_parts import MAX_PARTS
from autowarm.progress import Display, display_for
from autowarm.pruning import Pruning, ema_rungs_of, rungs_of
from autowarm.record import Mode, TrialRecord
from autowarm.report.files import write_results
from autowarm.report.notebook import notebook_html
from autowarm.report.tables import last_line, to_frame
from autowarm.schedule import Schedule
from autowarm.search import Search, check_seeds, threads
from autowarm.settings import CHECKPOINTS, EVENTS, UNSAVED, ExecutorName, SamplerName, StudySettings, Trunks, read_job
from autowarm.space import SearchSpace
from autowarm.specs import JobInfo, JobSpec, KeepCallbacks, TrainingSpec
from autowarm.study.database import database, own_errors, quiet_optuna
from autowarm.unsaved import Unsaved
from autowarm.words import duration
from autowarm.workspace import lay_out, owned

if TYPE_CHECKING:
    import pandas as pd

# How long a database may be away.
_DATABASE_SECONDS = 3600.0


@dataclass(frozen=True)
class TuneResult:
    """What a study found.

    Attributes:
        records: of every trial, in the order of horizons.
        out: the study's folder.
    """

    records: tuple[TrialRecord, ...]
    out: Path

    @property
    def best_schedule(self) -> Schedule:
        """The answer at the longest horizon; see `best`.

        Raises:
            StudyError: no trial ended well.
        """
        return self.best()

    def best(self, *, total_steps: int | None = None, dataset_size: int | None = None) -> Schedule:
        """Return the answer of a horizon, by default the longest one.

        It is the best schedule on fresh seeds, or a plainer one that ties with it (see `autowarm.analysis.answer`);
        where nothing was trained on fresh seeds, the best of the search.

        Raises:
            StudyError: there is no such horizon, or no trial of it ended well.
        """
        schedule = choose(self.records, total_steps, dataset_size).schedule
        assert schedule is not None  # noqa: S101 - a search trial has one
        return schedule

    def to_pandas(self) -> pd.DataFrame:
        """Return a table of one row a trial."""
        return to_frame(self.records)

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the answer and a picture; the whole report is in the folder."""
        return notebook_html(self.records, self.out)


def tune(
    job: str | Path | Callable[..., Any] | Mapping[str, Any] | JobSpec,
    space: SearchSpace | Mapping[str, Any] | None = None,
    *,
    monitor: str = "val_loss",
    mode: Mode = "min",
    n_trials: int | None = None,
    budget: Budget | float | str | None = None,
    total_steps: int | Sequence[int] | None = None,
    dataset_size: int | Sequence[int] | None = None,
    sampler: SamplerName = "auto",
    seed: int = 0,
    seeds: int = 1,
    n_jobs: int | None = None,
    pruning: Pruning = "balanced",
    prune_audit: float = 0.1,
    confirm_top: int = 3,
    confirm_seeds: int = 1,
    keep_callbacks: KeepCallbacks = False,
    retries: int = 2,
    checkpoint_every: float | str = 600.0,
    trial_timeout: float | str | None = None,
    oom_retry: bool = False,
    trunks: Trunks = True,
    storage: str | None = None,
    executor: ExecutorName = "local",
    gpus_per_trial: float | None = None,
    name: str | None = None,
    out: str | Path | None = None,
    progress: bool = True,
) -> TuneResult:
    """Search the learning-rate schedule of a training; called again with the same folder, it goes on.

    Args:
        job: a LightningCLI file, ``package.module:function``, or a function that returns an `autowarm.Training`.
        space: the schedules to search, as a `SearchSpace` or a mapping.
        name: of the study; default: after the job.
        out: the study's folder; default: ``studies/<name>``.
        progress: show what happens.
        monitor: the rest as in `autowarm.settings.StudySettings`.
        mode: ...
        n_trials: ...
        budget: ...
        total_steps: ...
        dataset_size: ...
        sampler: ...
        seed: ...
        seeds: ...
        n_jobs: ...
        pruning: ...
        prune_audit: ...
        confirm_top: ...
        confirm_seeds: ...
        keep_callbacks: ...
        retries: ...
        checkpoint_every: ...
        trial_timeout: ...
        oom_retry: ...
        trunks: ...
        storage: ...
        executor: ...
        gpus_per_trial: ...

    Raises:
        SettingsError: a bad argument.
        JobError: the job cannot be built or tuned.
        StudyError: the study cannot go on, or no trial ended well.
    """
    spec = read_job(job, root=Path.cwd())
    settings = StudySettings(
        job=spec,
        name=name or _name_of(spec),
        monitor=monitor,
        mode=mode,
        space=space if isinstance(space, SearchSpace) else SearchSpace.from_dict(space or {}),
        total_steps=total_steps,  # type: ignore[arg-type] # one number is a list of one
        dataset_size=dataset_size,  # type: ignore[arg-type]
        n_trials=n_trials,
        budget=budget,  # type: ignore[arg-type] # read and checked there
        sampler=sampler,
        seed=seed,
        seeds=seeds,
        n_jobs=n_jobs,
        pruning=pruning,
        prune_audit=prune_audit,
        confirm_top=confirm_top,
        confirm_seeds=confirm_seeds,
        keep_callbacks=keep_callbacks,
        retries=retries,
        checkpoint_every=checkpoint_every,  # type: ignore[arg-type] # read and checked there, as the next one
        trial_timeout=trial_timeout,  # type: ignore[arg-type]
        oom_retry=oom_retry,
        trunks=trunks,
        storage=storage,
        executor=executor,
        gpus_per_trial=gpus_per_trial,
    )
    display = display_for() if progress else Display()
    return run_study(settings, Path(out) if out is not None else default_out(settings), display=display)


def default_out(settings: StudySettings) -> Path:
    """Return the folder of a study where none is asked for."""
    return Path("studies") / settings.name


def run_study(
    settings: StudySettings, out: Path, *, source: Path | None = None, display: Display | None = None
) -> TuneResult:
    """Run a study, or go on with it, and write its results.

    Args:
        settings: of the study.
        out: the study's folder.
        source: the study file, if the settings come from one.
        display: what a person sees; default: nothing.

    Raises:
        JobError: the job cannot be built or tuned.
        StudyError: the study cannot go on, or no trial ended well.
        KeyboardInterrupt: after a Ctrl-C; the results so far are written.
    """
    found = _Found(settings)
    with interrupts() as seen, owned(out), quiet_optuna(), display or Display() as shown:
        if notice := lay_out(out, settings, source):
            shown.notice(notice)
        kept = out / CHECKPOINTS
        try:
            _work(found, out, seen, _Logs(shown, EventLog(out / EVENTS), Unsaved(out / UNSAVED), kept))
        except BaseException:
            # results that cannot be written must not hide why there are no more of them
            try:
                _write(found, out)
            except StudyError as e:
                shown.notice(str(e))
            raise
        _write(found, out)
        # all is done: what was left there by trainings that ended elsewhere is of no use
        shutil.rmtree(kept, ignore_errors=True)
    return TuneResult(_answered(found), out)


def _write(found: _Found, out: Path) -> None:
    if found.records:
        write_results(found.records, out, name=found.settings.name, bounds=found.settings.space.bounds)


def run_worker(
    settings: StudySettings,
    *,
    events: Path | None = None,
    checkpoints: Path | None = None,
    display: Display | None = None,
) -> int:
    """Work on a study beside other processes, here and on other machines, until nothing is left to do.

    The study is theirs together: each takes the next training from the database, or what a process that died has left.
    `run_study` with the same storage takes part as well, and writes the results.

    Args:
        settings: of the study; `storage` is the database that all use.
        events: a file to write down what happens here.
        checkpoints: a folder that long trials keep themselves in, best one that all workers share: whoever trains
            one again goes on from there. None: it starts anew.
        display: what a person sees; default: nothing.

    Returns:
        Records of the study.

    Raises:
        SettingsError: no storage, or no folder for the events.
        JobError: the job cannot be built or tuned.
        StudyError: the study cannot go on, or no trial ended well.
        KeyboardInterrupt: after a Ctrl-C; what had finished is stored.
    """
    if settings.storage is None:
        raise SettingsError(
            "a worker needs the database that all workers use: --storage postgresql+psycopg://USER@HOST/DATABASE, "
            "or storage in the study file"
        )
    if events is not None and not events.parent.is_dir():
        raise SettingsError(f"there is no folder {events.parent} for the events")
    found = _Found(settings)
    with interrupts() as seen, quiet_optuna(), display or Display() as shown:
        _work(found, None, seen, _Logs(shown, EventLog(events, follow=True), Unsaved(), checkpoints))
    return len(_answered(found))


@dataclass
class _Found:
    """What a study has found so far, also where it ends with an error."""

    settings: StudySettings
    records: tuple[TrialRecord, ...] = ()


@dataclass
class _Logs:
    """Where a run writes beside its database."""

    shown: Display
    events: EventLog
    unsaved: Unsaved
    checkpoints: Path | None = None


def _work(found: _Found, out: Path | None, seen: Interrupts, logs: _Logs) -> None:
    """Do what is left to do of a study."""
    settings, shown, events = found.settings, logs.shown, logs.events
    given_up = False

    def waiting(error: str, seconds: float) -> bool:
        nonlocal given_up
        if seconds == 0 and not given_up:
            hour = duration(_DATABASE_SECONDS)
            shown.notice(f"the database is away ({error}): waiting for it, {hour} at most; trainings go on meanwhile")
            events.write("database_away", study=settings.name, reason=error)
        given_up = given_up or seconds >= _DATABASE_SECONDS or seen.count > 0
        return not given_up

    with executor_for(settings) as executor:
        plans = look(settings, executor, shown)
        seen.begin()
        with database(settings.storage, out, waiting=waiting) as storage:
            search = Search(
                settings,
                plans,
                storage=storage,
                executor=executor,
                display=shown,
                interrupts=seen,
                events=events,
                unsaved=logs.unsaved,
                checkpoints=logs.checkpoints,
            )
            why = None
            try:
                events.write("began", study=settings.name)
                found.settings = search.run()
            except AutowarmError as e:
                why = str(e).partition("\n")[0]
                raise
            finally:
                # where the database is away, the error that says so is under way already
                with suppress(DatabaseError), own_errors("of the study"):
                    found.records = tuple(search.records())
                event = "stopped" if seen.count else "left"
                events.write(event, study=settings.name, records=len(found.records), reason=why)


def _answered(found: _Found) -> tuple[TrialRecord, ...]:
    if not any(r.role == "search" and r.outcome == "COMPLETE" for r in found.records):
        raise StudyError("no schedule was found: " + " ".join(advise(found.records, found.settings.space.bounds)))
    return found.records


def plan_study(settings: StudySettings, display: Display) -> list[HorizonPlan]:
    """Look at a study's job and say what the study would do, without doing it.

    Raises:
        JobError: the job cannot be built or tuned.
    """
    with display, executor_for(settings) as executor:
        return look(settings, executor, display)


def _ladder(settings: StudySettings, plan: HorizonPlan, executor: Executor, display: Display) -> Ladder:
    """Split the budget of a horizon over runs as short as the job can be: one with a warmup of its own may be not."""
    assert settings.budget is not None  # noqa: S101 - asked for one that has
    shortest = MIN_STEPS
    # the nodes of a cluster may have no folder in common
    shared = settings.trunks and plan.info.processes == 1 and settings.executor == "local"
    decay = grown_decay(settings.space, explore=settings.trunks == "explore") if shared else None
    while True:
        ladder = plan_ladder(
            settings.budget,
            plan.info,
            n_jobs=plan.price.n_jobs,
            pruning=settings.pruning,
            range_test=plan.range_test,
            checked=settings.confirm_seeds > 0,
            shortest=shortest,
            grown=(decay, held_share(settings.space, decay)) if decay is not None else None,
        )
        steps = ladder.levels[0].total_steps
        if steps == plan.info.total_steps:
            return ladder
        try:
            executor.inspect(replace(_training(settings, steps, plan.dataset_size), split_batches=plan.split_batches))
        except JobError as e:
            display.notice(f"the job does not run for {steps} steps, so no shorter run explores: {last_line(str(e))}")
            shortest = steps + 1
        else:
            return ladder


def _training(settings: StudySettings, total_steps: int | None, dataset_size: int | None) -> TrainingSpec:
    return TrainingSpec(
        job=settings.job,
        monitor=settings.monitor,
        total_steps=total_steps,
        dataset_size=dataset_size,
        seed=settings.seed,
        threads=threads(settings.n_jobs or cores()),
        keep_callbacks=settings.keep_callbacks,
    )


def look(settings: StudySettings, executor: Executor, display: Display) -> list[HorizonPlan]:
    """Look at the job at each horizon of a study."""
    plans = []
    display.title = f"{settings.name}: looking at the job"
    if doubt := settings.doubt:
        display.notice(doubt)
    told: set[str] = set()
    for total_steps, dataset_size in settings.horizons:
        info, parts = _looked_at(_training(settings, total_steps, dataset_size), settings, executor)
        if parts > 1:
            display.notice(f"a batch does not fit into memory: trials train with batches in {parts} parts")
        for notice in info.notices:
            if notice not in told:
                told.add(notice)
                display.notice(notice)
        n_jobs = settings.n_jobs or executor.at_once(info)
        today = incumbent_of(info)
        price = price_of(
            info,
            rungs=len(rungs_of(info.total_steps)),
            ema_rungs=len(ema_rungs_of(info.total_steps)) if settings.pruning != "off" else 0,
            n_trials=settings.trials,
            # where no more are searched than are trained again, all are
            checks=len(check_seeds(settings, today))
            + settings.confirm_seeds * min(settings.confirm_top, settings.trials or settings.confirm_top),
            n_jobs=n_jobs,
        )
        guesses = starting_guesses(info, settings.space.options)
        plans.append(HorizonPlan(info, guesses, today, price, dataset_size, split_batches=parts))
    if settings.space.initial_lr is None:
        longest = max(range(len(plans)), key=lambda i: (plans[i].info.total_steps, plans[i].info.dataset_size or 0))
        chosen = plans[longest]
        test = plan_range_test(chosen.info, seed=settings.seed, run_cost=chosen.price.run_cost)
        plans[longest] = replace(chosen, range_test=test)
    if settings.budget is not None:
        plans = [replace(plan, ladder=_ladder(settings, plan, executor, display)) for plan in plans]
    return plans


def _looked_at(spec: TrainingSpec, settings: StudySettings, executor: Executor) -> tuple[JobInfo, int]:
    """Look at a job, and say into how many parts its batches must be cut to fit into memory.

    Raises:
        JobError: it cannot be built or tuned, or does not fit.
    """
    parts = 1
    while True:
        try:
            return executor.inspect(replace(spec, split_batches=parts)), parts
        except OutOfMemoryError:
            # the size of a batch is known once a look has ended well: powers of two divide most of them
            parts *= 2
            if not settings.oom_retry or parts > MAX_PARTS:
                raise


def _name_of(job: JobSpec) -> str:
    words = job.config.stem if job.config is not None else str(job).rpartition(":")[2]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", words).strip("-.") or "study"

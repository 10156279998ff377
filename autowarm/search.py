"""What a study runs, part by part: the range test, each horizon's search, straight or up a ladder, and its checks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from autowarm.analysis.best import ranked
from autowarm.analysis.candidates import candidates, same_lrs
from autowarm.analysis.confirmed import repeated
from autowarm.events import EventLog
from autowarm.executors.events import Executor, why_not_branching
from autowarm.executors.local import cores
from autowarm.grouping import Room, Sharing, trunks_of_waiting
from autowarm.interrupts import Interrupts
from autowarm.lane import Lane, Task
from autowarm.level import Allowance, LevelSearch
from autowarm.loop import HorizonLoop
from autowarm.planning.growth import exploration
from autowarm.planning.horizon_plan import HorizonPlan
from autowarm.planning.known_divergence import diverged
from autowarm.planning.ladder import RUNGS, Ladder, Level, runs_paid
from autowarm.planning.price import Price
from autowarm.planning.range_test import bracket_of
from autowarm.planning.spread import spread
from autowarm.progress import Display
from autowarm.record import TrialRecord
from autowarm.schedule import Schedule
from autowarm.settings import StudySettings
from autowarm.study.database import Storage
from autowarm.study.horizon import HorizonStudy, known_range
from autowarm.study.lease import Watch
from autowarm.study.mutex import TurnLostError
from autowarm.study.sampling import sampler_name
from autowarm.unsaved import Unsaved
from autowarm.words import counted

_LIBRARIES = ("autowarm", "torch", "lightning", "optuna")
# Rounds of checks on fresh seeds that a budget may pay for.
_MOST_ROUNDS = 5
# Without a trial_timeout, a trial may take that many times what is foreseen, and that many seconds at least: what hangs
# is ended, what is slow is not.
_TIMEOUT_FACTOR = 20.0
_TIMEOUT_SECONDS = 600.0


@dataclass
class Search:
    """Runs a study's parts in their order; each goes on where an interruption has left it.

    Attributes:
        settings: of the study.
        plans: of its horizons.
        storage: its database, which stays open meanwhile.
        executor: where trials run.
        display: what a person sees.
        interrupts: Ctrl-C, counted.
        events: where what happens is written down, and `unsaved`, records that the database does not take.
        checkpoints: folder that trials keep themselves in; None: what is interrupted starts anew.
        sharing: whether trials share trunks; found out when there is something to share.
    """

    settings: StudySettings
    plans: Sequence[HorizonPlan]
    storage: Storage
    executor: Executor
    display: Display
    interrupts: Interrupts
    events: EventLog = field(default_factory=EventLog)
    unsaved: Unsaved = field(default_factory=Unsaved)
    checkpoints: Path | None = None
    sharing: Sharing = field(default_factory=Sharing)
    _watch: Watch = field(default_factory=Watch)
    _studies: dict[tuple[int, int | None, int | None], HorizonStudy] = field(default_factory=dict)

    def run(self) -> StudySettings:
        """Run what is left to run.

        Returns:
            The settings, with the range of `initial_lr` where a range test has found it.

        Raises:
            StudyError: the study cannot go on.
            KeyboardInterrupt: after a Ctrl-C; everything told so far is kept.
        """
        try:
            return self._run()
        finally:
            self._watch.close()

    def _run(self) -> StudySettings:
        self.plans = [self._agreed(plan) for plan in self.plans]
        for plan in self.plans:
            for level in plan.ladder.levels if plan.ladder is not None else (None,):
                self._restore(self._study(plan, level))
        self.unsaved.drop()
        if self.settings.space.initial_lr is None:
            found = known_range(self.storage, self.settings.identity)
            if found is None:
                found = self._find_range()
            self.settings = replace(self.settings, space=self.settings.space.with_initial_lr(*found))
            self._studies.clear()
        for i, plan in enumerate(self.plans):
            if plan.ladder is not None:
                self._climb(plan, plan.ladder)
            else:
                self._search(plan, later=self.plans[i + 1 :])
        return self.settings

    def _agreed(self, plan: HorizonPlan) -> HorizonPlan:
        """Return a plan with the ladder that all processes climb: where a budget is time, each has measured its own."""
        if plan.ladder is None:
            return plan
        settings = self.settings
        on = f"{settings.budget}, pruning {settings.pruning}, confirm_seeds {settings.confirm_seeds}"
        on += f", grown {plan.ladder.grown}" if plan.ladder.grown is not None else ""
        return replace(plan, ladder=Ladder.from_dict(self._study(plan).agree("ladder", on, plan.ladder.to_dict())))

    def _restore(self, study: HorizonStudy) -> None:
        """Store what an earlier run could not store, and put right what is left of those that are gone."""
        for record in self.unsaved.of(study.name):
            if study.restore(record):
                self.display.notice(f"{record.label}: its result, kept while the database was away, is stored now")
        # what is lost of a turn, the next one makes up for
        with suppress(TurnLostError):
            study.reap()

    def records(self) -> list[TrialRecord]:
        """Return the records of all horizons, in their order, levels of a ladder before what they led to."""
        found = []
        for plan in self.plans:
            for level in plan.ladder.levels[:-1] if plan.ladder is not None else ():
                found += self._study(plan, level).records()
            found += self._study(plan).records()
        return found

    def _study(self, plan: HorizonPlan, level: Level | None = None) -> HorizonStudy:
        """Return a horizon's study, or that of a level below it, put right where a killed run has left it."""
        target = plan.info.total_steps
        steps = level.total_steps if level is not None else target
        key = (target, plan.dataset_size, steps)
        if key not in self._studies:
            study = HorizonStudy(
                self.storage,
                identity=self.settings.identity,
                # more values may be listed later, which a list of choices does not allow
                space=self.settings.space.hull if self.settings.sampler == "grid" else self.settings.space,
                total_steps=steps,
                dataset_size=plan.dataset_size,
                seed=self.settings.seed,
                target_steps=target if steps != target else None,
                sampler=sampler_name(
                    self.settings.space,
                    trials=self.settings.trials,
                    pruned=self.settings.pruning != "off",
                ),
                watch=self._watch,
            )
            self._studies[key] = study
        return self._studies[key]

    def _find_range(self) -> tuple[float, float]:
        """Run the range test, or what an interruption has left of it, and keep the range of `initial_lr` that it finds.

        One for all horizons, at the longest: its share of a run is least there, the test sees the first steps of a run,
        which all have in common, and what is to be compared over horizons is searched in one range.
        """
        plan, test = next((p, p.range_test) for p in self.plans if p.range_test is not None)
        study = self._study(plan)
        info = replace(plan.info, total_steps=test.steps)
        seconds = info.fixed_seconds + info.total_steps * info.step_seconds
        price = Price(len(test.seeds), test.cost / len(test.seeds), seconds, plan.price.n_jobs)
        done = [r for r in study.records() if r.role == "range_test"]
        self.display.horizon(
            f"{self.settings.name}: range test, {len(test.seeds)} seeds of {test.steps} steps", done, price
        )
        loop = self._loop(plan, self._lane(replace(plan, info=info), study))
        label = f"lr rises from {test.low:.2g} to {test.high:.2g}"
        left = [seed for seed in test.seeds if seed not in {r.seed for r in done if r.outcome != "FAILED"}]
        loop.check([Task(0, "range_test", test.schedule, label, seed) for seed in left])
        bracket = bracket_of(study.records())
        study.keep_range(bracket.low, bracket.high)
        self.display.notice(f"searched: {bracket.words}")
        return bracket.low, bracket.high

    def _search(self, plan: HorizonPlan, later: Sequence[HorizonPlan]) -> None:
        """Search one horizon, then train the winner and today's schedule on fresh seeds.

        Args:
            plan: of the horizon.
            later: of those that come after it: what they have waiting may branch from its trunks.
        """
        study, settings = self._study(plan), self.settings
        outside = self._enqueue(plan)
        if outside and study.finished == 0:
            self.display.notice(f"outside of the space, so not tried: {', '.join(outside)}")
        records = [r for r in study.records() if r.role != "range_test"]
        title = f"{settings.name}: {settings.trials} trials of {plan.info.total_steps:,} steps{_examples(plan)}"
        self.display.horizon(title, records, plan.price)
        study.keep_plan(plan.price.runs)
        lane, beside = self._lane(plan, study), []
        for other in later if settings.trunks else ():
            if other.dataset_size == plan.dataset_size:
                self._enqueue(other)
                theirs = self._lane(other, self._study(other), shown=False)
                beside.append((theirs, self._room(theirs)))
        self._look_for_trunks([lane, *(other for other, _ in beside)])
        loop = self._loop(plan, lane, beside=beside)
        loop.search(self._room(lane))
        loop.check(_check_tasks(settings, plan, study))
        # what was planned was the most there could be
        study.keep_plan(len(study.records()))

    def _enqueue(self, plan: HorizonPlan) -> list[str]:
        """Let what is known beforehand be proposed first; return the names of the guesses outside of the space."""
        study, settings = self._study(plan), self.settings
        with study.exclusive():
            if settings.sampler == "grid":
                study.enqueue_grid(settings.space.grid, range(settings.seed, settings.fresh_seed))
                return []
            return study.enqueue(plan.guesses, total_steps=plan.info.total_steps)

    def _room(self, lane: Lane) -> Room:
        """Return what tells whether one more search trial is started at a horizon."""
        study, trials = lane.study, self.settings.trials
        if self.settings.sampler == "grid":
            # what waits is all of it, and nothing is drawn
            return lambda _: study.waiting > 0
        return lambda running: study.finished + running < trials

    def _look_for_trunks(self, lanes: Sequence[Lane]) -> None:
        """Find out whether the job can branch, once, and only where trials that wait would share a trunk."""
        if self.sharing.asked or not self.settings.trunks or lanes[0].info.processes > 1:
            return
        trunks = trunks_of_waiting(lanes)
        if trunks:
            self._look_for_branches(lanes[0], trunks[0].carrier.schedule)

    def _look_for_branches(self, lane: Lane, schedule: Schedule) -> None:
        """Find out whether the job can branch, and say so where it cannot."""
        refused = self._why_not_branching(lane, schedule)
        self.sharing = Sharing(asked=True, refused=refused)
        if refused is not None:
            self.display.notice(f"trials share no steps, each is trained by itself: {refused}")

    def _why_not_branching(self, lane: Lane, schedule: Schedule) -> str | None:
        """Return why the job cannot branch, from a few of its steps, or from what a process before found of them.

        Raises:
            KeyboardInterrupt: after a Ctrl-C.
        """
        study = self._study(self.plans[0])
        on = ", ".join(f"{name} {lane.versions[name]}" for name in sorted(lane.versions))
        found = study.agreed("branching", on)
        if found is None:
            task = Task(0, "search", schedule, str(schedule), self.settings.seed)
            try:
                refused = why_not_branching(
                    self.executor, lane.spec_of(task), stopping=lambda: self.interrupts.count > 0
                )
            except InterruptedError:
                raise KeyboardInterrupt from None
            found = study.agree("branching", on, {"refused": refused})
        reason: str | None = found["refused"]
        return reason

    def _climb(self, plan: HorizonPlan, ladder: Ladder) -> None:
        """Search one horizon up its ladder, then check what it led to as far as the budget goes."""
        earlier: list[TrialRecord] = [r for r in self._study(plan).records() if r.role == "range_test"]
        below: list[TrialRecord] = []
        lanes: list[Lane] = []
        whole = plan.info.total_steps
        grown = ladder.grown if self._grows(plan, ladder) else None
        for level in ladder.levels:
            study = self._study(plan, level)
            here = replace(plan, info=replace(plan.info, total_steps=level.total_steps))
            lane = self._lane(here, study, level=level, target=whole)
            lane.grows, lane.below = grown is not None, below
            search = None
            if grown is not None and level.total_steps != whole:
                search = exploration(
                    self.settings.space, grown, total_steps=level.total_steps, whole=whole, lowest=not lanes
                )
                study.space = search.space
            price = Price(max(level.trials, len(lane.searched)), level.price, plan.price.run_seconds, ladder.n_jobs)
            trials = f"{counted(level.trials, 'trial')} or more of {level.total_steps:,} steps"
            title = f"{self.settings.name}: {trials}{_examples(plan)}"
            self.display.horizon(title, lane.searched, price)
            study.keep_plan(max(level.trials, len(lane.searched)))
            step = LevelSearch(
                plan=plan,
                lane=lane,
                allowance=Allowance(ladder, level, lane, ladder.spent(earlier)),
                bad=diverged(earlier),
                sampler=sampler_name(study.space, trials=level.trials, pruned=level.pruning != "off"),
                exploration=search,
            )
            self._loop(here, lane).search(step.allowance.room, step.propose)
            below = lane.searched
            earlier += below
            study.keep_plan(len(below))
            # what a level has left is of use to the next one alone
            for older in lanes[-1:] if grown is not None else ():
                older.drop_states(all_of_them=True)
            lanes.append(lane)
        self._check(plan, ladder, earlier)

    def _grows(self, plan: HorizonPlan, ladder: Ladder) -> bool:
        """Tell whether the trials of a ladder go on from shorter ones: it is to be so, and the job can branch."""
        if ladder.grown is None:
            return False
        if not self.sharing.asked:
            lane = self._lane(plan, self._study(plan))
            schedule = next(spread(self.settings.space, decay=ladder.grown))
            self._look_for_branches(lane, schedule)
        return self.sharing.on

    def _check(self, plan: HorizonPlan, ladder: Ladder, earlier: Sequence[TrialRecord]) -> None:
        study = self._study(plan)
        done = [r for r in study.records() if r.role in ("confirm", "baseline")]
        left = ladder.total - ladder.spent([*earlier, *done])
        rounds = _MOST_ROUNDS if self.settings.confirm_seeds else 0
        tasks = _check_tasks(replace(self.settings, confirm_seeds=rounds), plan, study)
        tasks = tasks[: max(0, runs_paid(left, ladder.price))]
        study.keep_plan(len(tasks) + len(study.records()))
        price = Price(len(tasks) + len(done), plan.price.run_cost, plan.price.run_seconds, ladder.n_jobs)
        self.display.horizon(
            f"{self.settings.name}: {len(tasks)} checks of {plan.info.total_steps:,} steps", done, price
        )
        self._loop(plan, self._lane(plan, study)).check(tasks)

    def _loop(self, plan: HorizonPlan, lane: Lane, *, beside: Sequence[tuple[Lane, Room]] = ()) -> HorizonLoop:
        return HorizonLoop(
            lane=lane,
            executor=self.executor,
            interrupts=self.interrupts,
            n_jobs=plan.price.n_jobs,
            sharing=self.sharing,
            beside=beside,
        )

    def _lane(
        self,
        plan: HorizonPlan,
        study: HorizonStudy,
        *,
        level: Level | None = None,
        target: int | None = None,
        shown: bool = True,
    ) -> Lane:
        below_target = level is not None and level.total_steps != target
        return Lane(
            settings=self.settings,
            info=plan.info,
            study=study,
            display=self.display,
            threads=threads(plan.price.n_jobs * plan.info.processes),
            dataset_size=plan.dataset_size,
            versions=_versions(),
            target_steps=target if below_target else None,
            pruning=level.pruning if level is not None else self.settings.pruning,
            n_rungs=level.rungs if level is not None else RUNGS,
            timeout=self.settings.trial_timeout or _timeout(plan),
            checkpoints=self.checkpoints,
            split_batches=plan.split_batches,
            events=self.events,
            unsaved=self.unsaved,
            shown=shown,
        )


def _timeout(plan: HorizonPlan) -> float:
    price = plan.price
    return max(_TIMEOUT_SECONDS, _TIMEOUT_FACTOR * (price.run_seconds + price.ema_seconds))


def check_seeds(settings: StudySettings, today: Schedule | None) -> list[int]:
    """Return the seeds that today's schedule is trained on: fresh ones; or the search's where it is no Schedule."""
    fresh = [settings.fresh_seed + i for i in range(settings.confirm_seeds)]
    return fresh or (list(range(settings.seed, settings.fresh_seed)) if today is None else [])


def _check_tasks(settings: StudySettings, plan: HorizonPlan, study: HorizonStudy) -> list[Task]:
    """Return the trainings beside the search that are still to do, seed after seed, as a budget may end them anywhere.

    On each seed the best of the search, today's schedule, and the next best ones that are different.
    """
    records, total_steps, today = study.records(), plan.info.total_steps, plan.today
    order = ranked(records, (total_steps, plan.info.dataset_size))
    if not order:
        return []
    if settings.seeds > 1:
        order = [c.record for c in repeated(order, records)] or order
    label = f"today: {today if today is not None else plan.info.scheduler}"
    baseline = [Task(0, "baseline", None, label, seed, known=today) for seed in check_seeds(settings, today)]
    # today's is trained on these seeds already
    best = [r for r in candidates(order, settings.confirm_top) if not same_lrs(r.schedule, today, total_steps)]
    confirm = [
        [Task(0, "confirm", r.schedule, r.label, settings.fresh_seed + i) for i in range(settings.confirm_seeds)]
        for r in best
    ]
    groups = [*confirm[:1], baseline, *confirm[1:]]
    asked = sorted((task for group in groups for task in group), key=lambda task: task.seed)
    done = {(r.role, r.seed, r.schedule) for r in records if r.outcome != "FAILED"}
    return [task for task in asked if (task.role, task.seed, task.schedule or task.known) not in done]


def _examples(plan: HorizonPlan) -> str:
    return f", {plan.dataset_size:,} examples" if plan.dataset_size is not None else ""


def threads(processes: int) -> int:
    """Share the cores out, so that trainings do not fight for them."""
    return max(1, cores() // processes)


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found

"""What a study would do and what it would cost, as text, before it does it."""

from __future__ import annotations

from autowarm.planning.horizon_plan import HorizonPlan
from autowarm.planning.ladder import Ladder
from autowarm.planning.range_test import RangeTestPlan
from autowarm.planning.trunks import price_together
from autowarm.settings import StudySettings
from autowarm.space import Choice, Dimension, Fixed, Range
from autowarm.words import counted, duration, number, percent


def plan_text(settings: StudySettings, plans: list[HorizonPlan]) -> str:
    """Return the plan of a study.

    Args:
        settings: of the study.
        plans: of its horizons, at least one.
    """
    metric = f"{settings.monitor}, {'less' if settings.mode == 'min' else 'more'} is better"
    lines = [f"Study {settings.name}: {settings.job}, watching {metric}", "", "Searched:"]
    for name, dimension in [("decay", settings.space.decay), *_dimensions(settings)]:
        lines.append(f"  {name:<26}{_words(dimension)}")
    if settings.space.initial_lr is None:
        lines.append(f"  {'initial_lr':<26}in the range that a range test finds")
    for plan in plans:
        if plan.range_test is not None:
            lines += ["", *_range_test(plan.range_test, plan)]
    for plan in plans:
        lines += ["", *_horizon(plan, settings)]
    if len(plans) > 1:
        if settings.budget is None:
            lines += ["", f"All {len(plans)} horizons: {_price(sum(p.price.seconds for p in plans), plans)}"]
        else:
            lines += ["", f"Each of the {len(plans)} horizons has that budget."]
    lines += _together(settings, plans)
    if settings.budget is not None:
        lines += [
            "",
            "What ends early pays for more trials. Start-up, the look at the job and other work on this machine come "
            "on top.",
        ]
        return "\n".join(lines)
    lines += [
        "",
        f"Trials that fall behind are pruned (pruning: {settings.pruning}) and diverging ones stopped, "
        "which saves steps; start-up, the look at the job and other work on this machine come on top.",
    ]
    return "\n".join(lines)


def _together(settings: StudySettings, plans: list[HorizonPlan]) -> list[str]:
    """Return what a grid costs with the steps that its trials have in common trained once, for each dataset_size."""
    if settings.sampler != "grid" or not settings.trunks or plans[0].info.processes > 1:
        return []
    lines = []
    for size in dict.fromkeys(plan.dataset_size for plan in plans):
        here = [plan for plan in plans if plan.dataset_size == size]
        wanted = [(schedule, plan.info.total_steps) for plan in here for schedule in settings.space.grid]
        longest = max(here, key=lambda plan: plan.info.total_steps)
        averaged = settings.pruning != "off"
        price = price_together(wanted, longest.info, averaged=averaged, seeds=settings.seeds)
        if price is None:
            continue
        of = f" with {size:,} examples" if size is not None else ""
        saved = percent(1 - price.cost / price.cost_alone)
        lines += [
            "",
            f"Trials{of} that begin alike train their first steps once, where the job can branch: {price.cost:,.0f} "
            f"steps = {number(price.cost / longest.price.run_cost, 3)} full runs for the grid, {saved} less.",
        ]
    return lines


def _range_test(test: RangeTestPlan, plan: HorizonPlan) -> list[str]:
    seconds = len(test.seeds) * (plan.info.fixed_seconds + test.steps * plan.info.step_seconds)
    return [
        f"First a range test of initial_lr: {len(test.seeds)} seeds of {test.steps} steps each, "
        f"rising from {number(test.low, 2)} to {number(test.high, 2)}",
        f"  at most {test.cost:,.0f} steps = {test.share:.2g} full runs of {plan.info.total_steps:,} steps, "
        f"about {duration(seconds)}; it ends where training breaks",
    ]


def _dimensions(settings: StudySettings) -> list[tuple[str, Dimension]]:
    found: dict[str, Dimension] = {}
    for decay in settings.space.decays:
        found |= settings.space.dimensions(decay)
    defaults = {"warmup": "linear", "warmup_start_ratio": 0.0, "final_lr_ratio": 0.0}
    return [(n, d) for n, d in found.items() if not (isinstance(d, Fixed) and defaults.get(n) == d.value)]


def _words(dimension: Dimension) -> str:
    if isinstance(dimension, Range):
        return f"{dimension.low:g} to {dimension.high:g}" + (", by order of magnitude" if dimension.log else "")
    if isinstance(dimension, Choice):
        return ", ".join(map(str, dimension.values))
    return f"always {dimension.value}"


def _horizon(plan: HorizonPlan, settings: StudySettings) -> list[str]:
    info, price = plan.info, plan.price
    data = [f"{info.total_steps:,} steps"]
    if info.dataset_size is not None:
        data.append(f"{info.dataset_size:,} examples")
    if info.batch_size is not None:
        data.append(f"{info.batch_size} examples a step")
    if info.steps_per_epoch:
        data.append(f"{info.total_steps / info.steps_per_epoch:.3g} epochs")
    if settings.sampler == "grid":
        first = f"tried: every combination, {counted(len(settings.space.grid), 'schedule')}"
        first += f" on {settings.seeds} seeds each" if settings.seeds > 1 else ""
    elif plan.ladder is not None and plan.ladder.grown is not None:
        first = f"tried first: peaks spread over the range, under {plan.ladder.grown}, where the job can branch"
    else:
        first = f"tried first: {_first(plan, settings)}"
    own = str(plan.today) if plan.today is not None else f"{info.scheduler}, kept as the baseline to beat"
    return [
        f"A trial: {', '.join(data)}, on {info.accelerator}",
        f"  a step takes {info.step_seconds * 1000:.3g} ms, a validation {info.validation_seconds * 1000:.3g} ms; "
        f"a whole run {duration(price.run_seconds)}",
        f"  today's schedule: {own}",
        f"  {first}",
        *(
            _ladder(plan, plan.ladder, settings)
            if plan.ladder is not None
            else [f"  at most {price.runs} runs, {price.n_jobs} at once: {_price(price.seconds, [plan])}"]
        ),
    ]


def _first(plan: HorizonPlan, settings: StudySettings) -> str:
    """Name the starting guesses."""
    steps = plan.info.total_steps
    params = {n: settings.space.params_of(g, total_steps=steps) for n, g in plan.guesses.items()}
    inside = [name for name, found in params.items() if found is not None]
    outside = [name for name, found in params.items() if found is None]
    words = ", ".join(inside) or "nothing"
    return words + (f" (outside of the space: {', '.join(outside)})" if outside else "")


def _ladder(plan: HorizonPlan, ladder: Ladder, settings: StudySettings) -> list[str]:
    """Return what a budget is spent on, a line a level."""
    assert settings.budget is not None  # noqa: S101 - a ladder comes from one
    total = duration(ladder.total) if ladder.in_seconds else f"{ladder.total:,.0f} steps"
    said = "" if settings.budget.words == total else f" = {total}"
    lines = [f"  a budget of {settings.budget.words}{said}, {ladder.n_jobs} at once:"]
    if plan.range_test is not None:
        lines.append(_rung_line("the range test", plan.range_test.cost, plan))
    # the best and the worst case of a level are the same, as what ends early pays for more trials
    for level in ladder.levels:
        price = level.price if not ladder.in_seconds else _cost_of(plan, level.total_steps)
        trials = f"{counted(level.trials, 'trial')} of {level.total_steps:,} steps"
        lines.append(_rung_line(trials, level.trials * price, plan))
    carried = [f"{at.total_steps - at.shared:,} of {at.total_steps:,}" for at in ladder.levels if at.shared]
    if carried:
        lines.append(f"    a run that goes on where a shorter one let go of its peak trains {', '.join(carried)} steps")
    if ladder.checks:
        price = ladder.price if not ladder.in_seconds else plan.price.run_cost
        checks = f"{counted(ladder.checks, 'check')} on fresh seeds"
        lines.append(_rung_line(checks, ladder.checks * price, plan))
    else:
        lines.append("    nothing is left for a check on fresh seeds")
    return lines


def _cost_of(plan: HorizonPlan, steps: int) -> float:
    return plan.price.run_cost * steps / plan.info.total_steps


def _rung_line(what: str, cost: float, plan: HorizonPlan) -> str:
    return f"    {what:<32}{cost:>10,.0f} steps = {cost / plan.price.run_cost:.2f} full runs"


def _price(seconds: float, plans: list[HorizonPlan]) -> str:
    cost = sum(plan.price.cost for plan in plans)
    runs = f"{sum(plan.price.full_runs for plan in plans):,.1f}".removesuffix(".0")
    return f"{cost:,.0f} steps = {runs} full runs, about {duration(seconds)}"

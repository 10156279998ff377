"""Writes race.md and race.png."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from studies.tuner_race import picture
from studies.tuner_race.contestants.run import Run
from studies.tuner_race.entries import BUDGET, CHECKPOINTS, ENTRIES, EVALUATION_SEEDS, EXTRAS, FURTHER_SEEDS, Entry
from studies.tuner_race.figures import Worth
from studies.tuner_race.standings import Result, Standings, median, standings

NAMES = {
    "random": "random search",
    "tpe_median": "Optuna TPE + MedianPruner",
    "tpe_hyperband": "Optuna TPE + Hyperband",
    "gp": "Optuna GP",
    "asha": "Ray Tune ASHA",
    "autowarm": "autowarm",
    "today": "today, untuned",
    "rule_of_thumb": "rule of thumb, untuned",
    "schedulefree": "Schedule-Free, untuned",
}
_METHOD = f"""\
Cost is training steps and a third of the validation batches, everything counted; one full-run equivalent is a full run
with its 20 validations. All who search have the same space (peak 1e-4 .. 1, warmup 0 .. 30 %, constant, linear, cosine
or wsd), and all trainings of a search the same seed. What is named is trained again on {len(EVALUATION_SEEDS)} seeds
that no search has seen; regret is against the best known over the same seeds: of 100 Sobol points on one seed the best
12 on 3 more, the best of those, or a schedule that somebody named, should it be better on {len(FURTHER_SEEDS)} more
seeds. Near-best is within 1 % or one standard deviation over seeds, whichever is more.

Optuna's contestants are what its documentation shows: default arguments, its Lightning callback, an epoch (of a
twentieth of the run) for each report; GPSampler draws `decay_ratio`, which not every schedule has, at random. ASHA is
Ray's scheduler over random search, asked in one process. autowarm is given a budget and searches anew for each, so its
row shows what a budget buys, not the course of one search; up to 4 equivalents all is spent on the search, and with 6
and more a third of it on its confirmation. Its rules were chosen while looking at these four jobs and
two others: nothing is held out."""
_NOTES = f"""\
Of the first {BUDGET} equivalents. *Eventual winner stopped*: stopped trials were finished afterwards, on the seed of
their search (of the searches counted, all of them); the winner is whichever trial would have ended best of all that
were begun. *Diverged*: stopped for it, ended without a number, or ran to the end, with a peak above that of the best
known, and is no better than the untrained net or the best constant answer. *Optimism*: the retrained value of the
schedule named in the end less the value it was found with, in percent of the best known. *Overhead*: wall time in which
nothing trained."""


_TRIED = """\
What was tried for what is not reached. A tenth of what TPE + MedianPruner takes is less than one full run: budgets down
to 1.5 were raced, where an eighth of a run is the shortest trial; below that its lowest level has fewer than the 4
trials from which it is run. For good asks that no later budget names worse: confirmation over fresh seeds and ties
that go to the shorter warmup steady the name, and cost a third of the budget, which the search then lacks. On
digits_conv diverging runs are stopped at the step, proposals that known divergences rule out are passed over, and a run
that broke down without diverging counts as one; what is left are the runs that find the border."""
_SHARED = """\
Nothing here shares its first steps. autowarm looks for the peak with linear or cosine schedules, and tries a wsd
rarely: in none of its 336 trials at 6 equivalents, and in 36 of 1,030 at 20. autowarm with trunks against without, on
these jobs, is [a study of its own](../trunk/ladder.md)."""
_BESIDE = """\
A real pretrained model (MiniLM, 22 million weights) fine-tuned on real headlines, {seeds}, the same space, with
autowarm against TPE + MedianPruner alone: a step costs too much for a sweep and for everybody. The best known is the
best of the schedules that were named, over the seeds that nothing was chosen by."""


def write(folder: Path, runs: Mapping[tuple[str, str, int], Sequence[Run]], worth: Worth, finished: Worth) -> None:
    """Write the table and the picture of a race as it stands.

    Args:
        folder: where to.
        runs: by (contestant, job, seed).
        worth: what retrainings ended with.
        finished: the same of stopped trials that were finished.
    """
    found = standings(runs, worth, finished)
    extra = standings(runs, worth, finished, EXTRAS.values())
    (folder / "race.md").write_text(text(found, extra), encoding="utf-8")
    if found.results:
        picture.draw(found, NAMES, folder / "race.png")


def text(found: Standings, extra: Standings | None = None) -> str:
    """Return the report, with what was raced beside the race."""
    seeds = sorted({r.seed for r in found.results})
    parts = [
        "# Tuners raced at equal cost",
        "```bash\npython studies/tuner_race/race.py    # in the environment of `make .venv-race/ready`\n```",
        _method(len(seeds)),
        "![regret against full-run equivalents](race.png)",
        "## Targets",
        "\n".join(_targets(found)),
        _flowing(_TRIED),
        _flowing(_SHARED),
        "## Regret",
        "Percent above the best known, by full-run equivalents spent; median over jobs and seeds. "
        "Before anything is named, today's schedule counts.",
        _regrets(found, None),
        "## Full-run equivalents to a near-best schedule",
        "Median over jobs and seeds, then for each job: first time | for good (from there on every schedule named is "
        f"near-best). Looked at after {', '.join(map(str, CHECKPOINTS))} equivalents, as far as a contestant goes.",
        _near_best(found),
        "## What else it costs",
        _else(found),
        "## Job by job",
        *(part for entry in ENTRIES.values() if entry.name in found.best for part in _job(found, entry)),
        *(_beside(extra) if extra is not None and extra.results else []),
    ]
    return "\n\n".join(parts) + "\n"


def _method(seeds: int) -> str:
    words = "1 seed" if seeds == 1 else f"{seeds} seeds"
    return _flowing(f"{words}, {len(ENTRIES)} jobs. {_METHOD}")


def _flowing(text: str) -> str:
    """Return paragraphs of one line each."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _targets(found: Standings) -> list[str]:
    tuned, median_pruner = found.of("autowarm"), found.of("tpe_median")
    if not tuned:
        return ["- autowarm has not raced yet."]
    before, after = median(r.first_before for r in tuned), median(r.first for r in tuned)
    prone = found.of("autowarm", "digits_conv")
    wasted = max((r.wasted for r in prone), default=math.nan)
    lines = [
        _verdict(
            before <= 3, f"{_cell(before)} equivalents to name a near-best schedule before confirmation (at most 3)"
        ),
        _verdict(after <= 6, f"{_cell(after)} with confirmation (at most 6)"),
        _against("", before, after, median_pruner, lambda r: r.first),
        _against(
            "for good ",
            median(r.for_good_before for r in tuned),
            median(r.for_good for r in tuned),
            median_pruner,
            lambda r: r.for_good,
        ),
        _verdict(
            wasted <= 0.03,
            f"at most {wasted:.1%} of a search's steps in trials that diverge, on digits_conv (at most 3 %)",
        ),
    ]
    stopped = [r.top_stopped for r in prone if r.top_stopped is not None]
    if stopped:
        share = statistics.fmean(stopped)
        lines.append(_verdict(share == 0, f"{share:.1%} of the top tenth of its trials stopped there (none)"))
    else:
        lines.append("- not measured: trials of the top tenth that were stopped.")
    lines.append(
        "- overhead: autowarm's own work (sampling, storage, reports) is measured alone in "
        "[../benchmarks](../benchmarks/overhead.md); what the last table has is with the start of processes."
    )
    return lines


def _against(name: str, before: float, after: float, rival: Sequence[Result], figure: Callable[[Result], float]) -> str:
    if not rival:
        return "- not measured: TPE + MedianPruner has not raced yet."
    theirs, most = median(figure(r) for r in rival), max(max(r.regrets) for r in rival)
    words = f"{name}{_cell(before)} before confirmation and {_cell(after)} with it, TPE + MedianPruner "
    words += _cell(theirs, most)
    # one that never got there says only that it is more
    return _verdict(before <= min(theirs, most) / 10, f"{words} (at most a tenth of it)")


def _verdict(reached: bool, words: str) -> str:
    return f"- {'reached' if reached else 'NOT reached'}: {words}."


def _regrets(found: Standings, job: str | None) -> str:
    """Return the regret by equivalents, of one job (mean over seeds) or of all (median)."""
    over: Callable[[Iterable[float]], float] = median if job is None else statistics.fmean
    rows = []
    for contestant in found.contestants:
        results = found.of(contestant, job)
        cells: list[Any] = []
        for c in CHECKPOINTS:
            at = [_at(r, c) for r in results]
            known = [x for x in at if x is not None]
            cells.append(f"{over(known):.1f}" if known and len(known) == len(at) else "")
        rows.append([NAMES[contestant], "", *cells])
    for contestant in ("schedulefree", "rule_of_thumb", "today"):
        values = [x for (name, where), x in found.untuned.items() if name == contestant and job in (None, where)]
        if values:
            rows.append([NAMES[contestant], f"{over(values):.1f}", *[""] * len(CHECKPOINTS)])
    return table(["contestant", "0", *map(str, CHECKPOINTS)], rows)


def _at(result: Result, checkpoint: float) -> float | None:
    """Return the regret for so many equivalents: of the largest budget that they pay."""
    paid = [c for c in result.regrets if c <= checkpoint]
    return result.regrets[max(paid)] if paid and checkpoint <= max(result.regrets) else None


def _near_best(found: Standings) -> str:
    jobs = list(found.best)
    rows = []
    for contestant in found.contestants:
        rows.append([NAMES[contestant], *_pairs(found, contestant, jobs, lambda r: (r.first, r.for_good))])
        if any(r.before for r in found.of(contestant)):
            name = f"{NAMES[contestant]}, before confirmation"
            rows.append([name, *_pairs(found, contestant, jobs, lambda r: (r.first_before, r.for_good_before))])
    return table(["contestant", "all jobs", *jobs], rows)


def _pairs(
    found: Standings, contestant: str, jobs: Sequence[str], figures: Callable[[Result], tuple[float, ...]]
) -> list[str]:
    cells = []
    for job in (None, *jobs):
        rows = [figures(r) for r in found.of(contestant, job)]
        most = max((max(r.regrets) for r in found.of(contestant, job)), default=BUDGET)
        cells.append(" \\| ".join(_cell(median(column), most) for column in zip(*rows, strict=True)))
    return cells


def _cell(value: float, most: float = BUDGET) -> str:
    return f"{value:.3g}" if math.isfinite(value) else f"> {most:g}"


def _else(found: Standings) -> str:
    rows = []
    for contestant in found.contestants:
        results = found.of(contestant)
        killed = [r.killed for r in results if r.killed is not None]
        optimism = [r.optimism for r in results if r.optimism is not None]
        prone = found.of(contestant, "digits_conv")
        end = [r for r in results if _at(r, BUDGET) is not None]
        rows.append(
            [
                NAMES[contestant],
                f"{statistics.fmean(r.trials for r in results):.0f}",
                f"{statistics.fmean(r.stopped / r.trials for r in results):.0%}",
                f"{sum(killed)} of {len(killed)}" if killed else "not measured",
                f"{statistics.fmean(r.wasted for r in results):.1%}",
                f"{statistics.fmean(r.wasted for r in prone):.1%}" if prone else "",
                f"{statistics.fmean(optimism):.1f} %" if optimism else "",
                f"{sum((_at(r, BUDGET) or 0.0) <= r.near for r in end)} of {len(end)}",
                f"{statistics.fmean(r.overhead for r in results):.2f} s",
            ]
        )
    head = [
        "contestant",
        "trials",
        "stopped early",
        "eventual winner stopped",
        "steps in diverged trials",
        "the same, digits_conv",
        "optimism",
        f"near-best after {BUDGET}",
        "overhead a trial",
    ]
    return f"{table(head, rows)}\n\n{_flowing(_NOTES)}"


def _job(found: Standings, entry: Entry) -> list[str]:
    best = found.best[entry.name]
    whose = "named by a contestant" if best.named_by_contestant else "from the sweep"
    return [
        f"### {entry.name}",
        f"Best known, {whose}: {best.value:.4g} ({best.words}), standard deviation over seeds {best.sd:.2g}; "
        f"near-best is up to {best.near:.2g} % above. Mean regret over seeds, in percent:",
        _regrets(found, entry.name),
    ]


def _beside(extra: Standings) -> list[str]:
    seeds = len({r.seed for r in extra.results})
    parts = ["## Beside the race", _flowing(_BESIDE.format(seeds="1 seed" if seeds == 1 else f"{seeds} seeds"))]
    for entry in EXTRAS.values():
        if entry.name in extra.best:
            parts += [*_job(extra, entry), _near_best(extra)]
    return parts


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown; what its cells hold is Markdown, too."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)

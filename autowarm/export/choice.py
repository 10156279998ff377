"""Which record of a study is exported: the answer of a horizon, or an error that says why there is none."""

from __future__ import annotations

from collections.abc import Sequence

from autowarm.analysis.answer import answer_of
from autowarm.analysis.best import Horizon, best_record, horizon_words, horizons
from autowarm.analysis.spend import outcomes_of
from autowarm.errors import StudyError
from autowarm.record import TrialRecord

_OTHER_LENGTH = "For a run of another length, export a schedule file: `autowarm export best.yaml --total_steps STEPS`"


def choose(
    records: Sequence[TrialRecord], total_steps: int | None = None, dataset_size: int | None = None
) -> TrialRecord:
    """Return the record of a horizon's answer; see `autowarm.analysis.answer`.

    Args:
        records: of one study.
        total_steps: of the horizon; by default the largest that was searched.
        dataset_size: of the horizon; by default the largest at `total_steps`.

    Raises:
        StudyError: no such horizon was searched (those that were are listed), or no trial there is COMPLETE.
        RecordError: the records of the horizon watch different metrics.
    """
    searched = [r for r in records if r.role == "search"]
    present = horizons(searched)
    if not present:
        raise StudyError("there is no search trial to choose from: run `autowarm tune` first")
    asked = [(steps, size) for steps, size in present if total_steps in (None, steps) and dataset_size in (None, size)]
    if not asked:
        wanted = {"total_steps": total_steps, "dataset_size": dataset_size}
        words = ", ".join(f"{name} {value:,}" for name, value in wanted.items() if value is not None)
        raise StudyError(f"no trial was searched at {words}. There are: {_list(present)}. {_OTHER_LENGTH}")
    answer = answer_of(records, asked[0])
    if answer is None:
        raise StudyError(_why_nothing(searched, asked[0]))
    return answer.record


def confirmed_seeds(records: Sequence[TrialRecord], chosen: TrialRecord) -> tuple[int, ...]:
    """Return the fresh seeds that the schedule of a record was trained on, with an outcome, at its horizon."""
    answer = answer_of(records, chosen.horizon)
    candidates = answer.candidates if answer is not None else ()
    return next((tuple(c.values) for c in candidates if c.record.schedule == chosen.schedule), ())


def _why_nothing(searched: Sequence[TrialRecord], horizon: Horizon) -> str:
    here = [r for r in searched if r.horizon == horizon]
    outcomes = ", ".join(f"{count} {name}" for name, count in outcomes_of(here).items())
    said = f"no search trial at {horizon_words(horizon)} is COMPLETE with a finite value ({outcomes})"
    others = [other for other in horizons(searched) if best_record(searched, other) is not None]
    return (
        f"{said}. There is one at: {_list(others)}" if others else f"{said}: see `autowarm report` for what to change"
    )


def _list(found: Sequence[Horizon]) -> str:
    return "; ".join(horizon_words(horizon) for horizon in found)

"""Runs the arms of a study through autowarm, and puts their records together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from autowarm.progress import display_for
from autowarm.record import Curve, TrialRecord, write_jsonl
from autowarm.results import results_of
from autowarm.tuning import run_study
from studies.claims.places import Place

# Significant digits of a curve's values: a picture shows no more.
_DIGITS = 4
_CURVES = ("ema_rungs", "train_curve", "grad_norms")


def run(place: Place, n_jobs: int | None = None) -> None:
    """Run what is left to do of each arm, and write the records of all.

    Args:
        place: the study.
        n_jobs: trials at once; None: as the study files have it.

    Raises:
        AutowarmError: an arm cannot run.
        KeyboardInterrupt: after a Ctrl-C; the same call goes on.
    """
    for arm, path in place.arms.items():
        settings = place.settings(arm)
        if n_jobs is not None:
            settings = replace(settings, n_jobs=n_jobs)
        place.work(arm).mkdir(parents=True, exist_ok=True)
        run_study(settings, place.work(arm), source=path, display=display_for())
    merge(place)


def merge(place: Place) -> None:
    """Write the records of all arms, each under the name of its arm, without the curves that nobody reads.

    Raises:
        RecordError: an arm has not been run.
    """
    write_jsonl(_merged(place), place.records_file)


def _merged(place: Place) -> Iterator[TrialRecord]:
    for arm in place.arms:
        yield from thinned(results_of(place.work(arm)), arm, place.curves)


def thinned(records: Iterable[TrialRecord], arm: str, curves: Sequence[str]) -> Iterator[TrialRecord]:
    """Yield records under the name of an arm, with the rungs and some of the other curves, to 4 digits.

    Args:
        records: of one arm.
        arm: its name.
        curves: kept beside the rungs: `ema_rungs`, `train_curve`, `grad_norms`.
    """
    for record in records:
        kept = {name: _rounded(getattr(record, name)) if name in curves else () for name in _CURVES}
        yield replace(
            record,
            study=arm,
            rungs=_rounded(record.rungs),
            ema_rungs=kept["ema_rungs"],
            train_curve=kept["train_curve"],
            grad_norms=kept["grad_norms"],
        )


def _rounded(curve: Curve) -> Curve:
    return tuple((step, float(f"{value:.{_DIGITS}g}")) for step, value in curve)

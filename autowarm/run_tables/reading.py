"""A table of runs as `Runs`: its columns read and checked, and what was left out or taken for granted said."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autowarm.analysis.runs import Flags, Floats, Runs, Words, with_failures, wsd_name
from autowarm.errors import RecordError, SettingsError, unknown
from autowarm.record import MODES, Mode
from autowarm.run_tables.cells import FAILED, STOPPED, flagged
from autowarm.run_tables.checks import check_units, check_warmup
from autowarm.run_tables.columns import WARMUPS, Columns, check_columns, warmup_hint
from autowarm.run_tables.found import Found, found_in
from autowarm.words import number


@dataclass(frozen=True, eq=False)
class RunTable:
    """The runs of a table.

    Attributes:
        runs: one a row that counts, in the table's order.
        notices: what was left out or taken for granted, a sentence each.
    """

    runs: Runs
    notices: tuple[str, ...]


def read_runs(
    path: Path | str,
    columns: Columns | None = None,
    *,
    mode: Mode,
    failed_at: float | None = None,
    metric: str | None = None,
) -> RunTable:
    """Read a table of runs: .csv, .tsv, .jsonl, .ndjson (each also .gz) or .parquet.

    A run that diverged may have NaN, an infinity or nothing for a value, or be flagged by `failed`. A value that is a
    list of numbers or of [step, value] points counts by its last one.

    Args:
        path: of the file.
        columns: our name (`autowarm.run_tables.columns.NAMES`) to the table's column, to a dotted path into a column
            of objects, or to what holds for all rows: a number, the name of a decay. Columns called as ours need no
            entry.
        mode: whether less (`min`) or more (`max`) of the value is better.
        failed_at: the value at which, or worse, a run has failed; by default, see
            `autowarm.analysis.runs.failure_bar`.
        metric: name of the value; by default as the table calls it.

    Raises:
        SettingsError: `columns`, `mode` or `failed_at` is not valid.
        RecordError: the file cannot be read, or does not hold such a table; the message says what to do.
    """
    path, columns = Path(path), dict(columns or {})
    check_columns(columns)
    if mode not in MODES:
        raise SettingsError(unknown("mode", mode, MODES))
    if failed_at is not None and not math.isfinite(failed_at):
        raise SettingsError(f"failed_at must be a finite value of the metric, got {failed_at!r}")
    found = found_in(path, columns)
    check_units(path, found.floats, found.sources)
    return _table(path, found, mode, failed_at, metric or found.sources["value"])


def _table(path: Path, found: Found, mode: Mode, failed_at: float | None, metric: str) -> RunTable:
    floats = found.floats
    rows = len(floats["value"])
    unknown_numbers = np.full(rows, np.nan)
    ratio = _ratio(path, floats)
    notices = list(_unknown(found))
    kept = np.ones(rows, dtype=np.bool_)
    lost = [(np.isnan(floats[name]), f"without {name}") for name in ("initial_lr", "total_steps")]
    for rows_out, why in [*found.left_out, *lost, *check_warmup(path, ratio, floats["total_steps"], found.sources)]:
        if rows_out.any():
            notices.append(f"Left out: {_counted(rows_out)} {why}.")
            kept &= ~rows_out
    if not kept.any():
        raise RecordError(f"{path}: holds no run that counts. {' '.join(notices)}")
    value = np.where(np.isfinite(floats["value"]), floats["value"], np.nan)
    runs = Runs(
        initial_lr=floats["initial_lr"],
        warmup_ratio=ratio,
        total_steps=floats["total_steps"],
        dataset_size=floats.get("dataset_size", unknown_numbers),
        batch_size=floats.get("batch_size", unknown_numbers),
        decay=_decays(found),
        seed=floats.get("seed", unknown_numbers),
        value=value,
        failed=flagged(found.state, FAILED),
        stopped=flagged(found.state, STOPPED),
        searched=found.searched,
        metric=metric,
        mode=mode,
    )
    twice = _twice(runs) & kept
    if twice.any():
        seeds = "" if "seed" in floats else "; if they differ in their seed, name its column (seed=...)"
        notices.append(f"Left out: {_counted(twice)} equal to one before in all that was read{seeds}.")
        kept &= ~twice
    told = runs if kept.all() else runs.where(kept)
    runs = with_failures(told, failed_at)
    return RunTable(runs, (*notices, *_failures(told, runs, given=failed_at is not None)))


def _ratio(path: Path, floats: dict[str, Floats]) -> Floats:
    """Return the warmup as a share of the run, above 1 where it outlasts it; NaN where unknown."""
    total_steps = floats["total_steps"]
    if "warmup_ratio" in floats:
        return floats["warmup_ratio"]
    if "warmup_steps" in floats:
        return floats["warmup_steps"] / total_steps
    if "warmup_epochs" not in floats:
        return np.full(len(total_steps), np.nan)
    if "dataset_size" not in floats or "batch_size" not in floats:
        raise RecordError(
            f"{path}: warmup_epochs are steps only with dataset_size and batch_size: name them, too (a number will do)"
        )
    return floats["warmup_epochs"] * np.ceil(floats["dataset_size"] / floats["batch_size"]) / total_steps


def _decays(found: Found) -> Words:
    shares = found.floats.get("decay_ratio")
    wsd = found.decay == "wsd"
    if shares is None or not wsd.any():
        return found.decay
    tenths = np.where(np.isnan(shares), 0, np.round(10 * shares)).astype(int)
    names = np.array([wsd_name(None), *(wsd_name(tenth / 10) for tenth in range(1, 11))])
    # of a share below .05 the name is that of the first tenth, too
    place = np.where(np.isnan(shares), 0, np.maximum(tenths, 1))
    return np.where(wsd, names[place], found.decay)


def _unknown(found: Found) -> Iterator[str]:
    """Say which columns are not there that an answer would need."""
    if not any(name in found.floats for name in WARMUPS):
        near = warmup_hint(found.present)
        hint = f" (did you mean {near}?)" if near else ""
        yield f"No column tells the warmup{hint}: nothing is said of it."
    if not np.any(found.decay != ""):
        yield "No column tells the decay: nothing is said of it; decay=cosine would name one for all rows."


def _twice(runs: Runs) -> Flags:
    """Tell which runs equal one before in everything.

    Without a seed, and without a value that tells it apart, a run may well be a repetition: it counts.
    """
    _, decay = np.unique(runs.decay, return_inverse=True)
    numbers = [runs.initial_lr, runs.warmup_ratio, runs.total_steps, runs.dataset_size, runs.batch_size, runs.seed]
    columns = [*numbers, runs.value, runs.failed, runs.stopped, decay]
    key = np.zeros(len(runs), dtype=np.uint64)
    for column in columns:
        plain = column.astype(np.float64) + 0.0
        plain[np.isnan(plain)] = np.nan
        # multiplication and shift of splitmix64: rows that differ anywhere differ in the key
        key = (key ^ plain.view(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(32)
    _, first, place = np.unique(key, return_index=True, return_inverse=True)
    before = first[place]
    rows = np.flatnonzero(before != np.arange(len(runs)))
    equal = [_same(column[rows], column[before[rows]]) for column in columns]
    twice = np.zeros(len(runs), dtype=np.bool_)
    twice[rows] = np.all(equal, axis=0)
    return twice & (np.isfinite(runs.seed) | (np.isfinite(runs.value) & ~runs.failed))


def _same(a: NDArray[Any], b: NDArray[Any]) -> Flags:
    return np.asarray((a == b) | (np.isnan(a) & np.isnan(b)), dtype=np.bool_)


def _failures(told: Runs, runs: Runs, *, given: bool) -> Iterator[str]:
    """Say which runs count as failed, and why."""
    failed = int(runs.failed.sum())
    if not failed:
        return
    lost = ~told.failed & ~told.stopped & np.isnan(told.value)
    learned_nothing = failed - int(told.failed.sum()) - int(lost.sum())
    why = [f"{told.failed.sum():,} flagged"] if told.failed.any() else []
    why += [f"{lost.sum():,} without a finite {runs.metric}"] if lost.any() else []
    if learned_nothing:
        side = "above" if runs.mode == "min" else "below"
        own = "as failed_at says" if given else "where runs end that learned nothing; failed_at sets another limit"
        why.append(f"{learned_nothing:,} with {runs.metric} at {number(runs.bar, 4)} or {side} ({own})")
    yield f"{failed:,} of {len(runs):,} runs failed: {', '.join(why)}."


def _counted(rows: Flags) -> str:
    count = int(rows.sum())
    return f"{count:,} row{'s' * (count != 1)} (the first: row {int(np.argmax(rows)) + 1})"

"""What a trial left behind, as plain data: the joint between training and everything that reads results."""

from __future__ import annotations

import contextlib
import gc
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from autowarm.errors import RecordError, unknown
from autowarm.files import Kept, Part, lines_of, opened, replace
from autowarm.points import Points, UnparsedPoints, counts_of
from autowarm.schedule import Schedule
from autowarm.values import MOST_WHOLE, is_number

try:
    # the extra `fast`: it takes a quarter of the time
    import orjson
except ImportError:
    orjson = None  # type: ignore[assignment, unused-ignore] # typed where it is installed

Outcome: TypeAlias = Literal["COMPLETE", "DIVERGED", "PRUNED", "FAILED"]
Role: TypeAlias = Literal["search", "range_test", "baseline", "confirm"]
Mode: TypeAlias = Literal["min", "max"]
# How an interrupted training went on: as if undisturbed, bit for bit; or with its data in a new order.
Resumed: TypeAlias = Literal["exact", "fresh data"]
# (optimizer steps done, value) at growing steps
Curve: TypeAlias = tuple[tuple[int, float], ...] | Points

OUTCOMES: tuple[str, ...] = get_args(Outcome)
ROLES: tuple[str, ...] = get_args(Role)
MODES: tuple[str, ...] = get_args(Mode)
RESUMED: tuple[str, ...] = get_args(Resumed)

# A validation batch costs a forward pass, a training step a forward and a backward: a third.
VALIDATION_BATCH_COST = 1 / 3

RECORD_VERSION = 1
_AT_LEAST_1 = frozenset({"total_steps", "dataset_size", "batch_size", "target_steps"})
# Words that are the same in many records of a study, and kept once for all of them.
_REPEATED = ("study", "role", "monitor", "mode", "outcome")
_CURVES = ("rungs", "ema_rungs", "train_curve", "grad_norms")


def _is_whole(x: Any) -> bool:
    return isinstance(x, int) and not isinstance(x, bool)


def _is_bool(x: Any) -> bool:
    return isinstance(x, bool)


def _is_word(x: Any) -> bool:
    return isinstance(x, str)


def _is_resumed(x: Any) -> bool:
    return x in RESUMED


def _are_words(x: Any) -> bool:
    return isinstance(x, Mapping) and all(isinstance(word, str) for pair in x.items() for word in pair)


# (fields, whether they may be None, what they must be, the same in words)
_KINDS: tuple[tuple[tuple[str, ...], bool, Callable[[Any], bool], str], ...] = (
    (("trial", "total_steps", "seed", "steps", "val_batches"), False, _is_whole, "a whole number"),
    (
        ("dataset_size", "batch_size", "audit_step", "target_steps", "split_batches", "shared_steps"),
        True,
        _is_whole,
        "a whole number",
    ),
    (("study", "label", "monitor"), False, _is_word, "a word"),
    (("reason", "error", "audit_reason", "trunk"), True, _is_word, "a word"),
    (("seconds",), False, is_number, "a number"),
    (("value",), True, is_number, "a number"),
    (("versions",), True, _are_words, "a mapping of words"),
    (("resumed",), True, _is_resumed, f"one of {', '.join(RESUMED)}"),
    (("exact",), True, _is_bool, "true or false"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialRecord:
    """One schedule trained once on one job at one horizon with one seed.

    Attributes:
        study: name of the study.
        trial: number of the trial within (study, horizon, search or not), from 0.
        role: why it ran; only `search` is told to the sampler.
        schedule: what was trained; None for a job's own scheduler that is no Schedule.
        label: the schedule in words; for `schedule` None, what the job's own scheduler is.
        total_steps: optimizer steps the schedule spans.
        dataset_size: training examples available to the run; None where the data has no length.
        batch_size: training examples an optimizer step uses; None where unknown.
        seed: of weights, data order and dropout.
        monitor: name of the metric, and `mode`, whether less (`min`) or more (`max`) of it is better.
        outcome: how it ended; `reason` says why, in a line, unless COMPLETE.
        value: the monitored metric at the end of training; None unless COMPLETE.
        rungs: (step, monitored metric) at about 20 steps.
        ema_rungs: (step, monitored metric of a running average of the weights) at the rungs where the pruner saw it.
        train_curve: (step, mean training loss since the point before), thinned.
        grad_norms: (step, L2 norm of all gradients before clipping), thinned.
        steps: optimizer steps from the start of the training to its end; `val_batches`, validation batches executed for
            this trial.
        audit_step: where a trial would have been pruned that was finished all the same, as an audit of the pruner, and
            `audit_reason`, why; None for any other.
        target_steps: of a trial on a lower level of a ladder, the total_steps that it was run for; None: its own.
        resumed: how it went on where it was interrupted: `exact`, as if it had not been; `fresh data`, with the same
            weights and everything else of the training, but its data in a new order. None: it ran in one go.
        split_batches: parts that each training batch was cut into, with as much more accumulation, because whole ones
            did not fit into memory; None: none.
        trunk: name that the trials have in common whose first steps were trained once for all of them; None: it was
            trained by itself.
        shared_steps: of `steps`, those that another trial of the same trunk has paid for, with their validations and
            their wall time; None where `trunk` is.
        exact: of a trial of a trunk, whether it is the training that it would have been by itself: else its branch has
            gone on with data in a new order, or was validated on other data. None where `trunk` is.
        seconds: wall time of the trial; of one that went on from a checkpoint, up to that and since.
        error: traceback of a FAILED trial.
        versions: of the libraries that matter.
    """

    study: str
    trial: int
    role: Role
    schedule: Schedule | None
    label: str
    total_steps: int
    dataset_size: int | None
    batch_size: int | None
    seed: int
    monitor: str
    mode: Mode
    outcome: Outcome
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
    versions: Mapping[str, str] | None = None
    audit_step: int | None = None
    audit_reason: str | None = None
    target_steps: int | None = None
    resumed: Resumed | None = None
    split_batches: int | None = None
    trunk: str | None = None
    shared_steps: int | None = None
    exact: bool | None = None

    @property
    def horizon(self) -> tuple[int, int | None]:
        """(`total_steps`, `dataset_size`)."""
        return self.total_steps, self.dataset_size

    @property
    def target(self) -> tuple[int, int | None]:
        """The horizon that it was run for: its own, or the one that its ladder leads to."""
        return self.target_steps or self.total_steps, self.dataset_size

    @property
    def own_steps(self) -> int:
        """Optimizer steps executed for this trial: those that it shares with others of its trunk are counted once."""
        return self.steps - (self.shared_steps or 0)

    @property
    def cost(self) -> float:
        """Training steps executed plus a third of the validation batches, in training steps."""
        return self.own_steps + self.val_batches * VALIDATION_BATCH_COST

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold; numbers that JSON has no word for become null."""
        # not asdict, which copies every point of every curve
        told = {f.name: getattr(self, f.name) for f in fields(self)}
        data = {"record_version": RECORD_VERSION, **{k: v for k, v in told.items() if v is not None}}
        data["schedule"] = self.schedule.to_dict() if self.schedule else None
        for name in _CURVES:
            data[name] = [[int(s), float(v) if math.isfinite(v) else None] for s, v in data[name]]
        if not self.ema_rungs:
            del data["ema_rungs"]
        if self.split_batches == 1:
            del data["split_batches"]
        if self.value is not None:
            data["value"] = float(self.value) if math.isfinite(self.value) else None
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TrialRecord:
        """Build a record from what `to_dict` returned.

        Raises:
            RecordError: something is missing, of the wrong kind, or from a newer version.
        """
        if not isinstance(data, Mapping):
            raise RecordError("not a trial record: expected an object in braces")
        version = data.get("record_version")
        if version != RECORD_VERSION:
            raise RecordError(f"record version {version!r}, this autowarm reads {RECORD_VERSION}: update autowarm")
        kept = {k: v for k, v in data.items() if k in _FIELDS}
        try:
            schedule = kept.get("schedule")
            kept["schedule"] = Schedule.from_dict(schedule) if schedule is not None else None
            for name in _CURVES:
                if name in kept:
                    curve = kept[name]
                    kept[name] = (curve if isinstance(curve, Points) else Points(curve)) or ()
            for name in ("dataset_size", "batch_size"):
                kept.setdefault(name, None)
            for name in _REPEATED:
                if type(word := kept.get(name)) is str:
                    kept[name] = sys.intern(word)
            record = cls(**kept)
        except (TypeError, ValueError, AttributeError, OverflowError) as e:
            raise RecordError(f"not a trial record: {e}") from None
        _check_kinds(kept)
        return record


_FIELDS = frozenset(f.name for f in fields(TrialRecord))
_CHECKS = {
    name: (optional, check, kind, int(name in _AT_LEAST_1) if check is _is_whole else None)
    for names, optional, check, kind in _KINDS
    for name in names
}


def _check_kinds(given: Mapping[str, Any]) -> None:
    """Refuse fields of a record that hold something else than they should: files are edited by people, too."""
    for name, known in (("outcome", OUTCOMES), ("role", ROLES), ("mode", MODES)):
        if given[name] not in known:
            raise RecordError(f"not a trial record: {unknown(name, given[name], known)}")
    # what is not given has its default
    for name, value in given.items():
        if name not in _CHECKS:
            continue
        optional, check, kind, least = _CHECKS[name]
        if value is None and optional:
            continue
        if not check(value):
            raise RecordError(f"not a trial record: {name} must be {kind}, got {value!r}")
        if least is not None and not least <= value <= MOST_WHOLE:
            raise RecordError(f"not a trial record: {name} must be in [{least}, 2^62], got {value!r}")


def better(a: float, b: float, mode: Mode) -> bool:
    """Tell whether metric `a` is strictly better than `b`."""
    return a < b if mode == "min" else a > b


def write_jsonl(records: Iterable[TrialRecord], path: Path) -> None:
    """Write one record a line, replacing the file in one move so that a reader never sees half of it."""
    # ASCII, as a traceback may hold what UTF-8 cannot (lone surrogates of odd file names) or what ends a line
    # for some readers (U+2028)
    lines = [json.dumps(record.to_dict(), allow_nan=False) for record in records]
    replace(path, "".join(line + "\n" for line in lines).encode("ascii"))


def read_jsonl(path: Path) -> list[TrialRecord]:
    """Read the records of a file that `write_jsonl` wrote.

    Their curves stay in the file, which is kept open for them, until one of their points is asked for. What they look
    like is checked at once. A number in one that is none, or that the file has been written into meanwhile, is a
    RecordError then.

    Raises:
        RecordError: the file cannot be read, or a line is not a record (the line is named).
    """
    records = []
    try:
        with uncollected(), opened(path) as file:
            kept, place = Kept(file, path), 0
            # lines end at \n alone: U+2028 and its like may stand inside of a string
            for number, line in lines_of(file, path, RecordError):
                if line.strip():
                    records.append(_read_line(line, Part(kept, number, place, len(line))))
                place += len(line)
    except (OSError, ValueError) as e:  # no path at all
        if isinstance(e, RecordError):
            raise
        raise RecordError(f"{path}: cannot be read: {e}") from None
    return records


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep the collector still: plain data has no cycles, which it looks for in all of it again and again."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            # what was made meanwhile counts as old, like the survivors of collections: the next one, which is due at
            # once, would go through all of it. Not where somebody has frozen objects of their own: they would thaw
            if not gc.get_freeze_count():
                gc.freeze()
                gc.unfreeze()
            gc.enable()


def _parsed(text: str) -> Any:
    if orjson is not None:
        # it refuses what json takes, such as a lone surrogate; and says less of what is wrong
        with contextlib.suppress(ValueError):
            return orjson.loads(text)
    return json.loads(text)


def _data_of(line: bytes, part: Part) -> Any:
    """Parse a line, but its curves where they are as `write_jsonl` writes them: nine tenths of it, that can wait."""
    # some editors put a mark at the beginning of a file
    encoding = "utf-8" if part.place else "utf-8-sig"
    start, end = line.find(b'"rungs": ['), line.rfind(b', "steps": ')
    counts = counts_of(line[start:end]) if 0 < start < end else None
    if counts:
        with contextlib.suppress(ValueError):
            data = _parsed((line[:start] + b'"rungs": null' + line[end:]).decode(encoding))
            # they are those of the record, not of something within it, and there are no others
            if isinstance(data, dict) and [data[name] for name in _CURVES if name in data] == [None]:
                text = part.within(start, end)
                return data | {name: UnparsedPoints(name, n, text) for name, n in counts.items()}
    return _parsed(line.decode(encoding))


def _read_line(line: bytes, where: Part) -> TrialRecord:
    try:
        return TrialRecord.from_dict(_data_of(line, where))
    except UnicodeDecodeError as e:
        raise RecordError(f"{where}: is no UTF-8 text: {e.reason}") from None
    except json.JSONDecodeError as e:
        raise RecordError(f"{where}: invalid JSON: {e.msg}") from None
    except RecordError as e:
        raise RecordError(f"{where}: {e}") from None
    except (ValueError, RecursionError) as e:  # a number of thousands of digits, brackets without end
        raise RecordError(f"{where}: invalid JSON: {e}") from None

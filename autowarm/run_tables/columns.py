"""Which column of a table is which of ours: the words of `--columns`, and what to say where one is missing."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from autowarm.decays import DECAYS
from autowarm.errors import SettingsError, unknown

# Of ours: a column of the table by name, a dotted path into one, or a constant for all rows.
Columns: TypeAlias = Mapping[str, str | float]

WARMUPS = ("warmup_ratio", "warmup_steps", "warmup_epochs")
NEEDED = ("initial_lr", "total_steps", "value")
NAMES: tuple[str, ...] = (
    *("initial_lr", *WARMUPS, "total_steps", "dataset_size", "batch_size"),
    *("decay", "decay_ratio", "seed", "value", "failed"),
)
# The same decays as other libraries call them.
DECAY_ALIASES = {
    "constant_with_warmup": "constant",
    "cosine_with_restarts": "cosine_restarts",
    "cosine_annealing": "cosine",
    "poly": "polynomial",
    "warmup_stable_decay": "wsd",
}
# What others call them, to be suggested where the table has such a column.
_OTHERS_SAY: dict[str, tuple[str, ...]] = {
    "initial_lr": ("lr", "learning_rate", "peak_lr", "max_lr", "base_lr"),
    "warmup_ratio": ("warmup_fraction", "warmup_frac", "warmup_share"),
    "warmup_steps": ("num_warmup_steps", "warmup_iters", "warmup"),
    "total_steps": ("max_steps", "num_training_steps", "total_model_steps", "num_steps", "max_iters", "steps"),
    "value": ("val_loss", "eval_loss", "valid_loss", "loss", "val_acc", "accuracy"),
}
SYNTAX = "write initial_lr=lr,total_steps=max_steps,value=val_loss: our name, =, the column's; commas between them"
CONSTANTS = "A number, or for `decay` the name of a decay, in place of a column holds for all rows: total_steps=10000"

_PAIR = re.compile(r"""\s*([^=,]*?)\s*=\s*("[^"]*"|'[^']*'|[^,]*?)\s*(?:,|$)""")


def parse_columns(text: str) -> dict[str, str]:
    """Read pairs of our name and the table's.

    Quotes keep a comma within a column's name.

    >>> parse_columns("initial_lr=lr, value='top-1, matched', dataset_size=392702")
    {'initial_lr': 'lr', 'value': 'top-1, matched', 'dataset_size': '392702'}

    Raises:
        SettingsError: it is no list of such pairs, or a name is none of ours, or given twice.
    """
    found: dict[str, str] = {}
    place = 0
    while text[place:].strip():
        pair = _PAIR.match(text, place)
        if pair is None or not pair[2]:
            raise SettingsError(f"columns: {text[place:].partition(',')[0].strip()!r} is no pair: {SYNTAX}")
        name, theirs = pair[1], pair[2]
        if name in found:
            raise SettingsError(f"columns: {name} is given twice: {found[name]!r} and {theirs!r}")
        found[name] = theirs[1:-1] if theirs[0] in "\"'" and len(theirs) > 1 else theirs
        place = pair.end()
    check_columns(found)
    return found


def check_columns(columns: Columns) -> None:
    """Refuse names that are not ours, and more than one warmup.

    Raises:
        SettingsError: see above.
    """
    for name, theirs in columns.items():
        if name not in NAMES:
            turned = f" Or the other way round: {theirs}={name}?" if theirs in NAMES else ""
            raise SettingsError(f"columns: {unknown('column', name, NAMES)}.{turned}")
        if not isinstance(theirs, str | int | float):
            raise SettingsError(f"columns: {name} must be the name of a column or a number, got {theirs!r}")
    warmups = [name for name in WARMUPS if name in columns]
    if len(warmups) > 1:
        raise SettingsError(f"columns: {' and '.join(warmups)} are given: name one of them, the warmup is one thing")


def constant(name: str, theirs: str | float) -> float | str | None:
    """Return what holds for all rows where a table has no such column: a number, or a decay; None for neither.

    >>> constant("dataset_size", "392702"), constant("decay", "linear"), constant("value", "linear")
    (392702.0, 'linear', None)
    """
    if name == "decay":
        word = decay_word(str(theirs))
        return word if word in DECAYS else None
    if name in ("value", "failed"):
        return None
    try:
        number = float(theirs)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def decay_word(text: str) -> str:
    """Return a decay by the name we know it by, or as it is.

    >>> decay_word(" Cosine_with_restarts "), decay_word("noam")
    ('cosine_restarts', 'noam')
    """
    word = text.strip().lower()
    return DECAY_ALIASES.get(word, word)


def missing(wanted: Mapping[str, str | float], present: Sequence[str], *, warmup: bool) -> str:
    """Word that a table lacks columns: which, what is there, and what may have been meant.

    Args:
        wanted: our name to the column that was looked for.
        present: the names of the table's columns.
        warmup: whether one for the warmup was found; or else one is suggested, too.
    """
    said = [f"{ours}{'' if theirs == ours else f' (as {theirs!r})'}" for ours, theirs in wanted.items()]
    hints = [f"{ours}={near}" for ours, theirs in wanted.items() if (near := _nearest(ours, theirs, present))]
    hints += [near] if not warmup and hints and (near := warmup_hint(present)) else []
    hint = f" Did you mean {','.join(hints)}?" if hints else ""
    how = "" if hints else f" Name them with columns: {SYNTAX}."
    return f"no column for {', '.join(said)}.{hint} There are: {_listed(present)}.{how} {CONSTANTS}"


def warmup_hint(present: Sequence[str]) -> str:
    """Suggest a pair for the warmup from the columns that a table has; nothing where none is near."""
    for name in WARMUPS:
        near = _nearest(name, name, present)
        if near:
            return f"{name}={near}"
    return ""


def _nearest(ours: str, theirs: str | float, present: Sequence[str]) -> str | None:
    """Return the column that was most likely meant, by its last part where it is a path."""
    by_last = {name.rsplit(".", 1)[-1].rsplit("/", 1)[-1].lower(): name for name in reversed(present)}
    if theirs != ours:
        near = difflib.get_close_matches(str(theirs), list(present), n=1)
        if near:
            return near[0]
    for word in (ours, *_OTHERS_SAY.get(ours, ())):
        if word in by_last:
            return by_last[word]
    near = difflib.get_close_matches(ours, list(by_last), n=1, cutoff=0.75)
    return by_last[near[0]] if near else None


def _listed(names: Iterable[str], most: int = 40) -> str:
    shown = list(names)
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more if shown else "none"

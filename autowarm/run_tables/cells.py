"""What the cells of a table mean: numbers, the last value of a curve, flags, words."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from autowarm.analysis.runs import Flags, Floats
from autowarm.run_tables.files import Cells

Codes = NDArray[np.int8]

# As a number these are "there is none": how spreadsheets, pandas and trackers write it.
NOTHING = ("", "nan", "none", "null", "na", "n/a", "#n/a", "<na>", "-", "nil")
FINE, FAILED, STOPPED = 0, 1, 2
# How trackers and people flag a run. One that was stopped early, or is running, has not failed.
FLAGS: dict[str, int] = {
    **dict.fromkeys((*NOTHING, "0", "0.0", "false", "f", "no", "n", "ok", "fine", "success", "succeeded"), FINE),
    **dict.fromkeys(("complete", "completed", "done", "finished", "converged"), FINE),
    **dict.fromkeys(("1", "1.0", "true", "t", "yes", "y", "fail", "failed", "failure", "diverged"), FAILED),
    **dict.fromkeys(("crash", "crashed", "error", "exploded", "inf", "oom"), FAILED),
    **dict.fromkeys(("pruned", "stopped", "early_stopped", "killed", "cancelled", "running"), STOPPED),
}


class CellError(Exception):
    """A cell that cannot be what its column is; `index` counts from the start of its batch."""

    def __init__(self, index: int, cell: Any) -> None:
        super().__init__(index, cell)
        self.index = index
        self.cell = cell


def numbers(cells: Cells) -> Floats:
    """Return cells as numbers; NaN where there is none.

    Raises:
        CellError: one is something else.
    """
    return _numbers(cells, _number)


def last_values(cells: Cells) -> Floats:
    """Return cells as numbers; of a list of numbers or of [step, value] points, be it written as text, the last one.

    Raises:
        CellError: one is something else.
    """
    return _numbers(cells, _last_value)


def flags(cells: Cells) -> Codes:
    """Return FINE, FAILED or STOPPED for each cell: a bool, 0 or 1, or one of the words of `FLAGS`.

    Raises:
        CellError: one is something else.
    """
    array = _plain(cells)
    if isinstance(array, list):
        return np.array([_flag(i, cell) for i, cell in enumerate(array)], dtype=np.int8)
    kinds = pc.dictionary_encode(array, null_encoding="encode")
    places = kinds.indices.to_numpy(zero_copy_only=False)
    known = np.zeros(len(kinds.dictionary), dtype=np.int8)
    for code, cell in enumerate(kinds.dictionary.to_pylist()):
        try:
            known[code] = _flag(0, cell)
        except CellError:
            raise CellError(int(np.argmax(places == code)), cell) from None
    return known[places] if len(known) else np.zeros(len(places), dtype=np.int8)


def words(cells: Cells, codes: dict[str, int]) -> NDArray[np.int32]:
    """Return a number for each word, as `codes` has it; new words are added to that.

    Raises:
        CellError: a cell holds more than a word.
    """
    array = _plain(cells)
    if isinstance(array, list):
        for i, cell in enumerate(array):
            if isinstance(cell, list | dict):
                raise CellError(i, cell)
        array = pa.array([None if cell is None else str(cell) for cell in array], pa.string())
    kinds = pc.dictionary_encode(array, null_encoding="encode")
    known = [
        "" if cell is None or str(cell).strip().lower() in NOTHING[:-3] else str(cell).strip()
        for cell in kinds.dictionary.to_pylist()
    ]
    table = np.array([codes.setdefault(word, len(codes)) for word in known], dtype=np.int32)
    places = kinds.indices.to_numpy(zero_copy_only=False)
    return table[places] if len(table) else np.zeros(0, dtype=np.int32)


def _plain(cells: Cells) -> Cells:
    """Return cells that Arrow can compare as Arrow's, anything else as a list."""
    if isinstance(cells, list):
        return cells
    if pa.types.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    nested = pa.types.is_nested(cells.type)
    return cells.to_pylist() if nested else cells


def _numbers(cells: Cells, one: Callable[[Any], float | None]) -> Floats:
    array = _plain(cells)
    fast = _fast(array)
    if fast is not None:
        return fast
    array = array if isinstance(array, list) else array.to_pylist()
    found = np.empty(len(array), dtype=np.float64)
    for i, cell in enumerate(array):
        number = one(cell)
        if number is None:
            raise CellError(i, cell)
        found[i] = number
    return found


def _fast(array: Cells) -> Floats | None:
    """Return what Arrow itself can turn into numbers; None where a cell is not that simple."""
    if isinstance(array, list):
        if bool in set(map(type, array)):  # to Arrow true is 1.0
            return None
        try:
            return np.asarray(pa.array(array, pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            return None
    kind = array.type
    if pa.types.is_boolean(kind) or pa.types.is_temporal(kind):
        return None
    try:
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            array = pc.utf8_trim_whitespace(array)
            nothing = pc.is_in(pc.utf8_lower(array), value_set=pa.array(NOTHING, kind))
            array = pc.if_else(nothing, pa.scalar(None, kind), array)
        return np.asarray(pc.cast(array, pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)
    except pa.ArrowException:
        return None


def _number(cell: Any) -> float | None:
    if cell is None:
        return math.nan
    if isinstance(cell, str):
        cell = cell.strip()
        if cell.lower() in NOTHING:
            return math.nan
    # Python's float reads 1_000, and True
    if isinstance(cell, bool) or (isinstance(cell, str) and "_" in cell):
        return None
    try:
        return float(cell)
    except OverflowError:  # a whole number beyond the floats
        return math.inf
    except (TypeError, ValueError):
        return None


def _last_value(cell: Any) -> float | None:
    if isinstance(cell, str) and cell.lstrip()[:1] == "[":
        try:
            cell = json.loads(cell)
        except (ValueError, RecursionError):
            return None
    if not isinstance(cell, list | tuple):
        return _number(cell)
    if not cell:
        return math.nan
    last = cell[-1]
    if isinstance(last, list | tuple):
        return _number(last[1]) if len(last) == 2 else None
    return _number(last)


def _flag(index: int, cell: Any) -> int:
    if cell is None:
        return FINE
    if isinstance(cell, bool):
        return FAILED if cell else FINE
    if isinstance(cell, int | float):
        if math.isnan(cell):
            return FINE
        cell = str(cell)
    code = FLAGS.get(cell.strip().lower().replace(" ", "_")) if isinstance(cell, str) else None
    if code is None:
        raise CellError(index, cell)
    return code


def flagged(codes: Codes, code: int) -> Flags:
    """Tell which runs have one flag."""
    return np.asarray(codes == code, dtype=np.bool_)

"""The table of the records as Parquet: the columns of the CSV, with types."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

# All other columns are numbers with a fraction.
_WHOLE = (
    *("trial", "total_steps", "dataset_size", "batch_size", "seed", "steps", "val_batches"),
    *("warmup_steps", "target_steps", "step_offset"),
)
_WORDS = (
    *("study", "role", "outcome", "monitor", "mode", "warmup", "decay", "cooldown", "decay_from", "decay_to"),
    *("label", "reason", "error"),
)
_LARGEST = 2**63


def write_parquet(table: str, path: Path) -> None:
    """Write a table as Parquet; a whole number too large for 64 bits makes its column one of words.

    Args:
        table: as CSV, from `autowarm.report.tables.to_csv`.
        path: the file, replaced in one move.
    """
    # by way of the CSV: arrow's reader makes columns of it without pandas, whose import takes longer than all the rest
    import pyarrow as pa
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    names, *rows = csv.reader(io.StringIO(table, newline=""))
    data = table.encode("utf-8", "backslashreplace")
    kinds = {"whole": pa.int64(), "words": pa.string(), "number": pa.float64()}
    types = {name: kinds[_kind(name, (row[i] for row in rows))] for i, name in enumerate(names)}
    read = arrow_csv.read_csv(
        pa.BufferReader(data),
        # a row must lie within a block: a label may be longer than the usual one
        read_options=arrow_csv.ReadOptions(use_threads=False, block_size=len(data) + 1),
        parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(column_types=types, strings_can_be_null=True, null_values=[""]),
    )
    part = path.with_name(path.name + ".part")
    parquet.write_table(read, part)
    part.replace(path)


def _kind(name: str, cells: Iterable[str]) -> str:
    if name in _WORDS:
        return "words"
    if name not in _WHOLE:
        return "number"
    return "whole" if all(abs(int(cell or 0)) < _LARGEST for cell in cells) else "words"

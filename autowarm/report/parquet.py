"""The table of the records as Parquet: the columns of the CSV, with types."""

from __future__ import annotations

import contextlib
from pathlib import Path

from autowarm.files import replace
from autowarm.report.tables import WORDS

# All other columns but those of words are numbers with a fraction.
_WHOLE = (
    *("trial", "total_steps", "dataset_size", "batch_size", "seed", "steps", "val_batches"),
    *("warmup_steps", "target_steps", "step_offset"),
)


def write_parquet(table: str, path: Path) -> None:
    """Write a table as Parquet; whole numbers too large for 64 bits stay words.

    Args:
        table: as CSV, from `autowarm.report.tables.to_csv`.
        path: the file, replaced in one move.
    """
    # by way of the CSV: arrow's reader makes columns of it without pandas, whose import takes longer than all the rest
    import pyarrow as pa
    from pyarrow import csv, parquet

    names = table.partition("\n")[0].split(",")
    data = table.encode("utf-8", "backslashreplace")
    # arrow takes a Ctrl-C for itself while it reads, and would leave the results half written
    pa.enable_signal_handlers(False)
    read = csv.read_csv(
        pa.BufferReader(data),
        # a row must lie within a block: a label may be longer than the usual one
        read_options=csv.ReadOptions(use_threads=False, block_size=len(data) + 1),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types={name: pa.string() if name in _WHOLE + WORDS else pa.float64() for name in names},
            strings_can_be_null=True,
            null_values=[""],
        ),
    )
    for place, name in enumerate(names):
        if name in _WHOLE:
            with contextlib.suppress(pa.ArrowInvalid):
                read = read.set_column(place, name, read.column(place).cast(pa.int64()))
    written = pa.BufferOutputStream()
    parquet.write_table(read, written)
    replace(path, written.getvalue().to_pybytes())

"""Tables of runs that autowarm did not make: a CSV, JSON-lines or Parquet file becomes `Runs`.

`read_runs` is the way in, `parse_columns` reads what the command line is given.
"""

from autowarm.run_tables.columns import parse_columns
from autowarm.run_tables.reading import RunTable, read_runs

__all__ = ["RunTable", "parse_columns", "read_runs"]

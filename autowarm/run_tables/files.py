"""Tables in files, batch by batch, so that of a large one only the columns that count are ever in memory.

What a cell means is not known here: CSV gives text, JSON lines and Parquet what they hold.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol, TypeAlias, cast

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from autowarm.errors import RecordError
from autowarm.files import lines_of, opened

Cells: TypeAlias = "pa.Array | list[Any]"
Batch: TypeAlias = dict[str, Cells]

ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
# Of a CSV: a row must fit in, curves and all.
_BLOCK_BYTES = 16 << 20
_HEADER_CHARACTERS = 1 << 20
# Of JSON lines: held as Python objects at a time, and looked at for names.
_BATCH_ROWS = 4096
_NAMED_ROWS = 200


class Table(Protocol):
    """A file of rows and named columns; a name may be a dotted path into a column that holds objects.

    Attributes:
        names: of the columns; JSON lines fill it as they are read.
        met: those of the wanted that are there; filled as the batches are read.
    """

    names: list[str]
    met: set[str]

    def batches(self, wanted: Sequence[str]) -> Iterator[tuple[int, Batch]]:
        """Yield (rows, cells by name) of those wanted columns that there are."""


def open_table(path: Path) -> Table:
    """Open a table by the ending of its name.

    Raises:
        RecordError: the ending is none of those known, or the file cannot be read.
    """
    ending = _ending(path)
    with named_errors(path):
        if path.is_dir():
            raise RecordError(f"{path}: is a folder: name a file in it ({', '.join(ENDINGS)})")
        with opened(path):  # which a device or a pipe is not
            pass
        if ending in (".csv", ".tsv"):
            return _Csv(path)
        if ending == ".parquet":
            return _Parquet(path)
        if ending in (".jsonl", ".ndjson"):
            return _JsonLines(path)
    raise RecordError(f"{path}: no table that can be read: its name must end in {', '.join(ENDINGS)} (.gz but Parquet)")


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Turn whatever reading a file may raise into an error of ours that names the file."""
    try:
        yield
    except RecordError:
        raise
    except FileNotFoundError:
        raise RecordError(f"{path}: no such file") from None
    except UnicodeDecodeError as e:
        raise RecordError(f"{path}: is no UTF-8 text ({e.reason} at byte {e.start}): save it as UTF-8") from None
    except (OSError, EOFError, zlib.error, csv.Error, pa.ArrowException, ValueError, RecursionError) as e:
        raise RecordError(f"{path}: cannot be read: {' '.join(str(e).split())[:300]}") from None


def _ending(path: Path) -> str:
    name = path.name.lower()
    zipped = name.endswith(".gz")
    ending = Path(name.removesuffix(".gz")).suffix
    return "" if zipped and ending == ".parquet" else ending


def _bytes(path: Path) -> IO[bytes]:
    zipped = path.name.lower().endswith(".gz")
    return cast(IO[bytes], gzip.open(path, "rb") if zipped else path.open("rb"))


def _column_of(name: str, columns: Sequence[str]) -> tuple[str, list[str]] | None:
    """Split a dotted path at the longest column that it begins with."""
    parts = name.split(".")
    for i in range(len(parts), 0, -1):
        column = ".".join(parts[:i])
        if column in columns:
            return column, parts[i:]
    return None


def _dig(cell: Any, path: Sequence[str]) -> Any:
    """Follow a path into a cell that holds an object, or the text of one; None where it ends."""
    if path and isinstance(cell, str):
        try:
            cell = json.loads(cell)
        except (ValueError, RecursionError):
            return None
    for i in range(len(path)):
        if not isinstance(cell, dict):
            return None
        whole = ".".join(path[i:])
        if whole in cell:
            return cell[whole]
        cell = cell.get(path[i])
    return cell


class _Arrow:
    """What CSV and Parquet share: columns known in advance, batches of Arrow arrays."""

    def __init__(self, path: Path, names: list[str]) -> None:
        self.path = path
        self.names = names
        self.met: set[str] = set()
        self._twice = {name for name, count in Counter(names).items() if count > 1}

    def batches(self, wanted: Sequence[str]) -> Iterator[tuple[int, Batch]]:
        found = {name: place for name in wanted if (place := _column_of(name, self.names)) is not None}
        needed = sorted({column for column, _ in found.values()})
        for column in needed:
            if column in self._twice:
                raise RecordError(f"{self.path}: there are two columns {column!r}: give them different names")
        self.met |= {name for name, (_, rest) in found.items() if not rest}
        if not needed:
            return
        with named_errors(self.path):
            for batch in self._read(needed):
                cells: Batch = {}
                for name, (column, rest) in found.items():
                    cells[name] = batch.column(column)
                    if rest:
                        within = [_dig(cell, rest) for cell in batch.column(column).to_pylist()]
                        self.met |= {name} if any(cell is not None for cell in within) else set()
                        cells[name] = within
                yield batch.num_rows, cells

    def _read(self, needed: list[str]) -> Iterator[pa.RecordBatch]:
        raise NotImplementedError


class _Csv(_Arrow):
    def __init__(self, path: Path) -> None:
        with _bytes(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
            head = text.read(_HEADER_CHARACTERS)
        if not head.strip():
            raise RecordError(f"{path}: is empty: the first line must name the columns")
        first = head.lstrip("\r\n").split("\n", 1)[0]
        self._delimiter = max(",;\t|", key=first.count)
        names = next(csv.reader(io.StringIO(head.lstrip("\r\n"), newline=""), delimiter=self._delimiter))
        super().__init__(path, [name.strip() for name in names])

    def _read(self, needed: list[str]) -> Iterator[pa.RecordBatch]:
        odd: list[pa_csv.InvalidRow] = []

        def refuse(row: pa_csv.InvalidRow) -> str:
            odd.append(row)
            return "error"

        with _bytes(self.path) as file, self._named(odd):
            yield from pa_csv.open_csv(
                file,
                # names are ours (stripped), so the header is the first row
                pa_csv.ReadOptions(
                    use_threads=False, block_size=_BLOCK_BYTES, column_names=self._unique(), skip_rows_after_names=1
                ),
                pa_csv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True, invalid_row_handler=refuse),
                # text, or the first block would decide what the others may hold
                pa_csv.ConvertOptions(
                    include_columns=needed,
                    column_types=dict.fromkeys(needed, pa.string()),
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=True,
                    null_values=[""],
                ),
            )

    @contextmanager
    def _named(self, odd: Sequence[pa_csv.InvalidRow]) -> Iterator[None]:
        try:
            yield
        except pa.ArrowInvalid as e:
            if not odd:
                raise
            # its number counts the header
            row = "a row" if odd[0].number is None else f"row {odd[0].number - 1}"
            raise RecordError(
                f"{self.path}, {row}: holds {odd[0].actual_columns} cells, but the header names "
                f"{odd[0].expected_columns} columns: put quotes around a cell with a {self._delimiter!r} in it"
            ) from e

    def _unique(self) -> list[str]:
        return [name if name and name not in self._twice else f"\0{i}" for i, name in enumerate(self.names)]


class _Parquet(_Arrow):
    def __init__(self, path: Path) -> None:
        super().__init__(path, list(pq.read_schema(path).names))

    def _read(self, needed: list[str]) -> Iterator[pa.RecordBatch]:
        with pq.ParquetFile(self.path) as file:
            yield from file.iter_batches(columns=needed, use_threads=False)


class _JsonLines:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: list[str] = []
        self.met: set[str] = set()

    def batches(self, wanted: Sequence[str]) -> Iterator[tuple[int, Batch]]:
        paths = [(name, name.split(".")) for name in dict.fromkeys(wanted)]
        rows: list[dict[str, Any]] = []
        with named_errors(self.path), _bytes(self.path) as file:
            for number, line in lines_of(file, self.path, RecordError):
                if not line.strip():
                    continue
                rows.append(self._object(line, number))
                if len(rows) == _BATCH_ROWS:
                    yield len(rows), self._cells(rows, paths)
                    rows = []
            if rows:
                yield len(rows), self._cells(rows, paths)

    def _object(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            found = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError:
            raise
        except (ValueError, RecursionError) as e:
            raise RecordError(
                f"{self.path}, line {number}: invalid JSON ({e}): one object a line is expected, as "
                '{"lr": 0.001, "val_loss": 2.3}'
            ) from None
        if not isinstance(found, dict):
            raise RecordError(f"{self.path}, line {number}: expected an object in braces, got {type(found).__name__}")
        return found

    def _cells(self, rows: list[dict[str, Any]], paths: list[tuple[str, list[str]]]) -> Batch:
        if not self.names:
            self.names = list(dict.fromkeys(name for row in rows[:_NAMED_ROWS] for name in _paths(row)))
        cells: Batch = {}
        for name, path in paths:
            plain = len(path) == 1
            found = [row.get(name) if plain or name in row else _dig(row, path) for row in rows]
            if name in self.names or any(cell is not None for cell in found):
                self.met.add(name)
            cells[name] = found
        return cells


def _paths(row: dict[str, Any], before: str = "", depth: int = 4) -> Iterator[str]:
    """Name what is in an object, objects within it by dotted paths."""
    for name, cell in row.items():
        if isinstance(cell, dict) and depth:
            yield from _paths(cell, f"{before}{name}.", depth - 1)
        else:
            yield f"{before}{name}"

"""Read tables of photos: CSV files as common programs write them.

The first line names the columns, in any case and order. Cells are separated by commas, semicolons
or tabs; a first line `sep=;`, which some programs write, sets the separator.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass

DELIMITERS = ",;\t"
ALIASES = {"path": "file", "filename": "file", "license": "licence"}
MAX_ROWS = 1_000_000
MAX_COLUMNS = 50


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Attributes:
        line: line number in the file, from 1; the last one for a cell of several lines.
        cells: cells by column name, in lower case and without ALIASES; stripped.
        more: cells of unknown columns, by their names as written.
    """

    line: int
    cells: dict[str, str]
    more: dict[str, str]


def read_rows(text: str, known_columns: frozenset[str]) -> Iterator[Row]:
    """The lines of a table below its head, without empty lines.

    Args:
        text: content of the file.
        known_columns: names of known columns.

    Raises:
        ValueError: the text is not such a table; the message names the line.
    """
    delimiter, table = opened(text, known_columns)
    skipped = int(len(table) < len(text))
    reader = csv.reader(io.StringIO(table, newline=""), strict=True, delimiter=delimiter)
    try:
        written = [name.strip() for name in next(reader, [])]
        names = [ALIASES.get(name.lower(), name.lower()) for name in written]
        if len(names) > MAX_COLUMNS:
            raise ValueError(f"it has more than {MAX_COLUMNS} columns")
        if twice := [name for name in names if name and names.count(name) > 1]:
            raise ValueError(f"it has two columns {twice[0]!r}")
        for count, cells in enumerate(reader):
            line = reader.line_num + skipped
            if count == MAX_ROWS:
                raise ValueError(f"it has more than {MAX_ROWS:,} lines")
            if any(cell.strip() for cell in cells[len(names) :]):
                raise ValueError(f"line {line} has {len(cells)} cells, its head has {len(names)}")
            if not any(cell.strip() for cell in cells):
                continue
            filled = [cell.strip() for cell in cells] + [""] * (len(names) - len(cells))
            yield Row(
                line,
                {name: cell for name, cell in zip(names, filled) if name in known_columns},
                {
                    original: cell
                    for name, original, cell in zip(names, written, filled)
                    if name and name not in known_columns
                },
            )
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num + skipped}: {error}") from None


def columns_of(text: str, known_columns: frozenset[str]) -> frozenset[str]:
    """The known columns of a table. Arguments as in `read_rows`."""
    delimiter, table = opened(text, known_columns)
    return named_in(table.partition("\n")[0], delimiter, known_columns)


def opened(text: str, known_columns: frozenset[str]) -> tuple[str, str]:
    """The delimiter of a table, and its text from the head on."""
    first, _, body = text.partition("\n")
    if first.lower().startswith("sep=") and len(first.rstrip("\r")) == 5:
        return first[4], body
    return most_columns(first, known_columns), text


def most_columns(head: str, known_columns: frozenset[str]) -> str:
    """The delimiter with which a table's first line has the most known columns."""
    return max(DELIMITERS, key=lambda delimiter: len(named_in(head, delimiter, known_columns)))


def named_in(head: str, delimiter: str, known_columns: frozenset[str]) -> frozenset[str]:
    """The known columns in a first line."""
    cells = (cell.strip().strip('"').strip().lower() for cell in head.split(delimiter))
    return known_columns.intersection(ALIASES.get(cell, cell) for cell in cells)

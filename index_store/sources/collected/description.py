"""Description of a collected folder: gallery.toml and the table of its photos."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...about import COLUMNS as CREDIT_COLUMNS
from ...about import FILE, MAX_TABLE_BYTES, MAX_TITLE, Credit
from ...errors import BadList
from ..tables import ALIASES, MAX_COLUMNS

TABLE = "photos.csv"


def write_description(folder: Path, title: str, credits: Mapping[str, Credit]) -> None:
    """Write the description of a folder; columns beyond the size limit are dropped.

    Args:
        folder: the collected folder.
        title: title of the gallery; "" if it has none.
        credits: title, credit and further columns of each photo, by file.

    Raises:
        BadList: titles, credits, licences and links alone exceed the limit.
        OSError: the folder cannot be written.
    """
    columns = set(CREDIT_COLUMNS)
    more = []
    for name in (name for credit in credits.values() for name in credit.more):
        column = ALIASES.get(name.lower(), name.lower())
        if column not in columns and len(columns) < MAX_COLUMNS:
            columns.add(column)
            more.append(name)
    table = table_of(credits, more)
    while len(table) > MAX_TABLE_BYTES and more:
        more = more[: len(more) // 2]
        table = table_of(credits, more)
    if len(table) > MAX_TABLE_BYTES:
        raise BadList(
            "The descriptions of the listed photos are too large: titles, credits, licences and "
            f"links have {len(table) / 2**20:.0f} MB; at most {MAX_TABLE_BYTES // 2**20} MB are "
            "allowed."
        )
    facts = f'photos = "{TABLE}"\n'
    if title:
        facts += f"title = {json.dumps(title[:MAX_TITLE], ensure_ascii=False)}\n"
    for name, content in ((TABLE, table), (FILE, facts.encode())):
        partial = folder / f".{name}"
        partial.write_bytes(content)
        partial.replace(folder / name)


def table_of(credits: Mapping[str, Credit], more: Sequence[str]) -> bytes:
    """The table of photos by file, as CSV. more: names of additional columns."""
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["file", "title", "credit", "licence", "link", *more])
    for file, entry in credits.items():
        cells = [entry.more.get(name, "") for name in more]
        table.writerow([file, entry.title, entry.credit, entry.licence, entry.link, *cells])
    return text.getvalue().encode()

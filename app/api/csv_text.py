"""Tables as CSV: what a spreadsheet would take for a formula is defused; readings from CSV."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.api.declared import Refused
from enms_core.readings import COLUMNS, Columns

FORMULA = ("=", "+", "-", "@", "\t", "\r")


def defused(value: Any) -> Any:
    """Return a cell that no spreadsheet runs; numbers stay numbers.

    >>> defused("=HYPERLINK()"), defused(-3.5), defused(None)
    ("'=HYPERLINK()", -3.5, '')
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(FORMULA) else value
    if isinstance(value, Mapping | list):
        return defused(json.dumps(value, ensure_ascii=False))
    return value


def as_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Return rows as CSV with a header (RFC 4180)."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([defused(row.get(name)) for name in columns] for row in rows)
    return text.getvalue()


def readings_in(body: bytes) -> Columns:
    """Return readings from CSV: machine, metric, time, value, or machine, time and a column each.

    Raise Refused where it is no such table; a row must have a cell for every column.
    """
    header, rows = _table(body)
    missing = [name for name in ("machine", "time") if name not in header]
    if missing or len(set(header)) < len(header):
        said = "the header must be machine,metric,time,value or machine,time,power_kw,..."
        raise Refused(400, "invalid", said, missing[0] if missing else None)
    place = {name: i for i, name in enumerate(header)}
    if {"metric", "value"} <= place.keys():
        return {name: [row[place[name]] for row in rows] for name in COLUMNS}
    metrics = [(i, name) for name, i in place.items() if name not in ("machine", "time")]
    flat = [
        (row[place["machine"]], name, row[place["time"]], row[i])
        for row in rows
        for i, name in metrics
        if row[i] != ""
    ]
    return {name: [row[i] for row in flat] for i, name in enumerate(COLUMNS)}


def _table(body: bytes) -> tuple[list[str], list[list[str]]]:
    try:
        text = io.StringIO(body.decode("utf-8-sig"), newline="")
        header, *rows = [row for row in csv.reader(text, strict=True) if row] or [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        raise Refused(400, "malformed", f"the body is no CSV in UTF-8: {error}") from error
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            said = f"row {number} has {len(row)} cells, the header {len(header)}"
            raise Refused(400, "malformed", said)
    return header, rows

"""Tables as CSV: what a spreadsheet would take for a formula is defused; readings from CSV."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from app.api.declared import Refused
from enms_core.readings import COLUMNS

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
        return defused(str(value))
    return value


def as_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Return rows as CSV with a header (RFC 4180)."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([defused(row.get(name)) for name in columns] for row in rows)
    return text.getvalue()


def readings_in(body: bytes) -> pd.DataFrame:
    """Return readings from CSV: machine, metric, time, value, or machine, time and a column each.

    Raise Refused where it is no such table.
    """
    try:
        table = pd.read_csv(io.BytesIO(body), dtype=str, keep_default_na=False, encoding="utf-8")
    except (ValueError, OverflowError) as error:  # pandas' parser errors and wrong encodings
        raise Refused(400, "malformed", f"the body is no CSV in UTF-8: {error}") from error
    for name in ("machine", "time"):
        if name not in table:
            raise Refused(
                400,
                "invalid",
                "the header must be machine,metric,time,value or machine,time,power_kw,...",
                name,
            )
    if {"metric", "value"} <= set(table.columns):
        return table[COLUMNS]
    wide = table.melt(id_vars=["machine", "time"], var_name="metric", value_name="value")
    return wide[wide["value"] != ""][COLUMNS]

"""When a rating was given, as tables have it: what pandas and polars take as a date."""

import datetime
import math
import re

from ...engine.data.tables import Format

DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?)?(Z|[+-]\d\d:?\d\d)?", re.ASCII)


def read_date(cell: str, format: Format) -> tuple[str, float]:
    """(what kind of time it is, "" for none; its value, in seconds where it is a date)."""
    value = format.number(cell)
    if not math.isnan(value):
        return "a number", value
    found = DATE.fullmatch(cell)
    try:
        date = datetime.datetime.fromisoformat(cell) if found else None
    except ValueError:  # as the 31st of February
        date = None
    if date is None:
        return "", math.nan
    if date.tzinfo is None:
        return "a date", date.replace(tzinfo=datetime.UTC).timestamp()
    return "a date with a time zone", date.timestamp()

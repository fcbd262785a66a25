"""Times as the store keeps them: microseconds since 1970-01-01 UTC."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_us(at: datetime) -> int:
    """Return the microseconds of an aware time.

    >>> to_us(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
    1000000
    """
    if at.tzinfo is None:
        raise ValueError(f"{at} has no time zone; give an offset such as +01:00")
    return (at - _EPOCH) // _MICROSECOND


def from_us(us: int) -> datetime:
    """Return the aware UTC time.

    >>> from_us(1000000)
    datetime.datetime(1970, 1, 1, 0, 0, 1, tzinfo=datetime.timezone.utc)
    """
    return _EPOCH + us * _MICROSECOND


def iso(us: int) -> str:
    """Return the time as ISO 8601 with offset.

    >>> iso(1000000)
    '1970-01-01T00:00:01+00:00'
    """
    return from_us(us).isoformat()


def now_us() -> int:
    """Return now."""
    return to_us(datetime.now(UTC))


def index_of(us: Any) -> pd.DatetimeIndex:
    """Return an aware UTC index of microseconds."""
    return pd.DatetimeIndex(pd.to_datetime(us, unit="us", utc=True)).as_unit("us")

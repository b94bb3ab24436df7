"""When something expires: an instant, or a date and then its end in UTC."""

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator

_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}\Z", re.ASCII)


def _end_of_date(value: Any) -> Any:
    """The end in UTC of a value that is a date without a time; any other text as the instant that it names."""
    if isinstance(value, str):
        value = date.fromisoformat(value) if _DATE.match(value) else datetime.fromisoformat(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime.combine(value, time(), UTC) + timedelta(days=1)
    return value


def _checked(value: Any) -> Any:
    try:
        return _end_of_date(value)
    except (ValueError, OverflowError):
        raise ValueError("expected a date, or a time as in RFC 3339") from None


def _in_utc(value: datetime) -> datetime:
    return value if value.tzinfo is not None else value.replace(tzinfo=UTC)


Expiry = Annotated[datetime, BeforeValidator(_checked), AfterValidator(_in_utc)]
"""A date means its end in UTC, and a time without a zone is UTC."""

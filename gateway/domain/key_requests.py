"""The request bodies of the administration of keys, and when a key expires."""

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field

from gateway.domain.access import PRINCIPAL_PATTERN
from gateway.domain.validation import INTEGRAL, Input, optional
from gateway.domain.values import Permission

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


MAX_OVERLAP: Final = 30 * 86400

PrincipalName = Annotated[str, Field(pattern=PRINCIPAL_PATTERN)]
Scopes = Annotated[list[Annotated[Permission, Field(strict=False)]], Field(min_length=1, max_length=20)]


class CreateKey(Input):
    """A new key. ``template`` makes the principal if it does not exist, with the rights of a principal of the settings.
    ``scopes`` is a subset of the principal's; left out, the key has all of them."""

    principal: PrincipalName
    template: PrincipalName = optional("")
    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")] | None = None
    scopes: Annotated[list[Annotated[Permission, Field(strict=False)]], Field(min_length=1, max_length=20)] | None = (
        None
    )
    expires_at: Expiry | None = None


class RotateKey(Input):
    """For how many seconds the old key works beside the new one."""

    overlap: Annotated[int, Field(ge=0, le=MAX_OVERLAP), INTEGRAL] = 3600

"""The request bodies of the administration of keys."""

from typing import Annotated, Final

from pydantic import Field

from gateway.domain.access import PRINCIPAL_PATTERN, Permission
from gateway.domain.expiry import Expiry
from gateway.domain.validation import INTEGRAL, Input, optional

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

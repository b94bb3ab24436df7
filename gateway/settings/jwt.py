"""The settings of issuers whose tokens callers may send instead of keys."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from gateway.domain.access import PRINCIPAL_PATTERN, Principal
from gateway.domain.base_urls import is_unprotected, require_base_url
from gateway.ports.section import Section
from gateway.settings.problems import Path


def _address(value: str) -> str:
    parts = urlsplit(value)
    if parts.fragment:
        raise ValueError("the address of a key set has no fragment")
    require_base_url(parts._replace(query="").geturl())
    if is_unprotected(value):
        raise ValueError("keys are fetched over https://; http:// is for loopback addresses only")
    return value


Text = Annotated[str, Field(min_length=1, max_length=1000)]
ClaimName = Annotated[str, Field(min_length=1, max_length=200)]


class JwtSettings(Section):
    """An issuer of tokens, and what its tokens give. ``issuer`` and ``audience`` are compared with ``iss`` and ``aud``
    exactly; ``jwks`` is the address of its keys. ``name`` begins the names of its principals and groups. ``principal``,
    ``scopes`` and ``own_group`` are the claims with these values; without ``scopes`` or ``own_group``, they are the
    template's. ``template`` is the principal of the settings whose rights bound everything. ``leeway`` is by how many
    seconds the clocks may differ."""

    issuer: Text
    audience: Text
    jwks: Annotated[str, AfterValidator(_address)]
    name: Annotated[str, Field(pattern=PRINCIPAL_PATTERN)]
    template: Annotated[str, Field(pattern=PRINCIPAL_PATTERN)]
    principal: ClaimName = "sub"
    scopes: ClaimName | None = None
    own_group: ClaimName | None = None
    leeway: Annotated[float, Field(ge=0, le=300)] = 30


def issuer_faults(issuers: Sequence[JwtSettings], principals: Mapping[str, Principal]) -> Iterator[tuple[Path, str]]:
    """Yield the path and message of each issuer that contradicts another one, or its template."""
    names: set[str] = set()
    accepted: set[tuple[str, str]] = set()
    for index, one in enumerate(issuers):
        at = ("auth", "jwt", str(index))
        template = principals.get(one.template)
        if one.name in names:
            yield (*at, "name"), "another issuer has this name; every issuer needs a name of its own"
        if (one.issuer, one.audience) in accepted:
            yield at, "another entry has the same issuer and audience; keep one of the two"
        if template is None:
            yield (*at, "template"), f"auth.principals and auth.keys have no principal {one.template}"
        elif one.own_group is not None and not template.own_only:
            yield (*at, "own_group"), f"this has a meaning only with own_only: true at the template {one.template}"
        names.add(one.name)
        accepted.add((one.issuer, one.audience))

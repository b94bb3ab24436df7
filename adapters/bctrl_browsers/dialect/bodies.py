"""The requests of clients of the current era: queries, headers and bodies in the provider's own spelling."""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
from pydantic import Field, SecretStr

from adapters.bctrl_browsers.mapping import CONNECTIONS
from adapters.bctrl_browsers.native import NativeCreate, check_unmarked, proxy_secrets
from adapters.bctrl_browsers.options import Options, check_proxy, refused_members
from adapters.bctrl_browsers.wire import API_VERSION
from gateway.domain.constraint_rules import refuse
from gateway.domain.errors import FieldError, InvalidRequest, ValidationFailed
from gateway.domain.runtime import Runtime
from gateway.domain.validation import optional, validate
from gateway.ports.context import RequestContext
from gateway.ports.data_plane import AddressIssuer
from gateway.ports.dialect import DialectRequest

NATIVE_CODE: Final = "native_code"
"""The member of an error's ``extra`` that holds the API's code, where the error's class has no or another one."""

VERSION_HEADER: Final = "BCTRL-Version"
"""Sent only by clients of the current era, which read the nested error envelope."""

MAX_WAIT: Final = 60

_REPEATABLE: Final = frozenset({"status", "status[]"})

Name = Annotated[str, Field(min_length=1, max_length=200)]
Query = Mapping[str, Sequence[str]]

_DECODER: Final = msgspec.json.Decoder()


class NativeUpdate(Options):
    """The members of an update: those of a create without the space. ``check_update`` refuses the members of a copy."""

    name: Name = optional("")


class NativeOptions(NativeUpdate):
    space_id: str = optional("")


def read_object(request: DialectRequest) -> dict[str, Any]:
    """The body as a JSON object; no body is an empty object. Raises :class:`InvalidRequest` for a body that is not
    JSON, and :class:`ValidationFailed` for JSON that is not an object."""
    if not request.body.strip():
        return {}
    try:
        body = _DECODER.decode(request.body)
    except (ValueError, RecursionError) as exc:
        raise InvalidRequest("The body is not JSON.", extra={NATIVE_CODE: "request.invalid_json"}) from exc
    if not isinstance(body, dict):
        raise ValidationFailed.at("#", "The body has to be a JSON object.", code="type")
    return body


def refuse_members(request: DialectRequest) -> None:
    """Raise :class:`ValidationFailed` for a body with members; the call takes none."""
    for name in read_object(request):
        raise ValidationFailed.at(f"#/{name}", "There is no field of this name here.", code="unknown_field")


def read_query(request: DialectRequest, *allowed: str) -> Query:
    """The values of the query by parameter. Raises :class:`InvalidRequest` for a parameter that the call does not have,
    and for a repeated parameter that takes one value."""
    found: dict[str, list[str]] = {}
    for name, value in request.query:
        if name not in allowed:
            raise bad_parameter(name, "There is no such query parameter here.")
        if name in found and name not in _REPEATABLE:
            raise bad_parameter(name, "There can be only one.")
        found.setdefault(name, []).append(value)
    return found


def bad_parameter(name: str, detail: str) -> InvalidRequest:
    return InvalidRequest(f"{name}: {detail}", errors=[FieldError(detail, "invalid", parameter=name)])


def bad_header(name: str, detail: str, code: str) -> InvalidRequest:
    """A fault of a header, with its own code of the API."""
    fault = FieldError(detail, "not_allowed", header=name)
    return InvalidRequest(detail, errors=[fault], extra={NATIVE_CODE: code})


def wait_of(query: Query) -> int:
    """The seconds that the caller wants to wait; 0 without the parameter. Raises :class:`InvalidRequest`."""
    values = query.get("wait", ["0"])
    text = values[0]
    if len(values) != 1 or not (text.isascii() and text.isdigit() and len(text) <= 3 and int(text) <= MAX_WAIT):
        raise bad_parameter("wait", f"A number of seconds, 0 to {MAX_WAIT}.")
    return int(text)


def check_headers(request: DialectRequest, *, versioned: bool) -> None:
    """Raise :class:`InvalidRequest` for headers that cannot be honoured: another version, or a subaccount."""
    if versioned and request.headers.get(VERSION_HEADER, API_VERSION) != API_VERSION:
        raise bad_header(VERSION_HEADER, f"The only version is {API_VERSION}.", "request.version_unsupported")
    if request.headers.get("BCTRL-Subaccount-Id"):
        raise bad_header(
            "BCTRL-Subaccount-Id",
            "The gateway calls the provider with its own account; it cannot act for a subaccount.",
            "auth.subaccount_context_unsupported",
        )


def idempotency_key(request: DialectRequest) -> str | None:
    """The caller's ``Idempotency-Key``, None if it is missing or blank."""
    return request.headers.get("Idempotency-Key", "").strip() or None


def space_named(request: DialectRequest, query: Query, body: Mapping[str, Any] | None = None) -> str | None:
    """The space that a request names: in its body, else its query, else its header ``BCTRL-Space``; else None."""
    in_body, in_query = (body or {}).get("spaceId"), "".join(query.get("spaceId", ())[:1])
    named = in_body if isinstance(in_body, str) and in_body else in_query or request.headers.get("BCTRL-Space")
    return named or None


def check_update(body: Mapping[str, Any]) -> None:
    """Raise :class:`ValidationFailed` for an update that is not valid."""
    options = validate(NativeUpdate, {name: value for name, value in body.items() if name != "proxy"})
    for field, name in (("from_browser", "fromBrowser"), ("persona", "persona")):
        if options.sent(field):
            raise ValidationFailed.at(f"#/{name}", "Only a create takes this.", code="unknown_field")
    check_unmarked(body.get("metadata"), "metadata")
    check_proxy(body.get("proxy"), ("proxy",), secrets=True)


def require_allowed_update(body: Mapping[str, Any], ctx: RequestContext) -> None:
    """Raise :class:`PermissionDenied` for an update that the caller's constraints do not allow."""
    if ctx.principal.allowance is not None:
        refuse(refused_members(body, ctx.principal.allowance))


def native_create(body: Mapping[str, Any], *, wait: int, made_up_name: str) -> NativeCreate:
    """Decode the body of a create of the current era. The name stays unchanged, also where the unified API would refuse
    it as a name. Raises :class:`ValidationFailed` with pointers into the native body."""
    options = validate(NativeOptions, {name: value for name, value in body.items() if name != "proxy"})
    proxy_json = None
    if "proxy" in body:
        check_proxy(body["proxy"], ("proxy",), secrets=True)
        proxy_json = SecretStr(msgspec.json.encode(body["proxy"]).decode())
    given = {name: value for name, value in body.items() if name not in {"name", "spaceId", "proxy"}}
    create = NativeCreate(kind="browser", provider_options=given, proxy_json=proxy_json, wait=wait)
    return create.model_copy(update={"name": options.name if options.sent("name") else made_up_name})


def made_up_name(prefix: str, provider_key: str | None) -> str:
    """A name for a create without one. The same key gives the same name, so that a repetition sends the same
    request."""
    if provider_key is None:
        return f"{prefix}-{secrets.token_hex(8)}"
    return f"{prefix}-{hashlib.sha256(provider_key.encode()).hexdigest()[:16]}"


def without_connections(body: bytes) -> bytes:
    """The JSON of a response of either era without the addresses of connections, each of which is a credential."""
    document = _DECODER.decode(body)
    for row in (document, *(document.get("data") or ())):
        for part in (row, row.get("currentRun") or {}):
            for name in [name for name in part if CONNECTIONS.search(name)]:
                del part[name]
    return msgspec.json.encode(document)


def with_own_addresses(body: bytes, runtimes: Sequence[Runtime], issuer: AddressIssuer) -> bytes:
    """The JSON of a response with the gateway's addresses in place of the provider's. ``runtimes`` are its browsers. A
    live view, which is not forwarded, has no address."""
    document = _DECODER.decode(body)
    for row, runtime in zip(document.get("data", [document]), runtimes, strict=True):
        run = row.get("currentRun")
        for part in filter(None, (row, run)):
            for name in [name for name in part if name != "connections" and CONNECTIONS.search(name)]:
                del part[name]
        if isinstance(run, dict) and isinstance(run.get("connections"), dict):
            run["connections"] = _own(run["connections"], runtime, issuer)
    return msgspec.json.encode(document)


def _own(connections: Mapping[str, Any], runtime: Runtime, issuer: AddressIssuer) -> dict[str, Any]:
    found = dict.fromkeys(connections, "")
    for name, protocol in (("cdpUrl", "cdp"), ("webdriverUrl", "webdriver")):
        if connections.get(name):
            issued = issuer.issue(runtime, protocol)
            found |= {name: issued.url, "expiresAt": issued.expires_at or ""}
    return found


def secrets_of(body: Mapping[str, Any]) -> list[str]:
    """The secret values of a body, which must not appear in any text."""
    return list(proxy_secrets(body.get("proxy")))


def native_member(fault: FieldError) -> str | None:
    """The member of the native body that a fault concerns (``proxy.port``), or the query parameter or header; else
    None."""
    if fault.pointer is None:
        return fault.parameter or fault.header
    parts = [part.replace("~1", "/").replace("~0", "~") for part in fault.pointer.split("/")[1:]]
    if parts[:1] == ["provider_options"]:
        del parts[0]
    return ".".join(parts) or None

"""JSON bodies: read within limits, decoded strictly, validated by the domain's models."""

import asyncio
import json
from collections.abc import Iterable
from typing import Any, Final, TypeVar, cast

import msgspec
from aiohttp import hdrs, web
from aiohttp.http import HttpVersion11
from aiohttp.web_exceptions import HTTPRequestEntityTooLarge
from aiohttp.web_protocol import RequestPayloadError
from pydantic import BaseModel

from gateway.domain.errors import (
    FieldError,
    InvalidRequest,
    PayloadTooLarge,
    RequestTimeout,
    UnsupportedMediaType,
    ValidationFailed,
    pointer,
)
from gateway.domain.json_numbers import MAX_SLOW_NUMBERS, has_slow_numbers
from gateway.domain.requests import CREATE_REQUESTS, CreateRequest
from gateway.domain.validation import validate
from gateway.settings import HttpSettings

ModelT = TypeVar("ModelT", bound=BaseModel)

MAX_DEPTH: Final = 64
MAX_MEMBERS: Final = 1000
"""Members of one object, and items of one list, outside of ``config``."""
MAX_VALUES: Final = 10_000
"""Members and items of a whole body. Validation can find a fault in each of them."""
_MAX_DIGITS: Final = 308  # an integer of more digits does not fit into a double, which many JSON readers use
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_DECODER: Final = msgspec.json.Decoder()
SENT_BODY: Final = web.RequestKey[BaseModel]("sent_body", BaseModel)
"""The validated body of a request; missing until it was read."""


class ClientAborted(Exception):
    """The client disconnected before its request was complete; no response can be sent."""


class BodyReader:
    """Reads bodies of up to ``http.max_body_bytes``, each within ``http.body_timeout`` seconds."""

    def __init__(self, http: HttpSettings) -> None:
        self._http = http

    async def read(self, request: web.Request, model: type[ModelT]) -> ModelT:
        """The body as ``model``; no body means ``{}``. Raises as :meth:`read_object`, and :class:`ValidationFailed`
        with every fault."""
        body = validate(model, await self.read_object(request))
        request[SENT_BODY] = cast("BaseModel", body)
        return body

    async def read_create(self, request: web.Request) -> CreateRequest:
        """The body of a create, as the model of its ``kind``. Raises as :meth:`read`."""
        request[SENT_BODY] = body = parse_create(await self.read_object(request))
        return body

    async def read_object(self, request: web.Request) -> dict[str, Any]:
        """The body as a JSON object.

        Raises :class:`PayloadTooLarge`, :class:`RequestTimeout`, :class:`UnsupportedMediaType`,
        :class:`InvalidRequest` for a body that is not JSON, :class:`ValidationFailed` at ``#`` for JSON that is not an
        object, and as :func:`refuse_wide`, and :class:`ClientAborted`.
        """
        raw = await self.read_raw(request)
        if not raw:
            return {}
        require_json(request.headers)
        body = decode(raw)
        if not isinstance(body, dict):
            raise ValidationFailed.at("#", "The body has to be a JSON object.", code="type")
        refuse_wide(body)
        return body

    async def read_raw(self, request: web.Request) -> bytes:
        """The body as it was sent; empty without a body. Raises :class:`PayloadTooLarge`,
        :class:`RequestTimeout`, :class:`InvalidRequest` and :class:`ClientAborted`."""
        if not request.body_exists:
            return b""
        if (request.content_length or 0) > self._http.max_body_bytes:
            raise self._too_large()
        return await self._read_all(request)

    async def _read_all(self, request: web.Request) -> bytes:
        try:
            if request.content.is_eof():
                return await request.read()
            async with asyncio.timeout(self._http.body_timeout):
                await invite_body(request)
                return await request.read()
        except HTTPRequestEntityTooLarge as exc:
            raise self._too_large() from exc
        except TimeoutError as exc:
            raise RequestTimeout(
                f"The body did not arrive within {self._http.body_timeout:g} seconds; nothing was done."
            ) from exc
        except (RequestPayloadError, ConnectionError) as exc:
            if request.transport is None:
                raise ClientAborted from exc
            raise InvalidRequest("The body breaks the rules of HTTP.") from exc

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(f"The body is larger than {self._http.max_body_bytes} bytes.")


async def invite_body(request: web.Request) -> None:
    """Send ``100 Continue`` if the client expects it. Call it only after the head was checked, so that the client does
    not send the body of a request that is refused. Any other expectation may be ignored (RFC 9110, 10.1.1)."""
    if request.version == HttpVersion11 and request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
        await request.writer.write(_CONTINUE)
        request.writer.output_size = 0


def require_json(headers: Any, *, suffixes: bool = True) -> None:
    """Raise :class:`UnsupportedMediaType` for a body that is compressed or not declared as JSON in UTF-8.

    ``suffixes``: the media types ``application/…+json`` are JSON too."""
    encoding = headers.get(hdrs.CONTENT_ENCODING, "identity").strip().lower()
    if encoding != "identity":
        detail = "The body has to be sent without a content encoding."
        raise UnsupportedMediaType(detail, errors=[FieldError(detail, "not_allowed", header="Content-Encoding")])
    sent = headers.get(hdrs.CONTENT_TYPE, "")
    if sent != "application/json" and not _is_json(sent, suffixes):
        detail = "The body has to be JSON in UTF-8, with Content-Type: application/json."
        raise UnsupportedMediaType(detail, errors=[FieldError(detail, "not_allowed", header="Content-Type")])


def _is_json(content_type: str, suffixes: bool) -> bool:
    media_type, *parameters = (part.strip().lower() for part in content_type.split(";"))
    if media_type != "application/json" and not (
        suffixes and media_type.startswith("application/") and media_type.endswith("+json")
    ):
        return False
    return all(
        parameter.partition("=")[2].strip('"') in {"utf-8", "utf8"}
        for parameter in parameters
        if parameter.startswith("charset=")
    )


def parse_create(body: dict[str, Any]) -> CreateRequest:
    """The create in a body, as the model of its ``kind``. Raises :class:`ValidationFailed` with every fault."""
    known = ", ".join(CREATE_REQUESTS)
    if "kind" not in body:
        raise ValidationFailed.at("#/kind", f"Say what to create, kind is one of: {known}.", code="required")
    kind = body["kind"]
    model = CREATE_REQUESTS.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise ValidationFailed.at("#/kind", f"The kinds that can be created are: {known}.", code="not_allowed")
    return validate(model, body)


def decode(raw: bytes) -> Any:
    """Decode JSON strictly: UTF-8, no duplicate members, no number beyond a double, at most :data:`MAX_DEPTH` levels.

    Raises :class:`InvalidRequest`. The first decoder refuses invalid JSON; the second one sees duplicate members.
    """
    refuse_deep(raw)
    try:
        _DECODER.decode(raw)
        return _STRICT.decode(raw.decode())
    except msgspec.DecodeError as exc:
        raise InvalidRequest(f"The body is not valid JSON: {exc}.") from exc
    except UnicodeDecodeError as exc:
        raise InvalidRequest("The body is not valid JSON: it is not UTF-8.") from exc
    except ValueError as exc:
        raise InvalidRequest("The body is not valid JSON: a number has too many digits.") from exc


def refuse_deep(raw: bytes) -> None:
    """Raise :class:`InvalidRequest` for JSON of more than :data:`MAX_DEPTH` levels: a provider that stores it would
    return it in lists, which clients could not decode. Also for JSON with :func:`has_slow_numbers`."""
    if has_slow_numbers(raw):
        raise InvalidRequest(f"More than {MAX_SLOW_NUMBERS} numbers have exponents of three or more digits.")
    if (raw.count(b"{") + raw.count(b"[")) > MAX_DEPTH and _depth(raw) > MAX_DEPTH:
        raise InvalidRequest(f"The body is nested deeper than {MAX_DEPTH} levels.")


def refuse_wide(document: Any) -> None:
    """Raise :class:`ValidationFailed`, at the list or object, for decoded JSON beyond :data:`MAX_MEMBERS` or
    :data:`MAX_VALUES`: its faults would take much more memory and time than the body itself."""
    values = 0
    pending: list[tuple[tuple[str | int, ...], Any]] = [((), document)]
    while pending:
        path, container = pending.pop()
        values += len(container)
        if len(container) > MAX_MEMBERS and path[:1] != ("config",):
            raise ValidationFailed.at(pointer(*path), f"More than {MAX_MEMBERS} entries.", code="too_long")
        if values > MAX_VALUES:
            detail = f"The body has more than {MAX_VALUES} members and list items."
            raise ValidationFailed.at(pointer(*path), detail, code="too_long")
        entries: Iterable[tuple[Any, Any]] = container.items() if isinstance(container, dict) else enumerate(container)
        pending += [((*path, key), value) for key, value in entries if isinstance(value, dict | list)]


def refuse_wide_json(raw: bytes) -> None:
    """:func:`refuse_wide` for a body that is decoded elsewhere. Without enough commas it cannot be too wide."""
    if raw.count(b",") < MAX_MEMBERS:
        return
    try:
        document = _DECODER.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return  # not JSON: its own reader reports that
    if isinstance(document, dict | list):
        refuse_wide(document)


def _within_a_double(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError
    return int(digits)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise InvalidRequest("The body names a member of an object more than once.")
    return members


_STRICT: Final = json.JSONDecoder(object_pairs_hook=_without_repeats, parse_int=_within_a_double)


def _depth(raw: bytes) -> int:
    deepest = depth = 0
    for byte in _outside_strings(raw):
        if byte in b"{[":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"}]":
            depth -= 1
    return deepest


def _outside_strings(raw: bytes) -> Iterable[int]:
    inside = escaped = False
    for byte in raw:
        if escaped:
            escaped = False
        elif inside and byte == 0x5C:
            escaped = True
        elif byte == 0x22:
            inside = not inside
        elif not inside:
            yield byte

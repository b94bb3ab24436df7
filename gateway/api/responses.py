"""Responses of the unified API: one encoder, and the entity tag of a runtime."""

from collections.abc import Iterable
from operator import attrgetter
from typing import Any, Final

import msgspec
from aiohttp import hdrs, web

from gateway.api.conditions import entity_tag
from gateway.api.public_view import public
from gateway.domain.access import Principal
from gateway.domain.runtime import ENCODER, Runtime
from gateway.ports.context import RequestContext

JSON: Final = "application/json"

_NO_TAG: Final = b'"etag":null'
_ADDED: Final = ("created", "adopted", "attempts", "changed", "warnings")
_GET_ADDED: Final = attrgetter(*_ADDED)
_NOTHING: Final = (msgspec.UNSET,) * len(_ADDED)
_BARE: Final[dict[str, Any]] = {**dict.fromkeys(_ADDED, msgspec.UNSET), "etag": None}


def with_additions(runtime: Runtime, response: Runtime) -> Runtime:
    """The runtime, with what ``response`` adds to an earlier state of it."""
    return msgspec.structs.replace(runtime, **dict(zip(_ADDED, _GET_ADDED(response), strict=True)))


def without(runtime: Runtime, members: Iterable[str]) -> Runtime:
    return msgspec.structs.replace(runtime, **dict.fromkeys(members, msgspec.UNSET))


def as_json(model: Any, caller: Principal) -> bytes:
    """A body as JSON, as the caller may see it."""
    return ENCODER.encode(model if caller.view is None else public(model, caller.view))


def json_response(
    model: Any, ctx: RequestContext, *, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    return raw_json_response(as_json(model, ctx.principal), status=status, headers=headers)


def raw_json_response(body: bytes, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, body=body, headers={hdrs.CONTENT_TYPE: JSON, **(headers or {})})


def tagged(runtime: Runtime, caller: Principal) -> tuple[bytes, str]:
    """A runtime as JSON, as the caller may see it, that includes its ``etag``, and that tag.

    The tag covers the runtime but not what a response adds to it (``created``, ``changed``, …), so that the response to
    a verb and a later read of the same runtime have the same tag.
    """
    if caller.view is not None:
        document = public(runtime, caller.view)
        bare = {name: value for name, value in document.items() if name not in _BARE}
        document["etag"] = entity_tag(ENCODER.encode(bare))
        return ENCODER.encode(document), document["etag"]
    body = ENCODER.encode(runtime)
    if _GET_ADDED(runtime) == _NOTHING:
        tag = entity_tag(body)
    else:
        tag = entity_tag(ENCODER.encode(msgspec.structs.replace(runtime, **_BARE)))
    before, found, after = body.partition(_NO_TAG)
    if found and _NO_TAG not in after:
        return b'%b"etag":%b%b' % (before, ENCODER.encode(tag), after), tag
    # A free-form member is also called etag: encode again instead of guessing which one to replace.
    return ENCODER.encode(msgspec.structs.replace(runtime, etag=tag)), tag

"""Answers of the unified API: one encoder, and the entity tag of a runtime."""

from operator import attrgetter
from typing import Any, Final

import msgspec
from aiohttp import hdrs, web
from multidict import CIMultiDict

from gateway.api.conditions import entity_tag
from gateway.domain.runtime import ENCODER, Runtime

JSON: Final = "application/json"

_HEADERS: Final = CIMultiDict({hdrs.CONTENT_TYPE: JSON})
_NO_TAG: Final = b'"etag":null'
_BESIDE: Final = ("created", "adopted", "attempts", "changed", "warnings")
_SAID_BESIDE: Final = attrgetter(*_BESIDE)
_NOTHING: Final = (msgspec.UNSET,) * len(_BESIDE)
_BARE: Final[dict[str, Any]] = {**dict.fromkeys(_BESIDE, msgspec.UNSET), "etag": None}


def json_answer(model: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """``model`` as JSON."""
    return raw_json_answer(ENCODER.encode(model), status=status, headers=headers)


def raw_json_answer(body: bytes, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """JSON that is encoded already."""
    all_headers = _HEADERS.copy()
    if headers is not None:
        all_headers.update(headers)
    return web.Response(status=status, body=body, headers=all_headers)


def tagged(runtime: Runtime) -> tuple[bytes, str]:
    """A runtime as JSON with its ``etag`` in it, and that tag.

    The tag covers the runtime and not what an answer says beside it (``created``, ``changed``, …), so that the answer
    of a verb and a later read of the same runtime carry the same one.
    """
    body = ENCODER.encode(runtime)
    if _SAID_BESIDE(runtime) == _NOTHING:
        tag = entity_tag(body)
    else:
        tag = entity_tag(ENCODER.encode(msgspec.structs.replace(runtime, **_BARE)))
    if body.count(_NO_TAG) == 1:
        return body.replace(_NO_TAG, b'"etag":' + ENCODER.encode(tag)), tag
    # A free-form member is called etag too: encode again rather than guess which one is meant.
    return ENCODER.encode(msgspec.structs.replace(runtime, etag=tag)), tag

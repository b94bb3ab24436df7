"""Audit events of requests: which of them are recorded, and with what."""

import asyncio
import re
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from pydantic import BaseModel

from gateway.domain.errors import (
    GatewayError,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    QuotaExceeded,
    RateLimited,
    Unauthenticated,
)
from gateway.http.bodies import SENT_BODY
from gateway.http.in_flight import SAFE_METHODS
from gateway.ports.audit import AuditOutcome, GatewayAction
from gateway.ports.context import RequestContext
from gateway.services.audit.trail import AuditTrail

if TYPE_CHECKING:
    from gateway.http.access_log import Outcome

PATH: Final = "path"
"""The path of the pass-through in the changes of a request, which is recorded :func:`masked`."""

_REFUSALS: Final = (Unauthenticated, PermissionDenied, RateLimited, QuotaExceeded)
_NO_PARAMETERS: Final = frozenset({"target", "path"})  # variables that stand for any path
_LONGEST: Final = 200  # characters of a text
_LONGEST_ID: Final = 1000
_MOST_FIELDS: Final = 100
_NOT_A_WORD: Final = re.compile(r"[^/]*[^/a-z_-][^/]*")
_VERSION: Final = re.compile(r"v\d{1,3}")


class RequestAudit:
    """Records the requests of one route. ``mutates`` False: only refusals are recorded."""

    def __init__(self, trail: AuditTrail, action: str, *, mutates: bool = True) -> None:
        self._trail = trail
        self._action = action
        self._mutates = mutates

    def begun(self, request: web.BaseRequest, ctx: RequestContext, status: int) -> None:
        """A response is about to be sent piece by piece, so its end would be too late."""
        action = GatewayAction.CONNECTION_OPENED if status == 101 else self._action
        if status == 101 or (self._mutates and request.method not in SAFE_METHODS):
            outcome = AuditOutcome.OK if status < 400 else AuditOutcome.FAILED
            self._trail.record(**_fields(action, request, ctx, status, outcome))
            ctx.audited = status

    def ended(self, request: web.BaseRequest, ctx: RequestContext, outcome: "Outcome") -> None:
        """A request has ended, which may have changed something or was refused."""
        if ctx.audited:
            if ctx.audited == 101:
                fields = _fields(GatewayAction.CONNECTION_CLOSED, request, ctx, 101, AuditOutcome.OK)
                self._trail.record(**fields, code=outcome.code or None)
            return
        goes_on = ctx.work is not None and not ctx.work.done()
        result = _result(ctx, outcome, goes_on=goes_on)
        fields = _fields(self._action, request, ctx, outcome.status, result)
        fields["code"] = outcome.code or None
        if ctx.work is not None and goes_on:
            ctx.work.add_done_callback(partial(self._done_later, fields, ctx))
        if result is AuditOutcome.REFUSED:
            self._trail.refused(**fields)
        elif self._mutates and request.method not in SAFE_METHODS:
            self._trail.record(**fields)

    def _done_later(self, fields: dict[str, Any], ctx: RequestContext, work: "asyncio.Future[Any]") -> None:
        """What a 202 promised has ended."""
        error = None if work.cancelled() else work.exception()
        unknown = work.cancelled() or isinstance(error, OutcomeUnknown)
        outcome = AuditOutcome.UNKNOWN if unknown else AuditOutcome.OK if error is None else AuditOutcome.FAILED
        code = error.code if isinstance(error, GatewayError) else None
        self._trail.record(**fields | {"runtime_id": ctx.runtime_id, "outcome": outcome, "status": None, "code": code})


def _result(ctx: RequestContext, outcome: "Outcome", *, goes_on: bool) -> AuditOutcome:
    """The outcome of a request. An error that the provider responded with is no refusal of the gateway. A caller that
    sees only a part gets the same 404 for an absent runtime and for one of another owner."""
    error = outcome.error
    if (
        error is not None
        and error.failure is None
        and (isinstance(error, _REFUSALS) or (isinstance(error, NotFound) and ctx.principal.confined))
    ):
        return AuditOutcome.REFUSED
    left = error is None and outcome.code != "" and ctx.provider is not None  # the caller has, or the gateway ends
    if isinstance(error, OutcomeUnknown) or left or goes_on:
        return AuditOutcome.UNKNOWN
    return AuditOutcome.FAILED if outcome.code or outcome.status >= 400 else AuditOutcome.OK


def _fields(
    action: str, request: web.BaseRequest, ctx: RequestContext, status: int, outcome: AuditOutcome
) -> dict[str, Any]:
    return {
        "action": str(action),
        "principal": _readable(ctx.principal.name) or None,
        "key_id": ctx.principal.key_id,
        "remote": request.remote,
        "runtime_id": None if ctx.runtime_id is None else _readable(ctx.runtime_id, _LONGEST_ID),
        "provider": ctx.provider,
        "outcome": outcome,
        "status": status or None,
        "request_id": ctx.request_id,
        "changes": _changes(request, ctx, outcome) or None,
    }


def _changes(request: web.BaseRequest, ctx: RequestContext, outcome: AuditOutcome) -> dict[str, Any]:
    """What an action was about. The variables of a path that led nowhere may be anything, even a key: left out."""
    changes: dict[str, Any] = dict(ctx.changes or {})
    if PATH in changes:
        changes[PATH] = masked(changes[PATH])
    if isinstance(request, web.Request):
        if not changes and outcome in {AuditOutcome.OK, AuditOutcome.UNKNOWN}:
            named = request.match_info.items()
            changes |= {n: _readable(v) for n, v in named if v != ctx.runtime_id and n not in _NO_PARAMETERS}
            if ctx.principal.view is not None:
                changes.pop("id", None)  # a sealed id, which only this caller knows
        if (body := request.get(SENT_BODY)) is not None and (fields := list(_pointers(body, "#"))):
            changes["fields"] = fields[:_MOST_FIELDS]
    return changes


def _pointers(body: BaseModel, at: str) -> Iterator[str]:
    """The members that were sent. Members of maps, such as environment variables, are not named."""
    for name in sorted(body.model_fields_set):
        value = getattr(body, name)
        if isinstance(value, BaseModel):
            yield from _pointers(value, f"{at}/{name}")
        else:
            yield f"{at}/{name}"


def masked(path: str) -> str:
    """A path of the pass-through, whose segments may be secrets: only words of lower-case letters are kept."""
    segments = path.partition("?")[0].split("/")
    shown = [part if _VERSION.fullmatch(part) else _NOT_A_WORD.sub("*", part) for part in segments]
    return "/".join(shown)[:_LONGEST]


def _readable(text: str, longest: int = _LONGEST) -> str:
    return text[:longest].encode(errors="replace").decode()

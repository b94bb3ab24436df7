"""Intents for callers: lists, single intents, and decisions about the parked ones (docs/access.md#intents)."""

import base64
import binascii
import math
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal

from gateway.domain.access import Principal, refuse_named, refuse_outside
from gateway.domain.errors import (
    FieldError,
    GatewayError,
    IdempotencyInProgress,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    error_classes,
)
from gateway.domain.ids import RuntimeRef, format_runtime_id
from gateway.domain.intents import Intent, IntentAttempt, IntentState
from gateway.domain.ownership import outward
from gateway.domain.requests import ResolveIntent
from gateway.domain.runtime import Model
from gateway.domain.values import Permission
from gateway.ports.context import RequestContext
from gateway.ports.intent_query import IntentQuery
from gateway.ports.provider import ProviderAdapter
from gateway.ports.store import Store
from gateway.services.fleet import Fleet
from gateway.services.intents.decisions import decide, is_target, made_runtime, require_parked

_ID: Final = re.compile(r"in_[0-9a-f]{32}\Z")
_CODES: Final[frozenset[str]] = frozenset(cls.code for cls in error_classes())
_SETTLING: Final = "The gateway is finding out whether the provider made the runtime."
_PARKED: Final = {
    "several": "More than one runtime fits this create; an operator has to decide.",
    "made_but_not_found": "The provider reported a runtime that it does not show; an operator has to decide.",
    "target_changed": "The provider's address, account or credentials were changed; an operator has to decide.",
    "unreadable": "The key that sealed the request is not in the settings; an operator has to decide.",
    "too_old": "The outcome was not found in 24 hours; an operator has to decide.",
}
_ABSENT: Final = "No runtime was found, so it counts as not made; the same create may be sent again."


class IntentAttemptView(Model, frozen=True, kw_only=True):
    """One request that was, or may have been, sent to make the runtime. ``phase`` is how far it got. ``made``: whether
    it made something; null where that is not known."""

    epoch: int
    first_send: str | None
    last_send: str | None
    phase: str | None
    status: int | None
    made: bool | None


class IntentProblem(Model, frozen=True, kw_only=True):
    """Why an intent is not settled, or how it was refused. ``code`` is an error code, null where none was recorded;
    ``reason`` is a word for what happened (docs/runbook.md), or null."""

    code: str | None
    detail: str
    reason: str | None


class IntentView(Model, frozen=True, kw_only=True):
    """The record of one create. ``runtime_id`` is the runtime's id once it is known; null too if its provider is no
    longer configured. ``problem`` is null for a create that is done."""

    object: Literal["intent"] = "intent"
    id: str
    state: str
    kind: str
    name: str
    principal: str
    provider: str
    scope: str
    runtime_id: str | None
    created_at: str
    updated_at: str
    attempts: list[IntentAttemptView]
    problem: IntentProblem | None


class IntentList(Model, frozen=True, kw_only=True):
    """A page of intents, newest first."""

    object: Literal["list"] = "list"
    items: list[IntentView]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordQuery:
    """A list of intents, as a caller requests it. Empty sets: any."""

    states: frozenset[IntentState] = frozenset()
    principal: str | None = None
    providers: frozenset[str] = frozenset()
    limit: int = 50
    cursor: str | None = None


class IntentRecords:
    """The intents in the store. A caller sees those that its restrictions allow: with ``admin`` all of them, else its
    own. Another one is answered exactly as one that does not exist. All methods raise :class:`StoreUnavailable`."""

    def __init__(self, fleet: Fleet, store: Store) -> None:
        self._fleet = fleet
        self._store = store

    async def list(self, query: RecordQuery, ctx: RequestContext) -> IntentList:
        """One page. Raises :class:`PermissionDenied` that names the parameter for a principal or provider that the
        caller may not ask for, and :class:`InvalidRequest` for a cursor of another list."""
        caller, principal, only = ctx.principal, query.principal, ctx.principal.restrictions
        refuse_named(caller, query.providers, parameter="provider")
        refuse_outside(query.providers, only.providers, "providers", parameter="provider")
        if not _sees_all(caller):
            refuse_outside(filter(None, [principal]), frozenset({caller.name}), "principals", parameter="principal")
            principal = caller.name
        found = await self._store.list(
            IntentQuery(
                states=query.states or frozenset(IntentState),
                principal=principal,
                only=replace(only, providers=query.providers or only.providers),
                limit=query.limit + 1,
                before=None if query.cursor is None else parse_cursor(query.cursor),
            )
        )
        following = cursor_after(found[query.limit - 1]) if len(found) > query.limit else None
        return IntentList(items=[self._view(intent) for intent in found[: query.limit]], next_cursor=following)

    async def get(self, intent_id: str, ctx: RequestContext) -> IntentView:
        return self._view(await self._known(intent_id, ctx.principal))

    async def resolve(self, intent_id: str, decision: ResolveIntent, ctx: RequestContext) -> IntentView:
        """Settle a parked intent as the caller decided, and record that. Raises :class:`NotFound`,
        :class:`StateConflict` if it is not parked, and :class:`ValidationFailed` if it cannot have made the runtime."""
        intent = await self._known(intent_id, ctx.principal)
        require_parked(intent)
        runtime_id = None
        if decision.sent("made"):
            runtime_id = made_runtime(intent, decision.made, self._adapter, self._target(intent))
        return self._view(await decide(self._store, intent, runtime_id, ctx.principal.name, decision.note))

    async def _known(self, intent_id: str, caller: Principal) -> Intent:
        intent = await self._store.get(intent_id) if _ID.match(intent_id) else None
        if (
            intent is None
            or not (_sees_all(caller) or intent.principal == caller.name)
            or not caller.sees(intent.provider, intent.scope, intent.kind)
        ):
            raise NotFound("There is no intent of this id; settled ones are deleted after creates.retention.")
        return intent

    def _adapter(self, name: str) -> ProviderAdapter[Any] | None:
        provider = self._fleet.get(name)
        return None if provider is None else provider.adapter

    def _target(self, intent: Intent) -> ProviderAdapter[Any] | None:
        """The adapter of the provider that a create was sent to, whatever it is called now."""
        named = self._adapter(intent.provider)
        adapters = [*([] if named is None else [named]), *(provider.adapter for provider in self._fleet)]
        return next((adapter for adapter in adapters if is_target(adapter.settings, intent)), None)

    def _view(self, intent: Intent) -> IntentView:
        """An intent as callers see it: the only place where it becomes its document."""
        return IntentView(
            id=intent.id,
            state=intent.state.value,
            kind=intent.kind,
            name=outward(intent.name) or "",
            principal=intent.principal,
            provider=intent.provider,
            scope=intent.scope,
            runtime_id=self._runtime_id(intent),
            created_at=rfc3339(intent.created_at),
            updated_at=rfc3339(intent.updated_at),
            attempts=list(map(_attempt, intent.attempts)),
            problem=_problem(intent),
        )

    def _runtime_id(self, intent: Intent) -> str | None:
        adapter = None if intent.runtime_id is None else self._target(intent)
        if adapter is None or intent.runtime_id is None:
            return None
        ref = RuntimeRef(intent.scope, intent.runtime_id, intent.name)
        return format_runtime_id(adapter.name, adapter.format_reference(ref))


def _sees_all(caller: Principal) -> bool:
    return Permission.ADMIN in caller.permissions and not caller.own_only


def _attempt(attempt: IntentAttempt) -> IntentAttemptView:
    return IntentAttemptView(
        epoch=attempt.epoch,
        first_send=None if attempt.first_send is None else rfc3339(attempt.first_send),
        last_send=None if attempt.last_send is None else rfc3339(attempt.last_send),
        phase=attempt.phase,
        status=attempt.status,
        made=attempt.made,
    )


def _problem(intent: Intent) -> IntentProblem | None:
    reason = intent.reason
    code = reason if reason in _CODES else None
    match intent.state:
        case IntentState.DONE:
            return None
        case IntentState.OPEN:
            return _unsettled(IdempotencyInProgress, "The create is being sent.", None)
        case IntentState.UNKNOWN:
            return _unsettled(OutcomeUnknown, _SETTLING, None if code else reason)
        case IntentState.PARKED:
            detail = _PARKED.get(reason or "", "An operator has to decide.")
            return _unsettled(OutcomeUnknown, detail, reason)
    detail = _ABSENT if intent.state is IntentState.ABSENT else "The create was refused, and nothing was made."
    return IntentProblem(code=code, detail=detail, reason=None if code else reason)


def _unsettled(error: type[GatewayError], detail: str, reason: str | None) -> IntentProblem:
    return IntentProblem(code=error.code, detail=detail, reason=reason)


def rfc3339(seconds: float) -> str:
    """A time in seconds since the epoch as text, in milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def cursor_after(intent: Intent) -> str:
    """The cursor of the page that begins after this intent."""
    return base64.urlsafe_b64encode(f"{intent.created_at!r} {intent.id}".encode()).decode()


def parse_cursor(cursor: str) -> tuple[float, str]:
    """The creation time and the id in a cursor. Raises :class:`InvalidRequest` for text that is not a cursor."""
    try:
        created_at, _, intent_id = base64.b64decode(cursor, altchars=b"-_", validate=True).decode().partition(" ")
        if math.isfinite(moment := float(created_at)) and _ID.match(intent_id):
            return moment, intent_id
    except (binascii.Error, ValueError):
        pass
    detail = "This has to be the next_cursor of another page."
    raise InvalidRequest(detail, errors=[FieldError(detail, "invalid", parameter="cursor")])

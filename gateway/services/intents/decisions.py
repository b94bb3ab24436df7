"""An operator's decision about a parked create: what it has to be, and how a runtime is named in it."""

from collections.abc import Callable
from typing import Any, Final

from gateway.domain.base_urls import same_address
from gateway.domain.errors import NotFound, StateConflict, ValidationFailed
from gateway.domain.ids import RuntimeRef, parse_runtime_id
from gateway.domain.intents import Intent, parts_of
from gateway.domain.values import is_uuid
from gateway.ports.provider import ProviderAdapter
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.store import Decision, Stale, Store, Version

_AT: Final = "#/made"
_NOT_PARKED: Final = {
    "open": "it is being sent; wait until it is settled",
    "unknown": "the gateway is still searching for its runtime",
    "done": "its runtime is already known",
    "refused": "it is known to have created nothing",
    "absent": "it already counts as not created",
}


async def decide(store: Store, intent: Intent, runtime_id: str | None, operator: str, note: str | None) -> Intent:
    """Settle a parked intent: done with the runtime of this provider's id, or absent if it is None. Returns the current
    intent. Raises :class:`StateConflict` if the intent is not parked, or no longer."""
    require_parked(intent)
    decision = Decision.ABSENT if runtime_id is None else Decision.MADE
    decided = await store.decide(Version.of(intent), decision, operator, runtime_id=runtime_id, note=note)
    if isinstance(decided, Stale):
        if decided.intent is not None:
            require_parked(decided.intent)
        raise StateConflict(f"The intent {intent.id} has changed in the meantime: read it again.")
    return decided.intent


def require_parked(intent: Intent) -> None:
    """Raise :class:`StateConflict` unless the intent is parked."""
    if intent.state in _NOT_PARKED:
        why = _NOT_PARKED[intent.state]
        raise StateConflict(f"{intent.id} is {intent.state}, and only a parked intent needs a decision: {why}.")


def is_target(settings: ProviderSettings, intent: Intent) -> bool:
    """Whether a create was sent to this provider, whose name in the settings may have changed since."""
    api, base_url, _, _ = parts_of(intent.namespace)
    there = (api, same_address(base_url, settings.own_paths))
    return there == (settings.api, settings.address) and settings.scope in {None, intent.scope}


def made_runtime(
    intent: Intent,
    made: str,
    adapter_of: Callable[[str], ProviderAdapter[Any] | None],
    target: ProviderAdapter[Any] | None,
) -> str:
    """The provider's id of the runtime ``made``, which is its public id or the provider's own. No I/O.

    ``adapter_of`` returns the adapter of a configured provider; ``target`` is that of the intent's own provider, which
    checks the provider's own id, or None where it is not known. Raises :class:`ValidationFailed` if this create cannot
    have made the runtime."""
    try:
        name, reference = parse_runtime_id(made)
    except NotFound:
        return _own_id(intent, made, target)
    adapter = adapter_of(name)
    if adapter is None:
        raise _refused(f"there is no provider {name} in the settings; give the provider's own id of the runtime")
    if not is_target(adapter.settings, intent):
        raise _refused(f"that is a runtime of {name}, but this create was sent to {intent.provider}")
    ref = _parsed(adapter, reference)
    if ref.scope != intent.scope:
        raise _refused(
            f"that is a runtime in the scope {ref.scope}, but this create was sent to {intent.scope};"
            " if both are the same scope, give the provider's own id of the runtime"
        )
    return _plain(ref.provider_id)


def _own_id(intent: Intent, made: str, target: ProviderAdapter[Any] | None) -> str:
    made = _plain(made)
    if target is not None:
        return _parsed(target, target.format_reference(RuntimeRef(intent.scope, made, intent.name))).provider_id
    return made.lower() if is_uuid(made) else made


def _plain(provider_id: str) -> str:
    if provider_id.isascii() and provider_id.isprintable() and " " not in provider_id and 1 <= len(provider_id) <= 200:
        return provider_id
    raise _refused("expected a runtime's id, or the provider's own id")


def _parsed(adapter: ProviderAdapter[Any], reference: str) -> RuntimeRef:
    try:
        return adapter.parse_reference(reference)
    except NotFound:
        raise _refused("no runtime of this provider has such an id") from None


def _refused(detail: str) -> ValidationFailed:
    return ValidationFailed.at(_AT, f"{detail[:1].upper()}{detail[1:]}.")

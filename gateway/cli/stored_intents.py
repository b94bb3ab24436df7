"""``intents`` with ``--config``: on the store of a settings file, whether or not a gateway runs."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.failures import Failure
from gateway.cli.intents import intent_document
from gateway.cli.server import store_settings
from gateway.cli.stores import with_store

if TYPE_CHECKING:
    from gateway.domain.intents import Intent
    from gateway.ports.provider import ProviderAdapter
    from gateway.ports.store import Store

_MADE = "--made"


def listed(
    file: str,
    states: tuple[str, ...],
    principal: str | None,
    providers: tuple[str, ...],
    limit: int,
    cursor: str | None,
    *,
    surplus: bool,
) -> dict[str, Any]:
    """Return a page of intents. Raises a usage error for text that is not a cursor."""
    from gateway.domain.access import Restrictions
    from gateway.domain.errors import InvalidRequest
    from gateway.domain.intents import IntentState
    from gateway.ports.intent_query import IntentQuery
    from gateway.services.intents.records import cursor_after, parse_cursor

    try:
        before = None if cursor is None else parse_cursor(cursor)
    except InvalidRequest:
        raise click.BadParameter("expected the next_cursor of the previous page", param_hint="--cursor") from None
    query = IntentQuery(
        states=frozenset(map(IntentState, states or IntentState)),
        principal=principal,
        only=Restrictions(providers=frozenset(providers) or None),
        surplus_only=surplus,
        limit=limit + 1,
        before=before,
    )
    found = with_store(store_settings(file), lambda store: store.list(query))
    following = cursor_after(found[limit - 1]) if len(found) > limit else None
    items = [intent_document(intent) for intent in found[:limit]]
    return {"object": "list", "items": items, "next_cursor": following}


def shown(file: str, intent_id: str) -> dict[str, Any]:
    """Return one intent. Raises :class:`Failure` if it does not exist."""

    async def work(store: "Store") -> "Intent":
        return await _known(store, intent_id)

    return intent_document(with_store(store_settings(file), work))


def resolved(file: str, intent_id: str, made: str | None, remark: str | None, operator: str) -> dict[str, Any]:
    """Record a decision about a parked intent, and return the intent."""
    from gateway.domain.errors import StateConflict, ValidationFailed
    from gateway.services.intents.decisions import decide, made_runtime, require_parked

    async def work(store: "Store") -> "Intent":
        intent = await _known(store, intent_id)
        require_parked(intent)
        runtime_id = None if made is None else made_runtime(intent, made, _adapters(file), None)
        return await decide(store, intent, runtime_id, operator, remark)

    try:
        return intent_document(with_store(store_settings(file), work))
    except StateConflict as error:
        raise Failure("not_parked", str(error)) from error
    except ValidationFailed as error:
        detail = error.errors[0].detail
        raise click.BadParameter(detail[:1].lower() + detail[1:].rstrip("."), param_hint=_MADE) from error


async def _known(store: "Store", intent_id: str) -> "Intent":
    intent = await store.get(intent_id)
    if intent is None:
        raise Failure("not_found", f"there is no intent {intent_id}; settled ones are deleted after creates.retention")
    return intent


def _adapters(file: str) -> "Callable[[str], ProviderAdapter[Any] | None]":
    """Return the adapters of a settings file by name. The file is read only if the operator gave a public id: the
    other sections may need secrets that only the gateway can read."""

    def adapter_of(name: str) -> "ProviderAdapter[Any] | None":
        from gateway.app import plugins
        from gateway.cli.server import load
        from gateway.settings import SettingsError
        from gateway.upstream.transport import HttpTransport

        try:
            provider = load(file).settings.providers.get(name)
        except SettingsError as error:
            raise click.BadParameter(
                f"the settings of the provider {name} cannot be read here ({error.problems[0]}): give the provider's"
                " own id of the runtime, or leave out --config to use a running gateway",
                param_hint=_MADE,
            ) from error
        return None if provider is None else plugins()[provider.api].adapter(provider, HttpTransport(provider))

    return adapter_of

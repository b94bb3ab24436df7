"""How an operator names a runtime in ``intents resolve --made``: by its public id, or by the provider's own id."""

from typing import TYPE_CHECKING

import click

from gateway.domain.base_urls import same_address
from gateway.domain.errors import NotFound
from gateway.domain.ids import RuntimeRef, parse_runtime_id
from gateway.domain.intents import Intent, parts_of

if TYPE_CHECKING:
    from gateway.ports.provider_settings import ProviderSettings
    from gateway.settings import Settings

_HINT = "--made"


def provider_runtime_id(settings: "Settings", intent: Intent, made: str) -> str:
    """Return the provider's id of the runtime ``made``. Raises a usage error if this create cannot have created it."""
    try:
        name, reference = parse_runtime_id(made)
    except NotFound:
        return _own_id(made)
    provider = settings.providers.get(name)
    if provider is None:
        raise click.BadParameter(
            f"there is no provider {name} in the settings; give the provider's own id of the runtime", param_hint=_HINT
        )
    if not _same_target(provider, intent):
        raise click.BadParameter(
            f"that is a runtime of {name}, but this create was sent to {intent.provider}", param_hint=_HINT
        )
    ref = _parsed(provider, reference)
    if ref.scope != intent.scope:
        raise click.BadParameter(
            f"that is a runtime in the scope {ref.scope}, but this create was sent to {intent.scope};"
            " if both are the same scope, give the provider's own id of the runtime",
            param_hint=_HINT,
        )
    return ref.provider_id


def _own_id(made: str) -> str:
    if not made.isascii() or not made.isprintable() or " " in made or not 1 <= len(made) <= 200:
        raise click.BadParameter("expected a runtime's id, or the provider's own id", param_hint=_HINT)
    from gateway.domain.values import is_uuid

    return made.lower() if is_uuid(made) else made


def _same_target(provider: "ProviderSettings", intent: Intent) -> bool:
    """Return whether the create was sent to this provider, whose name in the settings may have changed since."""
    api, base_url, _, _ = parts_of(intent.namespace)
    there = (api, same_address(base_url, provider.own_paths))
    return there == (provider.api, provider.address) and provider.scope in {None, intent.scope}


def _parsed(provider: "ProviderSettings", reference: str) -> RuntimeRef:
    from gateway.app import plugins
    from gateway.upstream.transport import HttpTransport

    adapter = plugins()[provider.api].adapter(provider, HttpTransport(provider))
    try:
        return adapter.parse_reference(reference)
    except NotFound as exc:
        raise click.BadParameter("no runtime of this provider has such an id", param_hint=_HINT) from exc

"""Rules of the verbs on one runtime: when they are possible, which exclude each other, and which can be repeated."""

from collections.abc import Callable, Sequence
from typing import Final

from gateway.domain.errors import ProviderBadResponse, ProviderFailure, StateConflict, UnsupportedFeature
from gateway.domain.lifecycle import TRANSITIONS, Verb, works_from
from gateway.domain.requests import ConnectRequest
from gateway.domain.runtime import Connection, Runtime
from gateway.domain.values import Feature, State, is_connection_url
from gateway.services.fleet import Provider

Precondition = Callable[[Runtime], bool]
"""Whether the runtime is still in the version that the caller has read."""

ENDING: Final = frozenset({Verb.STOP, Verb.RESET})
LOCKS: Final = {
    Verb.START: Verb.START,
    Verb.RESUME: Verb.START,
    Verb.PAUSE: Verb.PAUSE,
    Verb.STOP: Verb.STOP,
    Verb.RESET: Verb.STOP,
}
"""The verb whose lock each verb holds."""


def may_be_repeated(verb: Verb, provider: Provider, precondition: Precondition | None) -> bool:
    """Whether sending the same request again is harmless. A stop or reset without a precondition could end an instance
    that has been started since, unless the provider cannot start a runtime again."""
    return verb not in ENDING or precondition is not None or Feature.START not in provider.adapter.features


def refuse_unless_possible(runtime: Runtime, verb: Verb) -> None:
    """Raise :class:`StateConflict` unless the verb is possible in the runtime's state."""
    if runtime.state not in TRANSITIONS[verb].works_from:
        raise StateConflict(
            f"The runtime is {runtime.state.value}; {verb.value} works from: {works_from(verb)}.",
            provider=runtime.provider,
            extra={"state": runtime.state.value},
        )
    durable = runtime.durable
    instance = durable.instance if durable else None
    if verb is Verb.PAUSE and runtime.state is State.RUNNING and instance and instance.supports_pause is False:
        raise StateConflict("This instance cannot pause.", provider=runtime.provider)


def wanted_connections(provider: str, found: Sequence[Connection], options: ConnectRequest) -> Sequence[Connection]:
    """The connections of the requested protocol, or all. ``found`` are those that the provider has returned.

    Raises :class:`UnsupportedFeature` if none of them has the protocol, :class:`StateConflict` if there are none at
    all, and :class:`ProviderBadResponse` for an address that is not an http, https, ws or wss URL with a host.
    """
    if not found:
        raise StateConflict("The runtime runs, but has no connections yet.", provider=provider)
    wanted = [each for each in found if options.protocol in {None, each.protocol}]
    if not wanted:
        offered = ", ".join(sorted({each.protocol for each in found}))
        raise UnsupportedFeature.at(
            "#/protocol", f"This runtime offers only: {offered}.", code="unsupported", provider=provider
        )
    unusable = next((each for each in wanted if not is_connection_url(each.url)), None)
    if unusable is not None:
        detail = f"The provider {provider} returned a {unusable.protocol} address that is not a web address."
        raise ProviderBadResponse(detail, failure=ProviderFailure(provider))
    return wanted

"""Which of a runtime's connections a caller gets."""

from collections.abc import Sequence

from gateway.domain.errors import ProviderBadResponse, ProviderFailure, StateConflict, UnsupportedFeature
from gateway.domain.requests import ConnectRequest
from gateway.domain.runtime import Connection
from gateway.domain.values import is_connection_url


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

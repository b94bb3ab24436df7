"""Redirects of a provider. The gateway follows none, because a request may only be sent to the configured server."""

import re
from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit

from gateway.domain.base_urls import canonical_host
from gateway.domain.errors import GatewayError, ProviderBadResponse, ProviderFailure
from gateway.domain.values import Operation
from gateway.ports.transport import UpstreamResponse

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_NOT_PROCESSED: Final = _REDIRECTS - {303}  # 303 is the regular response to a POST that was carried out
_PORTS: Final = {"http": 80, "https": 443}
_HOST: Final = re.compile(r"[a-z0-9.:_-]{1,253}\Z", re.ASCII)


def redirect_error(
    provider: str, operation: Operation, response: UpstreamResponse, base_url: str
) -> GatewayError | None:
    """The error for a redirect; it names the setting ``base_url`` and the host in ``Location``.

    None where the status alone decides: for other responses, for a ``Location`` that is missing or invalid, and for a
    create, unless it is proven that nothing was made. This is a 301, 302, 307 or 308 to another scheme, host or port
    than that of ``base_url``: the server that responded did not process the request, and no other one received it.
    """
    if response.status not in _REDIRECTS:
        return None
    target = _target(response, base_url)
    if target is None:
        return None
    elsewhere = response.status in _NOT_PROCESSED and origin_of(target) != origin_of(urlsplit(base_url))
    if operation is Operation.CREATE and not elsewhere:
        return None
    return ProviderBadResponse(
        f"The provider {provider} responded with a redirect ({response.status}) to the host {target.hostname}; the "
        "gateway follows no redirects. Check base_url in the settings of this provider (http or https, host, path).",
        failure=ProviderFailure(provider, status=response.status, redirected_elsewhere=elsewhere),
    )


def _target(response: UpstreamResponse, base_url: str) -> SplitResult | None:
    location = response.headers.get("Location", "").strip()
    try:
        written, target = urlsplit(location), urlsplit(urljoin(base_url + "/", location))
        _ = target.port
    except ValueError:
        return None
    complete = location and (written.netloc or not written.scheme)
    valid = complete and target.scheme in _PORTS and _HOST.match(target.hostname or "")
    return target if valid else None


def origin_of(url: SplitResult) -> tuple[str, str, int | None]:
    """The scheme, the canonical host and the port of a URL. Raises ``ValueError`` for a port that is not a number."""
    return url.scheme, canonical_host(url.hostname or ""), _PORTS.get(url.scheme) if url.port is None else url.port

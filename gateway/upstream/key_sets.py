"""Fetches the key sets of issuers of tokens, with the client that sends to providers: no redirects, bounded."""

import ssl
from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from gateway.domain.values import Operation
from gateway.ports.clock import Clock
from gateway.ports.key_sets import KeySetUnavailable
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.transport import Call, TransportFailure, UpstreamRequest
from gateway.upstream.transport import HttpTransport

FETCH_SECONDS: Final = 5.0
MAX_KEY_SET_BYTES: Final = 256 << 10

_ACCEPT: Final = {"Accept": "application/jwk-set+json, application/json"}


async def fetch_key_set(address: str, clock: Clock) -> bytes:
    """The document at an address. Each time it is a new connection, whose certificate is checked against the
    authorities of the system. Raises :class:`KeySetUnavailable`."""
    url = urlsplit(address)
    server = ProviderSettings(
        name="key-set",
        api="key-set",
        base_url=f"{url.scheme}://{url.netloc}",
        token=SecretStr("none"),  # required, and never sent: only adapters add credentials
        max_response_bytes=MAX_KEY_SET_BYTES,
        connect_timeout=FETCH_SECONDS,
    )
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    request = UpstreamRequest(Operation.GET, "GET", path, headers=_ACCEPT)
    try:
        async with HttpTransport(server, clock) as transport:
            response = await transport.send(request, Call(clock.monotonic() + FETCH_SECONDS))
    except TransportFailure as failure:
        raise KeySetUnavailable(failure.reason) from failure
    except ssl.SSLError as exc:
        raise KeySetUnavailable("the authorities of the system cannot be read") from exc
    if response.status != 200:
        raise KeySetUnavailable(f"status {response.status}")
    return response.body

"""JSON documents of a runtime's server, which the gateway rewrites."""

import pytest

from gateway.dataplane.target import _document
from gateway.domain.errors import ProviderBadResponse
from gateway.domain.json_numbers import MAX_SLOW_NUMBERS
from gateway.ports.data_plane import Endpoint


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b'"\xff"',
        b'{"a":"\\ud800"}',
        b"[" * 100_000,
        b"[" + b",".join([b"1e308"] * (MAX_SLOW_NUMBERS + 2)) + b"]",
    ],
    ids=["empty", "html", "latin-1", "surrogate", "deep", "slow"],
)
def test_document_that_cannot_be_decoded_is_a_bad_response(body: bytes) -> None:
    with pytest.raises(ProviderBadResponse):
        _document(body, "p")


@pytest.mark.parametrize("address", ["http://[", "ws://host:port/x", "http://other/x"])
def test_address_that_is_malformed_or_leads_elsewhere_has_no_path(address: str) -> None:
    assert Endpoint("http://host/cdp").path_of(address) is None

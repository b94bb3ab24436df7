"""Redirects of a provider: which one proves that a create made nothing, and what the error names."""

import pytest

from gateway.domain import errors
from gateway.domain.values import Operation
from gateway.ports.redirects import redirect_error
from gateway.ports.transport import UpstreamResponse

BASE = "http://provider.example/api"

ELSEWHERE = [
    ("https://provider.example/", "provider.example"),
    ("https://provider.example:8443/api/v1", "provider.example"),
    ("http://Other.Example/api", "other.example"),
    ("//other.example/api", "other.example"),
    ("http://provider.example:8080/api", "provider.example"),
    ("http://[::1]:9/", "::1"),
]
HERE = [
    "http://provider.example/api/x/",
    "HTTP://PROVIDER.example:80/elsewhere",
    "http://provider.example./api/x",
    "/api/x/",
    "x/",
    "?page=2",
]
NO_TARGET = [
    "",
    "http://[",
    "http://host:port/",
    "mailto:a@other.example",
    "http:///x",
    'http://a"b.example/',
    "file:///x",
]


def _error(operation: Operation, status: int, location: str | None) -> errors.GatewayError | None:
    headers = {} if location is None else {"Location": location}
    return redirect_error("p", operation, UpstreamResponse(status, headers, b""), BASE)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize(("location", "host"), ELSEWHERE)
@pytest.mark.parametrize("operation", [Operation.CREATE, Operation.STOP, Operation.GET])
def test_redirect_to_another_server_was_not_processed(
    operation: Operation, location: str, host: str, status: int
) -> None:
    error = _error(operation, status, location)
    assert type(error) is errors.ProviderBadResponse
    assert error.retryable is errors.Retryable.NO
    assert error.failure == errors.ProviderFailure("p", status, redirected_elsewhere=True)
    assert "base_url" in error.detail
    assert f"the host {host};" in error.detail


@pytest.mark.parametrize("location", HERE)
def test_redirect_within_the_server_proves_nothing_about_a_create(location: str) -> None:
    assert _error(Operation.CREATE, 307, location) is None
    error = _error(Operation.STOP, 307, location)
    assert type(error) is errors.ProviderBadResponse
    assert error.failure == errors.ProviderFailure("p", 307)
    assert "provider.example" in error.detail


@pytest.mark.parametrize("status", [200, 300, 303, 304, 305, 400, 500])
def test_other_statuses_with_a_location_prove_nothing_about_a_create(status: int) -> None:
    assert _error(Operation.CREATE, status, "https://other.example/") is None


@pytest.mark.parametrize("location", [None, *NO_TARGET])
@pytest.mark.parametrize("operation", [Operation.CREATE, Operation.GET])
def test_redirect_without_a_valid_location_is_judged_by_its_status(operation: Operation, location: str | None) -> None:
    assert _error(operation, 307, location) is None

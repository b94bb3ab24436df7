import pytest

from adapters.bctrl.errors import CODES, TABLE, error_of, read_envelope, reason_key
from adapters.bctrl.wire import ReasonClass
from gateway.domain import errors
from gateway.domain.values import Operation
from tests.unit.adapters.fakes import answer


def _error(operation: Operation, status: int, body: object, **headers: str) -> errors.GatewayError:
    return error_of("bc", operation, answer(status, body, headers))


def _flat(code: str | None = None, reason: str | None = None) -> dict:
    body = {"error": "Something failed", "requestId": "req-1"}
    return body | ({"code": code} if code else {}) | ({"reasonClass": reason} if reason else {})


def _keys(code: str) -> list[tuple[Operation | None, int, str | None]]:
    return [key for key in TABLE if key[2] == code]


def test_every_documented_code_has_a_rule():
    for code in sorted(CODES):
        assert _keys(code), code
        for operation, status, _ in _keys(code):
            error = _error(operation or Operation.GET, status, _flat(code))
            assert type(error) is TABLE[operation, status, code], code
            assert error.failure is not None, code
            assert error.failure.code == code, code


def test_every_reason_class_has_a_rule_for_unknown_codes():
    for reason in sorted(ReasonClass):
        assert _keys(reason_key(reason)), reason
        for operation, status, _ in _keys(reason_key(reason)):
            error = _error(operation or Operation.GET, status, _flat("something.new", reason))
            assert type(error) is TABLE[operation, status, reason_key(reason)], reason
            assert error.failure is not None, reason
            assert error.failure.code == "something.new", reason


def test_known_code_takes_precedence_over_the_reason_class():
    body = _flat("rate_limit.exceeded", "capability_limit_exceeded")
    assert type(_error(Operation.GET, 429, body)) is errors.RateLimited


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (409, "runtime.not_found", errors.StateConflict),
        (404, "auth.invalid", errors.NotFound),
        (403, "billing.insufficient_credits", errors.PermissionDenied),
        (500, "rate_limit.exceeded", errors.ProviderError),
    ],
)
def test_code_that_does_not_fit_the_status_is_ignored(status, code, expected):
    assert type(_error(Operation.GET, status, _flat(code))) is expected


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, None, errors.InvalidRequest),
        (401, None, errors.ProviderCredentialsRejected),
        (402, None, errors.InsufficientCredits),
        (403, None, errors.PermissionDenied),
        (404, None, errors.NotFound),
        (409, None, errors.AlreadyExists),
        (409, "runtime.name_conflict", errors.AlreadyExists),
        (422, None, errors.ValidationFailed),
        (429, None, errors.RateLimited),
        (429, "browser.concurrent_quota_exceeded", errors.QuotaExceeded),
        (404, "browser_profile.not_found", errors.ValidationFailed),
        (408, None, errors.OutcomeUnknown),
        (500, None, errors.OutcomeUnknown),
        (502, "upstream.unavailable", errors.OutcomeUnknown),
        (503, "runtime.capacity_unavailable", errors.OutcomeUnknown),
        (504, None, errors.OutcomeUnknown),
        (418, None, errors.ProviderBadResponse),
    ],
)
def test_failed_create_maps_to_its_error(status, code, expected):
    assert type(_error(Operation.CREATE, status, _flat(code))) is expected


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (401, "auth.invalid", errors.ProviderCredentialsRejected),
        (404, "runtime.not_found", errors.NotFound),
        (404, "route.not_found", errors.ProviderBadResponse),
        (409, None, errors.StateConflict),
        (410, None, errors.NotFound),
        (426, None, errors.ProviderUpgradeRequired),
        (500, None, errors.ProviderError),
        (502, None, errors.ProviderUnavailable),
        (503, "runtime.capacity_unavailable", errors.CapacityExceeded),
        (504, None, errors.ProviderTimeout),
    ],
)
def test_failed_read_maps_to_its_error(status, code, expected):
    assert type(_error(Operation.GET, status, _flat(code))) is expected


@pytest.mark.parametrize(
    "body",
    [
        {"error": "No such runtime", "code": "runtime.not_found", "requestId": "r-9", "reasonClass": "not_found"},
        {
            "error": {
                "message": "No such runtime",
                "code": "runtime.not_found",
                "requestId": "r-9",
                "reasonClass": "not_found",
            }
        },
        {"message": "No such runtime", "code": "runtime.not_found", "requestId": "r-9"},
        {"detail": "No such runtime", "code": "runtime.not_found", "requestId": "r-9"},
    ],
)
def test_envelopes_of_all_eras_are_read(body):
    error = _error(Operation.GET, 404, body)
    assert error.failure == errors.ProviderFailure("bc", 404, "runtime.not_found", "No such runtime", "r-9", True)
    assert "No such runtime" not in error.detail


@pytest.mark.parametrize("body", [b"<html>Not Found</html>", b"", b"[]", b'"gone"', b"{}", b'{"error": 4}', b"\xff"])
def test_404_without_an_envelope_does_not_prove_absence(body):
    assert read_envelope(body) is None
    assert type(_error(Operation.GET, 404, body)) is errors.ProviderBadResponse


@pytest.mark.parametrize("body", [{}, {"error": 4}, {"why": "no"}])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 426])
def test_any_json_object_counts_as_the_providers_refusal_of_a_create(status, body):
    """The era documents no error body. An HTML page, an array or no body is not the provider's."""
    error = _error(Operation.CREATE, status, body)
    assert error.failure == errors.ProviderFailure("bc", status, own_envelope=True)
    assert type(error) is not errors.ProviderBadResponse
    for foreign in (b"<html>", b"", b"[]", b'"no"'):
        error = _error(Operation.CREATE, status, foreign)
        assert error.failure == errors.ProviderFailure("bc", status)


@pytest.mark.parametrize(
    ("operation", "status"), [(Operation.CREATE, 500), (Operation.GET, 404), (Operation.STOP, 409)]
)
def test_other_json_objects_count_for_refused_creates_only(operation, status):
    error = _error(operation, status, {"why": "no"})
    assert error.failure == errors.ProviderFailure("bc", status)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("runtime.name_conflict", errors.AlreadyExists),
        ("browser.name_conflict", errors.AlreadyExists),
        (None, errors.AlreadyExists),
        ("idempotency_key_in_progress", errors.OutcomeUnknown),
        ("idempotency.mismatch", errors.ProviderBadResponse),
    ],
)
def test_conflict_of_a_create_is_already_exists_unless_it_concerns_a_key(code, expected):
    """No key is sent, so an error about a key proves nothing about the create."""
    error = _error(Operation.CREATE, 409, _flat(code))
    assert type(error) is expected
    assert error.failure is not None
    assert (error.failure.status, error.failure.code, error.failure.own_envelope) == (409, code, True)


def test_members_that_are_not_text_are_ignored():
    error = _error(Operation.GET, 404, {"error": "x", "code": 7, "requestId": {}, "reasonClass": []})
    assert error.failure == errors.ProviderFailure("bc", 404, None, "x", None, own_envelope=True)


def test_request_id_comes_from_the_header_if_the_body_has_none():
    error = _error(Operation.GET, 500, {"error": "x"}, **{"x-request-id": "from-header"})
    assert error.failure is not None
    assert error.failure.request_id == "from-header"


def test_retry_after_is_kept():
    assert _error(Operation.GET, 429, _flat(), **{"Retry-After": "7"}).retry_after == 7


@pytest.mark.parametrize("operation", [Operation.CREATE, Operation.LIST])
def test_404_of_a_create_or_list_concerns_the_workspace(operation):
    error = _error(operation, 404, _flat())
    assert type(error) is errors.NotFound
    assert "workspace" in error.detail


@pytest.mark.parametrize(
    ("status", "code", "pointer"),
    [
        (404, "browser_profile.not_found", "#/launch/profile_id"),
        (404, "browser_extension.not_found", "#/launch/extension_ids"),
        (400, "proxy.protocol_invalid", "#/launch/proxy/type"),
    ],
)
def test_code_about_a_field_points_to_it(status, code, pointer):
    error = _error(Operation.CREATE, status, _flat(code))
    assert type(error) is errors.ValidationFailed
    assert [fault.pointer for fault in error.errors] == [pointer]
